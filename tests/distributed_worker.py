"""What tests/test_distributed.py has done by one process or two: distributed_worker.py WHAT DATA OUT.

In float32 everywhere, as processors of today compute in bfloat16, whose steps would hide a mistake."""
import json
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from fastai.callback.core import Callback
from torch import nn

warnings.simplefilter('ignore')
torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False

from agecls_fastai.cli import main  # noqa: E402
from agecls_fastai.core.errors import AgeclsError, last_line  # noqa: E402
from agecls_fastai.data.adience import read_adience  # noqa: E402
from agecls_fastai.data.folds import limit_items  # noqa: E402
from agecls_fastai.loading.batches import AgeDL  # noqa: E402
from agecls_fastai.recipes import change_recipe, get_recipe  # noqa: E402
from agecls_fastai.runs import fold  # noqa: E402
from agecls_fastai.runs.crossval import cross_validate  # noqa: E402
from agecls_fastai.training.distributed import _WholeBatch  # noqa: E402

LIMIT = 20  # images of a fold
RANK = int(os.environ.get('RANK', 0))
LEVI = change_recipe(get_recipe('levi_hassner_onecycle'), dict(size=40, bs=16, epochs=1))
RUNS = dict(
    levi=replace(LEVI, epochs=3), mixed=replace(LEVI, mix='mixup'), cut=replace(LEVI, mix='cutmix'),
    diverging=replace(LEVI, base_lr=1e9), odd=replace(LEVI, bs=15),
    # so small a rate that rounding does not grow from step to step
    resnet=replace(get_recipe('finetune_resnet34'), arch='resnet18', pretrained=False, size=40, bs=16, epochs=1,
                   schedule='one_cycle', opt='sgd', base_lr=1e-6, views='flip', average=0.9, accumulate=32,
                   loss='corn', balance='class', class_weights=0.999))
# a transformer, without batch-norm; a network with layers that its features do not need; dropped paths
RUNS |= {name: replace(RUNS['resnet'], arch=arch, size=48, loss='cross_entropy', class_weights=None) for name, arch in
         dict(vit='test_vit', mobile='mobilenetv3_small_050', paths='torchvision.efficientnet_b0').items()}


def runs(data, out):
    "All of `RUNS`, and which images of the training set each process has opened"
    items, seen, do_item = limit_items(read_adience(data), LIMIT), {}, AgeDL.do_item
    for name, recipe in RUNS.items():
        opened = seen[name] = []
        def watched(self, i, opened=opened):
            if i is not None and self.dataset.split_idx == 0: opened.append(self.dataset.items['file'].iloc[i])
            return do_item(self, i)
        AgeDL.do_item = watched
        try: cross_validate(items, data, recipe, out / name, [0], keep_models=name == 'levi', progress=RANK > 0,
                            log='tensorboard' if name == 'levi' else None)
        except AgeclsError as e: seen[name] = last_line(e)
    (out / f'seen_{RANK}.json').write_text(json.dumps(seen))


def norms(out):
    "Batch-norm of rows that are spread over the processes: what comes out, gradients, statistics"
    size = int(os.environ.get('WORLD_SIZE', 1))
    torch.manual_seed(3)
    found = []
    for norm, x in ((nn.BatchNorm2d(5), torch.randn(6, 5, 4, 3) * 3 + 2), (nn.BatchNorm1d(5), torch.randn(6, 5))):
        factor, rows = torch.randn_like(x), slice(RANK, None, size)
        x = x[rows].clone().requires_grad_()
        if size > 1:
            with _WholeBatch(range(6)[rows], 6): y = norm(x)
        else: y = norm(x)
        (y * factor[rows]).sum().backward()
        found += [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    torch.save(found, out / f'norms_{RANK}.pt')


def cv(data, out, *options):
    "The command, on one fold"
    return main(['cv', data, '--out', str(out), '--recipe', 'levi_hassner_onecycle', '--size', '40', '--bs', '16',
                 '--epochs', '3', '--folds', '0', '--limit', str(LIMIT), *options])


def one_fails(data, out):
    "The second process makes an error in the second epoch"
    class Fails(Callback):
        def before_epoch(self):
            if self.epoch == 1 and RANK == 1: raise AgeclsError('process 1 has found a mistake')
    train_fold = fold.train_fold
    def failing(*args, **kwargs):
        args = list(args)
        args[14] = [*args[14], Fails()]
        return train_fold(*args, **kwargs)
    fold.train_fold = failing
    return cv(data, out)


def work(what, data, out, *options):
    "Do it; the exit status"
    out = Path(out)
    if what != 'runs': return dict(cv=cv, one_fails=one_fails)[what](data, out, *options)
    out.mkdir(exist_ok=True)
    runs(data, out)
    norms(out)


if __name__ == '__main__': sys.exit(work(*sys.argv[1:]))
