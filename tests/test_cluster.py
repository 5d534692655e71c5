"Folds on a real Ray cluster of two machines on this one"
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from conftest import CV, predictions

from agecls_fastai.cli import main

pytestmark = pytest.mark.slow

OPTIONS = tuple(map(str, CV[1:]))


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')
    from ray.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
    cluster.other = cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def tree(run): return sorted(str(p.relative_to(run)) for p in run.rglob('*'))


def test_a_machine_goes_down_and_the_run_is_whole_and_equal(drawn, trained, two, tmp_path, capfd):
    import ray
    run, free = tmp_path / 'run', []
    def kill():
        while not (ray.is_initialized() and ray.available_resources().get('CPU', 0) == 0): time.sleep(0.1)
        time.sleep(8)                                                    # both have loaded PyTorch, or nearly so
        free.append(ray.available_resources().get('CPU', 0))
        two.remove_node(two.other, allow_graceful=False)
    killer = threading.Thread(target=kill)
    killer.start()
    status = main(['cv', str(drawn), '--out', str(run), '--keep-models', '--engine', 'ray', '--address', two.address,
                   '--ship', '--json', *OPTIONS])
    killer.join()
    out, err = capfd.readouterr()
    assert status == 0, err
    assert 'fold 4  done in' in err
    assert json.loads(out)
    assert free == [0]                                                   # it was at work
    assert predictions(run) == predictions(trained)                      # the same run without a cluster
    assert tree(run) == tree(trained)
    assert main(['verify', str(run)]) == 0


def test_mistakes_about_a_cluster(drawn, tmp_path, capfd):
    def told(*argv):
        assert main(['cv', str(drawn), '--out', str(tmp_path / 'run'), *OPTIONS, *argv]) == 2
        return capfd.readouterr().err.splitlines()[-1]
    assert 'go with --engine ray' in told('--ship')
    assert 'there is no Ray cluster at 127.0.0.1:9' in told('--engine', 'ray', '--address', '127.0.0.1:9')
    assert 'jobs is for this machine' in told('--engine', 'ray', '--jobs', '2')
    assert not (tmp_path / 'run').exists()


def test_sigterm(drawn, tmp_path):
    "The driver is stopped as without a cluster, though Ray has a handler of its own"
    temporary = tmp_path / 'temporary'                                   # its own: others work beside it
    temporary.mkdir()
    command = [sys.executable, '-m', 'agecls_fastai', 'cv', str(drawn), '--out', str(tmp_path / 'run'),
               *OPTIONS[:-1], '200', '--engine', 'ray', '--cpus-per-fold', '1']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | dict(TMPDIR=str(temporary), RAY_TMPDIR=tempfile.gettempdir()))
    lines = []
    for line in process.stderr:
        lines.append(line)
        if 'epoch 1/200' in line: break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, (lines, err)
    assert err.splitlines()[-1] == 'agecls: interrupted; nothing is saved yet; repeat the command to begin again'
    assert not list(temporary.glob('agecls-*')) and not (tmp_path / 'run').exists()
