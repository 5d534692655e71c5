"Files that are not what their names say: errors about weights, bundles, exports and face models say what they are"
import gzip
from zipfile import ZipFile

import pytest
import torch
import whole

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.core.files import read_json
from agecls_fastai.data.faces import face_finder
from agecls_fastai.predict.answers import load_onnx
from agecls_fastai.training.bundle import FILES
from agecls_fastai.training.hub import load_bundle
from agecls_fastai.training.weights import load_weights

POINTER = (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b125'
           b'8daaa5e2ca24d17e2393\nsize 17654321\n')
PAGE = b'<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Not found</body></html>\n'


PRETENDERS = {'Git LFS pointer': POINTER, 'web page': PAGE, 'empty': b'', 'archive': gzip.compress(b'x' * 200)}
READERS = {'w.pth': load_weights, 'w.safetensors': load_weights, 'm.onnx': load_onnx, 'f.onnx': face_finder,
           'm.agecls': load_bundle, 'run.json': read_json}


@pytest.mark.parametrize('kind', PRETENDERS)
@pytest.mark.parametrize('name', READERS)
def test_said_for_what_it_is(name, kind, tmp_path):
    (tmp_path / name).write_bytes(PRETENDERS[kind])
    with pytest.raises(AgeclsError) as e: READERS[name](tmp_path / name)
    told = str(e.value)
    assert kind in told and name in told and '\n' not in told
    if kind == 'Git LFS pointer': assert 'git lfs pull' in told


@pytest.mark.parametrize('file', ['model.json', 'model.safetensors'])
@pytest.mark.parametrize('kind', PRETENDERS)
def test_within_a_bundle(kind, file, tmp_path):
    "A repository that was cloned without its large files"
    whole.bundle(tmp_path)
    assert load_bundle(tmp_path).labels == whole.LABELS
    (tmp_path / file).write_bytes(PRETENDERS[kind])
    with pytest.raises(AgeclsError, match=kind): load_bundle(tmp_path)


def test_cut_off(tmp_path):
    "torch's weights and a bundle are zips themselves: half of one is damaged, not another kind of file"
    torch.save({'w': torch.ones(3)}, tmp_path / 'w.pth')
    with ZipFile(tmp_path / 'm.agecls', 'w') as z:
        for name in FILES: z.writestr(name, 'x' * 500)
    for name, read in (('w.pth', load_weights), ('m.agecls', load_bundle)):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:len(whole) // 2])
        with pytest.raises(AgeclsError) as e: read(tmp_path / name)
        assert 'archive (' not in str(e.value) and name in str(e.value)
