"Every benchmark runs, on little data, and writes its table; nothing here says how fast anything is"
import json
import runpy
import sys
import warnings

import pytest
from conftest import ROOT

LITTLE = {'loader': '--images 40 --size 96 --bs 8', 'training': '--batches 2 --bs 8 --size 80 --sees 32',
          'probe': '--subjects 12 --size 40 --epochs 1 --crossval', 'costs': '--images 200 --predictions 400',
          'jobs': '--subjects 12 --size 36 --epochs 1 --jobs 2',
          'scale': '--rows 240 480', 'precision': '--bs 4 --sizes 36 --large 40 --archs resnet34 tf_efficientnet_lite0',
          'predict': '--images 4 --bs 2 --size 80 --sees 32 --subjects 40 --epochs 1'}


def test_all_are_here():
    assert {p.stem for p in (ROOT / 'benchmarks').glob('*.py')} - {'measure', 'losses'} == set(LITTLE)


@pytest.fixture
def bench(monkeypatch):
    "Run a benchmark as from the command line, in this process: each start of PyTorch takes seconds"
    def run(name, *argv):
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


def test_training_beside_bare_pytorch(bench, tmp_path):
    bench('training', *'--arch tf_efficientnet_lite0 --batches 2 --bs 8 --sees 32 --runs 1 --out'.split(),
          tmp_path / 'table')
    found = json.loads((tmp_path / 'table.json').read_text())
    assert {row['what'] for row in found['rows']} == {'training, tf_efficientnet_lite0', 'validation'}
    assert len(found['rows']) == 7 and all(row['figures'][0] > 0 for row in found['rows'])


def test_losses(bench, tmp_path):
    "The study of losses goes on where it stopped, and says on what it was made"
    argv = [*'--subjects 40 --size 32 --epochs 1 --pretrain 1'.split(), '--recipes',
            'finetune_resnet34,coral_resnet34', '--keep', tmp_path / 'kept', '--out', tmp_path / 'table']
    texts = []
    for _ in range(2):
        bench('losses', *argv)
        texts.append((tmp_path / 'table.md').read_text())
    assert texts[0] == texts[1] and 'Drawn faces, not Adience' in texts[0] and str(tmp_path) not in texts[0]
    found = json.loads((tmp_path / 'table.json').read_text())['study']
    assert [row['run'] for row in found['table']] == ['finetune_resnet34', 'coral_resnet34']
    assert found['table'][1]['accuracy_p_holm'] <= 1 and found['best_reachable']['accuracy'] > 0.5
