"""What does it cost to score, to check the fold files, to import, to pack much, and how does cost grow with the data?

    python benchmarks/costs.py [--folds DIR] [--images 19370] [--runs 5] [--out benchmarks/costs]
"""
import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from measure import machine, seconds, take_turns, write
from sklearn.metrics import accuracy_score, cohen_kappa_score

from agecls_fastai.data.adience import AGE_GROUPS, audit, read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.loaders import age_dls
from agecls_fastai.results.compare import compare
from agecls_fastai.runs.folder import write_evaluation

PACK = '''
import json, sys, time
from agecls_fastai.data.adience import read_adience
from agecls_fastai.loading.pack import build_pack
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
    parts = [items]
    for k in range(1, times):
        for file in items['file']:
            link = path / f'copy_{k}' / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path / file)
        parts.append(items.assign(file=f'copy_{k}/' + items['file']))
    return pd.concat(parts, ignore_index=True)


def by_a_loop(run, n):
    "Resampling subjects as one would write it, with pandas and scikit-learn: a loop"
    rng, table = np.random.default_rng(0), run.predictions
    groups = [table.index.to_numpy()[rows] for rows in table.groupby('subject').indices.values()]
    label, pred = table['label'].cat.codes.to_numpy(), table['pred'].cat.codes.to_numpy()
    for _ in range(n):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        accuracy_score(label[rows], pred[rows])
        np.mean(np.abs(label[rows] - pred[rows]) <= 1)
        np.mean(np.abs(label[rows] - pred[rows]))
        cohen_kappa_score(label[rows], pred[rows], weights='quadratic')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folds', help="Adience's fold files, to time reading and checking")
    parser.add_argument('--images', type=int, default=19_370, help='packed at most')
    parser.add_argument('--predictions', type=int, default=17_321)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--out', default='benchmarks/costs', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    rng, rows = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        what = f'scores of {args.predictions:,} predictions and intervals by 10,000 resamples'
        runs = [fake_run(tmp / f'run_{times}', args.predictions * times // 4, rng) for times in (1, 4, 16)]
        few = 5                                                          # a loop takes minutes for all of them
        rows |= take_turns({(what, f'a loop over resamples, scikit-learn ({few} × {10_000 // few:,})'):
                            lambda: 10_000 / few * seconds(by_a_loop, runs[1], few),
                            (what, 'compare'): lambda: seconds(compare, [runs[1]])}, args.runs)
        rows |= take_turns({('scores, intervals as data grows, µs a picture', f'{len(run.predictions):,} pictures'):
                            lambda run=run: 1e6 * seconds(compare, [run]) / len(run.predictions) for run in runs},
                           args.runs)
        if args.folds:
            files = sorted(Path(args.folds).glob('*.txt'))
            def plain(): return pd.concat([pd.read_csv(f, sep='\t') for f in files])
            rows |= take_turns({("Adience's fold files", 'pandas.read_csv, unchecked'): lambda: seconds(plain),
                                ("Adience's fold files", 'read and checked'): lambda: seconds(read_adience, args.folds),
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
        table, tables = copied(read_adience(path), path, 16), {}
        for times in (1, 4, 16):
            table.head(len(table) * times // 16)['file'].to_csv(tmp / f'{times}.csv', index=False)
            tables[times] = table.head(len(table) * times // 16)
        memory = {times: [] for times in tables}
        def packing(times):
            shutil.rmtree(tmp / f'pack_{times}', ignore_errors=True)
            done = subprocess.run([sys.executable, '-c', PACK, tmp / f'{times}.csv', path, tmp / f'pack_{times}'],
                                  check=True, capture_output=True, text=True)
            took, gib = json.loads(done.stdout)
            memory[times].append(gib)
            return 1e3 * took / len(tables[times])
        rows |= take_turns({('packing as data grows, ms a picture', f'{len(x):,} pictures'):
                            lambda times=times: packing(times) for times, x in tables.items()}, args.runs)
        for times, x in tables.items(): rows['memory while packing, GiB', f'{len(x):,} pictures'] = memory[times]
        epochs = {}
        for times, x in tables.items():
            dls = age_dls(x, path, 0, bs=64, protocol='fixed', pack=tmp / f'pack_{times}')
            epochs['an epoch of the loader as data grows, ms a picture', f'{dls.train.n:,} pictures'] = (
                lambda dls=dls: 1e3 * seconds(lambda: sum(len(y) for _, y in dls.train)) / dls.train.n)
        rows |= take_turns(epochs, args.runs)
    write(args.out, f'Seconds, where nothing else is said; the ratio is to the first of its kind; {machine(args.runs)}',
          rows, 'figure')


if __name__ == '__main__': main()
