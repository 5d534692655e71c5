"Arguments of another kind than is asked for: one line, and before any work"
import numpy as np
import pytest

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.datasets import read_data
from agecls_fastai.data.faces import face_finder
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.loaders import age_dls
from agecls_fastai.loading.pack import build_pack, open_pack
from agecls_fastai.predict.export import export_model
from agecls_fastai.results.report import report
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.runs.ensemble import ensemble
from agecls_fastai.runs.evaluate import evaluate
from agecls_fastai.training.losses import get_loss


@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return draw_adience(tmp_path_factory.mktemp('arguments') / 'faces', n_subjects=20, size=32)


@pytest.fixture(scope='module')
def items(drawn): return read_adience(drawn)


LISTS = {'source': lambda path, items: read_adience(path, source=['aligned']),
         'labels': lambda path, items: read_adience(path, labels=['extended']),
         'dataset': lambda path, items: read_data(path, dataset=['adience']),
         'detector': lambda path, items: face_finder(detector=['yunet']),
         'views': lambda path, items: export_model(path, path / 'm.onnx', views=['flip']),
         'to': lambda path, items: export_model(path, path / 'm.onnx', to=['onnx']),
         **{name: lambda path, items, name=name: age_dls(items, path, 0, size=32, **{name: ['none']})
            for name in ('augment', 'balance', 'normalize', 'protocol')},
         'protocol of a run': lambda path, items: cross_validate(items, path, 'finetune_lite0', protocol=['strict']),
         'recipe': lambda path, items: cross_validate(items, path, ['finetune_lite0']),
         'loss': lambda path, items: get_loss(['coral'], 8)}


@pytest.mark.parametrize('name', LISTS)
def test_a_list_for_a_word(name, drawn, items):
    with pytest.raises(AgeclsError, match=r"must be one of .*, not \[|unknown \w+ .?\["): LISTS[name](drawn, items)


WORDS = {'data': lambda path, items: cross_validate(items, path, 'levi_hassner', data=5),
         'command': lambda path, items: cross_validate(items, path, 'levi_hassner', command=['agecls', 'cv']),
         'data of evaluate': lambda path, items: evaluate(path, items, path, data=None),
         'name': lambda path, items: ensemble([path, path], path / 'run', name=5),
         'title': lambda path, items: report([path], path / 'report.html', title=5)}


@pytest.mark.parametrize('name', WORDS)
def test_no_words(name, drawn, items):
    with pytest.raises(AgeclsError, match=f'{name.split()[0]} must be words, not '): WORDS[name](drawn, items)


def test_numbers_of_numpy(tmp_path):
    "They are written into JSON as Python's"
    path = draw_adience(tmp_path / 'faces', n_subjects=np.int64(20), size=np.int32(32), seed=np.int64(1))
    assert draw_adience(tmp_path / 'faces', n_subjects=20, size=32, seed=1) == path        # it is the same data set
    items = read_adience(path)
    assert build_pack(items, path, tmp_path / 'pack', np.int64(24), shard=np.int64(16)).size == 24
    assert open_pack(tmp_path / 'pack').size == 24


@pytest.mark.parametrize('size', ['64', None, 64.5, float('nan'), True, 15, 4097, [64]])
def test_sizes(size, tmp_path, drawn, items):
    for work in (lambda: draw_adience(tmp_path / 'new', size=size), lambda: age_dls(items, drawn, 0, size=size),
                 lambda: build_pack(items, drawn, tmp_path / 'new', size)):
        with pytest.raises(AgeclsError, match='size must be a whole number from 16 to 4096'): work()
        assert not (tmp_path / 'new').exists()
