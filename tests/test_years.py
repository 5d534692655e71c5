"Ages in years, from a table of pictures to compare, report, evaluate and predict"
import json

import numpy as np
import pandas as pd
import pytest
from conftest import agecls
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.ages import YEAR_CLASSES, group_middles, group_years
from agecls_fastai.results.regroup import in_groups
from agecls_fastai.runs.format import load_run
from agecls_fastai.scores.calibration import with_temperature
from agecls_fastai.scores.years import known_ages, said_years

pytestmark = pytest.mark.slow

SMALL = ['--set', 'arch=levi_hassner', 'pretrained=false', 'size=35', 'resize=36', 'bs=32', 'schedule=one_cycle',
         'epochs=2', '--device', 'cpu', '--workers', 0]


@pytest.fixture(scope='module')
def dated(drawn, tmp_path_factory):
    "Drawn faces whose ages are known, in a table beside them; of two nobody knows it"
    items = read_adience(drawn)
    years = items['label'].astype(str).map(lambda x: group_years(x)[0]) + np.arange(len(items)) % 3
    table = items[['file', 'subject', 'label', 'gender']].assign(age=years.where(np.arange(len(items)) > 1))
    file = tmp_path_factory.mktemp('dated') / 'items.csv'
    table.to_csv(file, index=False)
    return file


@pytest.fixture(scope='module')
def all_dated(dated):
    "Without the two"
    file, kept = dated.with_name('whole.csv'), pd.read_csv(dated).dropna(subset='age')
    kept.assign(age=kept['age'].astype(int)).to_csv(file, index=False)
    return file


@pytest.fixture(scope='module')
def runs(drawn, dated, all_dated, tmp_path_factory):
    "Over groups and over single years"
    out = tmp_path_factory.mktemp('runs')
    def cv(name, *more): agecls('cv', drawn, '--out', out / name, *SMALL, *more, check=0)
    cv('groups', '--items', dated, '--n-folds', 3, '--keep-models', '--folds', 0, 1)
    whole = ['--items', all_dated, '--n-folds', 3, '--fold-seed', 1]
    cv('both', *whole)
    cv('years', *whole, '--columns', 'label=age', '--classes', 'years', '--set', 'loss=dldl', 'loss_args={"sigma": 2}')
    return out


def test_a_run_knows_years(runs, drawn, dated):
    out = runs
    run = load_run(out / 'groups')
    t, items = run.predictions, pd.read_csv(dated).set_index('file')
    t['age'] = known_ages(t)
    known = t['age'].notna()
    middles = group_middles(run.labels)                                  # of a group that nobody in training is of
    for k in run.folds:                                                  # as scikit-learn has it
        one, done = t[(t['fold'] == k) & known], run.done[k]
        told = done['metrics']
        assert np.isclose(told['mae'], mean_absolute_error(one['age'], one['expected_age']))
        assert np.isclose(told['rmse'], root_mean_squared_error(one['age'], one['expected_age']))
        assert np.isclose(told['bias'], (one['expected_age'] - one['age']).mean())
        for n in (3, 5, 10): assert np.isclose(told[f'cs{n}'], ((one['expected_age'] - one['age']).abs() <= n).mean())
        valid = pd.read_csv(out / f'groups/fold_{k}/valid.csv')
        rest = items.drop([*t.loc[t['fold'] == k, 'file'], *valid['file']])            # what trained
        means = rest.groupby('label')['age'].mean().reindex(run.labels).fillna(dict(zip(run.labels, middles)))
        assert np.allclose(done['ages'], means, atol=1e-3) and done['median_age'] == rest['age'].median()
        p = with_temperature(one[[f'p_{x}' for x in run.labels]], done['temperature'])
        said = said_years(p, done['ages'], one['pred'].cat.codes, run.labels)
        assert np.allclose(one['expected_age'], said, atol=1e-3)
    for row in t.itertuples():                                           # one statement: the years lie in the group
        low, high = group_years(row.pred)
        assert low <= row.expected_age <= high
    assert agecls('verify', out / 'groups').returncode == 0


def test_it_is_told_everywhere(runs, tmp_path):
    out = runs
    one = out / 'both'
    text = agecls('compare', one, check=0).stdout
    assert 'In years:' in text and 'median age' in text and 'CS@10 %' in text
    told = json.loads(agecls('compare', one, '--json', check=0).stdout)
    mae, = (s['mean'] for s in told['scores'] if s['metric'] == 'mae')
    assert np.isclose(mae, load_run(one).fold_scores()['mae'].mean())
    assert np.isclose(json.loads(agecls('status', one, '--json', check=0).stdout)[0]['scores']['mae'], mae)
    assert 'mean absolute error' in agecls('status', one, check=0).stdout
    agecls('report', one, '-o', tmp_path / 'r.html', check=0)
    page = (tmp_path / 'r.html').read_text('utf-8')
    for words in ('In years', 'Mean error by true age', 'predicted against true age', 'median age', f'{mae:.2f} ['):
        assert words in page, words


def test_predict_says_what_was_measured(runs, drawn):
    out = runs
    run = load_run(out / 'groups')
    row = run.predictions[run.predictions['fold'] == 0].iloc[0]          # as it was measured, so it is said
    found = json.loads(agecls('predict', out / 'groups/fold_0/model', drawn / row['file'], '--json', check=0).stdout)
    [answer] = found if isinstance(found, list) else found.get('answers', [found])
    info = json.loads((out / 'groups/fold_0/model/model.json').read_text())
    assert info['ages'] == run.done[0]['ages']
    low, high = group_years(answer['group'])
    p = np.array([answer['probabilities'][x] for x in run.labels])
    assert np.isclose(answer['expected_age'], np.clip(p @ np.array(info['ages']), low, high), atol=1e-3)
    assert answer['group'] == row['pred'] and np.isclose(answer['expected_age'], row['expected_age'], atol=0.05)


@pytest.mark.parametrize('more', [('loss=dldl',), ('loss=cross_entropy', 'years')])
def test_answers_by_the_mean_are_those_that_were_measured(drawn, all_dated, tmp_path, more):
    "Also where a temperature moves the mean of the probabilities"
    data = ['--columns', 'label=age', '--classes', 'years'] if 'years' in more else []
    agecls('cv', drawn, '--out', tmp_path / 'run', '--items', all_dated, '--n-folds', 3, '--folds', 0,
           *data, *SMALL, '--set', more[0], '--keep-models', check=0)
    run = load_run(tmp_path / 'run')
    assert run.done[0]['temperature'] > 0
    files = [str(drawn / file) for file in run.predictions['file']]
    told = agecls('predict', tmp_path / 'run', *files, '--json', check=0).stdout.splitlines()
    answers = pd.DataFrame([json.loads(line) for line in told]).set_index('file').loc[files]
    assert answers['group'].tolist() == run.predictions['pred'].astype(str).tolist()
    assert np.allclose(answers['expected_age'], run.predictions['expected_age'], atol=0.05)
    assert agecls('verify', tmp_path / 'run').returncode == 0


def test_years_as_classes(runs, tmp_path):
    out = runs
    run = load_run(out / 'years')
    assert run.labels == YEAR_CLASSES and run.info['data'].endswith('classes 0 to 100 (101 single years)')
    off = run.predictions['expected_age'] - run.predictions['pred'].astype(str).astype(int)
    assert (off.abs() <= 0.5).all()
    made = json.loads(agecls('compare', out / 'years', out / 'both', '--json', check=0).stdout)
    accuracy = {s['run']: s['mean'] for s in made['scores'] if s['metric'] == 'accuracy'}
    groups = load_run(out / 'both')
    assert len(accuracy) == 2                                            # by groups, not by single years
    told = {round(r.fold_scores()['accuracy'].mean(), 9) for r in (groups, in_groups(run, groups.labels))}
    assert {round(x, 9) for x in accuracy.values()} == told
    agecls('report', out / 'years', '-o', tmp_path / 'r.html', check=0)
    page = (tmp_path / 'r.html').read_text('utf-8')
    assert '>60-69<' in page and page.count('<tr') < 200


def test_items_without_ages_are_as_they_were(drawn, tmp_path):
    agecls('cv', drawn, '--out', tmp_path / 'run', *SMALL, '--folds', 0, check=0)
    run = load_run(tmp_path / 'run')
    assert 'expected_age' not in run.predictions and 'ages' not in run.done[0]
    assert list(run.done[0]['metrics']) == ['accuracy', 'one_off_accuracy', 'mean_group_error', 'quadratic_kappa']
    assert 'years' not in agecls('compare', tmp_path / 'run', check=0).stdout


def test_age_checks(runs, drawn, tmp_path):
    out = runs
    run = load_run(out / 'both')
    t, ages = run.predictions, known_ages(run.predictions)
    text = agecls('thresholds', out / 'both', '--limit', 18, '--limit', 21, '--challenge', 25, '--grid', '--bound', 0.1,
                  check=0).stdout
    for words in ('Limit 18, challenge age 25', 'Limit 21, challenge age 25', 'gender f', 'At most 10 % of new people'):
        assert words in text, words
    told = json.loads(agecls('thresholds', out / 'both', '--json', '--by', 'gender', check=0).stdout)
    row, = (r for r in told['scores'] if r['by'] == 'gender' and r['part'] == 'm')
    men = (t['gender'] == 'm').to_numpy()
    assert np.isclose(row['asked'], (t['expected_age'][men & (ages >= 18)] < 25).mean())
    assert np.isclose(row['false_positive_rate'], (t['expected_age'][men & (ages < 18)] >= 25).mean())
    assert 'there is no column x' in agecls('thresholds', out / 'both', '--by', 'x', check=2).stderr
    assert 'there is no run folder' in agecls('thresholds', tmp_path / 'none', check=2).stderr
    info = json.loads((out / 'groups/fold_0/model/model.json').read_text())
    assert set(info['age_checks']) == {'16', '18', '21'} and info['age_checks']['18']['0.01'][1] is None     # too few
    model, face = out / 'groups/fold_0/model', drawn / t['file'].iloc[0]
    told = json.loads(agecls('predict', model, face, '--json', '--limit', 18, '--challenge', 25, check=0).stdout)
    said = told['expected_age']
    assert told['check'] == ('over' if said >= 25 else 'under' if said < 18 else 'ask')
    assert 'too few people under 18' in agecls('predict', model, face, '--limit', 18, check=2).stderr
    few = agecls('predict', model, face, '--bound', 0.1, check=2).stderr     # without a limit it is 18
    assert 'too few people under 18 to promise a bound of 0.1' in few
    agecls('predict', model, face, '--limit', 18, '--challenge', 25, '--csv', tmp_path / 'a.csv', check=0)
    assert pd.read_csv(tmp_path / 'a.csv')['check'].tolist() == [told['check']]
    agecls('report', out / 'both', '-o', tmp_path / 'r.html', check=0)
    page = (tmp_path / 'r.html').read_text('utf-8')
    sides = [t.loc[side, 'subject'].nunique() for side in (ages < 18, ages >= 18)]
    assert ('As a check for 18' in page) == (min(sides) >= 20)


def test_people_who_are_not_known(runs, drawn, dated, tmp_path):
    "Nothing is told of people, subjects or persons where each picture is one of its own"
    data = ['--items', dated, '--n-folds', 3, '--columns', 'subject=file', '--no-group-same']
    done = agecls('cv', drawn, '--out', tmp_path / 'run', *SMALL, *data, '--keep-models', check=0)
    assert 'images of unknown people, protocol strict' in done.stderr
    run = tmp_path / 'run'
    assert json.loads((run / 'run.json').read_text())['people'] == 'not known'
    agecls('report', run, '-o', tmp_path / 'r.html', check=0)
    told = [agecls('compare', run, check=0).stdout, agecls('status', run, check=0).stdout,
            agecls('thresholds', run, check=0).stdout, agecls('calibrate', run, check=0).stdout,
            (tmp_path / 'r.html').read_text('utf-8'), (run / 'fold_0/model/MODEL_CARD.md').read_text('utf-8').split(
                '## What it must not')[0]]
    for text in told: assert 'not known' in text
    for text in (*told[:3], *told[4:]):                                  # calibrate has a column that is called so
        for word in ('subjects', 'new person', 'people that', 'resampling people'):
            assert word not in text, (word, text[max(0, text.find(word) - 80):][:200])
