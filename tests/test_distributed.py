"One fold by two processes, which speak by gloo on this processor, against the same by one"
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import predictions

from agecls_fastai.verify import verify_run

pytest.importorskip('accelerate')
WORKER = Path(__file__).with_name('distributed_worker.py')
ONE = [sys.executable]
TWO = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']
ENV = os.environ | dict(OMP_NUM_THREADS='1')


def work(how, *words, check=None):
    "Run the worker by one process or two"
    done = subprocess.run([*how, str(WORKER), *map(str, words)], capture_output=True, text=True, timeout=600, env=ENV)
    if check is not None: assert done.returncode == check, done.stderr
    return done


def said(text):
    "The lines that are not the launcher's"
    return [line for line in text.splitlines() if line.startswith(('agecls:', 'fold '))]


@pytest.fixture(scope='module')
def both(drawn, tmp_path_factory):
    "Folders with the same runs, by one process and by two"
    folder = tmp_path_factory.mktemp('both')
    for name, how in (('one', ONE), ('two', TWO)):
        done = work(how, 'runs', drawn, folder / name, check=0)
        assert not done.stdout
    return folder / 'one', folder / 'two'


@pytest.mark.parametrize('name, tolerance', [('levi', 1e-5), ('resnet', 0.005), ('weighted', 0.005)])
def test_the_same_training(both, name, tolerance):
    "The loss of each epoch, the metrics and the predictions, with dropout, batch-norm, and losses that are no mean"
    for file in ('history.csv', 'predictions.csv', 'valid.csv'):
        one, two = (pd.read_csv(folder / name / 'fold_0' / file) for folder in both)
        assert list(one) == list(two) and len(one) == len(two)
        timed = [c for c in one if c in ('seconds', 'images_per_second')]
        numbers = one.drop(columns=timed).select_dtypes('number').columns
        assert np.allclose(one[numbers], two[numbers], rtol=tolerance, atol=tolerance), (file, one, two)
        if file != 'history.csv': assert (one['file'] == two['file']).all() and (one['pred'] == two['pred']).all()
    info = [json.loads((folder / name / 'run.json').read_text()) for folder in both]
    assert [x['processes'] for x in info] == [1, 2]
    differ = {key for key in info[0] if info[0][key] != info[1][key]}
    assert differ == {'processes'}


@pytest.mark.parametrize('name', ['levi', 'mixed'])
def test_each_image_once(both, name):
    "What two processes open is what one does, each image once an epoch"
    one, *two = [json.loads((folder / f'seen_{i}.json').read_text())[name]
                 for folder, i in zip((both[0], both[1], both[1]), (0, 0, 1))]
    assert len(two[0]) == len(two[1]) == len(one) / 2
    merged = [file for pair in zip(*two) for file in pair]
    assert merged == one
    epochs = 3 if name == 'levi' else 2
    assert max(Counter(merged).values()) == epochs and set(Counter(merged[:len(one) // epochs]).values()) == {1}


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


def test_no_number(both):
    "All processes stop, with the same error; what was made is gone"
    why = [json.loads((folder / f'seen_{i}.json').read_text())['why'] for folder, i in
           ((both[0], 0), (both[1], 0), (both[1], 1))]
    assert len(set(why)) == 1 and 'the loss became nan in epoch 1 of 2' in why[0], why
    assert not (both[1] / 'diverging').exists()


def test_one_fails(drawn, tmp_path):
    "One line, from the process that has failed; the other one does not wait"
    done = work(TWO, 'one_fails', drawn, tmp_path / 'run')
    assert done.returncode != 0
    lines = said(done.stderr)
    assert [line for line in lines if line.startswith('agecls:')] == ['agecls: process 1 has found a mistake'], done
    assert not list(tmp_path.glob('run/**/done.json'))


def test_stopped_and_started_again(drawn, both, tmp_path):
    "SIGTERM to the launcher: one line; then it goes on after the last epoch, to the same predictions"
    out = tmp_path / 'run'
    command = [*TWO, str(WORKER), 'cv', drawn, out, '--distributed']
    process = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=ENV)
    end = time.monotonic() + 300
    while not (out / 'fold_0/checkpoint.pt').exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode != 0 and not list(out.glob('fold_*/done.json'))
    assert [x for x in said(err) if x.startswith('agecls:')] == [
        'agecls: interrupted; the same command again goes on from here'], err
    done = work(TWO, 'cv', drawn, out, '--distributed', check=0)
    assert 'goes on after epoch' in done.stderr and done.stdout.count('The run lies in') == 1
    assert predictions(out) == predictions(both[1] / 'levi')


def test_mistakes(drawn, tmp_path):
    "One line each, before anything is made"
    for how, options, why in [
            (ONE, ['--distributed'], 'distributed needs several processes, as started by accelerate launch'),
            (TWO, ['--set', 'bs=15'], 'bs must be a multiple of 2, 4 or more, where 2 processes train one network, '
                                      'not 15')]:
        done = work(how, 'cv', drawn, tmp_path / 'run', *options)
        assert done.returncode != 0 and [x for x in said(done.stderr) if x.startswith('agecls:')] == [f'agecls: {why}'
            if how is TWO else f'agecls: {why} --num_processes N -m agecls_fastai cv …'], done
        assert not (tmp_path / 'run').exists()
