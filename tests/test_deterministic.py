"No recipe, and no loss, computes with an operation that has no deterministic form on a GPU"
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import agecls_fastai.training.fit  # noqa: F401  recipes get their methods
from agecls_fastai.data.adience import read_adience
from agecls_fastai.recipes import RECIPES, get_recipe
from agecls_fastai.training.loop import deterministic_algorithms
from agecls_fastai.training.ordinal import LOSSES

# what torch.use_deterministic_algorithms names as raising an error on a GPU, by the names below autograd
RAISE = {'avg_pool3d_backward', '_adaptive_avg_pool2d_backward', '_adaptive_avg_pool3d_backward',
         'adaptive_max_pool2d_backward', 'adaptive_max_pool3d_backward', 'fractional_max_pool2d_backward',
         'upsample_linear1d_backward', 'upsample_bilinear2d_backward', 'upsample_bicubic2d_backward',
         'reflection_pad1d_backward', 'reflection_pad2d_backward', 'nll_loss2d_forward', '_embedding_bag', 'put_',
         'histc', 'bincount', 'median', 'grid_sampler_2d_backward', 'scatter_reduce'}


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func._schema.name.removeprefix('aten::'))
        return func(*args, **(kwargs or {}))


def step(recipe, folder, on=True):
    "The operations of one step of training"
    dls = recipe.dls(read_adience(folder), folder, 0)
    with deterministic_algorithms() if on else nullcontext():
        learn = recipe.learner(dls)
        learn.model.train()
        x, y = dls.one_batch()
        with Operations() as operations: learn.loss_func(learn.model(x), y).backward()
    assert 'convolution_backward' in operations.seen
    return operations.seen


@pytest.mark.parametrize('name', [name for name, r in RECIPES.items() if r.schedule != 'probe'])
def test_a_step_of_every_recipe_is_repeatable(name, drawn):
    recipe = replace(get_recipe(name), pretrained=False, frozen=False, size=64, bs=4)
    assert not RAISE & step(recipe, drawn)


@pytest.mark.parametrize('loss', LOSSES)
def test_a_step_with_every_loss_is_repeatable(loss, drawn):
    recipe = replace(get_recipe('levi_hassner_onecycle'), loss=loss, size=48, bs=4)
    assert not RAISE & step(recipe, drawn)


def test_what_would_raise_is_seen(drawn):
    recipe = replace(get_recipe('finetune_resnet34'), arch='resnet18', pretrained=False, size=64, bs=4)
    assert RAISE & step(recipe, drawn, on=False) == {'adaptive_max_pool2d_backward'}
    x = torch.randn(2, 8, 3, 3, requires_grad=True)
    with Operations() as operations: torch.nn.LocalResponseNorm(5)(x).sum().backward()
    assert RAISE & operations.seen == {'avg_pool3d_backward'}
