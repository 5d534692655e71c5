"fastai's `ClassificationInterpretation` on the recipes' Learners: with fastai's loss, and with losses of this library"
from collections import Counter
from dataclasses import replace

import matplotlib
import pytest
import torch
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.learner import load_learner
from fastai.torch_core import set_seed

import agecls_fastai.training.fit  # noqa: F401  recipes get their methods
from agecls_fastai.data.adience import read_adience
from agecls_fastai.recipes import RECIPES

matplotlib.use('Agg')


@pytest.fixture(scope='module', params=['cross_entropy', 'dldl', 'coral'])  # coral: seven outputs for eight classes
def learn(request, drawn):
    recipe = replace(RECIPES['levi_hassner_onecycle'], size=40, resize=44, bs=16, epochs=1, loss=request.param)
    set_seed(0)
    learn = recipe.learner(recipe.dls(read_adience(drawn), drawn, 0))
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    return learn


def test_confusion(learn):
    found = ClassificationInterpretation.from_learner(learn)
    _, true, pred = learn.get_preds(with_decoded=True)
    names = learn.dls.vocab
    counts = Counter((names[t], names[p]) for t, p in zip(true.tolist(), pred.tolist()))
    matrix = found.confusion_matrix()
    assert {(a, b): matrix[i, j] for i, a in enumerate(names) for j, b in enumerate(names) if matrix[i, j]} == counts
    wrong = sorted((n for (t, p), n in counts.items() if t != p), reverse=True)
    assert [n for *_, n in found.most_confused()] == wrong
    assert all(counts[t, p] == n for t, p, n in found.most_confused())
    found.plot_confusion_matrix(normalize=True)
    axes = matplotlib.pyplot.gca()
    assert [label.get_text() for label in axes.get_xticklabels()] == list(names)
    found.print_classification_report()


def test_top_losses(learn):
    found = Interpretation.from_learner(learn)
    losses, places = found.top_losses(5, items=False)
    probabilities, true, each = learn.get_preds(with_loss=True)
    assert torch.allclose(losses, each.sort(descending=True)[0][:5], atol=1e-4)
    assert torch.allclose(each[places], losses, atol=1e-4)
    found.plot_top_losses(4, figsize=(6, 6))
    shown = [axes.get_title() for axes in matplotlib.pyplot.gcf().axes if axes.get_title()]
    names = learn.dls.vocab
    for title, place in zip(shown, places):
        assert f'/{names[true[place]]} /' in title and title.endswith(f'{probabilities[place].max().item():.2f}')


def test_a_path_is_a_picture_also_after_load_learner(learn, drawn, tmp_path):
    "fastai's own `predict` takes what fastai's users have at hand: a path"
    picture = drawn / learn.dls.test.items['file'].iloc[0]
    learn.export(tmp_path / 'export.pkl')
    again = load_learner(tmp_path / 'export.pkl')
    with learn.no_bar(), again.no_bar():
        said, _, p = learn.predict(str(picture))
        for one, given in ((learn, picture), (again, picture), (again, str(picture)), (again, picture.read_bytes())):
            assert one.predict(given)[0] == said and torch.allclose(one.predict(given)[2], p, atol=1e-5)
