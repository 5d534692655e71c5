"""Does training wait for its pictures? How much faster is it than plain fastai, how much slower than bare PyTorch?

    python benchmarks/training.py [--batches 6] [--bs 16] [--runs 5] [--compile] [--out benchmarks/training]
    python benchmarks/training.py --arch tf_efficientnet_lite0 [--batches 24] [--bs 32] [--sees 128] \\
        [--out benchmarks/training_bare]

A fine-tuning epoch of a ResNet-34 (all layers, one-cycle) on drawn pictures of 816 × 816 pixels, on the GPU where there
is one. Contenders: fastai as one writes it, decoding each picture in each epoch; a recipe's learner without a pack and
with one; and, as the limit, the recipe's learner on one batch that is in memory already.

With --arch it is another comparison: a recipe's learner out of a pack, pictures varied, against a bare PyTorch loop
that does nothing but train on one batch in memory (the same network, loss, layout, precision, step), with the C
library's allocator set as `keep_memory` sets it and as it comes; then validation against a bare loop of forward passes.
"""
import argparse
import subprocess
import sys
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

import agecls_fastai.training.fit  # noqa: F401  recipes get their methods
from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.augment import view_preds
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.recipes import RECIPES
from agecls_fastai.training.loop import keep_memory


def bare(arch, sees, bs, batches, kept, number, device):
    "Two bare PyTorch loops on one batch in memory: each trains, or looks, that often and says how many pictures it saw"
    import timm
    if kept: keep_memory()
    torch.manual_seed(0)
    net = timm.create_model(arch, num_classes=8).to(device, memory_format=torch.channels_last)
    x = torch.randn(bs, 3, sees, sees, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(8, (bs,), device=device)
    opt = torch.optim.AdamW(net.parameters(), fused=True)

    def train():
        net.train()
        for _ in range(batches):
            with torch.autocast(device, getattr(torch, number), enabled=number != 'float32'):
                loss = torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        return bs * batches

    def look():
        net.eval()
        with torch.inference_mode():
            for _ in range(batches): net(x)
        return bs * batches
    return train, look


class Elsewhere:
    "The bare loops in a process of its own, with the allocator as it comes: in this one it is set, once for all"
    def __init__(self, *given):
        words = [sys.executable, __file__, '--serve', *map(str, given)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, what):
        print(what, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(arch, sees, bs, batches, number, device):
    "In that process: pictures a second for each line"
    loops = dict(zip(('train', 'look'), bare(arch, int(sees), int(bs), int(batches), False, number, device)))
    for line in sys.stdin: print(per_second(loops[line.strip()]), flush=True)


def against_bare(args):
    "Training and validation of a recipe's learner beside loops that do nothing else"
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with tempfile.TemporaryDirectory() as tmp:
        resize = round(args.sees * 8 / 7)
        path = draw_adience(Path(tmp) / 'faces', n_subjects=max(10, args.batches * args.bs // 4), size=resize)
        items = read_adience(path).groupby('fold').head(-(-args.batches * args.bs // 4))
        pack = build_pack(items, path, Path(tmp) / 'pack', resize)
        recipe = replace(RECIPES['finetune_lite0'], arch=args.arch, pretrained=False, bs=args.bs, size=args.sees)
        dls = recipe.dls(items, path, 0, protocol='fixed', pack=pack)
        learn = recipe.learner(dls)
        seen = items[items['fold'] != 0]
        number = learn.computes_in
        given = args.arch, args.sees, args.bs, args.batches
        train, look = bare(*given, True, number, device)

        def epoch():
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
            return len(dls.train) * args.bs

        def predictions():
            with learn.no_bar(), learn.no_logging(): return len(view_preds(learn, seen, 'center'))

        def validation():
            with learn.no_bar(), learn.no_logging(): learn.validate(dl=valid)
            return len(seen)
        valid, elsewhere = dls.test_dl(seen, with_labels=True), Elsewhere(*given, number, device)
        training = f'training, {args.arch}'
        contenders = {
            (training, 'a bare loop on one batch in memory'): lambda: per_second(train),
            (training, 'a recipe, out of a pack, pictures varied'): lambda: per_second(epoch),
            (training, "the bare loop, the C library's allocator as it comes"): lambda: elsewhere('train'),
            ('validation', 'a bare loop of forward passes'): lambda: per_second(look),
            ('validation', '`learn.validate()`, out of a pack'): lambda: per_second(validation),
            ('validation', '`view_preds`, as folds are tested'): lambda: per_second(predictions),
            ('validation', "the bare loop, the C library's allocator as it comes"): lambda: elsewhere('look')}
        try:
            for run in contenders.values(): run()                        # the first one is slower
            rows = take_turns(contenders, args.runs)
        finally: elsewhere.close()
    write(args.out, f'{args.batches} batches of {args.bs} drawn pictures, the network sees {args.sees} pixels, '
          f'training in {number}, validation in float32; {machine(args.runs)}', rows, 'pictures/s')


def main():
    if sys.argv[1:2] == ['--serve']: return serve(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batches', type=int, help='in an epoch (6; 24 with --arch)')
    parser.add_argument('--bs', type=int, help='pictures in a batch (16; 32 with --arch)')
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--size', type=int, default=816, help='of the drawn pictures')
    parser.add_argument('--sees', type=int, help='pixels that the network sees (224; 128 with --arch)')
    parser.add_argument('--arch', help='a timm name: against bare PyTorch')
    parser.add_argument('--compile', action='store_true', help='with torch.compile, too')
    parser.add_argument('--out', default='benchmarks/training', help='where .json and .md go')
    args = parser.parse_args()
    for name, plain, beside_bare in (('batches', 6, 24), ('bs', 16, 32), ('sees', 224, 128)):
        if getattr(args, name) is None: setattr(args, name, beside_bare if args.arch else plain)
    if args.arch:
        warnings.simplefilter('ignore')
        return against_bare(args)
    warnings.simplefilter('ignore')
    resize, gpu = round(args.sees * 8 / 7), torch.cuda.is_available()
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

        number = learners['a recipe, out of a pack'].computes_in

        def epoch(learn):
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
            return len(learn.dls.train) * args.bs
        for learn in learners.values(): epoch(learn)                     # the first one is slower
        rows = take_turns({('fine-tuning epoch, ResNet-34', name): lambda learn=learn: per_second(epoch, learn)
                           for name, learn in learners.items()}, args.runs)
    write(args.out, f'{args.batches} batches of {args.bs} drawn pictures of {args.size} × {args.size} pixels, the '
          f'network sees {args.sees}, recipes in {number}; {machine(args.runs)}', rows, 'pictures/s')


if __name__ == '__main__': main()
