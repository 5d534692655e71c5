"""What does a row cost, apart from its picture? Tables, packs and loaders of many rows.

    python benchmarks/scale.py [--rows 20000 100000] [--runs 5] [--out benchmarks/scale]

The picture files are empty, and a pack's files are as long as they should be, and hold nothing. As in Adience, a
subject has 12 pictures. Memory is what the table's columns hold, strings included.
"""
import argparse
import json
import os
import tempfile
import time
import tracemalloc
import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from measure import machine, take_turns, write

from agecls_fastai.data.folds import split_items
from agecls_fastai.data.items import check_items, composition
from agecls_fastai.data.pictures import READER
from agecls_fastai.loading.loaders import age_dls
from agecls_fastai.loading.pack import SHARD, VERSION, open_pack
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.fold import prediction_table
from agecls_fastai.runs.folder import write_fold
from agecls_fastai.runs.format import load_run

SIZE = 16  # pixels: as little as a pack takes
LABELS = ['0-2', '4-6', '8-13', '15-20', '25-32', '38-43', '48-53', '60-100']


def table(n):
    "An items table as of Adience"
    rng, subjects = np.random.default_rng(0), np.arange(n) // 12
    return pd.DataFrame(dict(
        file=[f'aligned/{s}@N00/landmark_aligned_face.{s}.{i}_0123456789_o.jpg' for i, s in enumerate(subjects)],
        subject=subjects.astype(str), label=pd.Categorical(rng.choice(LABELS, n), LABELS, ordered=True),
        fold=subjects % 5))


def empty_pack(files, path, folder):
    "Empty files, and a pack of them whose pixels are not written"
    folder.mkdir()
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).touch()
    parts = [files[i:i + SHARD] for i in range(0, len(files), SHARD)]
    for i, part in enumerate(parts):
        header = BytesIO()
        shape = (len(part), SIZE, SIZE, 3)
        np.lib.format.write_array_header_1_0(header, dict(descr='|u1', fortran_order=False, shape=shape))
        array = folder / f'shard_{i:05}.npy'
        array.write_bytes(header.getvalue())
        os.truncate(array, len(header.getvalue()) + int(np.prod(shape)))
        rows = [[file, 0, (path / file).stat().st_mtime_ns, '0' * 64] for file in part]
        (folder / f'shard_{i:05}.json').write_text(json.dumps(rows))
    (folder / 'pack.json').write_text(json.dumps(dict(
        version=VERSION, reader=READER, size=SIZE, images=len(files), method='none',
        shards=[len(part) for part in parts])))


def memory(make, *args):
    "Bytes of Python's that what is made holds"
    tracemalloc.start()
    made = make(*args)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, nargs='+', default=[20_000, 100_000])
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--out', default='benchmarks/scale', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    recipe, contenders = replace(RECIPES['levi_hassner_onecycle'], size=SIZE, resize=SIZE), {}
    with tempfile.TemporaryDirectory() as tmp:
        for n in args.rows:
            items, path, folder = table(n), Path(tmp) / f'data_{n}', Path(tmp) / f'pack_{n}'
            empty_pack(items['file'].tolist(), path, folder)
            p = np.full((n // 5, len(LABELS)), 1 / 8, np.float32)
            tested, run = items.iloc[:n // 5], Path(tmp) / f'run_{n}'
            run.mkdir()
            (run / 'run.json').write_text(json.dumps(dict(
                recipe=dict(name='none'), labels=LABELS, protocol='fixed',
                seed=0, items_digest='0' * 64, composition={
                    str(k): x.tolist() for k, x in composition(items).drop(index='all', columns='all').iterrows()})))
            pack = open_pack(folder)
            dls = age_dls(items, path, 0, pack=pack, size=SIZE, resize=SIZE, bs=64, num_workers=0)
            def cost(work, n=n):
                def timed():
                    start = time.perf_counter()
                    work()
                    return 1e6 * (time.perf_counter() - start) / n
                return timed
            def keep(run=run, tested=tested, p=p):
                write_fold(run / 'fold_0', prediction_table(tested, p), pd.DataFrame(dict(epoch=[])),
                           LABELS)
            who = f'{n:,} rows'
            contenders |= {
                ('items table, bytes a row', who): lambda items=items, n=n: items.memory_usage(deep=True).sum() / n,
                ('check_items, µs a row', who): cost(lambda items=items: check_items(items)),
                ('split_items, µs a row', who): cost(lambda items=items: split_items(items, 0, 'strict', 0)),
                ("pack's index on the disk, bytes a row", who): lambda folder=folder, n=n: sum(
                    f.stat().st_size for f in folder.glob('*.json')) / n,
                ('memory of an open pack, bytes a row', who): lambda folder=folder, n=n: memory(open_pack, folder) / n,
                ('open_pack, µs a row', who): cost(lambda folder=folder: open_pack(folder)),
                ('loaders of a fold, µs a row', who): cost(lambda items=items, path=path, pack=pack: recipe.dls(
                    items, path, 0, pack=pack)),
                ('the order of an epoch, µs a row', who): cost(lambda dls=dls: dls.train.get_idxs()),
                ('predictions written, µs a row tested', who): cost(keep, n // 5),
                ('predictions read, µs a row tested', who): cost(lambda run=run: load_run(run), n // 5)}
        # by what is measured, so that a table shows how each grows
        order = sorted(contenders, key=lambda key: [k[0] for k in contenders].index(key[0]))
        rows = take_turns({key: contenders[key] for key in order}, args.runs)
    write(args.out, f'Rows without pictures; {machine(args.runs)}', rows, 'figure')


if __name__ == '__main__': main()
