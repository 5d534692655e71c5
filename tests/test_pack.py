"What a pack must not change: fastai's ways of using a learner, the scores; and a disk that is full"
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import agecls
from fastai.interpret import ClassificationInterpretation
from fastai.torch_core import set_seed
from forks import Fork
from torchvision.models import resnet18

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.loaders import age_dls
from agecls_fastai.loading.pack import build_pack, open_pack
from agecls_fastai.recipes import RECIPES
from agecls_fastai.results.compare import compare
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.training.models import age_learner


@pytest.fixture(scope='module')
def packed(drawn, tmp_path_factory):
    "items table, data folder, pack of 40 pixels"
    items = read_adience(drawn)
    return items, drawn, build_pack(items, drawn, tmp_path_factory.mktemp('pack') / 'pack', 40)


def test_fastai_on_a_pack(packed):
    "Everything that one does with a learner works on packed loaders, with the same results as on files"
    items, path, pack = packed
    learners = []
    for p in (None, pack):
        set_seed(0)
        dls = age_dls(items, path, 1, size=35, resize=40, bs=16, pack=p, num_workers=0)
        learners.append(age_learner(dls, 'levi_hassner'))
    set_seed(1)
    files, rows = learners
    rows.fit_one_cycle(1, 1e-4)
    files.model.load_state_dict(rows.model.state_dict())
    for preds, targets in zip(*[learn.get_preds(dl=learn.dls.test) for learn in learners]):
        assert torch.allclose(preds.float(), targets.float(), atol=0.02)
    predicted = [learn.predict(str(path / items['file'][3])) for learn in learners]      # a file, not out of the pack
    assert predicted[0][0] == predicted[1][0] and torch.allclose(predicted[0][2], predicted[1][2])
    new = rows.get_preds(dl=rows.dls.test_dl(items.iloc[:5]))[0]
    assert torch.allclose(new, rows.get_preds(dl=rows.dls.test_dl(items.iloc[:9]))[0][:5], atol=1e-5)
    varied, targets = rows.tta(dl=rows.dls.test, n=2)
    assert varied.shape == (len(rows.dls.test.dataset), 8)
    assert not torch.allclose(varied, rows.get_preds(dl=rows.dls.test)[0], atol=1e-6)
    found = ClassificationInterpretation.from_learner(rows, dl=rows.dls.test)
    assert found.confusion_matrix().sum() == len(targets) and len(found.top_losses(4)[0]) == 4
    rows.show_results(dl=rows.dls.test, max_n=2)


RECIPE = replace(RECIPES['levi_hassner_onecycle'], size=42, resize=48, bs=32, epochs=8, base_lr=1e-3)


@pytest.mark.slow
def test_same_training(tmp_path):
    "If nothing is scaled, files and pack give the same predictions, digit by digit"
    path = draw_adience(tmp_path / 'faces', n_subjects=30, size=48)
    items, recipe = read_adience(path), replace(RECIPE, epochs=1)
    pack = build_pack(items, path, tmp_path / 'pack', 48)
    runs = [cross_validate(items, path, recipe, tmp_path / f'{p is None}', [0], pack=p, progress=False)
            for p in (None, pack)]
    assert np.array_equal(*[run.probabilities() for run in runs])


@pytest.mark.slow
def test_same_scores(tmp_path):
    "A recipe ends with the same scores within noise, whether it reads large files or a pack of them"
    path = draw_adience(tmp_path / 'faces', n_subjects=100, size=110)
    items = read_adience(path)
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path / 'weights.pth')
    pack = build_pack(items, path, tmp_path / 'pack', 48)
    # a linear head does not depend on the seed, so only the pictures differ
    recipe = replace(RECIPES['linear_probe_resnet34'], arch='resnet18', size=42, resize=48)
    runs = [cross_validate(items, path, replace(recipe, name=name), tmp_path / name, weights=tmp_path / 'weights.pth',
                           pack=p, progress=False) for name, p in [('files', None), ('packed', pack)]]
    differences = compare(runs).differences.loc[('packed', 'files')]
    print(differences)
    assert (differences['low'] <= 0).all() and (differences['high'] >= 0).all()
    width = (differences['high'] - differences['low'])[['accuracy', 'one_off_accuracy']]
    assert (0 < width).all() and (width < 0.08).all()                    # not the same pictures, but nearly
    assert runs[0].fold_scores()['accuracy'].mean() > 0.2                # (guessing: 0.125) something was learnt


def test_full_disk(drawn, tmp_path):
    "The error is one line; what is written stays, and the next call resumes"
    def limited(): resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))          # no file may be larger
    argv = ['pack', drawn, '--size', 40, '--out', tmp_path / 'pack']
    fork = Fork([argv], tmp_path / 'log', limited)
    assert fork.wait() == 2 and len(fork.text().splitlines()) == 1 and 'too large' in fork.text(), fork.text()
    with pytest.raises(ValueError, match='no pack, or was not completed'): open_pack(tmp_path / 'pack')
    agecls(*argv, check=0)
    items = read_adience(drawn)
    whole = build_pack(items, drawn, tmp_path / 'other', 40)
    assert np.array_equal(open_pack(tmp_path / 'pack').gather(range(len(items))), whole.gather(range(len(items))))
