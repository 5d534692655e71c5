"""What does int8 cost a network? On real faces, for four networks

    python benchmarks/int8.py [--data FOLDER] [--keep KEEP] [--only NAME,NAME]
    python benchmarks/int8.py --table

Each network is trained on UTKFace's part 1 without fold 0, exported to ONNX, and made int8 by the same function as
`agecls export --int8` uses: 128 training pictures give the ranges. Both networks then answer the pictures of fold 0.
EfficientNet-Lite0 starts from ImageNet weights, the others from random ones. All trainings are short, so compare the
two ways of one network, not the networks. A run in KEEP is resumed. Results lie in benchmarks/int8.json.
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
from agecls_fastai.data.folds import split_items
from agecls_fastai.predict.answers import answer, load_onnx
from agecls_fastai.predict.export import export_model, quantise
from agecls_fastai.predict.predictor import answer_table
from agecls_fastai.recipes import change_recipe
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.training.hub import load_bundle

RANDOM = dict(pretrained=False, schedule='one_cycle', base_lr=1e-3, bs=32, size=64, epochs=4)
NETWORKS = {  # name → recipe, what is changed in it
    'tf_efficientnet_lite0': ('finetune_lite0', dict(epochs=4, size=96)),
    'resnet18': ('finetune_resnet34', dict(RANDOM, arch='resnet18')),
    'resnet34': ('finetune_resnet34', dict(RANDOM, epochs=2)),
    'levi_hassner': ('levi_hassner_onecycle', dict(epochs=4, size=64, resize=73))}
SCORES = {'accuracy, %': (100, 1), 'one-off, %': (100, 1), 'MAE, years': (1, 2)}


def scored(file, items, path):
    "Right, right or a neighbour, years off: a row for each picture"
    labels = list(items['label'].cat.categories)
    table = answer_table(answer([path / f for f in items['file']], [load_onnx(file)]), labels)
    off = np.abs(table['group'].map(labels.index).to_numpy() - items['label'].cat.codes.to_numpy())
    years = np.abs(table['expected_age'].to_numpy(float) - items['age'].to_numpy())
    return np.column_stack([off == 0, off <= 1, years]).astype(float), table['group'].to_numpy()


def measured(run, items, path, keep):
    "What int8 costs the network of fold 0"
    bundle = load_bundle(run.path / 'fold_0/model')
    here = items[split_items(items, 0, run.info['protocol'], run.info['seed']) != 'valid']
    test = here[here['fold'] == 0]
    plain = export_model(bundle, keep / f'{run.path.name}.onnx')
    found = quantise(plain, keep / f'{run.path.name}_int8.onnx', here, path, bundle.info['seen'], force=True)
    (x, groups), (y, other) = (scored(file, test, path) for file in (plain, found.path))
    low, high = mean_interval(y - x, np.unique(test['subject'], return_inverse=True)[1])
    return dict(images=len(test), size=bundle.recipe.size, epochs=bundle.recipe.epochs, bytes=found.bytes,
                same=float((groups == other).mean()), float32=x.mean(0).tolist(), int8=y.mean(0).tolist(),
                difference=(y - x).mean(0).tolist(), low=low.tolist(), high=high.tolist())


def tables(done, out):
    "Write OUT.md and OUT.json"
    def told(r, i, scale, digits):
        return ' '.join([f'{scale * r["float32"][i]:.{digits}f} → {scale * r["int8"][i]:.{digits}f}:',
                         '{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]'.format(
                             *(scale * r[k][i] for k in ('difference', 'low', 'high')), d=digits)])
    rows = [[name, f'{r["size"]} px', *(told(r, i, *how) for i, how in enumerate(SCORES.values())),
             f'{100 * r["same"]:.1f}', ' → '.join(f'{b / 2**20:.1f}' for b in r['bytes'])]
            for name, r in done['networks'].items()]
    table = lines(['network', 'sees', *SCORES, 'same group, %', 'file, MiB'], rows)
    images = next(iter(done['networks'].values()))['images']
    about = (f'UTKFace, part 1, eight groups; {images:,} pictures of fold 0, which no network was trained with. Each '
             'cell: float32 → int8, and the difference on the same pictures with its 95 % interval by resampling '
             'groups of like pictures. Training was short, and three of the networks began with random weights: '
             'compare the two ways of one network, not the networks')
    write_atomic(out.with_suffix('.md'), f'`{done["command"]}`\n\n{about}.\n\n{table}\n\n{done["machine"]}\n')
    write_atomic(out.with_suffix('.json'), json.dumps(done | dict(about=about), indent=1) + '\n')
    print(out.with_suffix('.md').read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default=ROOT.parent / 'shared' / 'utkface', help='the pictures, or the tars of them')
    parser.add_argument('--keep', help='a folder for pictures and runs; what is in it is not done again')
    parser.add_argument('--only', default=','.join(NETWORKS), help='networks')
    parser.add_argument('--set', nargs='*', default=[], help='for a try: fields of the recipes')
    parser.add_argument('--table', action='store_true', help='only make the table of what is there')
    parser.add_argument('--out', default=ROOT / 'benchmarks/int8', help='.json and .md')
    args = parser.parse_args()
    out = Path(args.out)
    def so_far():
        found = dict(command='python benchmarks/int8.py', networks={})
        return found | read_json(out.with_suffix('.json')) if out.with_suffix('.json').is_file() else found
    if args.table: return tables(so_far(), out)
    if unknown := [name for name in args.only.split(',') if name not in NETWORKS]:
        sys.exit(f'there is no {", ".join(unknown)}; there are {", ".join(NETWORKS)}')
    warnings.simplefilter('ignore')
    tried = {k: json.loads(v) for k, v in (text.split('=') for text in args.set)}
    with tempfile.TemporaryDirectory() as tmp:
        keep = Path(args.keep or tmp).resolve()
        keep.mkdir(parents=True, exist_ok=True)
        path = pictures(args.data, keep, ['crop_part1.tar'])
        items = read_data(path, 'utkface').items
        for name in args.only.split(','):
            recipe, changes = NETWORKS[name]
            run = cross_validate(items, path, change_recipe(recipe, changes | tried), keep / f'int8_{name}', [0],
                                 progress=Progress(every=60), keep_models=True)
            found = measured(run, items, path, keep)
            done = so_far()                                              # another process may have written since
            done['networks'] = {n: found if n == name else done['networks'][n] for n in NETWORKS
                                if n == name or n in done['networks']}
            tables(done | dict(machine=machine()), out)


if __name__ == '__main__': main()
