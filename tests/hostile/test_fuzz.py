"Whatever is in a file, its reader works, or gives an error of one line"
import hashlib
import json
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutate import broken_bytes, broken_json, broken_table, told_in_one_line
from PIL import Image
from whole import LABELS, believed, bundle, checkpoint, fold_files, keep, onnx_model, pack, run_folder, table

from agecls_fastai.data.adience import audit, read_adience
from agecls_fastai.data.datasets import read_data
from agecls_fastai.data.images import audit_images, check_images
from agecls_fastai.data.items import check_items
from agecls_fastai.data.tables import read_items
from agecls_fastai.loading.pack import build_pack, open_pack
from agecls_fastai.predict.answers import load_onnx
from agecls_fastai.recipes import RECIPES, Recipe, change_recipe, parse_setting
from agecls_fastai.results.compare import compare
from agecls_fastai.runs.format import load_run
from agecls_fastai.runs.status import status
from agecls_fastai.runs.verify import verify_run
from agecls_fastai.training.bundle import FILES
from agecls_fastai.training.checkpoint import read_checkpoint
from agecls_fastai.training.hub import load_bundle
from agecls_fastai.training.weights import load_weights

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings('ignore')]


@contextmanager
def copied(folder):
    "A copy of a folder, for one example"
    with tempfile.TemporaryDirectory() as d: yield Path(shutil.copytree(folder, Path(d) / 'copy'))


def spoil_json(file, data):
    "Break a JSON file"
    file.write_bytes(data.draw(broken_json(json.loads(file.read_text()))))


# --- fold files ---

@given(st.data())
def test_fold_files(data):
    with copied(keep(fold_files)) as d:
        file = d / 'fold_2_data.txt'
        file.write_bytes(data.draw(broken_table(file.read_text(), '\t')))
        with told_in_one_line(): read_adience(d, labels=data.draw(st.sampled_from(['benchmark', 'extended'])))
        with told_in_one_line(): read_adience(d, target='gender', subset='frontal')
        with told_in_one_line():
            found = audit(d)
            assert json.dumps(found.to_dict(), ensure_ascii=False).encode() and str(found).encode()


@given(st.data())
def test_a_manifest(data):
    with copied(keep(fold_files)) as d:
        spoil_json(d / 'manifest.json', data)
        with told_in_one_line(): str(audit(d)).encode()


# --- tables of items ---

@given(st.data())
def test_items(data):
    text, sep = table().to_csv(index=False), ','
    with tempfile.TemporaryDirectory() as d:
        file = Path(d) / data.draw(st.sampled_from(['t.csv', 't.tsv', 't.csv.gz', 't.parquet', 't']))
        content = data.draw(broken_table(text, sep))
        file.write_bytes(content)
        with told_in_one_line(): check_items(read_items(file, LABELS)).to_csv().encode()
        with told_in_one_line():
            made = None if b'fold' in content else 2
            read_data(d, items=file, ages=True, columns=dict(label='age'), n_folds=made)
        with told_in_one_line(): read_data(d, 'imdb-wiki', items=file, n_folds=2)


@given(st.data())
def test_a_parquet_table(data):
    with tempfile.TemporaryDirectory() as d:
        file = Path(d) / 't.parquet'
        table().to_parquet(file)
        file.write_bytes(data.draw(broken_bytes(file.read_bytes())))
        with told_in_one_line(): read_items(file, LABELS)


@given(st.data())
def test_names_of_pictures(data):
    "Folders of pictures whose names say something else than they should"
    names = st.text(st.characters(exclude_characters='/\0', exclude_categories=['Cs']), min_size=1, max_size=12)
    with tempfile.TemporaryDirectory() as d:
        for _ in range(data.draw(st.integers(0, 6))):
            name = data.draw(names | st.sampled_from([
                '20_0_1_2017.jpg', '999_1_4_1.jpg', '001A02.JPG', '²_0_0_1x.jpg', 'a/b.png', '٣A٣٣.jpg', '0-2/1.jpg',
                '4-6/x\n.jpg', '60+/é.png']))
            file = Path(d) / data.draw(st.sampled_from(['.', '0-2', '4-6'])) / name
            if name in ('.', '..'): continue
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b'')
            except OSError: continue
        for kind, options in (('utkface', {}), ('fgnet', {}), ('folder', dict(classes=LABELS)),
                              ('folder', dict(classes=LABELS, subject='(.)'))):
            with told_in_one_line(): read_data(d, kind, n_folds=2, **options)


@given(st.data())
def test_pictures(data):
    with tempfile.TemporaryDirectory() as d:
        items = table().assign(label=lambda t: pd.Categorical(t['label'], LABELS, ordered=True))
        (Path(d) / 'p').mkdir()
        for file in items['file']: Image.new('RGB', (9, 9), 'teal').save(Path(d) / file)
        kind = data.draw(st.sampled_from(['png', 'jpeg', 'gif', 'tiff', 'webp', 'bmp', 'ppm']))
        Image.frombytes('RGB', (20, 30), bytes(range(225)) * 8).save(Path(d) / 'p/3.png', kind)
        (Path(d) / 'p/3.png').write_bytes(data.draw(broken_bytes((Path(d) / 'p/3.png').read_bytes())))
        with told_in_one_line(): check_images(items, d)
        with told_in_one_line(): str(audit_images(items, d)).encode()
        with told_in_one_line(): build_pack(items, d, Path(d) / 'pack', 16)


# --- run folders ---

def look_at_run(path):
    with told_in_one_line(): load_run(path).valid_predictions()
    with told_in_one_line(): load_run(path).history()
    with told_in_one_line():
        found = compare([path], n_resamples=20)
        assert str(found).encode() and json.dumps(found.to_dict(), ensure_ascii=False).encode()
    for reader in (verify_run, status):
        with told_in_one_line():
            found = reader(path)
            assert str(found).encode() and json.dumps(found.to_dict(), ensure_ascii=False).encode()


@given(st.data())
def test_run_json(data):
    with copied(keep(run_folder)) as d:
        spoil_json(d / 'run.json', data)
        look_at_run(d)


@given(st.data())
def test_done_json(data):
    with copied(keep(run_folder)) as d:
        spoil_json(d / 'fold_1/done.json', data)
        look_at_run(d)


@given(st.data())
def test_tables_of_a_run(data):
    with copied(keep(run_folder)) as d:
        which = data.draw(st.sampled_from(['predictions.csv', 'predictions.csv', 'valid.csv', 'history.csv']))
        file = d / 'fold_1' / which
        file.write_bytes(data.draw(broken_table(file.read_text())))
        if data.draw(st.integers(0, 4)): believed(d / 'fold_1')
        shutil.copy(d / 'fold_1/history.csv', d / 'fold_7')
        look_at_run(d)


@given(st.lists(st.sampled_from(['fold_²', 'fold_٣', 'fold_007', 'fold_', 'fold_-1', 'fold_1e3', 'fold_' + '9' * 200,
                                 'fold_3', '.fold_0.lock.json', 'final', 'fold_ 1']), min_size=1, max_size=4))
def test_what_else_is_in_a_run_folder(names):
    with copied(keep(run_folder)) as d:
        for i, name in enumerate(names):
            if not (d / name).exists(): (d / name).mkdir() if i % 2 else (d / name).write_bytes(b'{"pid": 1e99}')
        look_at_run(d)


@pytest.mark.parametrize('name', [
    'data:image/png;base64,AAAA', '$\\frac{$_x</svg><script>alert(1)</script>{{ 7*7 }}\u202e%' + 'x' * 2000],
    ids=['data', 'rest'])
def test_names_in_a_report(tmp_path, name):
    from agecls_fastai.results.report import report
    path = shutil.copytree(keep(run_folder), tmp_path / 'run')
    info = json.loads((path / 'run.json').read_text())
    info['recipe'] |= dict(name=name, about=name)
    (path / 'run.json').write_text(json.dumps(info | dict(data=name, protocol=name, versions={name: name})))
    page = report([path], tmp_path / 'r.html').read_text('utf-8')
    assert '<script' not in page and page.rstrip().endswith('</html>')


# --- models ---

def look_at_bundle(path):
    with told_in_one_line():
        found = load_bundle(path)
        found.recipe, found.temperature, found.labels
        repr(found).encode()


@given(st.data())
def test_model_json(data):
    with copied(keep(bundle)) as d:
        spoil_json(d / 'model.json', data)
        look_at_bundle(d)


@given(st.data())
def test_weights_of_a_bundle(data):
    with copied(keep(bundle)) as d:
        file = d / 'model.safetensors'
        content = file.read_bytes()
        if data.draw(st.booleans()):
            size = int.from_bytes(content[:8], 'little')
            head = data.draw(broken_json(json.loads(content[8:8 + size])))
            claimed = data.draw(st.sampled_from([len(head), len(head), 2**63 - 1, 2**40, 0]))
            content = claimed.to_bytes(8, 'little') + head + content[8 + size:]
        else: content = data.draw(broken_bytes(content))
        file.write_bytes(content)
        info = json.loads((d / 'model.json').read_text())
        info['weights_sha256'] = hashlib.sha256(content).hexdigest()
        (d / 'model.json').write_text(json.dumps(info))
        look_at_bundle(d)
        with told_in_one_line(): load_weights(file)


@given(st.data())
def test_a_bundle_in_one_file(data):
    with copied(keep(bundle)) as d:
        file = d / 'm.agecls'
        with zipfile.ZipFile(file, 'w', data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                                                                   zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))) as z:
            for name in FILES: z.write(d / name, name)
        file.write_bytes(data.draw(broken_bytes(file.read_bytes())))
        look_at_bundle(file)


# --- packs ---

def look_at_pack(path):
    with told_in_one_line():
        found = open_pack(path / 'pack')
        found.only(table())
        found.check(table(), path / 'data')
        found.gather([0, len(found) - 1])
        found['p/0.png']
        build_pack(table(), path / 'data', path / 'pack', 16)


@given(st.data())
def test_jsons_of_a_pack(data):
    with copied(keep(pack)) as d:
        file = d / 'pack' / data.draw(st.sampled_from(['pack.json', 'shard_00000.json']))
        spoil_json(file, data)
        look_at_pack(d)


@given(st.data())
def test_arrays_of_a_pack(data):
    with copied(keep(pack)) as d:
        file = d / 'pack/shard_00001.npy'
        file.write_bytes(data.draw(broken_bytes(file.read_bytes()) | st.sampled_from([b'16', b'2**60', b'-4']).map(
            lambda n: file.read_bytes().replace(b"(4, ", b'(' + n + b', ', 1))))
        look_at_pack(d)


@given(st.data())
def test_a_pack_that_was_begun(data):
    with copied(keep(pack)) as d:
        (d / 'pack/pack.json').unlink()
        done = d / 'pack/shard_00001'
        rows = json.loads(done.with_suffix('.json').read_text())
        if data.draw(st.booleans()):
            done.with_suffix('.json').unlink()
            done.with_suffix('.npy').rename(d / 'pack/.shard_00001.npy.part')
            lines = ''.join(json.dumps(row) + '\n' for row in rows).encode()
            (d / 'pack/.shard_00001.npy.rows').write_bytes(data.draw(broken_bytes(lines)))
        else: done.with_suffix('.json').write_bytes(data.draw(broken_json(rows)))
        with told_in_one_line(): build_pack(table(), d / 'data', d / 'pack', 16, shard=8)


# --- checkpoints, weights, exported models ---

@given(st.data())
def test_a_checkpoint(data):
    with copied(keep(checkpoint)) as d:
        for name in ('c.pt', 'w.pth'): (d / name).write_bytes(data.draw(broken_bytes((d / name).read_bytes())))
        with told_in_one_line(): read_checkpoint(d / 'c.pt', dict(a=1))
        with told_in_one_line(): load_weights(d / 'w.pth')


@given(st.data())
def test_an_exported_model(data):
    import onnx
    with copied(keep(onnx_model)) as d:
        if data.draw(st.booleans()): (d / 'm.onnx').write_bytes(data.draw(broken_bytes((d / 'm.onnx').read_bytes())))
        else:
            model = onnx.load(d / 'm.onnx')
            text = data.draw(broken_json(json.loads(model.metadata_props[0].value)))
            model.metadata_props[0].value = text.decode('utf-8', 'replace')
            onnx.save(model, d / 'm.onnx')
        with told_in_one_line():
            found = load_onnx(d / 'm.onnx')
            found.threshold(0.9)
            repr(found).encode()


# --- recipes ---

@given(st.data())
def test_recipes(data):
    recipe = RECIPES[data.draw(st.sampled_from(['finetune_resnet34', 'levi_hassner', 'linear_probe_resnet34']))]
    text = data.draw(broken_json(json.loads(recipe.to_json()))).decode('utf-8', 'replace')
    with told_in_one_line(): Recipe.from_json(text).to_json().encode()


@given(st.sampled_from([f for f in vars(RECIPES['modern'])]), st.text(max_size=12) | st.sampled_from(
    ['NaN', 'Infinity', '1e999', '9' * 5000, '[' * 2000, '{"a": 1}', 'null', 'True', '-1', '0', '2.5', '"\\ud800"']))
def test_settings(name, value):
    with told_in_one_line():
        change_recipe(RECIPES['finetune_resnet34'], dict([parse_setting(f'{name}={value}')])).to_json()
    with told_in_one_line(): parse_setting(f'{name}={value}', several=True)
