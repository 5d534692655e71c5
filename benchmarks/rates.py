"""Which rates, epochs, size, loss, views, averaging and balance fine-tune best on real faces? By inner validation alone

    python benchmarks/rates.py [--data FOLDER] [--keep KEEP] [--only 'NAME;NAME'] [--jobs 2]
    python benchmarks/rates.py --table

UTKFace's part 1 with the folds of real_faces.py. Fold 0 is left out altogether: of the other pictures 4,000 train and
3,000 others score, no like pictures on both sides. Each trial changes little of one that stands before it. The study
goes on where it stopped: what is done lies in benchmarks/rates/, in figures alone (no name, no picture), and `--table`
makes the table of it without pictures. The choice is then made for all folds, whose pictures, but for those of fold 0,
it has seen in part; the scores of real_faces.py are those of networks trained anew.
"""
import argparse
import json
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path

import figures
import numpy as np
import pandas as pd
import torch
from measure import machine
from real_faces import ROOT, grouped, in_drawn_order, pictures
from real_faces_tables import lines, numbered

from agecls_fastai.core.files import write_atomic
from agecls_fastai.core.progress import Progress
from agecls_fastai.loading.augment import view_preds
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.recipes import LOSS_NAMES, Recipe, change_recipe, resize_for
from agecls_fastai.runs.processes import side_by_side
from agecls_fastai.scores.statistics import N_RESAMPLES, interval, times_drawn
from agecls_fastai.training.losses import LOSSES

TRAIN, SCORE = 4_000, 3_000
SCORES = ('accuracy', 'one_off_accuracy', 'mae', 'cs5', 'nll')
SMALL = Recipe('plain', arch='tf_efficientnet_lite0', size=64, bs=32, epochs=4, base_lr=4e-3, lr_mult=2, views='flip')
# name → what it changes, and of which trial; in the order of work
TRIALS = {
    'plain': (None, {}),
    'lr_mult=100': ('plain', dict(lr_mult=100)),
    'lr_mult=10': ('plain', dict(lr_mult=10)),
    'base_lr=0.002': ('plain', dict(base_lr=2e-3)),
    'base_lr=0.008': ('plain', dict(base_lr=8e-3)),
    'base_lr=0.016': ('plain', dict(base_lr=16e-3)),
    'dldl': ('plain', dict(loss='dldl')),
    'dldl, averaged': ('dldl', dict(average=0.99)),
    'dldl, sigma=0.5': ('dldl', dict(loss_args=dict(sigma=0.5))),
    'center': ('plain', dict(views='center')),
    'smoothing': ('plain', dict(label_smoothing=0.1)),
    'sord': ('plain', dict(loss='sord')),
    'lr_mult=1': ('plain', dict(lr_mult=1)),
    'lr_mult=4': ('plain', dict(lr_mult=4)),
    'balance': ('plain', dict(balance='class')),
    'mixup': ('plain', dict(mix='mixup')),
    'bs=64': ('plain', dict(bs=64)),
    'epochs=8': ('plain', dict(epochs=8)),
    'dldl, averaged, epochs=8': ('dldl, averaged', dict(epochs=8, average=0.995)),
    'size=96': ('plain', dict(size=96)),
    'size=96, growing': ('size=96', dict(start_size=64)),
    'size=128': ('plain', dict(size=128)),
    'probe': ('plain', dict(schedule='probe', epochs=None, frozen=True, train_bn=False, augment='none', size=128)),
    'probe, stages': ('probe', dict(features='stages')),
    'probe, stages, size=192': ('probe, stages', dict(size=192)),
    'lite1': ('plain', dict(arch='tf_efficientnet_lite1')),
    'lite1, lr_mult=10': ('lite1', dict(lr_mult=10)),
    'lite1, base_lr=0.002': ('lite1', dict(base_lr=2e-3)),
    'lite1, base_lr=0.008': ('lite1', dict(base_lr=8e-3)),
    # were the other losses compared at a rate that suits cross-entropy alone?
    **{loss: ('plain', dict(loss=loss)) for loss in LOSS_NAMES if loss not in ('cross_entropy', 'sord', 'dldl')},
    **{f'{loss}, base_lr=0.002': (loss, dict(base_lr=2e-3))
       for loss in ('or_cnn', 'corn', 'sord', 'emd', 'dldl', 'mean_variance')},
    'regression, base_lr=0.001': ('regression', dict(base_lr=1e-3)),
    'unimodal_concentrated, base_lr=0.002': ('unimodal_concentrated', dict(base_lr=2e-3)),
    **{f'{loss}, base_lr={rate}': (loss, dict(base_lr=rate)) for rate in (8e-3, 16e-3)
       for loss in ('coral', 'regression', 'binomial')},
    'coral, base_lr=0.032': ('coral', dict(base_lr=32e-3)),
    'unimodal_concentrated, base_lr=0.008': ('unimodal_concentrated', dict(base_lr=8e-3)),
    **{f'unimodal_concentrated, lam={lam}': ('unimodal_concentrated', dict(loss_args=dict(lam=lam)))
       for lam in (10, 100)},
    # the recipes are for 128 pixels and nine epochs: is there more to gain?
    'size=192': ('size=128', dict(size=192)),
    'size=160': ('size=128', dict(size=160)),
    'size=128, epochs=8': ('size=128', dict(epochs=8)),
    # does an ordinal loss help when it trains as long as the recipes do?
    'size=128, epochs=8, or_cnn': ('size=128, epochs=8', dict(loss='or_cnn', loss_args=dict(rule='mode'))),
}


def recipe_of(name):
    "The whole recipe of a trial"
    after, changes = TRIALS[name]
    if after is None: return SMALL
    plain = Recipe.defaults() if changes.get('schedule') == 'probe' else {}
    return change_recipe(recipe_of(after), {k: plain[k] for k in ('base_lr', 'lr_mult', 'freeze_epochs') if k in plain}
                         | changes | dict(name=name))


def inner_items(items):
    "The table of pictures that train (fold 1) and that score (fold 0)"
    items = in_drawn_order(items[items['fold'] != 0])
    train, score = items.iloc[:TRAIN], items.iloc[-SCORE:]
    return pd.concat([train.assign(fold=1), score[~score['subject'].isin(train['subject'])].assign(fold=0)],
                     ignore_index=True)


def file_of(folder, name): return folder / f'{name.replace(", ", "_").replace("=", "_")}.npz'


def trial(call, name):
    "Train one, and keep what it answers"
    from fastai.torch_core import set_seed

    import agecls_fastai.training.fit  # noqa: F401  in this process, recipes get their methods
    warnings.simplefilter('ignore')                                      # of the process that this is
    recipe, items, start = recipe_of(name), call['items'], time.monotonic()
    set_seed(0, reproducible=True)
    pack = call['keep'] / f'pack_{resize_for(recipe.size, recipe.resize)}'
    # a probe chooses its decay by some of the pictures that train
    protocol = 'strict' if recipe.schedule == 'probe' else 'fixed'
    dls = recipe.dls(items, call['path'], 0, protocol=protocol, pack=pack, num_workers=0)
    learn = recipe.learner(dls)
    train, score = items[items['fold'] == 1], items[items['fold'] == 0]
    with learn.no_bar(), learn.no_logging():
        recipe.fit(learn)
        seconds = time.monotonic() - start
        p = view_preds(learn, score, recipe.views)
    p = p.numpy()
    years = p @ figures.mean_ages(train['age'], train['label'].cat.codes, score['label'].cat.categories)
    true = score['label'].cat.codes.to_numpy(np.uint8)
    figures.write_figures(file_of(call['out'], name), logp=np.log(np.clip(p, 1e-9, 1)).astype(np.float16),
                          years=years.astype(np.float32), true=true, age=score['age'].to_numpy(np.uint8),
                          subject=pd.factorize(score['subject'])[0],
                          facts=np.array(json.dumps(dict(recipe=asdict(recipe), seconds=seconds, machine=machine()))))
    print(f'{name}: accuracy {scores(file_of(call["out"], name))[0][:, 0].mean():.3f}', flush=True)


def scores(file):
    "(n, 5): of each picture right, one-off, years off, within 5, log-loss; its subject; and the facts"
    with np.load(file) as f: kept = dict(f)
    p = np.exp(kept['logp'].astype(float))
    facts = json.loads(str(kept['facts']))
    recipe = facts['recipe']
    loss = LOSSES[recipe['loss']](p.shape[1], rule=recipe['loss_args'].get('rule'))     # the loss's own rule if None
    answer = loss.decodes(torch.from_numpy(p)).numpy()
    off = np.abs(answer - kept['true'].astype(int))
    years = np.abs(kept['years'] - kept['age'])
    nll = -np.log(p[np.arange(len(p)), kept['true']] / p.sum(1))
    found = np.column_stack([off == 0, off <= 1, years, years <= 5, nll])
    return found, kept['subject'], facts


def tables(folder, out):
    "Write OUT.md and OUT.json"
    done = {name: scores(file_of(folder, name)) for name in TRIALS if file_of(folder, name).is_file()}
    for name, (_, _, facts) in done.items():
        figures.check_recipe(file_of(folder, name), facts['recipe'], asdict(recipe_of(name)))
    if not done: sys.exit(f'there is no trial in {folder.name} yet')
    subject, rows = next(iter(done.values()))[1], []
    for name, (found, _, facts) in done.items():
        after = TRIALS[name][0]
        row = dict(trial=name, after=after, recipe=facts['recipe'], seconds=facts['seconds'], machine=facts['machine'],
                   **dict(zip(SCORES, found.mean(0).tolist())))
        if after in done:
            d = found - done[after][0]
            low, high = mean_interval(d, subject)
            row['difference'] = {name: dict(mean=float(d[:, i].mean()), low=float(low[i]), high=float(high[i]))
                                 for i, name in enumerate(SCORES)}
        rows.append(row)
    cells, machines = [], list(dict.fromkeys(r['machine'] for r in rows))
    for r in rows:
        after, changes = TRIALS[r['trial']]
        what = ', '.join(f'`{k}={v}`' for k, v in changes.items()) + (f', of *{after}*' if after else
                                                                       'a rate of 0.004, `lr_mult=2`')
        cells.append([r['trial'], what, f'{100 * r["accuracy"]:.1f}', _told(r, 'accuracy', 100, 1),
                      f'{100 * r["one_off_accuracy"]:.1f}', f'{r["mae"]:.2f}', _told(r, 'mae', 1, 2),
                      f'{100 * r["cs5"]:.1f}', f'{r["nll"]:.3f}', machines.index(r['machine']) + 1])
    table = lines(['trial', 'what it changes, of', 'accuracy %', 'difference', 'one-off %', 'MAE years', 'difference',
                   'CS@5 %', 'log-loss', 'machine'], cells)
    missing = [name for name in TRIALS if name not in done]
    about = (f'UTKFace, part 1, without fold 0: {TRAIN:,} pictures train, {len(subject):,} others score (inner '
             f'validation; fold 0 is not looked at); EfficientNet-Lite0 from ImageNet weights, {SMALL.size} pixels, '
             f'batches of {SMALL.bs}, 1 + {SMALL.epochs} epochs but where a trial says otherwise; one training each; '
             f'[95 % intervals of paired differences by resampling groups of like pictures]')
    left = f'\nNot done yet: {"; ".join(missing)}.\n' if missing else ''
    text = f'`python benchmarks/rates.py`\n\n{about}\n\n{table}\n\n{numbered(machines)}\n{left}'
    write_atomic(out.with_suffix('.md'), text)
    write_atomic(out.with_suffix('.json'), json.dumps(dict(command='python benchmarks/rates.py', about=about, rows=rows,
                                                           missing=missing), indent=1) + '\n')
    print(text)


def _told(row, score, scale, digits):
    "A difference with its interval"
    if 'difference' not in row: return ''
    mean, low, high = (f'{scale * row["difference"][score][k]:+.{digits}f}' for k in ('mean', 'low', 'high'))
    return f'{mean} [{low}, {high}]'


def mean_interval(x, subject):
    "The 95 % intervals of the means over pictures, by resampling subjects"
    sums = figures.by_subject(np.column_stack([np.ones(len(x)), x]), subject)
    drawn = times_drawn(len(sums), N_RESAMPLES, np.random.default_rng(0))
    return interval(np.concatenate([figures.means(times @ sums) for _, times in drawn]))


def main():
    def words(text): return text.split(';')
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default=ROOT.parent / 'shared' / 'utkface', help='the pictures, or the tars of them')
    parser.add_argument('--keep', help='a folder for pictures and packs')
    parser.add_argument('--only', type=words, default=list(TRIALS), help='trials, with ; between')
    parser.add_argument('--jobs', type=int, default=1, help='trials at once, each in a process of its own')
    parser.add_argument('--table', action='store_true', help='only make the table of what is there')
    parser.add_argument('--out', default=ROOT / 'benchmarks/rates', help='a folder of figures; .json and .md beside it')
    args = parser.parse_args()
    out = Path(args.out)
    if unknown := [name for name in args.only if name not in TRIALS]:
        sys.exit(f'there is no trial {", ".join(unknown)}; there are {"; ".join(TRIALS)}')
    if not args.table:
        with tempfile.TemporaryDirectory() as tmp:
            keep, say = Path(args.keep or tmp).resolve(), Progress(every=60)
            keep.mkdir(parents=True, exist_ok=True)
            path = pictures(args.data, keep, ['crop_part1.tar'])
            items, _ = grouped(path, ROOT / 'benchmarks/real_faces/items.npz', say)
            todo = [name for name in args.only if not file_of(out, name).is_file()]
            for size in sorted({resize_for(recipe_of(n).size, recipe_of(n).resize) for n in todo}):
                build_pack(items, path, keep / f'pack_{size}', size)
            call = dict(items=inner_items(items), path=path, keep=keep, out=out)
            side_by_side(partial(trial, call), todo, args.jobs)
    tables(out, out)


if __name__ == '__main__': main()
