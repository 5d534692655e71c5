"""What the benchmark on real faces keeps in the repository, figures alone, and the scores that are made of them

No name of a picture and no pixel is kept, and nothing here needs the pictures: labels, ages and the number of the
subject of each, in the order of the sorted names, and each contender's answers in the same order.
"""
import hashlib
import json

import numpy as np
import pandas as pd
import torch

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.core.files import write_atomic
from agecls_fastai.data.ages import group_years
from agecls_fastai.recipes import Recipe
from agecls_fastai.scores.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    with_temperature,
)
from agecls_fastai.scores.statistics import N_RESAMPLES, holm, interval, p_value, times_drawn
from agecls_fastai.scores.years import said_years
from agecls_fastai.training.losses import CELoss
from agecls_fastai.training.ordinal import RULES

SEXES = ['m', 'f']
NONE = 255  # of answers: none yet
COLUMNS = ['label', 'age', 'gender', 'race', 'fold', 'subject']
METRICS = ['accuracy', 'one_off_accuracy', 'mae', 'cs5', 'cs5_whole', 'rmse']
SLICES = ['gender', 'race', 'label', 'decade']
BINS = 10  # of confidence, for calibration


def names_digest(items):
    "The finger-print of the names of the pictures, in their order: they themselves are not kept"
    return hashlib.sha256('\n'.join(items['file']).encode()).hexdigest()


def write_figures(file, **arrays):
    "Whole, or not at all"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, lambda f: np.savez_compressed(f, **arrays))


def keep_items(
    file,  # of figures
    items: pd.DataFrame,  # the items table, with age, gender and race
    races: list,  # in their order
    **more,  # further columns, as an array each
):
    "Write what of the items table is no name"
    write_figures(file, label=items['label'].cat.codes.to_numpy(np.uint8), age=items['age'].to_numpy(np.uint8),
                  gender=items['gender'].map(SEXES.index).to_numpy(np.uint8),
                  race=items['race'].map(list(races).index).to_numpy(np.uint8), fold=items['fold'].to_numpy(np.uint8),
                  subject=pd.factorize(items['subject'])[0].astype(np.int32), races=np.array(races),
                  labels=np.array([str(x) for x in items['label'].cat.categories]),
                  names_sha256=np.array(names_digest(items)), **more)


def read_items_figures(
    file,  # that `keep_items` wrote
) -> tuple[pd.DataFrame, dict]:  # label as code, age, gender, race, fold, subject, decade; and what else is there
    "The items table without names"
    with np.load(file) as f: found = dict(f)
    items = pd.DataFrame({name: found.pop(name) for name in COLUMNS})
    items['gender'], items['race'] = np.array(SEXES)[items['gender']], found['races'][items['race']]
    items['decade'] = np.minimum(items['age'] // 10 * 10, 90)            # the few of 100 and more with those of 90
    return items, found


def check_recipe(file, there, now):
    "An `AgeclsError` where the figures in `file` were made with another recipe than now; recipes are dicts or None"
    # what was written before a field was there has its default
    there, now = (Recipe.defaults() | json.loads(json.dumps(x or {})) for x in (there, now))
    differ = sorted(k for k in there.keys() | now if there.get(k) != now.get(k) and k not in ('name', 'about'))
    if differ:
        raise AgeclsError(f'{file.name} was made with another recipe ({", ".join(differ)}); remove it to begin anew')


class Kept:
    "The answers of a contender, fold by fold: a class, and probabilities, or years alone, for each picture"
    def __init__(self, file, n):
        self.file, self.facts = file, dict(recipe=None, folds={})
        self.answers, self.years, self.logp = np.full(n, NONE, np.uint8), np.full(n, np.nan, np.float32), None
        if not file.is_file(): return
        with np.load(file) as f:
            self.facts = json.loads(str(f['facts']))
            self.facts['folds'] = {int(k): x for k, x in self.facts['folds'].items()}
            self.answers, self.years, self.logp = f['answers'], f['years'], f['logp'] if 'logp' in f else None
        if len(self.answers) != n:
            raise AgeclsError(f'{file} has answers to {len(self.answers):,} pictures, not to {n:,}; remove it')

    @property
    def folds(self): return sorted(self.facts['folds'])

    def check(self, recipe):
        "An `AgeclsError` where it was made with another recipe: its folds would be of two kinds"
        if not self.folds: return
        check_recipe(self.file, self.facts['recipe'], recipe)

    def add(
        self,
        fold: int,
        rows,  # (m,) numbers of the pictures
        answers,  # (m,) class indices
        years,  # (m,) the expected ages
        probabilities=None,  # (m, classes); None: not kept
        recipe: dict | None = None,
        **facts,  # for JSON
    ):
        "Write down a fold"
        self.answers[rows], self.years[rows] = answers, years
        if probabilities is not None:
            if self.logp is None: self.logp = np.full((len(self.answers), probabilities.shape[1]), np.nan, np.float16)
            # logarithms: in 16 bits a probability near 0 would be lost
            self.logp[rows] = np.log(np.clip(probabilities, 1e-12, 1))
        self.facts['recipe'], self.facts['folds'][int(fold)] = recipe, facts
        arrays = dict(answers=self.answers, years=self.years, facts=np.array(json.dumps(self.facts)))
        write_figures(self.file, **arrays, **(dict(logp=self.logp) if self.logp is not None else {}))

    def probabilities(self):
        "(n, classes), nan where there is no answer yet"
        p = np.exp(self.logp.astype(float))
        return p / p.sum(1, keepdims=True)


def together(
    parts: list,  # of `Kept`, with probabilities
    fold,  # (n,) the fold of each picture
) -> Kept:  # in no file
    "An ensemble: the means of the probabilities and of the years, on the folds that all parts have"
    found = Kept(parts[0].file.with_name('together'), len(parts[0].answers))
    folds = sorted(set.intersection(*(set(k.folds) for k in parts)))
    rows, p = np.isin(fold, folds), np.mean([k.probabilities() for k in parts], 0)
    found.facts['folds'], found.logp = {k: {} for k in folds}, np.full(p.shape, np.nan)
    found.answers[rows], found.logp[rows] = p[rows].argmax(1), np.log(p[rows])
    found.years[rows] = np.mean([k.years for k in parts], 0)[rows]
    return found


def by_rule(
    kept: Kept,  # with probabilities
    rule: str,  # of `RULES`
) -> Kept:  # in no file
    "The same probabilities, answered by another rule"
    found = Kept(kept.file.with_name('by_rule'), len(kept.answers))
    found.facts, found.years, found.logp = kept.facts, kept.years, kept.logp
    p, known = kept.probabilities(), kept.answers != NONE
    answers = CELoss(p.shape[1], rule=rule).decodes(torch.from_numpy(p[known]))
    found.answers[known] = answers.numpy()
    return found


def rule_scores(items, kept):
    "name → rule → its scores, for the contenders with probabilities: how much of a score is the rule?"
    found = {}
    for name, one in kept.items():
        if one.logp is None: continue
        for rule in RULES:
            x = per_picture(items, by_rule(one, rule))
            each = {k: means(x[items['fold'] == k].sum(0)) for k in one.folds}
            found.setdefault(name, {})[rule] = dict(zip(METRICS[:2], map(float, _over(each, one.folds)[:2])))
    return found


def mean_ages(
    ages,  # (n,) of training pictures
    codes,  # (n,) their classes
    labels,  # all classes
) -> np.ndarray:  # (classes,); of a class without a picture the first number in its name
    "The mean age of each class: an expected age is the sum of p_k times these"
    means = pd.Series(np.asarray(ages, float)).groupby(np.asarray(codes)).mean()
    return np.array([means.get(k, float(str(x).replace('+', '-').split('-')[0])) for k, x in enumerate(labels)])


def per_picture(items, kept):
    """(n, 8): what each picture adds: 1, right, at most one group off, |error|, at most 5 years off, the same where the
    answer is a whole year, error², error"""
    off = np.abs(kept.answers.astype(int) - items['label'].to_numpy())
    age = items['age'].to_numpy(float)
    error, rounded = kept.years - age, np.floor(kept.years + 0.5) - age
    x = np.stack([np.ones(len(items)), off == 0, off <= 1, np.abs(error), np.abs(error) <= 5, np.abs(rounded) <= 5,
                  error**2, error], 1)
    x[kept.answers == NONE] = 0
    return x


def year_rules(
    items: pd.DataFrame,  # from `read_items_figures`
    kept: Kept,  # with probabilities
    labels: list,
) -> dict:  # rule → mae, cs5, cs5_whole, rmse, and the share of answers whose years lie in the group that is answered
    "What it costs to say years that agree with the group: rules on the same probabilities, as prediction has them"
    years, answers = {}, kept.answers.astype(int)
    low, high = np.array([group_years(x) for x in labels], float).T
    p, true = np.exp(kept.logp.astype(float)), items['age'].to_numpy(float)
    for k in kept.folds:
        facts, rows = kept.facts['folds'][k], np.flatnonzero(items['fold'] == k)
        q = with_temperature(p[rows] / p[rows].sum(1, keepdims=True), facts['temperature'])
        ages = np.array(facts['ages'])
        for rule, said in {'the expected age': q @ ages,
                           'the expected age, within the group': said_years(q, ages, answers[rows], labels),
                           'the mean age of the group': ages[answers[rows]],
                           'the mean age of the median group': ages[(q.cumsum(1) < 0.5).sum(1)]}.items():
            years.setdefault(rule, np.full(len(items), np.nan))[rows] = said
    found = {}
    for rule, said in years.items():
        known = ~np.isnan(said)
        error, group = (said - true)[known], answers[known]
        rounded = (np.floor(said + 0.5) - true)[known]
        inside = (said[known] >= low[group] - 0.5) & (said[known] <= high[group] + 0.5)
        found[rule] = dict(mae=float(np.abs(error).mean()), cs5=float((np.abs(error) <= 5).mean()),
                           cs5_whole=float((np.abs(rounded) <= 5).mean()),
                           rmse=float((error**2).mean()**0.5), inside=float(inside.mean()))
    return found


def by_subject(x, subject):
    "Added up by subject, in the order of their numbers"
    return pd.DataFrame(x).groupby(np.asarray(subject)).sum().sort_index().to_numpy()


def means(sums):
    "(…, 8) sums → (…, 7): the means, nan where there is nothing"
    with np.errstate(divide='ignore', invalid='ignore'): return sums[..., 1:] / sums[..., :1]


def _metrics(mean):
    "(…, 7) means → `METRICS`: the last but one is a square"
    return np.concatenate([mean[..., :5], np.sqrt(mean[..., 5:6])], -1)


def fold_draws(items, kept, n_resamples=N_RESAMPLES, seed=0):
    "name → fold → (n_resamples, 7) means: subjects drawn again within a fold, the same ones for all contenders"
    found, x = {name: {} for name in kept}, {name: per_picture(items, k) for name, k in kept.items()}
    rng = np.random.default_rng(seed)
    for fold in sorted(set(items['fold'])):
        here = (items['fold'] == fold).to_numpy()
        subject = items['subject'][here]
        sums = {name: by_subject(x[name][here], subject) for name in kept if fold in kept[name].folds}
        for name in sums: found[name][fold] = np.empty((n_resamples, 7))
        for part, times in times_drawn(subject.nunique(), n_resamples, rng):
            for name, each in sums.items(): found[name][fold][part] = means(times @ each)
    return found


def _over(by_fold, folds):
    "The mean over folds"
    return np.mean([by_fold[k] for k in folds], 0)


def scored(values, draws):
    "metric → value, low and high"
    low, high = interval(draws)
    return {f'{m}{end}': float(x[i]) for i, m in enumerate(METRICS)
            for end, x in (('', values), ('_low', low), ('_high', high))}


def contender_row(items, name, kept, draws):
    "All figures of one contender, on the folds that it has"
    x, facts, folds = per_picture(items, kept), kept.facts['folds'], kept.folds
    each = {k: means(x[items['fold'] == k].sum(0)) for k in folds}
    row = dict(name=name, folds=folds, recipe=kept.facts['recipe']) | scored(_metrics(_over(each, folds)),
                                                                            _metrics(_over(draws, folds)))
    row['by_fold'] = {k: dict(zip(METRICS, map(float, _metrics(each[k])))) for k in folds}
    row['done'] = {k: {key: v for key, v in facts[k].items() if key != 'ages'} for k in folds}
    row['seconds'] = float(np.mean([facts[k].get('seconds') or 0 for k in folds]))
    speeds = [s for k in folds if (s := facts[k].get('images_per_second'))]
    row['images_per_second'] = float(np.mean(speeds)) if speeds else None
    if kept.logp is not None: row['calibration'] = calibration(items, kept)
    return row


def calibration(items, kept):
    "Before and after a temperature from the inner validation sets, in the mean over the folds; and the curve before"
    p, y, folds, rows = kept.probabilities(), items['label'].to_numpy(), kept.folds, []
    for k in folds:
        here, t = (items['fold'] == k).to_numpy(), kept.facts['folds'][k].get('temperature')
        both = [p[here], with_temperature(p[here], t) if t else p[here]]
        rows.append([f(q, y[here]) for f in (expected_calibration_error, negative_log_likelihood) for q in both])
    done = items['fold'].isin(folds).to_numpy()
    values = dict(zip(['ece', 'ece_after', 'nll', 'nll_after'], map(float, np.mean(rows, 0))))
    if not all(kept.facts['folds'][k].get('temperature') for k in folds): values |= dict(ece_after=None, nll_after=None)
    return values | dict(curve=json.loads(reliability(p[done], y[done], BINS).to_json(orient='records')))


def slices(items, kept, n_resamples=2000, seed=0):
    "name → column → value → figures of those pictures, over all folds together, with intervals by subject"
    x, found = {name: per_picture(items, k) for name, k in kept.items()}, {name: {} for name in kept}
    for folds in {tuple(k.folds) for k in kept.values()}:
        names, done = [n for n, k in kept.items() if tuple(k.folds) == folds], items['fold'].isin(folds).to_numpy()
        for by in SLICES:
            rng = np.random.default_rng(seed)
            for name in names: found[name][by] = {}
            for value in sorted(set(items.loc[done, by].tolist())):
                here = done & (items[by] == value).to_numpy()
                # all contenders beside each other: the same subjects are drawn for them
                each = by_subject(np.concatenate([x[name][here] for name in names], 1), items['subject'][here])
                drawn = np.concatenate([times @ each for _, times in times_drawn(len(each), n_resamples, rng)])
                for i, name in enumerate(names):
                    mine = slice(8 * i, 8 * i + 8)
                    mean, draws = means(each[:, mine].sum(0)), means(drawn[:, mine])
                    low, high = interval(draws[:, 6])
                    found[name][by][str(value)] = dict(
                        pictures=int(here.sum()), bias=float(mean[6]), bias_low=float(low), bias_high=float(high),
                        **scored(_metrics(mean), _metrics(draws)))
    return found


def label_noise(
    items: pd.DataFrame,  # from `read_items_figures`; pictures of one photograph are one subject
    kept: dict,  # name → `Kept`
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict:  # of the photographs that are there more than once, each time with a label of its own
    """How far two labels of one photograph agree, and what that leaves for any network

    No answer that depends on the photograph alone is right more often than the most frequent label of each, nor has a
    smaller mean error than the median age."""
    copied = items[items.duplicated('subject', keep=False)]
    pairs = copied.reset_index().merge(copied.reset_index(), on='subject', suffixes=('', '_other'))
    pairs = pairs[pairs['index'] < pairs['index_other']]
    if not len(pairs): return dict(photographs=0, pictures=0, pairs=0)
    off = (pairs['label'].astype(int) - pairs['label_other']).abs()
    years = (pairs['age'].astype(int) - pairs['age_other']).abs()
    x = np.stack([np.ones(len(pairs)), off == 0, off <= 1, years, years <= 5, years <= 5, years**2, years], 1)
    sums, rng = by_subject(x, pairs['subject']), np.random.default_rng(seed)
    draws = np.concatenate([means(times @ sums) for _, times in times_drawn(len(sums), n_resamples, rng)])
    group, middle = copied.groupby('subject')['label'], copied.groupby('subject')['age'].transform('median')
    answered = {name: per_picture(items, k)[copied.index] for name, k in kept.items()}
    return dict(photographs=int(copied['subject'].nunique()), pictures=len(copied), pairs=len(pairs),
                labels=scored(_metrics(means(x.sum(0))), _metrics(draws)),
                best=dict(accuracy=float(group.agg(lambda g: g.value_counts().iloc[0]).sum() / len(copied)),
                          mae=float((copied['age'] - middle).abs().mean())),
                contenders={name: dict(pictures=int(y[:, 0].sum()),
                                       **dict(zip(METRICS, map(float, _metrics(means(y.sum(0)))))))
                            for name, y in answered.items() if y[:, 0].any()})


def differences(items, kept, draws, baseline, family):
    "From the baseline, on the folds that both have: differences, intervals, p-values, Holm's over the family"
    rows = []
    if baseline not in kept: return rows
    x = {name: per_picture(items, k) for name, k in kept.items()}
    def mean(name, folds): return _metrics(_over({k: means(x[name][items['fold'] == k].sum(0)) for k in folds}, folds))
    for name in kept:
        folds = sorted(set(kept[name].folds) & set(kept[baseline].folds))
        if name == baseline or name not in family or not folds: continue
        here, base = (_metrics(_over(draws[n], folds)) for n in (name, baseline))
        apart, (low, high), p = mean(name, folds) - mean(baseline, folds), interval(here - base), p_value(here - base)
        rows += [dict(run=name, minus=baseline, folds=folds, metric=m, difference=float(apart[i]), low=float(low[i]),
                      high=float(high[i]), p=float(p[i])) for i, m in enumerate(METRICS)]
    for m in METRICS:
        of = [row for row in rows if row['metric'] == m]
        for row, adjusted in zip(of, holm([row['p'] for row in of])): row['p_holm'] = float(adjusted)
    return rows


def split_scores(
    items: pd.DataFrame,  # the test rows of split 0, then those of split 1, …; `fold` is the split
    kept: Kept,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict:  # the means over splits, with intervals; and the error of each split
    "Of random splits, whose test sets overlap: a subject is drawn once for all of them"
    x, splits, n = per_picture(items, kept), kept.folds, items['subject'].max() + 1
    each = {s: np.zeros((n, x.shape[1])) for s in splits}
    for s in splits:
        here = (items['fold'] == s).to_numpy()
        np.add.at(each[s], items['subject'].to_numpy()[here], x[here])
    values = {s: means(each[s].sum(0)) for s in splits}
    rng, draws = np.random.default_rng(seed), np.zeros((n_resamples, 7))
    for part, times in times_drawn(n, n_resamples, rng):
        for s in splits: draws[part] += means(times @ each[s]) / len(splits)
    maes = [float(values[s][2]) for s in splits]
    return dict(splits=splits, mae_by_split=maes, mae_std=float(np.std(maes)), facts=kept.facts['folds'],
                recipe=kept.facts['recipe']) | scored(_metrics(_over(values, splits)), _metrics(draws))
