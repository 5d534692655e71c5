"""Does training wait for its pictures? How much faster is an epoch than in plain fastai?

    python benchmarks/training.py [--batches 6] [--bs 16] [--runs 5] [--compile] [--out benchmarks/training]

A fine-tuning epoch of a ResNet-34 (all layers, one-cycle) on drawn pictures of 816 × 816 pixels, on the GPU where there
is one. Contenders: fastai as one writes it, decoding each picture in each epoch; a recipe's learner without a pack and
with one; and, as the limit, the recipe's learner on one batch that is in memory already.
"""
import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from fastai.callback import fp16, schedule  # noqa: F401
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.learner import vision_learner
from measure import machine, per_second, plain_fastai, take_turns, write
from torchvision.models import resnet34

from agecls_fastai.adience import read_adience
from agecls_fastai.loop import precision
from agecls_fastai.pack import build_pack
from agecls_fastai.recipes import RECIPES
from agecls_fastai.synthetic import draw_adience


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batches', type=int, default=6, help='in an epoch')
    parser.add_argument('--bs', type=int, default=16)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--size', type=int, default=816, help='of the drawn pictures')
    parser.add_argument('--sees', type=int, default=224, help='pixels that the network sees')
    parser.add_argument('--compile', action='store_true', help='with torch.compile, too')
    parser.add_argument('--out', default='benchmarks/training', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    resize, gpu = round(args.sees * 8 / 7), torch.cuda.is_available()
    device = 'cuda' if gpu else 'cpu'
    with tempfile.TemporaryDirectory() as tmp:
        path = draw_adience(Path(tmp) / 'faces', n_subjects=max(10, args.batches * args.bs // 3), size=args.size)
        items = read_adience(path)
        items = items.groupby('fold').head(args.batches * args.bs // 4 + 1)        # four folds train
        pack = build_pack(items, path, Path(tmp) / 'pack', resize)
        recipe = replace(RECIPES['finetune_resnet34'], pretrained=False, bs=args.bs, size=args.sees)

        def learner(pack=None, memory=False, **kwargs):
            dls = recipe.dls(items, path, 0, protocol='fixed', pack=pack)
            learn = recipe.learner(dls, **kwargs)
            if memory:
                batch, dl = dls.train.one_batch(), dls.train
                class Same:
                    "One batch, again and again"
                    n, device, bs, dataset, split_idx = dl.n, dl.device, dl.bs, dl.dataset, 0
                    def __len__(self): return len(dl)
                    def __iter__(self): return (batch for _ in range(len(dl)))
                dls.loaders[0] = Same()
            return learn

        def plain():
            dls = plain_fastai(items[items['fold'] != 0], path, Resize(resize), aug_transforms(size=args.sees),
                               bs=args.bs)
            learn = vision_learner(dls, resnet34, pretrained=False)
            return learn.to_fp16() if gpu else learn
        learners = {'plain fastai' + (', to_fp16' if gpu else ''): plain(), 'a recipe, without a pack': learner(),
                    'a recipe, out of a pack': learner(pack)}
        if args.compile: learners['a recipe, out of a pack, compiled'] = learner(pack, compile=True)
        learners['the limit: the same on one batch in memory'] = learner(pack, memory=True)

        def epoch(learn):
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
            return len(learn.dls.train) * args.bs
        for learn in learners.values(): epoch(learn)                     # the first one is slower
        rows = take_turns({('fine-tuning epoch, ResNet-34', name): lambda learn=learn: per_second(epoch, learn)
                           for name, learn in learners.items()}, args.runs)
    write(args.out, f'{args.batches} batches of {args.bs} drawn pictures of {args.size} × {args.size} pixels, the '
          f'network sees {args.sees}, recipes in {precision(device)}; {machine(args.runs)}', rows, 'pictures/s')


if __name__ == '__main__': main()
