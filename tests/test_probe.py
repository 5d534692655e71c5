"The linear probe from the command line: five folds from one pass over the pictures"
import signal

import numpy as np
import pytest
import torch
from conftest import agecls, predictions
from forks import Fork, wait_all
from torchvision.models import resnet18

from agecls_fastai.data.adience import read_adience
from agecls_fastai.runs.evaluate import find_bundles, predict_items
from agecls_fastai.runs.format import load_run

pytestmark = pytest.mark.slow


def kept(pack): return sorted(p.suffix for p in pack.glob('*features_*'))


@pytest.fixture(scope='module')
def probed(drawn, tmp_path_factory):
    "The command without its run folder, the pack, and a run without interruption"
    tmp = tmp_path_factory.mktemp('probed')
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp / 'weights.pth')
    agecls('pack', drawn, '--out', tmp / 'pack', '--size', 40, check=0)
    command = ['cv', drawn, '--recipe', 'linear_probe_resnet34', '--set', 'arch=resnet18', '--size', 35, '--pack',
               tmp / 'pack', '--weights', tmp / 'weights.pth']
    first = agecls(*command, '--out', tmp / 'run', '--keep-models', check=0)
    assert 'images seen' in first.stderr
    return command, tmp / 'pack', tmp / 'run'


def test_one_pass(probed, tmp_path):
    "Another run has the features already, and the same predictions"
    command, pack, run = probed
    assert kept(pack) == ['.json', '.npy']
    second = agecls(*command, '--out', tmp_path / 'run', check=0)
    assert 'images seen' not in second.stderr and predictions(tmp_path / 'run') == predictions(run)
    third = agecls(*command, '--out', tmp_path / 'run', check=0)
    assert third.stderr.count('was done before') == 5


def test_models(probed, drawn, tmp_path):
    "Predictions from features equal those of the kept networks, which are evaluated on other data"
    _, _, folder = probed
    run, items = load_run(folder), read_adience(drawn)
    test = items[items['fold'] == 2]
    from_files = predict_items(find_bundles(folder / 'fold_2'), test, drawn, num_workers=0)
    found = run.probabilities()[(run.predictions['fold'] == 2).to_numpy()]
    others = run.probabilities()[(run.predictions['fold'] == 3).to_numpy()]
    n = min(len(found), len(others))
    # a pack is decoded a little differently; the distance to other pictures shows how little
    assert np.abs(from_files - found).mean() < 0.2 * np.abs(found[:n] - others[:n]).mean()
    agecls('synth', tmp_path / 'other', '--subjects', 20, '--size', 40, '--seed', 5, check=0)
    assert 'linear_probe_resnet34' in agecls('evaluate', folder, tmp_path / 'other', check=0).stdout


def test_killed(probed, tmp_path):
    "A run that is killed while it computes the features resumes, and ends with the same predictions"
    command, pack, run = probed
    for file in pack.glob('features_*'): file.unlink()
    fork = Fork([[*command, '--out', tmp_path / 'run']], tmp_path / 'log')
    assert fork.when(lambda: list(pack.glob('.features_*.part')))
    fork.stop(signal.SIGKILL)
    assert not list(pack.glob('features_*.npy')), 'the run was too quick to be killed'
    agecls(*command, '--out', tmp_path / 'run', check=0)
    assert predictions(tmp_path / 'run') == predictions(run)
    assert kept(pack) == ['.json', '.npy']


def test_two_at_once(probed, tmp_path):
    "Two runs on one pack: one computes the features, the other waits for them"
    command, pack, run = probed
    for file in pack.glob('features_*'): file.unlink()
    both = [Fork([[*command, '--out', tmp_path / name]], tmp_path / f'{name}.log') for name in 'ab']
    wait_all(both)
    assert sum('images seen' in fork.text() for fork in both) == 1
    assert predictions(tmp_path / 'a') == predictions(tmp_path / 'b') == predictions(run)


def test_mistakes(probed, tmp_path):
    command, *_ = probed
    without = command[:-2]
    for argv, why in [([*command, '--epochs', 3], 'is a probe and has no epochs'),
                      ([*without, '--no-pretrained'], 'pretrained must be True where the body is frozen')]:
        done = agecls(*argv, '--out', tmp_path / 'run', check=2)
        assert len(done.stderr.splitlines()) == 1 and why in done.stderr, done
    assert not (tmp_path / 'run').exists()


def test_damaged_weights(probed, drawn, tmp_path):
    "A body that outputs NaN is an error"
    command, *_ = probed
    state = torch.load(command[-1], weights_only=True)
    state['layer4.1.conv2.weight'][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / 'nan.pth')
    done = agecls(*command[:-1], tmp_path / 'nan.pth', '--out', tmp_path / 'run', check=2)
    assert 'puts out NaN' in done.stderr.splitlines()[-1], done
    assert not (tmp_path / 'run').exists()
