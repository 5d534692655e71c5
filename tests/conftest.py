"What the tests share: the real fold files where they are at hand, and small drawn data sets"
import gc
import os
import subprocess
import sys
import warnings
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

# a fork (tests/forks.py) can use neither the threads nor the GPU of its parent; and tests that run side by side with
# several threads each would fight over the cores
os.environ |= dict(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')

import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402

from agecls_fastai.cli import main  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
# the modules that take longest, so that no worker is left alone with one of them at the end
LONG = ['test_distributed', 'test_benchmarks', 'test_networks', 'test_real_faces', 'test_cv', 'test_cluster',
        'test_minutes', 'test_readme', 'test_faults', 'test_probe', 'test_docs', 'test_real_folds', 'test_report',
        'test_pack', 'test_fuzz']
# what `trained` is trained by
CV = ['cv', '--recipe', 'levi_hassner_onecycle', '--size', 40, '--bs', 16, '--epochs', 2]
REAL_FOLDS = Path(os.environ.get('ADIENCE_FOLDS', ROOT.parent / 'shared' / 'adience_folds'))


def pytest_collection_modifyitems(items):
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Trainings look for garbage in what they have made, not in all of PyTorch, and are in float32: so small a network
    is slower in bfloat16, even where the processor has instructions for it"""
    fold = sys.modules.get('agecls_fastai.runs.fold')                    # only where it is loaded: that takes seconds
    if fold is None or fold.only_new_garbage is nullcontext: return
    gc.collect()
    gc.freeze()
    fold.only_new_garbage = nullcontext
    import torch
    torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False


@pytest.fixture(autouse=True)
def no_fork_is_left():
    yield
    if 'forks' in sys.modules: sys.modules['forks'].end_all()


@pytest.fixture(scope='session')
def real_folds():
    "Adience's own fold files; not in this repository, as they may not be passed on"
    if not (REAL_FOLDS / 'fold_0_data.txt').is_file():
        pytest.skip(f"Adience's fold files are not in {REAL_FOLDS}; set ADIENCE_FOLDS")
    return REAL_FOLDS


@pytest.fixture
def real_copy(real_folds, tmp_path):
    "A copy of the real fold files, to be damaged"
    folder = tmp_path / 'folds'
    folder.mkdir()
    for file in real_folds.glob('fold_?_data.txt'): (folder / file.name).write_bytes(file.read_bytes())
    return folder


def agecls(*argv, check=None, **kwargs):
    "Run the command, in this process, where each start of PyTorch is saved; with kwargs in one of its own"
    words = list(map(str, argv))
    if kwargs:
        done = subprocess.run([sys.executable, '-m', 'agecls_fastai', *words], capture_output=True, text=True,
                              timeout=900, **kwargs)
    else:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            try: status = main(words)
            except SystemExit as e: status = e.code or 0
        done = subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
    if check is not None: assert done.returncode == check, done
    return done


def predictions(run):
    "The predictions in a run folder, byte for byte"
    return {p.parent.name: p.read_bytes() for p in sorted(run.glob('fold_*/predictions.csv'))}


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    "A small drawn data set: some hundred pictures of 26 subjects, of all groups"
    path = tmp_path_factory.mktemp('drawn') / 'faces'
    agecls('synth', path, '--subjects', 26, '--size', 40, check=0)
    return path


@pytest.fixture
def strangers(drawn, tmp_path, monkeypatch):
    "Options for pictures of people who are not known; a command that compares the pictures ends with a `RuntimeError`"
    from agecls_fastai.data.adience import read_adience
    read_adience(drawn)[['file', 'label']].to_csv(tmp_path / 'strangers.csv', index=False)
    def look(*args): raise RuntimeError('pictures are read')
    monkeypatch.setattr('agecls_fastai.data.datasets.group_same', look)
    return [drawn, '--items', tmp_path / 'strangers.csv', '--columns', 'subject=file']


@pytest.fixture(scope='session')
def trained(drawn, tmp_path_factory):
    "The run of `CV` on `drawn`: five folds, and their networks; one for all workers, so what changes it has a copy"
    place = tmp_path_factory.getbasetemp()
    run = (place.parent if 'PYTEST_XDIST_WORKER' in os.environ else place) / 'trained'
    with FileLock(f'{run}.lock'):
        if not (run / 'fold_4/done.json').exists(): agecls(*CV, drawn, '--out', run, '--keep-models', check=0)
    return run
