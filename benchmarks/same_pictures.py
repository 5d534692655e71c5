"""What is it worth to a network that the same picture stands on both sides of a split? On real faces

    python benchmarks/same_pictures.py [--data FOLDER] [--keep KEEP] [--folds 0,1] [--only NAME,NAME]
    python benchmarks/same_pictures.py --table

UTKFace's part 1 holds the same photograph under several names. By default such pictures are one subject and stay in one
fold; with --no-group-same each is a subject of its own, and most of its copies are in other folds. Each recipe is
trained both ways: with the folds as they are, and with all copies of a picture but the first moved to the next fold,
which changes nothing else. Told are accuracy and mean error in years of the pictures that have a copy, of all others,
and of all, and the paired difference of the two ways with its 95 % interval by resampling groups of like pictures. It
goes on in KEEP where it stopped; what is done lies in benchmarks/same_pictures.json, in means alone.
"""
import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from measure import machine
from rates import mean_interval
from real_faces import ROOT, pictures
from real_faces_tables import lines

from agecls_fastai.core.files import read_json, write_atomic
from agecls_fastai.core.progress import Progress
from agecls_fastai.data.datasets import read_data
from agecls_fastai.recipes import change_recipe
from agecls_fastai.runs.crossval import cross_validate

RECIPES = {'linear_probe_lite0': dict(name='linear_probe_lite0'),
           'finetune_lite0': dict(name='finetune_lite0 at 64 pixels, 1 + 4 epochs', size=64, epochs=4)}
PARTS = ('with a copy', 'without', 'all')


def moved_apart(items):
    "Each picture is a subject of its own, and copies are in the fold after that of the first"
    n, copies = items['fold'].nunique(), items.groupby('subject').cumcount()
    return items.assign(subject=items['file'], fold=(items['fold'] + copies.clip(upper=1)) % n)


def right_and_off(run):
    "file → (right, years off), of all test folds"
    t = run.predictions
    off = (t['expected_age'] - t['age']).abs()
    right = (t['pred'] == t['label'].astype(str)).astype(float)
    return t.assign(right=right, off=off).set_index('file')[['right', 'off']]


def compared(together, apart, subject):
    "What was measured of one recipe: a row for each part of the pictures"
    both = together.join(apart, rsuffix='_apart', how='inner')
    subject = subject.loc[both.index]
    copied, rows = subject.map(subject.value_counts()).to_numpy() > 1, []
    for part, chosen in zip(PARTS, (copied, ~copied, copied | True)):
        x = both[chosen].to_numpy(float)
        d = x[:, 2:] - x[:, :2]
        low, high = mean_interval(d, np.unique(subject[chosen], return_inverse=True)[1])
        rows.append(dict(part=part, images=len(x), together=x[:, :2].mean(0).tolist(), apart=x[:, 2:].mean(0).tolist(),
                         difference=d.mean(0).tolist(), low=low.tolist(), high=high.tolist()))
    return rows


def tables(done, out):
    "Write OUT.md and OUT.json"
    cells = []
    for called, one in done['recipes'].items():
        for r in one['rows']:
            def told(i, scale, digits, r=r):
                of = [f'{scale * r[k][i]:.{digits}f}' for k in ('together', 'apart')]
                return [*of, '{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]'.format(
                    *(scale * r[k][i] for k in ('difference', 'low', 'high')), d=digits)]
            cells.append([f'{called}, folds {", ".join(map(str, one["folds"]))}', f'{r["part"]} ({r["images"]:,})',
                          *told(0, 100, 1), *told(1, 1, 2)])
    table = lines(['recipe', 'pictures', 'accuracy %, together', 'apart', 'difference', 'MAE years, together', 'apart',
                   'difference'], cells)
    about = ('UTKFace, part 1, eight groups. *Together*: pictures that are the same are one subject, in one fold (the '
             'default). *Apart*: each is a subject of its own, and copies are in the next fold. Differences: apart − '
             'together on the same pictures, with the 95 % interval by resampling groups of like pictures; one '
             'training each way')
    text = f'`{done["command"]}`\n\n{about}.\n\n{table}\n\n{done["machine"]}\n'
    write_atomic(out.with_suffix('.md'), text)
    write_atomic(out.with_suffix('.json'), json.dumps(done | dict(about=about), indent=1) + '\n')
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default=ROOT.parent / 'shared' / 'utkface', help='the pictures, or the tars of them')
    parser.add_argument('--keep', help='a folder for pictures and runs, to be gone on with')
    parser.add_argument('--only', default=','.join(RECIPES), help='recipes')
    parser.add_argument('--folds', help='only these')
    parser.add_argument('--set', nargs='*', default=[], help='for a try: fields of the recipes')
    parser.add_argument('--table', action='store_true', help='only make the table of what is there')
    parser.add_argument('--out', default=ROOT / 'benchmarks/same_pictures', help='.json and .md')
    args = parser.parse_args()
    out = Path(args.out)
    done = dict(command='python benchmarks/same_pictures.py', recipes={})
    if out.with_suffix('.json').is_file(): done |= read_json(out.with_suffix('.json'))
    if args.table: return tables(done, out)
    if unknown := [name for name in args.only.split(',') if name not in RECIPES]:
        sys.exit(f'there is no {", ".join(unknown)}; there are {", ".join(RECIPES)}')
    warnings.simplefilter('ignore')
    tried = {k: json.loads(v) for k, v in (text.split('=') for text in args.set)}
    folds = args.folds and [int(k) for k in args.folds.split(',')]
    with tempfile.TemporaryDirectory() as tmp:
        keep, show = Path(args.keep or tmp).resolve(), Progress(every=60)
        keep.mkdir(parents=True, exist_ok=True)
        path = pictures(args.data, keep, ['crop_part1.tar'])
        together = read_data(path, 'utkface').items
        subject = together.set_index('file')['subject']
        ways = dict(together=together, apart=moved_apart(together))
        for name in args.only.split(','):
            changes = RECIPES[name] | ({} if name.startswith('linear_probe') else tried) | {
                k: v for k, v in tried.items() if k == 'size'}
            recipe = change_recipe(name, changes)
            runs = {way: cross_validate(items, path, recipe, keep / f'same_{way}_{name}', folds, progress=show,
                                        precision='float32') for way, items in ways.items()}
            answers = {way: right_and_off(run) for way, run in runs.items()}
            done['recipes'][recipe.name] = dict(folds=runs['apart'].folds, rows=compared(**answers, subject=subject))
            done['machine'] = machine()
            tables(done, out)


if __name__ == '__main__': main()
