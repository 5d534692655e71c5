"The status of a run, from outside: while it trains, after it was killed, and when it is done"
import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import agecls
from forks import Fork

CV = ['cv', '--recipe', 'levi_hassner_onecycle', '--size', 40, '--bs', 16, '--limit', 12]


def told(run):
    "The output of the command; it must not need PyTorch"
    code = ('import sys; from agecls_fastai.cli import main; status = main(["status", sys.argv[1], "--json"]); '
            'assert not {"torch", "fastai"} & set(sys.modules); sys.exit(status)')
    done = subprocess.run([sys.executable, '-c', code, run], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    return found


def states(found): return [fold['state'] for fold in found['folds']]


@pytest.mark.slow
def test_under_way_killed_and_done(drawn, tmp_path):
    run = tmp_path / 'run'
    fork = Fork([[*CV, drawn, '--epochs', 3, '--out', run, '--folds', 0, 1]], tmp_path / 'log')
    try:
        assert fork.when((run / 'fold_1/history.csv').exists)
        os.kill(fork.pid, signal.SIGSTOP)                                  # it is paused while we look
        found = told(run)
    finally: fork.end()
    assert told(run)['state'] == 'stopped' and states(told(run))[:2] == ['done', 'stopped']
    assert (found['state'], found['folds_done'], found['n_folds']) == ('under way', 1, 5)
    assert states(found) == ['done', 'under way', 'to do', 'to do', 'to do']
    assert found['folds'][1]['epochs'] < 3 and found['folds'][1]['of'] == 3 and found['seconds_left'] > 0
    done = json.loads((run / 'fold_0/done.json').read_text())
    assert found['scores'] == pytest.approx(done['metrics'], abs=1e-10)
    shown = agecls('status', run, check=0).stdout
    assert f'{run}: stopped; 1 of 5 folds done' in shown
    assert f'accuracy {100 * done["metrics"]["accuracy"]:.1f} %' in shown
    # the same command trains the rest; the killed fold has the history of the new training
    agecls(*CV, drawn, '--epochs', 3, '--out', run, check=0)
    found = told(run)
    assert found['state'] == 'done' and states(found) == ['done'] * 5
    assert len((run / 'fold_1/history.csv').read_text().splitlines()) == 1 + 3
    assert not list(run.rglob('*.part'))


def test_mistakes(drawn, tmp_path):
    for path, why in ((tmp_path / 'none', 'there is no run folder'), (drawn, 'is no run folder: it has no run.json')):
        done = agecls('status', path, check=2)
        assert why in done.stderr and len(done.stderr.splitlines()) == 1 and not done.stdout


@pytest.mark.slow
def test_logs_change_nothing(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    for log in ('tensorboard', 'wandb'):
        command = [*CV, drawn, '--out', tmp_path / log, '--folds', 0, '--epochs', 1, '--log', log]
        agecls(*command, check=0)
        assert list((tmp_path / log / 'logs').iterdir())
        assert told(tmp_path / log)['folds_done'] == 1
    agecls(*CV, drawn, '--out', tmp_path / 'plain', '--folds', 0, '--epochs', 1, check=0)
    first, *rest = [
        (tmp_path / name / 'fold_0/predictions.csv').read_bytes() for name in ('plain', 'tensorboard', 'wandb')]
    assert rest == [first] * 2
