"Every benchmark runs, on little data, and writes its table; nothing here says how fast anything is"
import json
import runpy
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torchvision
from conftest import ROOT

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data.ages import ADIENCE_GROUPS
from agecls_fastai.results.compare import summarize
from agecls_fastai.runs.format import load_run

pytestmark = pytest.mark.slow

LITTLE = {'loader': '--images 40 --size 96 --bs 8', 'training': '--batches 2 --bs 8 --size 80 --sees 32',
          'probe': '--subjects 10 --size 32 --epochs 1 --pretrain 1 --crossval',
          'costs': '--images 16 --predictions 400',
          'jobs': '--subjects 10 --size 36 --epochs 1 --jobs 2',
          'scale': '--rows 240 480', 'precision': '--bs 4 --sizes 36 --large 40 --archs resnet34 tf_efficientnet_lite0',
          'predict': '--images 4 --bs 2 --size 40 --sees 32 --subjects 10 --epochs 1'}


def test_all_are_here():
    others = {'measure', 'losses', 'figures', 'real_faces', 'real_faces_tables', 'rates', 'gpu', 'photographs',
              'same_pictures', 'int8'}
    assert {p.stem for p in (ROOT / 'benchmarks').glob('*.py')} - others == set(LITTLE)


@pytest.fixture
def bench(monkeypatch):
    """Run a benchmark as from the command line, in this process: each start of PyTorch takes seconds

    What it takes for a ResNet-34 has 18 layers, but for `predict`, whose processes would not know."""
    def run(name, *argv):
        if name != 'predict': monkeypatch.setattr(torchvision.models, 'resnet34', torchvision.models.resnet18)
        monkeypatch.chdir(ROOT)
        monkeypatch.syspath_prepend(ROOT / 'benchmarks')
        monkeypatch.setattr(sys, 'argv', [f'benchmarks/{name}.py', *map(str, argv)])
        with warnings.catch_warnings(): runpy.run_path(f'benchmarks/{name}.py', run_name='__main__')
    return run


@pytest.mark.parametrize('name', LITTLE)
def test_runs(name, bench, tmp_path):
    bench(name, *LITTLE[name].split(), '--runs', '1', '--out', tmp_path / 'table')
    found = json.loads((tmp_path / 'table.json').read_text())
    assert found['rows'] and all(len(row['figures']) == 1 and row['figures'][0] > 0 for row in found['rows'])
    text = (tmp_path / 'table.md').read_text()
    assert all(f'| {row["contender"]} |' in text for row in found['rows'])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['table.json', 'table.md']


def test_photographs(bench, tmp_path):
    "Two photographs with the astronaut, and one of coffee: she is found by both detectors"
    from PIL import Image
    from skimage import data
    (tmp_path / 'photos').mkdir()
    astronaut, coffee = (Image.fromarray(x) for x in (data.astronaut(), data.coffee()))
    astronaut.save(tmp_path / 'photos/a.png')
    astronaut.resize((900, 900)).save(tmp_path / 'photos/b.jpg')
    coffee.save(tmp_path / 'photos/c.png')
    rows = ['file,left,top,width,height,ignore', 'a.png,175,70,95,110,0', 'b.jpg,308,123,167,193,0']
    (tmp_path / 'boxes.csv').write_text('\n'.join(rows))
    argv = [tmp_path / 'photos', tmp_path / 'boxes.csv', '--contenders', 'yunet', 'haar', '--out']
    bench('photographs', *argv, tmp_path / 'table')
    found = json.loads((tmp_path / 'table.json').read_text())
    assert found['photographs'] == 3 and all(r['found'] == r['faces'] == 2 and not r['false'] for r in found['rows'])
    assert '| 2 of 2, 100.0 %' in (tmp_path / 'table.md').read_text()
    (tmp_path / 'boxes.csv').write_text('\n'.join(rows).replace('a.png', 'z.png'))
    with pytest.raises(AgeclsError, match='names 1 photographs that are not in'):
        bench('photographs', *argv, tmp_path / 't')


def test_training_beside_bare_pytorch(bench, tmp_path):
    bench('training', *'--arch tf_efficientnet_lite0 --batches 2 --bs 8 --sees 32 --runs 1 --out'.split(),
          tmp_path / 'table')
    found = json.loads((tmp_path / 'table.json').read_text())
    assert {row['what'] for row in found['rows']} == {'training, tf_efficientnet_lite0', 'validation'}
    assert len(found['rows']) == 7 and all(row['figures'][0] > 0 for row in found['rows'])


def test_losses(bench, tmp_path):
    "The study of losses goes on where it stopped, and says on what it was made"
    argv = [*'--subjects 16 --size 32 --epochs 1 --pretrain 1'.split(), '--recipes',
            'finetune_resnet34,coral_resnet34', '--keep', tmp_path / 'kept', '--out', tmp_path / 'table']
    texts = []
    for _ in range(2):
        bench('losses', *argv)
        texts.append((tmp_path / 'table.md').read_text())
    assert texts[0] == texts[1] and 'Drawn faces, not Adience' in texts[0] and str(tmp_path) not in texts[0]
    found = json.loads((tmp_path / 'table.json').read_text())['study']
    runs = [row['run'].partition(',')[0] for row in found['table']]       # and what was made smaller for this test
    assert runs == ['finetune_resnet34', 'coral_resnet34']
    assert found['table'][1]['accuracy_p_holm'] <= 1 and found['best_reachable']['accuracy'] > 0.5


def test_real_faces(bench, tmp_path, monkeypatch):
    """The benchmark on real faces, on drawn ones under such names: goes on from its figures alone, whose scores are the
    library's, and keeps no name of a picture"""
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    from measure import drawn_as_utkface
    faces = drawn_as_utkface(tmp_path / 'faces', 40)
    out, name = tmp_path / 'out/real_faces', 'levi_hassner_onecycle'
    def run(*argv):
        try: bench('real_faces', *argv, '--out', out)
        except SystemExit as e: assert not e.code, e
        return json.loads((tmp_path / 'out/real_faces.json').read_text())['part_1']
    words = ['--data', faces, '--only', f'guessing,{name}', '--size', 64, '--epochs', 1]
    found = run(*words, '--keep', tmp_path / 'first', '--folds', '0,2')
    assert [row['folds'] for row in found['rows']] == [[0, 1, 2, 3, 4], [0, 2]] and found['missing'][name] == [1, 3, 4]
    before = (out / f'{name}.npz').read_bytes()
    assert run('--table') == found                                       # of the figures alone
    folder = tmp_path / 'second'                                         # a fresh machine
    found = run(*words, '--keep', folder)
    assert name not in found['missing'] and sorted(p.name for p in (folder / name).glob('fold_*')) == [
        'fold_1', 'fold_3', 'fold_4']                                    # the others were not done again
    with np.load(out / f'{name}.npz') as f: assert (f['answers'] < 8).all() and np.isfinite(f['logp']).all()
    # the scores of all folds are those of the library, the same subjects drawn
    for k in (0, 2): shutil.copytree(tmp_path / 'first' / name / f'fold_{k}', folder / name / f'fold_{k}')
    library, row = summarize(load_run(folder / name)), found['rows'][1]
    for metric in ('accuracy', 'one_off_accuracy'):
        assert np.allclose([row[metric], row[f'{metric}_low'], row[f'{metric}_high']],
                           library.loc[metric, ['mean', 'low', 'high']].astype(float))
    names = [p.name for p in faces.iterdir()]
    for file in [*out.iterdir(), tmp_path / 'out/real_faces.md', tmp_path / 'out/real_faces.json']:
        content = file.read_bytes() if file.suffix != '.npz' else b''.join(
            str(x).encode() for x in np.load(file).values())
        assert not any(x.encode() in content for x in names) and str(tmp_path).encode() not in content, file
    # another recipe in the same figures is refused, and they stay
    with pytest.raises(Exception, match='made with another recipe'): run(*words[:-1], 2, '--keep', tmp_path / 'third')
    assert (out / f'{name}.npz').read_bytes() != before


def test_recipes_of_the_whole_set(monkeypatch):
    "Trained for hours where the pictures are, so never here: but each loss can be built, for years or for groups"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    from real_faces import whole_recipes
    for recipe, classes, *_ in whole_recipes(128).values():
        loss = recipe.loss_func(classes or ADIENCE_GROUPS)
        assert loss.rule == ('mean' if classes else 'mode'), recipe


def test_label_noise(monkeypatch, tmp_path):
    "Three photographs, two of which are there twice or three times: by hand"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import figures
    items = pd.DataFrame(dict(label=[0, 0, 2, 3, 4, 7], age=[1, 2, 9, 17, 30, 70], fold=0, subject=[0, 0, 0, 1, 1, 2]))
    kept = figures.Kept(tmp_path / 'one.npz', len(items))
    kept.add(0, np.arange(6), [0, 0, 0, 4, 4, 7], [2, 2, 2, 20, 20, 70])
    found = figures.label_noise(items, dict(one=kept))
    assert (found['photographs'], found['pictures'], found['pairs']) == (2, 5, 4)
    assert found['labels']['accuracy'] == 1 / 4 and found['labels']['one_off_accuracy'] == 2 / 4
    assert found['labels']['mae'] == (1 + 8 + 7 + 13) / 4
    assert found['best'] == dict(accuracy=3 / 5, mae=(1 + 0 + 7 + 6.5 + 6.5) / 5)
    assert found['contenders']['one']['accuracy'] == 3 / 5 and found['contenders']['one']['pictures'] == 5
    assert found['contenders']['one']['mae'] >= found['best']['mae']


def test_whole_years(monkeypatch, tmp_path):
    "Ages are whole years: an answer of 30.4 is within 5 years of 26 to 35, and rounded, of 25 to 35"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import figures
    items = pd.DataFrame(dict(label=0, age=np.arange(20, 41), fold=0, subject=np.arange(21)))
    kept = figures.Kept(tmp_path / 'one.npz', 21)
    kept.add(0, np.arange(21), np.zeros(21), np.full(21, 30.4))
    row = figures.contender_row(items, 'one', kept, figures.fold_draws(items, dict(one=kept), 10)['one'])
    assert np.allclose([21 * row[x] for x in ('cs5', 'cs5_whole')], [10, 11])


def test_ensemble_of_figures(monkeypatch, tmp_path):
    "Means of probabilities and years, on the folds that both have"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import figures
    a, b = (figures.Kept(tmp_path / f'{name}.npz', 4) for name in 'ab')
    a.add(0, [0, 1], [0, 0], [10, 20], np.array([[0.9, 0.1], [0.6, 0.4]]))
    a.add(1, [2, 3], [1, 1], [30, 40], np.array([[0.2, 0.8], [0.3, 0.7]]))
    b.add(0, [0, 1], [0, 1], [12, 40], np.array([[0.7, 0.3], [0.1, 0.9]]))
    found = figures.together([a, b], np.array([0, 0, 1, 1]))
    assert found.folds == [0] and found.answers.tolist() == [0, 1, figures.NONE, figures.NONE]
    assert found.years[:2].tolist() == [11, 30] and np.isnan(found.years[2:]).all()
    assert np.allclose(found.probabilities()[:2], [[0.8, 0.2], [0.35, 0.65]], atol=1e-3)
    assert not (tmp_path / 'together').exists()


def test_same_pictures(bench, tmp_path, monkeypatch):
    "Copies are moved to the fold after that of the first, nothing else; and both ways are told of the same pictures"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import same_pictures
    from measure import drawn_as_utkface
    items = pd.DataFrame(dict(file=list('abcde'), subject=['a', 'a', 'c', 'c', 'e'], fold=[2, 2, 1, 1, 0]))
    moved = same_pictures.moved_apart(items)
    assert moved['subject'].tolist() == list('abcde') and moved['fold'].tolist() == [2, 0, 1, 2, 0]
    faces = drawn_as_utkface(tmp_path / 'faces', 40)
    for file in sorted(faces.iterdir())[:20]: shutil.copy(file, faces / f'{file.name[:-13]}9.jpg.chip.jpg')
    argv = ['--data', faces, '--only', 'finetune_lite0', '--folds', '0,1', '--set', 'size=32', 'epochs=1', 'bs=8']
    bench('same_pictures', *argv, '--keep', tmp_path / 'kept', '--out', tmp_path / 'same')
    found, = json.loads((tmp_path / 'same.json').read_text())['recipes'].values()
    copies, others, whole = (row['images'] for row in found['rows'])
    assert found['folds'] == [0, 1] and copies + others == whole and copies > 5
    assert '| with a copy (' in (tmp_path / 'same.md').read_text()


def test_int8(bench, tmp_path, monkeypatch):
    "Both ways answer the same pictures, and a network of another call stays in the table"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    from measure import drawn_as_utkface
    faces, sizes = drawn_as_utkface(tmp_path / 'faces', 40), {}
    for name in ('levi_hassner', 'tf_efficientnet_lite0'):
        bench('int8', '--data', faces, '--only', name, '--set', 'size=40', 'resize=null', 'epochs=1', 'bs=8', '--out',
              tmp_path / 'int8')
        sizes = {n: r['bytes'] for n, r in json.loads((tmp_path / 'int8.json').read_text())['networks'].items()}
    assert list(sizes) == ['tf_efficientnet_lite0', 'levi_hassner']      # the order of the list
    assert all(int8 < plain for plain, int8 in sizes.values())
    assert (tmp_path / 'int8.md').read_text().count(' px |') == 2


def test_rates(bench, tmp_path, monkeypatch):
    "The table of rates is what its figures give, and its trials part no like pictures; an unknown trial is told"
    shutil.copytree(ROOT / 'benchmarks/rates', tmp_path / 'rates')
    bench('rates', '--table', '--out', tmp_path / 'rates')
    assert (tmp_path / 'rates.md').read_text() == (ROOT / 'benchmarks/rates.md').read_text()
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import rates
    items = pd.DataFrame(dict(fold=np.arange(9000) % 5, subject=[f's{i // 2}' for i in range(9000)]))
    items['fold'] = items.groupby('subject')['fold'].transform('first')
    inner = rates.inner_items(items)
    sides = [set(inner.loc[inner['fold'] == k, 'subject']) for k in (0, 1)]
    assert not sides[0] & sides[1] and (inner['fold'] == 1).sum() == rates.TRAIN
    assert not (sides[0] | sides[1]) & set(items.loc[items['fold'] == 0, 'subject'])
    with pytest.raises(SystemExit) as e: bench('rates', '--only', 'lr_mult=3', '--table')
    assert e.value.code.startswith('there is no trial lr_mult=3')


def test_gpu(bench, tmp_path, monkeypatch):
    "The prepared command: what runs over is ended, what is not on a GPU is told, and all is written"
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import gpu
    assert set(gpu.PARTS) - {'check', 'compile'} <= {*LITTLE, 'real_faces'}
    with open(tmp_path / 'log', 'w') as log: part = gpu.run_part('check', 'check', [], [], 0.3, tmp_path, log)
    assert part['status'].startswith('not done in') and part['seconds'] < 30 and part['result'] is None
    with pytest.raises(SystemExit) as e: bench('gpu', '--try', '--only', 'check', '--out', tmp_path / 'gpu')
    found = json.loads((tmp_path / 'gpu/gpu.json').read_text())['check']
    assert not e.value.code and found['status'] == 0 and found['result']['finite'], found
    assert 'check' in (tmp_path / 'gpu/gpu.md').read_text()
    with pytest.raises(SystemExit) as e: bench('gpu', '--out', tmp_path / 'gpu')
    assert '--faces is needed' in e.value.code
