"""Which loss? All recipes that differ only in their loss, cross-validated with five folds on drawn faces

    python benchmarks/losses.py [--subjects 300] [--size 64] [--epochs 4] [--seed 0] [--out benchmarks/losses]

An hour or two on two cores. All recipes start from the same ResNet-34, which was pretrained on other drawn faces
(ImageNet's weights are not available everywhere), under the strict protocol. With --keep FOLDER an interrupted study
resumes. Nothing here is a result on Adience.
"""
import argparse
import json
import tempfile
import warnings
from pathlib import Path

import torch
from measure import command, machine
from probe import pretrain

from agecls_fastai.core.progress import Progress
from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.datasets import DRAWN
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.recipes import RECIPES, change_recipe
from agecls_fastai.results.calibrate import calibrate, prediction_sets
from agecls_fastai.results.compare import by_subject, compare
from agecls_fastai.results.study import study
from agecls_fastai.runs.ensemble import ensemble

ALL = ['finetune_resnet34', 'smooth_resnet34', *(name for name, r in RECIPES.items() if r.loss != 'cross_entropy'
                                                and name not in ('ordinal_resnet34', 'modern'))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--subjects', type=int, default=300)
    parser.add_argument('--size', type=int, default=64, help='pixels of the pictures; the network sees 7/8 of it')
    parser.add_argument('--epochs', type=int, default=4, help='after one with the body frozen')
    parser.add_argument('--pretrain', type=int, default=10, help='epochs on the other faces')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--recipes', default=','.join(ALL))
    parser.add_argument('--keep', help='a folder for data and runs: created, or resumed if it exists')
    parser.add_argument('--out', default='benchmarks/losses', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as tmp:
        folder, progress = Path(args.keep or tmp), Progress()
        path = draw_adience(folder / 'faces', n_subjects=args.subjects, size=args.size, seed=args.seed)
        weights = folder / 'weights.pth'
        if not weights.is_file():
            other = draw_adience(folder / 'other', n_subjects=2 * args.subjects, size=args.size, seed=args.seed + 99)
            torch.save(pretrain(other, args.size, args.pretrain), weights)
        changes = dict(size=round(args.size * 7 / 8), resize=args.size, epochs=args.epochs, bs=32)
        recipes = [change_recipe(RECIPES[name], changes) for name in args.recipes.split(',')]
        found = study(read_adience(path), path, folder / 'study', recipes, progress=progress, weights=weights,
                      seed=args.seed, data=DRAWN)
        runs = found.runs
        every = compare([by_subject(run) for run in runs], baseline=0)
        subjects = every.scores['mean'].unstack().loc[every.names, ['accuracy', 'one_off_accuracy']]
        all_of_them = ensemble(runs, folder / 'ensemble')
        together = compare([runs[0], all_of_them])
        sure = {run.name: calibrate(run).table for run in [*runs, all_of_them]}
        sets = {run.name: prediction_sets(run).coverage().iloc[0] for run in [*runs, all_of_them]}
    about = (f'Drawn faces, not Adience; {args.size} pixels, of which the network sees {changes["size"]}; one epoch '
             f'with the body frozen, {args.epochs} with all layers; {machine()}')
    alone = str(together).split('Published,')[0].rstrip()
    calibrated = '\n'.join(
        ['| recipe | calibration error, % | after temperature scaling, % | truth in the set, % | mean over subjects, % '
         '| groups in a set |', '| --- | --- | --- | --- | --- | --- |'] +
        [f'| {name} | {100 * t.iloc[0, 0]:.1f} | {100 * t.iloc[0, 1]:.1f} | {100 * sets[name].coverage:.1f} | '
         f'{100 * sets[name].by_subject:.1f} | {sets[name]["size"]:.2f} |' for name, t in sure.items()])
    text = (f'`{command()}`\n\n{about}\n\n```\n{found}\n```\n\nAn ensemble, the average of all of them, compared with '
            f'the first:\n\n```\n{alone}\n```\n\nOne answer for each person, from all of their images, in %:\n\n'
            f'```\n{(100 * subjects).round(1).to_string()}\n```\n\nExpected calibration error, and conformal '
            f'prediction sets for 90 % of the images of a new person:\n\n{calibrated}\n')
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    Path(f'{out}.md').write_text(text)
    Path(f'{out}.json').write_text(json.dumps(dict(command=command(), about=about, study=found.to_dict(),
                                                   ensemble=together.to_dict()), indent=1, ensure_ascii=False) + '\n')
    print(text)


if __name__ == '__main__': main()
