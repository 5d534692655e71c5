"""Are two folds at once no slower than one after the other?

    python benchmarks/jobs.py [--subjects 300] [--epochs 10] [--jobs 2] [--runs 5] [--out benchmarks/jobs]

Four folds of the 2015 network out of a pack of drawn faces, by `cross_validate(jobs=…)`: one after the other with all
threads in one process, and as many at once as are asked for, with their share of the threads each. The time is that of
the whole call: with --jobs it holds the start of the processes, which load PyTorch, some seconds that a longer training
would not notice. The predictions of all runs with the same number of threads are compared byte for byte.
"""
import argparse
import os
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from measure import machine, seconds, take_turns, write

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.crossval import cross_validate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--subjects', type=int, default=300)
    parser.add_argument('--size', type=int, default=80, help='pixels that the network sees')
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--out', default='benchmarks/jobs', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        path = draw_adience(tmp / 'faces', n_subjects=args.subjects, size=args.size + 16)
        items, written = read_adience(path), {}
        pack = build_pack(items, path, tmp / 'pack', args.size + 16)
        recipe = replace(RECIPES['levi_hassner_onecycle'], size=args.size, resize=args.size + 16, epochs=args.epochs)

        def run(jobs):
            out = tmp / f'run_{time.monotonic_ns()}'
            cross_validate(items, path, recipe, out, [0, 1, 2, 3], pack=pack, jobs=jobs, progress=False)
            files = sorted(out.glob('fold_*/predictions.csv'))
            written.setdefault(jobs, set()).add(tuple(file.read_bytes() for file in files))

        what = 'four folds'
        rows = take_turns({(what, 'one after the other'): lambda: seconds(run, 1),
                           (what, f'`--jobs {args.jobs}`'): lambda: seconds(run, args.jobs)}, args.runs)
        same = all(len(x) == 1 for x in written.values())
    one, many = (statistics.median(figures) for figures in rows.values())
    write(args.out, f'{len(items)} drawn pictures, {args.size} pixels, {args.epochs} epochs; one after the other with '
          f'{torch.get_num_threads()} threads, else with {max(1, torch.get_num_threads() // args.jobs)} in each of '
          f'{args.jobs} processes; {machine(args.runs)}', rows, 'seconds', invert=True, notes=[
              f'The time at once is {many / one:.2f} of the time one after the other. All runs of a kind gave '
              f'{"the same predictions, byte for byte" if same else "DIFFERENT predictions"}.'])


if __name__ == '__main__': main()
