"What CONTRIBUTING says of each kind of part: one entry, from outside the package, and it works; nothing is forked"
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from check_layers import LAYERS
from conftest import ROOT, agecls
from PIL import Image

from agecls_fastai import cli
from agecls_fastai.commands.options import command
from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data import faces
from agecls_fastai.data.adience import AGE_GROUPS
from agecls_fastai.data.datasets import DATASETS, DataSet
from agecls_fastai.recipes import LOSS_NAMES, RECIPES, Recipe
from agecls_fastai.results import published, report
from agecls_fastai.runs.format import load_run, made_up
from agecls_fastai.scores import statistics
from agecls_fastai.training.ordinal import LOSSES, OrdinalLoss


@pytest.fixture
def album(tmp_path):
    "Two dozen pictures, called by who is in them, whether old or young, and a number"
    for who in range(12):
        for i in range(2):
            grey = 40 + 150 * (who % 2) + 3 * i + who
            name = f'{who:02}_{"old" if who % 2 else "young"}_{i}.png'
            Image.new('RGB', (36, 36), (grey, grey, grey)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def own_data(monkeypatch, album):
    "A data set: a row of `DATASETS`"
    def read_album(path, n_folds=2):
        names = sorted(file.name for file in Path(path).glob('*.png'))
        items = pd.DataFrame([[name, *name.split('_')[:2]] for name in names], columns=['file', 'subject', 'label'])
        items['label'] = pd.Categorical(items['label'], ['young', 'old'], ordered=True)
        return items.assign(fold=items['subject'].astype(int) // 2 % n_folds)
    monkeypatch.setitem(DATASETS, 'album', DataSet(read_album, ('n_folds',), 'my album'))
    return album


def test_a_data_set(own_data):
    done = agecls('items', own_data, '--dataset', 'album', check=0)
    assert 'my album' in done.stdout and '24' in done.stdout
    refused = agecls('items', own_data, '--dataset', 'album', '--target', 'age', check=2)
    assert 'target (--target) does not apply to album data' in refused.stderr


def test_a_recipe_and_a_loss(monkeypatch, own_data, tmp_path):
    class Pull(OrdinalLoss):
        "Squared error of the probability of the truth"
        name = 'pull'
        def per_image(self, logits, target): return (1 - logits.softmax(-1).gather(1, target[:, None])[:, 0])**2
    try:
        small = dict(arch='levi_hassner', pretrained=False, size=35, resize=36, bs=4, schedule='one_cycle', epochs=1)
        monkeypatch.setitem(RECIPES, 'mine', Recipe('mine', loss='pull', **small))
        agecls('cv', own_data, '--dataset', 'album', '--recipe', 'mine', '--out', tmp_path / 'run',
               '--protocol', 'fixed', '--device', 'cpu', '--workers', 0, check=0)
        run = load_run(tmp_path / 'run')
        assert (run.name, run.info['recipe']['loss'], run.folds) == ('mine', 'pull', [0, 1])
        assert ', pull,' in agecls('cv', own_data, '--out', tmp_path / 'x', '--set', 'loss=pul', check=2).stderr
    finally:
        LOSSES.pop('pull')
        LOSS_NAMES.remove('pull')


def three_groups(name='made up'):
    people = [(f's{i}', 'abc'[i % 3], 'abc'[(i + (i % 5 == 0) + (i % 7 == 0)) % 3]) for i in range(60)]
    return made_up(people, labels=('a', 'b', 'c'), name=name, path=name)


def test_a_metric(monkeypatch, tmp_path):
    from agecls_fastai.results.compare import compare
    far = statistics.Score('share of answers two groups off', 'far off', lambda means: 1 - means[..., 2], 100)
    monkeypatch.setitem(statistics.METRICS, 'far', far)
    run = three_groups()
    wrong = (run.predictions['pred'].cat.codes - run.predictions['label'].cat.codes).abs() == 2
    assert np.isclose(run.fold_scores().loc[0, 'far'], wrong.mean()) and wrong.any()
    made = compare([run, three_groups('another')])
    page = report.report([run, three_groups('another')], tmp_path / 'page.html', n_resamples=20).read_text('utf-8')
    assert 'Share of answers two groups off' in page
    assert 'far off %' in str(made) and made.scores.loc[('another', 'far'), 'low'] <= wrong.mean()
    assert 'far' in statistics.scores_by(run.predictions, run.labels, 'label', 50)


def test_a_published_figure(monkeypatch):
    row = dict(method='Mine 2026', source='here', target='age', accuracy=70.0, checked='source', faces='all',
               labels='', outside_face_data='no', protocol='strict')
    more = pd.concat([published.PUBLISHED, pd.DataFrame([row])], ignore_index=True)
    monkeypatch.setattr(published, 'PUBLISHED', more)
    lines = published.published_lines(list(AGE_GROUPS.values()))
    assert '  Mine 2026: accuracy 70.0 (all faces; here)' in lines


def test_a_detector(monkeypatch):
    class Middle:
        def __init__(self, model): assert model is None
        def __call__(self, image):
            w, h = image.size
            return [((w // 4, h // 4, w // 2, h // 2), np.array([[0.4 * w, 0.45 * h], [0.6 * w, 0.45 * h]]))]
    monkeypatch.setitem(faces.DETECTORS, 'middle', Middle)
    [face] = faces.face_finder(detector='middle')(Image.new('RGB', (80, 60), 'grey'))
    assert face.box == (20, 15, 40, 30) and face.crop().size[0] == face.crop().size[1] and face.score is None
    with pytest.raises(AgeclsError, match='detector must be one of yunet, haar, middle'):
        faces.face_finder(detector='dlib')


def test_a_command(monkeypatch):
    def add_hello(commands):
        p = command(commands, hello, 'hello', 'greet somebody')
        p.add_argument('who')
    def hello(args): print(f'Hello, {args.who}')
    monkeypatch.setattr(cli, 'COMMANDS', [*cli.COMMANDS, add_hello])
    assert agecls('hello', 'Ann', check=0).stdout == 'Hello, Ann\n'
    assert 'greet somebody' in agecls('--help').stdout


def test_a_section_of_the_report(monkeypatch, tmp_path):
    from agecls_fastai.results.page import text_block
    def first(given):
        return dict(title='The first person', blocks=[text_block(given.runs[0].predictions['subject'].min())])
    monkeypatch.setattr(report, 'SECTIONS', [*report.SECTIONS[:1], first])
    text = report.report(three_groups(), tmp_path / 'page.html', n_resamples=20).read_text('utf-8')
    assert '<h2>The first person' in text and 's0' in text and '<h2>Confusion' not in text


def test_the_picture_of_the_house():
    "CONTRIBUTING shows the packages and modules that there are, in their order"
    picture = (ROOT / 'CONTRIBUTING.md').read_text('utf-8').split('```')[1]
    found, package = {}, None
    for line in picture.strip().splitlines():
        first, *modules = line[:48].split()
        if first.endswith('/'): package = first[:-1]
        else: modules = [first, *modules]
        if line[0] != ' ' and not first.endswith('/'): package = 'recipes' if first == 'recipes' else 'doors'
        found.setdefault(package, []).extend(modules)
    expected = {name: [m.rpartition('.')[2] for m in modules] for name, modules in LAYERS.items()}
    assert set(found.pop('doors')) == {*expected.pop('doors'), 'showdoc'} and found == expected
