"Adience's real fold files: the figures that must come out of them, and damaged copies"
import itertools
import json
import sys
import time

import pytest
from conftest import agecls
from PIL import Image

from agecls_fastai.data.adience import audit, fold_file_name, read_adience
from agecls_fastai.data.synthetic import draw_face


def test_benchmark_labels(real_folds):
    items = read_adience(real_folds)
    assert (len(items), items['subject'].nunique()) == (17_321, 2_118)
    assert items.groupby('fold').size().tolist() == [4305, 3092, 3285, 2963, 3676]
    assert (items['label'] == '8-13').sum() == (items['raw_age'] == '(8, 12)').sum() == 2_124


def test_other_rules(real_folds):
    assert len(read_adience(real_folds, target='gender')) == 17_492
    assert len(read_adience(real_folds, labels='extended')) == 18_622


def test_file_names(real_folds):
    file = read_adience(real_folds)['file']
    assert file.str.fullmatch(r'aligned/\d+@N\d+/landmark_aligned_face\.\d+\.\w+\.jpg').all()
    faces = read_adience(real_folds, source='faces')['file']
    assert faces.str.fullmatch(r'faces/\d+@N\d+/coarse_tilt_aligned_face\.\d+\.\w+\.jpg').all()


def test_audit_of_the_whole_copy(real_folds):
    found = audit(real_folds)
    assert found.whole and not found.problems
    assert (sum(found.rows), sum(found.repeated_rows)) == (19_487, 117)
    assert (sum(found.subjects), sum(found.accounts)) == (2_284, 168)
    assert found.subjects_in_two_folds == found.accounts_in_two_folds == found.photographs_in_two_folds == []
    assert [found.groups[f'fold {k}'][0] for k in range(5)] == [960, 84, 810, 151, 483]
    assert found.odd_labels['None']['count'] == 748 and found.odd_labels['(8, 23)']['count'] == 1


def test_audit_on_the_command_line(real_folds):
    start = time.monotonic()
    done = agecls('audit', real_folds, '--no-images', check=0)
    assert time.monotonic() - start < 10  # a loose bound; without importing torch it takes about one second
    assert 'whole' in done.stdout and "'(25, 23)'      72" in done.stdout
    found = json.loads(agecls('audit', real_folds, '--no-images', '--json', check=0).stdout)
    assert found['benchmark_images'] == 17_321
    assert 'there is no aligned/ or faces/' in agecls('audit', real_folds, check=1).stdout


def test_audit_does_not_import_torch(real_folds):
    code = (f'import sys; from agecls_fastai.cli import main; main(["audit", {str(real_folds)!r}, "--no-images"]); '
            'sys.exit("torch" in sys.modules)')
    import subprocess
    assert subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == 0


def lines(folder, k): return (folder / fold_file_name(k)).read_text().splitlines(keepends=True)


def rewrite(folder, k, text): (folder / fold_file_name(k)).write_bytes(''.join(text).encode())


def rows_missing(folder): rewrite(folder, 2, lines(folder, 2)[:-500])
def file_missing(folder): (folder / fold_file_name(3)).unlink()
def crlf(folder): rewrite(folder, 0, [line.replace('\n', '\r\n') for line in lines(folder, 0)])


def columns_shifted(folder):
    head, *rows = lines(folder, 4)
    rewrite(folder, 4, [head, *('\t'.join(['', *row.split('\t')[:-1]]) + '\n' for row in rows)])


def column_dropped(folder): rewrite(folder, 1, ['\t'.join(line.split('\t')[:4] + line.split('\t')[5:])
                                                for line in lines(folder, 1)])


def subject_moved(folder):
    head, *rows = lines(folder, 1)
    subject = rows[0].split('\t')[2]
    moved = [row for row in rows if row.split('\t')[2] == subject]
    rewrite(folder, 1, [head, *(row for row in rows if row not in moved)])
    rewrite(folder, 0, lines(folder, 0) + moved)


def subject_in_two_folds(folder): rewrite(folder, 0, lines(folder, 0) + lines(folder, 1)[1:2])


def label_changed(folder):
    rewrite(folder, 3, [line.replace('(25, 32)', '(38, 43)', 1) if i == 7 else line
                        for i, line in enumerate(lines(folder, 3))])


@pytest.mark.parametrize('damage, reason', [
    (rows_missing, 'fold_2_data.txt: 3,453 rows, where 3,953 belong (500 missing)'),
    (file_missing, 'fold_3_data.txt: the file is missing'),
    (crlf, 'fold_0_data.txt: lines end in CRLF'),
    (columns_shifted, 'columns shifted?'),
    (column_dropped, 'fold_1_data.txt: column gender is missing'),
    (subject_moved, 'account in two folds: '),
    (subject_in_two_folds, 'subject in two folds: '),
    (label_changed, 'contents differ')])
def test_damaged_copies(real_copy, damage, reason):
    before = {f.name: f.read_bytes() for f in real_copy.iterdir()}
    damage(real_copy)
    assert {f.name: f.read_bytes() for f in real_copy.iterdir()} != before
    done = agecls('audit', real_copy, '--no-images', check=1)
    assert 'damaged' in done.stdout and reason in done.stdout, done.stdout[-800:]


@pytest.mark.slow
def test_every_row_gets_a_picture(real_folds, tmp_path, monkeypatch):
    "A face or, as 19,370 of them take two minutes to draw, for most of them noise"
    count = itertools.count()
    def sometimes(years, traits, rng, size, **how):
        if next(count) % 100 == 0: return draw_face(years, traits, rng, size, **how)
        return Image.fromarray(rng.integers(256, size=(size, size, 3), dtype='uint8'))
    monkeypatch.setattr('agecls_fastai.data.synthetic.draw_face', sometimes)
    agecls('synth', tmp_path / 'data', '--folds', real_folds, '--size', 16, check=0)
    assert len(list((tmp_path / 'data').rglob('*.jpg'))) == 19_370
    items = read_adience(tmp_path / 'data')
    assert len(items) == 17_321 and all((tmp_path / 'data' / file).is_file() for file in items['file'])
    for k in range(5):
        assert (tmp_path / 'data' / fold_file_name(k)).read_bytes() == (real_folds / fold_file_name(k)).read_bytes()
    agecls('audit', tmp_path / 'data', check=0)
    run = agecls('cv', tmp_path / 'data', '--recipe', 'levi_hassner_onecycle', '--out', tmp_path / 'run', '--folds', 1,
                 '--size', 40, '--epochs', 1, '--limit', 40, '--json', check=0)
    assert json.loads(run.stdout)['folds'] == [1]
