"A pickle runs code when it is opened, so no command opens one, whatever its name"
import ast
import hashlib
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from conftest import ROOT
from whole import bundle, keep, pack

from agecls_fastai.core.errors import AgeclsError

MODULES = sorted((ROOT / 'agecls_fastai').rglob('*.py'))
MODULES_THAT_RUN_CODE = {'marshal', 'shelve', 'dill', 'cloudpickle', 'yaml', 'jsonpickle'}
CALLS_THAT_RUN_CODE = {'eval', 'exec', '__import__', 'load_learner', 'load_model', 'read_pickle', 'system', 'popen',
                       'Unpickler', 'read_hdf'}


def findings(source):
    "Calls and imports that could run code from a file"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or '']
            if MODULES_THAT_RUN_CODE & {name.split('.')[0] for name in names}: yield node.lineno, names
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ('pickle', 'joblib'):
            if node.attr not in ('UnpicklingError', 'Parallel', 'delayed'): yield node.lineno, node.attr
        if not isinstance(node, ast.Call): continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
        whose = ast.unparse(node.func).rpartition('.')[0]
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in CALLS_THAT_RUN_CODE and (name != 'eval' or not whose): yield node.lineno, ast.unparse(node.func)
        if (whose, name) == ('torch', 'load') and given.get('weights_only') != 'True': yield node.lineno, 'torch.load'
        if (whose, name) == ('np', 'load') and given.get('allow_pickle') != 'False': yield node.lineno, 'np.load'
        if given.get('shell', 'False') != 'False': yield node.lineno, 'shell'


@pytest.mark.parametrize('source', [
    'import pickle\npickle.load(f)', 'pickle.loads(b)', 'torch.load(f)', 'torch.load(f, weights_only=False)',
    'np.load(f)', 'np.load(f, allow_pickle=True)', 'load_learner(f)', 'joblib.load(f)', 'eval("1")', 'exec(text)',
    'pd.read_pickle(f)', 'import yaml', 'from dill import load', 'subprocess.run(x, shell=True)', 'os.system(x)'])
def test_the_search_finds(source): assert list(findings(source))


def test_nothing_in_the_modules():
    assert len(MODULES) > 40
    assert not {m.name: found for m in MODULES if (found := list(findings(m.read_text('utf-8'))))}
    assert not list(findings('torch.load(f, weights_only=True); np.load(f, allow_pickle=False); model.eval'))


class Trap:
    "Touches a file when it is unpickled"
    def __init__(self, file): self.file = file
    def __reduce__(self): return open, (str(self.file), 'w')


@pytest.fixture
def trap(tmp_path):
    "Files with a trap in them, by what they seem to be; at the end, no trap has run"
    import torch
    touched, folder = tmp_path / 'touched', tmp_path / 'traps'
    folder.mkdir()
    (folder / 'raw').write_bytes(pickle.dumps(Trap(touched)))
    torch.save({'w': torch.ones(2), 'x': Trap(touched)}, folder / 'torch')
    torch.save({'x': Trap(touched)}, folder / 'legacy', _use_new_zipfile_serialization=False)
    np.save(folder / 'numpy.npy', np.array([Trap(touched)], dtype=object), allow_pickle=True)
    pickle.loads((folder / 'raw').read_bytes()).close()                 # the trap works
    touched.unlink()
    yield folder
    assert not touched.exists()


KINDS = ['raw', 'torch', 'legacy', 'numpy.npy']


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['w.pth', 'w.pt', 'w.safetensors'])
def test_weights(trap, tmp_path, kind, name):
    from agecls_fastai.training.weights import load_weights
    shutil.copy(trap / kind, tmp_path / name)
    with pytest.raises(AgeclsError, match='no file of weights that can be opened safely'): load_weights(tmp_path / name)


@pytest.mark.parametrize('kind', KINDS)
def test_checkpoints(trap, kind):
    from agecls_fastai.core.errors import DataWarning
    from agecls_fastai.training.checkpoint import read_checkpoint
    with pytest.warns(DataWarning, match='is damaged'): assert read_checkpoint(trap / kind, {}) is None


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('packed', [False, True])
def test_bundles(trap, tmp_path, kind, packed):
    from agecls_fastai.training.bundle import FILES
    from agecls_fastai.training.hub import load_bundle
    path = shutil.copytree(keep(bundle), tmp_path / 'model')
    content = (trap / kind).read_bytes()
    (path / 'model.safetensors').write_bytes(content)
    info = json.loads((path / 'model.json').read_text()) | dict(weights_sha256=hashlib.sha256(content).hexdigest())
    (path / 'model.json').write_text(json.dumps(info))
    if packed:
        with zipfile.ZipFile(tmp_path / 'm.agecls', 'w') as z:
            for name in FILES: z.write(path / name, name)
        path = tmp_path / 'm.agecls'
    with pytest.raises(AgeclsError, match='no file of weights that can be opened safely'): load_bundle(path)


@pytest.mark.parametrize('kind', KINDS)
def test_packs_and_features(trap, tmp_path, kind):
    from agecls_fastai.core.errors import DataWarning
    from agecls_fastai.loading.pack import open_pack
    from agecls_fastai.training.probe import _read_features
    path = shutil.copytree(keep(pack), tmp_path / 'p') / 'pack'
    shutil.copy(trap / kind, path / 'shard_00000.npy')
    with pytest.raises(AgeclsError, match='is damaged'): open_pack(path)
    digest = hashlib.sha256((trap / kind).read_bytes()).hexdigest()
    shutil.copy(trap / kind, tmp_path / 'features.npy')
    (tmp_path / 'features.json').write_text(json.dumps(dict(sha256=digest)))
    with pytest.warns(DataWarning, match='is damaged'): assert _read_features(tmp_path / 'features.npy', (1,)) is None


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_no_model_at_all(trap, tmp_path, kind):
    from agecls_fastai.data.pictures import open_photo
    from agecls_fastai.data.sheets import read_table
    from agecls_fastai.predict.answers import load_onnx
    readers = {'m.onnx': load_onnx, 't.csv': read_table, 't.parquet': read_table, 'p.jpg': open_photo}
    for name, reader in readers.items():
        shutil.copy(trap / kind, tmp_path / name)
        try: reader(tmp_path / name)
        except AgeclsError: pass


@pytest.mark.parametrize('kind', ['raw', 'torch', 'legacy'])
def test_the_cache_of_pretrained_weights(trap, tmp_path, kind, monkeypatch):
    "A file in PyTorch's cache may have been put there by somebody"
    from torchvision.models import ResNet18_Weights

    from agecls_fastai.training.models import fetch_weights
    cache = tmp_path / 'home/hub/checkpoints'
    cache.mkdir(parents=True)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    shutil.copy(trap / kind, cache / ResNet18_Weights.DEFAULT.url.rpartition('/')[2])
    with pytest.raises(AgeclsError, match='cannot be fetched'): fetch_weights('resnet18')
