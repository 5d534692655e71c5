"""How much faster are five folds of the linear probe than the frozen network in plain fastai, and at what price?

    python benchmarks/probe.py [--subjects 100] [--size 64] [--runs 5] [--crossval] [--out benchmarks/probe]

The frozen network is trained as the first experiment did it: new loaders and a new vision_learner for each fold, each
picture decoded in each epoch, 8 one-cycle epochs at 5e-2, the body frozen (its batch-norm moves, as fastai has it).
Both start from the same weights, and see the same pixels. ImageNet's weights cannot be had everywhere, so these are of
a ResNet-34 that has been trained on other drawn faces. The probe's time is all of `cross_validate`, its features
computed anew, after packing. The difference of the scores comes with an interval, by resampling subjects.
"""
import argparse
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from fastai.callback import fp16, schedule  # noqa: F401
from fastai.vision.augment import Resize
from measure import machine, plain_fastai, seconds, take_turns, write
from torchvision.models import resnet34

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.recipes import RECIPES
from agecls_fastai.results.compare import subject_sums
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.scores.statistics import image_sums, interval, resample, scores_from_sums
from agecls_fastai.training.models import age_learner


def pretrain(path, size, epochs):
    "A state dict as torchvision's, from other drawn faces"
    items = read_adience(path)
    recipe = replace(RECIPES['finetune_resnet34'], pretrained=False, size=size, resize=size, augment='crop', bs=32,
                     schedule='one_cycle', epochs=epochs, base_lr=1e-3)
    learn = recipe.learner(recipe.dls(items, path, 0, protocol='fixed'))
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    whole = resnet34()
    names = [name for name in whole.state_dict() if not name.startswith('fc.')]
    return dict(zip(names, learn.model[0].state_dict().values())) | {
        name: x for name, x in whole.state_dict().items() if name.startswith('fc.')}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--subjects', type=int, default=100)
    parser.add_argument('--size', type=int, default=64, help='pixels of the pictures, and what both see')
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--pretrain', type=int, default=10, help='epochs')
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--crossval', action='store_true', help='frozen_resnet34 by cross_validate, too')
    parser.add_argument('--out', default='benchmarks/probe', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        other = draw_adience(tmp / 'other', n_subjects=max(10, 3 * args.subjects), size=args.size, seed=99)
        torch.save(pretrain(other, args.size, args.pretrain), tmp / 'weights.pth')
        path = draw_adience(tmp / 'faces', n_subjects=args.subjects, size=args.size)
        items, sums = read_adience(path), {}
        pack = build_pack(items, path, tmp / 'pack', args.size)
        recipe = replace(RECIPES['linear_probe_resnet34'], size=args.size, resize=args.size)

        def frozen():
            found = {}
            for k in sorted(items['fold'].unique()):
                dls = plain_fastai(items[items['fold'] != k], path, Resize(args.size), bs=64)
                # a vision_learner, frozen, with the weights of a file; fastai takes none but ImageNet's
                learn = age_learner(dls, 'resnet34', weights=tmp / 'weights.pth', metrics=[])
                if gpu: learn.to_fp16()
                with learn.no_bar(), learn.no_logging():
                    learn.fit_one_cycle(args.epochs, 5e-2)
                    test = items[items['fold'] == k]
                    p, _ = learn.get_preds(dl=dls.test_dl(test))
                each = image_sums(p.argmax(1), test['label'].cat.codes)
                found[k] = pd.DataFrame(each).groupby(test['subject'].to_numpy()).sum().sort_index().to_numpy()
            sums['frozen'] = found

        def probe():
            for file in pack.folder.glob('features_*'): file.unlink()
            run = cross_validate(items, path, recipe, tmp / f'run_{time.monotonic_ns()}', weights=tmp / 'weights.pth',
                                 pack=pack, progress=False, protocol='fixed')
            sums['probe'] = subject_sums(run)

        def crossval():
            same = replace(RECIPES['frozen_resnet34'], size=args.size, resize=args.size, epochs=args.epochs)
            cross_validate(items, path, same, tmp / f'run_{time.monotonic_ns()}', weights=tmp / 'weights.pth',
                           pack=pack, progress=False, protocol='fixed')

        what = 'five folds'
        contenders = {(what, 'frozen_resnet34 in plain fastai'): lambda: seconds(frozen),
                      (what, 'linear_probe_resnet34, two views'): lambda: seconds(probe)}
        if args.crossval:
            contenders[what, 'frozen_resnet34 by cross_validate, out of a pack'] = lambda: seconds(crossval)
        rows = take_turns(contenders, args.runs)
    means = {name: sum(scores_from_sums(x.sum(0)) for x in by_fold.values()) / len(by_fold)
             for name, by_fold in sums.items()}
    draws = resample([sums['probe'], sums['frozen']])
    low, high = interval(draws[0] - draws[1])
    told = [f'{what} {100 * means["probe"][i]:.1f} % against {100 * means["frozen"][i]:.1f} % (difference '
            f'{100 * (means["probe"][i] - means["frozen"][i]):+.1f} points, 95 % interval {100 * low[i]:+.1f} to '
            f'{100 * high[i]:+.1f})' for i, what in enumerate(('accuracy', 'one-off accuracy'))]
    times = [statistics.median(figures) for figures in rows.values()]
    write(args.out, f'{len(items)} drawn pictures of {items["subject"].nunique()} subjects, {args.size} pixels, both '
          f'under the fixed protocol, {args.epochs} epochs of the frozen network; {machine(args.runs)}', rows,
          'seconds', invert=True, notes=[
              f'On drawn faces, in the last run, mean over folds, the probe against the frozen network: '
              f'{"; ".join(told)}. The probe is {times[0] / times[1]:.0f} times as fast.'])


if __name__ == '__main__': main()
