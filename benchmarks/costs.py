"""What does it cost to score, to check the fold files, to import, to pack much, and how does cost grow with the data?

    python benchmarks/costs.py [--folds DIR] [--images 19370] [--runs 5] [--out benchmarks/costs]
"""
import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from measure import machine, seconds, take_turns, write

from agecls_fastai.adience import AGE_GROUPS, audit, read_adience
from agecls_fastai.crossval import write_evaluation
from agecls_fastai.data import age_dls
from agecls_fastai.pack import build_pack
from agecls_fastai.results import compare
from agecls_fastai.synthetic import draw_adience

PACK = '''
import json, sys, time
from agecls_fastai.adience import read_adience
from agecls_fastai.pack import build_pack
import pandas as pd
table, path, out = sys.argv[1:]
start = time.perf_counter()
build_pack(pd.read_csv(table), path, out, 256)
took = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(json.dumps([took, peak / 2**20]))
'''


def predictions(n, n_subjects, rng):
    "A table of random predictions, subjects as uneven as Adience's"
    labels = list(AGE_GROUPS.values())
    sizes = rng.pareto(1.2, n_subjects) + 1
    subject = rng.choice(n_subjects, n, p=sizes / sizes.sum())
    fold = rng.integers(5, size=n_subjects)[subject]
    truth = rng.integers(8, size=n)
    p = rng.dirichlet(np.ones(8), n)
    return pd.DataFrame(dict(file=np.arange(n).astype(str), subject=subject.astype(str), fold=fold,
                             label=np.array(labels)[truth], pred=np.array(labels)[p.argmax(1)])).join(
        pd.DataFrame(p, columns=[f'p_{x}' for x in labels])), labels


def fake_run(folder, n, rng):
    "A run folder of random predictions, all in one fold of it (so that resampling is over all subjects)"
    table, labels = predictions(n, n // 8, rng)
    info = dict(recipe=dict(name=folder.name), protocol='strict', items_digest=str(n), images_digest='', labels=labels,
                seed=0, data='random', benchmark=False, n_images=n, n_subjects=int(table['subject'].nunique()),
                composition={'0': table['label'].value_counts().reindex(labels).tolist(), '-1': [1] * 8},
                skipped={}, device='cpu')
    return write_evaluation(folder, info, lambda: table.drop(columns='fold'))


def copied(items, path, times):
    "The table, each picture several times, by links"
    parts = []
    for k in range(times):
        part = items[['file']].copy()
        if k:
            for file in items['file']:
                link = path / f'copy_{k}' / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.hardlink_to(path / file)
            part['file'] = f'copy_{k}/' + part['file']
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folds', help="Adience's fold files, to time reading and checking")
    parser.add_argument('--images', type=int, default=19_370, help='packed at most')
    parser.add_argument('--predictions', type=int, default=17_321)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--out', default='benchmarks/costs', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    rng, rows, notes = np.random.default_rng(0), {}, []
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        what = f'scores of {args.predictions:,} predictions and intervals by 10,000 resamples'
        runs = [fake_run(tmp / f'run_{times}', args.predictions * times // 4, rng) for times in (1, 4, 16)]
        rows |= take_turns({(what, 'compare'): lambda: seconds(compare, [runs[1]])}, args.runs)
        for run in runs:
            rows |= take_turns({('scores, intervals as data grows, µs a picture', f'{len(run.predictions):,} pictures'):
                                lambda run=run: 1e6 * seconds(compare, [run]) / len(run.predictions)}, args.runs)
        if args.folds:
            rows |= take_turns({("Adience's fold files", 'read and checked'): lambda: seconds(read_adience, args.folds),
                                ("Adience's fold files", 'audited'):
                                lambda: seconds(lambda: audit(args.folds, images=False))}, args.runs)
        def process(code): return lambda: seconds(lambda: subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                                                                         check=True, capture_output=True))
        rows |= take_turns({
            ('import', 'from fastai.vision.all import *'): process('from fastai.vision.all import *'),
            ('import', 'from agecls_fastai.all import *'): process('from agecls_fastai.all import *'),
            ('import', 'agecls --help'): process('from agecls_fastai.cli import main\ntry: main(["--help"])\nexcept '
                                                 'SystemExit: pass')}, args.runs)
        path = draw_adience(tmp / 'faces', n_subjects=max(10, min(240, args.images // 16)), size=256)
        items = read_adience(path)
        for times in (1, 4, 16):
            table, out = copied(items, path, times), []
            table.to_csv(tmp / 'table.csv', index=False)
            for run in range(max(1, args.runs // times)):
                done = subprocess.run([sys.executable, '-c', PACK, tmp / 'table.csv', path,
                                       tmp / f'pack_{times}_{run}'], check=True, capture_output=True, text=True)
                out.append(json.loads(done.stdout))
            rows['packing as data grows, ms a picture', f'{len(table):,} pictures'] = [1e3 * t / len(table)
                                                                                     for t, _ in out]
            rows['memory while packing, GiB', f'{len(table):,} pictures'] = [m for _, m in out]
            for k in range(1, times):
                for file in (path / f'copy_{k}').rglob('*.jpg'): file.unlink()
        for times in (1, 4, 16):
            n = max(20, len(items) * times // 16)
            some = items.groupby('fold', group_keys=False).head(max(4, n // 5))
            pack = build_pack(some, path, tmp / f'loaded_{times}', 256)
            dls = age_dls(some, path, 0, bs=32, protocol='fixed', pack=pack)
            rows |= take_turns({('an epoch of the loader as data grows, ms a picture', f'{dls.train.n:,} pictures'):
                                lambda dls=dls: 1e3 * seconds(lambda: sum(len(y) for _, y in dls.train)) / dls.train.n},
                               args.runs)
    write(args.out, f'Seconds, where nothing else is said; the ratio is to the first of its kind; {machine(args.runs)}',
          rows, 'figure', notes=notes)


if __name__ == '__main__': main()
