"One fold by two processes, which speak by gloo on this processor, against the same by one"
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import predictions
from forks import Fork, wait_all
from torch.distributed import TCPStore
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from agecls_fastai.cli import main
from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.runs.verify import verify_run

pytest.importorskip('accelerate')
pytestmark = pytest.mark.slow
WORKER = Path(__file__).with_name('distributed_worker.py')
LAUNCHER = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']


def launched(folder, *words):
    "Run the worker by two processes that the launcher has started, and watches, with PyTorch loaded"
    def one():
        import distributed_worker
        sys.exit(distributed_worker.work(*map(str, words)))
    def launch():
        how = LaunchConfig(1, 1, 2, rdzv_backend='c10d', rdzv_endpoint='localhost:0', max_restarts=0,
                           start_method='fork')
        elastic_launch(how, one)()
    fork = Fork([], folder / 'launched.log', launch)
    fork.wait(600)
    return fork


def work(n, folder, *words):
    "What n processes have said, each as if started by the launcher, but with PyTorch loaded"
    store = TCPStore('localhost', 0, is_master=True, wait_for_workers=False)
    def one(rank):
        if n > 1: os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), MASTER_ADDR='localhost',
            MASTER_PORT=str(store.port), TORCHELASTIC_USE_AGENT_STORE='True')
        import distributed_worker
        sys.exit(distributed_worker.work(*map(str, words)))
    forks = [Fork([], folder / f'{words[0]}_{n}_{rank}.log', partial(one, rank)) for rank in range(n)]
    wait_all(forks, 600)
    return ''.join(fork.text() for fork in forks)


def said(text):
    "The lines that are not the launcher's"
    return [line for line in text.splitlines() if line.startswith(('agecls:', 'fold '))]


@pytest.fixture(scope='module')
def both(drawn, tmp_path_factory):
    "Folders with the same runs, by one process and by two"
    folder = tmp_path_factory.mktemp('both')
    for n, name in ((1, 'one'), (2, 'two')): assert not work(n, folder, 'runs', drawn, folder / name).strip()
    return folder / 'one', folder / 'two'


@pytest.mark.parametrize('name, tolerance', [('levi', 1e-5), ('resnet', 1e-3), ('vit', 1e-3), ('mobile', 1e-3),
                                             ('paths', 1e-3)])
def test_the_same_training(both, name, tolerance):
    "Losses, metrics, predictions; `resnet` has batch-norm, and a loss that is no mean over images"
    for file in ('history.csv', 'predictions.csv', 'valid.csv'):
        one, two = (pd.read_csv(folder / name / 'fold_0' / file) for folder in both)
        assert list(one) == list(two) and len(one) == len(two)
        timed = [c for c in one if c in ('seconds', 'images_per_second')]
        numbers = one.drop(columns=timed).select_dtypes('number').columns
        assert np.allclose(one[numbers], two[numbers], rtol=tolerance, atol=tolerance), (file, one, two)
        if file != 'history.csv': assert (one['file'] == two['file']).all() and (one['pred'] == two['pred']).all()
    info = [json.loads((folder / name / 'run.json').read_text()) for folder in both]
    assert [x['processes'] for x in info] == [1, 2]
    differ = {key for key in info[0] if key != 'commit' and info[0][key] != info[1][key]}
    assert differ == {'processes'}


def test_each_image_once(both):
    "What two processes open is what one does, each image once an epoch, less the last ones that fill no batch"
    one, *two = [json.loads((folder / f'seen_{i}.json').read_text())['levi']
                 for folder, i in ((both[0], 0), (both[1], 0), (both[1], 1))]
    n = len(one) // 3
    whole = n // 16 * 16
    merged = [file for pair in zip(*two, strict=True) for file in pair]
    assert len(set(one[:n])) == n and n % 16
    assert merged == [file for epoch in range(3) for file in one[epoch * n:epoch * n + whole]]


def test_batch_norm(both):
    one, *two = [torch.load(folder / f'norms_{i}.pt') for folder, i in zip((both[0], both[1], both[1]), (0, 0, 1))]
    for i, (whole, a, b) in enumerate(zip(one, *two, strict=True)):
        if i % 6 < 2: together = torch.stack([a, b], 1).flatten(0, 1)    # images; their gradients
        elif i % 6 < 4: together = a + b                                 # gradients of the weights
        else:
            together = a
            assert torch.equal(a, b)
        assert torch.allclose(together, whole, atol=1e-5), i


def test_what_is_written(both):
    "By the first process alone: a run like any other, and nothing else"
    one, two = ({str(p.relative_to(folder / 'levi')) for p in (folder / 'levi').rglob('*')
                 if 'tfevents' not in p.name} for folder in both)
    assert one == two and 'fold_0/model/model.safetensors' in one and 'fold_0/checkpoint.pt' not in one
    assert len(list((both[1] / 'levi/logs').rglob('*tfevents*'))) == len(list((both[0] / 'levi/logs').rglob('*tfev*')))
    assert not verify_run(both[1] / 'levi').findings


def test_mixed_pictures(both):
    "Not the same, as pictures of the other process are out of reach; but a training"
    for name in ('mixed', 'cut'):
        losses = [pd.read_csv(folder / name / 'fold_0/history.csv')['train_loss'] for folder in both]
        assert np.allclose(*losses, rtol=0.3), (name, losses)


@pytest.mark.parametrize('name, text', [
    ('diverging', 'the loss became nan in epoch 1 of 1'),
    ('odd', 'bs must be a multiple of 2, 4 or more, where 2 processes train one network, not 15')])
def test_all_fail(both, name, text):
    "All processes stop with the same error; what was made is gone"
    why = [json.loads((both[1] / f'seen_{i}.json').read_text())[name] for i in (0, 1)]
    assert why[0] == why[1] and text in why[0], why
    assert not (both[1] / name).exists()


def test_one_fails(drawn, tmp_path):
    "One line, from the process that has failed; the other one does not wait"
    done = launched(tmp_path, 'one_fails', drawn, tmp_path / 'run')
    assert done.status != 0
    lines = said(done.text())
    assert [x for x in lines if x.startswith('agecls:')] == ['agecls: process 1 has found a mistake'], done.text()
    assert not list(tmp_path.glob('run/**/done.json'))


def test_stopped_and_started_again(drawn, both, tmp_path):
    "SIGTERM to the launcher: one line; then it goes on after the last epoch, to the same predictions"
    out = tmp_path / 'run'
    command = [*LAUNCHER, str(WORKER), 'cv', drawn, out, '--distributed']
    process = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while not (out / 'fold_0/checkpoint.pt').exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode != 0 and not list(out.glob('fold_*/done.json'))
    assert [x for x in said(err) if x.startswith('agecls:')] == [
        'agecls: interrupted; repeat the command to resume'], err
    text = work(2, tmp_path, 'cv', drawn, out, '--distributed')
    assert 'resumes after epoch' in text and text.count('The run is in') == 1
    assert predictions(out) == predictions(both[1] / 'levi')


def test_what_is_measured_is_of_both(drawn, tmp_path):
    "One process measures before the run begins; the run that it writes down is that of two"
    work(2, tmp_path, 'cv', drawn, tmp_path / 'run', '--precision', 'measure')
    for file in ('run.json', 'fold_0/done.json'):
        assert json.loads((tmp_path / 'run' / file).read_text())['processes'] == 2, file


def test_not_launched(drawn, tmp_path, capsys):
    assert main(['cv', str(drawn), '--out', str(tmp_path / 'run'), '--distributed']) == 2
    assert capsys.readouterr().err == ('agecls: distributed needs several processes, as started by accelerate launch '
                                       '--num_processes N -m agecls_fastai cv …\n')
    assert not (tmp_path / 'run').exists()


def test_no_accelerate(monkeypatch):
    from agecls_fastai.training import distributed
    for name, value in dict(RANK=0, WORLD_SIZE=2, LOCAL_RANK=0, MASTER_ADDR='localhost', MASTER_PORT=1).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(AgeclsError, match="device must be 'cpu' or 'cuda'"): distributed.processes(device='cuda:1')
    monkeypatch.setattr(distributed, 'find_spec', lambda name: None)
    with pytest.raises(AgeclsError, match=r'pip install "agecls_fastai\[distributed\]"'): distributed.processes()
    assert distributed.processes(False) is None
