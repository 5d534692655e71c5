"A run of so many minutes: its length is chosen once, is written into it, and stays"
import json
import time
from dataclasses import asdict, replace

import pytest
from conftest import agecls, predictions

import agecls_fastai.runs.settle as settle
from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.folds import limit_items
from agecls_fastai.loading.pack import build_pack
from agecls_fastai.recipes import RECIPES, Recipe
from agecls_fastai.results.study import study
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.runs.format import load_run
from agecls_fastai.runs.minutes import MARGIN, Speed, fold_seconds

RECIPE = replace(RECIPES['levi_hassner_onecycle'], size=64, resize=64, bs=16, epochs=2)


@pytest.fixture(scope='module')
def items(drawn): return limit_items(read_adience(drawn), 12, 0)


@pytest.fixture
def speed(monkeypatch):
    "A machine on which a picture of 64 pixels takes 64² parts of a second; how often it was asked"
    asked = []
    def measure(recipe, *args, **kwargs):
        asked.append((recipe, kwargs))
        picture = recipe.size**2 / 64**2 / 100
        return Speed(picture, picture, picture, 0., 0., 0.)
    monkeypatch.setattr(settle, 'measure_speed', measure)
    return asked


def seconds(items, epochs):
    "What that many epochs take there, for the longest fold"
    n = items['fold'].value_counts()
    return MARGIN * epochs * (n.sum() - n.min()) / 100


def fixed(drawn, items, out, minutes, recipe=RECIPE, **kwargs):
    return cross_validate(items, drawn, recipe, out, [0], 'fixed', progress=False, minutes=minutes,
                          **kwargs)


@pytest.mark.slow
def test_is_written_and_stays(drawn, items, speed, tmp_path):
    minutes = seconds(items, 4.5) / 60
    run = fixed(drawn, items, tmp_path / 'run', minutes)
    assert (run.info['recipe']['epochs'], run.info['recipe']['size'], len(speed)) == (4, 64, 1)
    found = run.info['minutes']
    assert (found['asked'], found['epochs'], found['size'], found['measured']['thawed']) == (minutes, 4, 64, 0.01)
    assert found['seconds'] == pytest.approx(seconds(items, 4), abs=0.06)
    assert len(run.history()) == 4
    before = predictions(run.path)
    (run.path / 'fold_0/done.json').unlink()                              # gone on with: as it was chosen, not measured
    assert predictions(fixed(drawn, items, run.path, minutes).path) == before and len(speed) == 1
    plain = cross_validate(items, drawn, replace(RECIPE, epochs=4), tmp_path / 'plain', [0], 'fixed',
                           progress=False)
    assert predictions(plain.path) == before                              # measuring changes nothing else
    with pytest.raises(AgeclsError, match=r'holds another run: minutes \(.* there, 99 now\)'):
        fixed(drawn, items, run.path, 99)
    with pytest.raises(AgeclsError, match=r'holds another run: minutes \(None there, 99 now\)'):
        fixed(drawn, items, plain.path, 99)
    with pytest.raises(AgeclsError, match=r'holds another run: recipe epochs \(4 there, 2 now\)'):
        fixed(drawn, items, run.path, None)


@pytest.mark.slow
def test_two_begin_at_once(drawn, items, speed, tmp_path, monkeypatch):
    "As the tasks of an array job do: the one that measures is not overtaken, the other takes what it has chosen"
    from threading import Event, Thread
    out, minutes, measure, measuring = tmp_path / 'run', seconds(items, 3.5) / 60, settle.measure_speed, Event()
    def slow(*args, **kwargs):
        measuring.set()
        time.sleep(3)
        return measure(*args, **kwargs)
    monkeypatch.setattr(settle, 'measure_speed', slow)
    def train(fold): cross_validate(items, drawn, RECIPE, out, [fold], 'fixed', progress=False, minutes=minutes)
    other = Thread(target=train, args=(1,))
    other.start()
    assert measuring.wait(60)
    train(0)
    other.join()
    assert load_run(out).folds == [0, 1] and len(speed) == 1


def test_smaller_pictures(drawn, items, speed, tmp_path):
    "No time for three epochs: smaller, but not out of a pack, and not below what the network takes"
    minutes = seconds(items, 3 * 48**2 / 64**2 + 0.01) / 60
    run = fixed(drawn, items, tmp_path / 'run', minutes)
    assert (run.info['recipe']['epochs'], run.info['recipe']['size'], run.info['recipe']['resize']) == (3, 48, 48)
    pack = build_pack(items, drawn, tmp_path / 'pack', 64)
    with pytest.raises(AgeclsError, match='3 epochs at 64 pixels, the size of the pack'):
        fixed(drawn, items, tmp_path / 'never', minutes, pack=pack)
    with pytest.raises(AgeclsError, match=r'minutes must be [\d.]+ or more .* 3 epochs at 48 pixels take that long'):
        fixed(drawn, items, tmp_path / 'never', minutes / 9)
    assert not (tmp_path / 'never').exists()


def test_what_cannot_be(drawn, items, tmp_path):
    probe = replace(RECIPES['linear_probe_resnet34'], size=32)
    with pytest.raises(AgeclsError, match='is a probe and has no epochs to choose; leave out --minutes'):
        fixed(drawn, items, tmp_path / 'never', 1, probe)
    with pytest.raises(AgeclsError, match='minutes must be a number'): fixed(drawn, items, tmp_path / 'never', -1)
    from agecls_fastai.runs.cluster import RayEngine
    with pytest.raises(AgeclsError, match='--minutes .* does not go with a cluster'):
        fixed(drawn, items, tmp_path / 'never', 1, engine=RayEngine())
    assert not (tmp_path / 'never').exists()


@pytest.mark.slow
def test_a_study_at_equal_time(drawn, items, speed, tmp_path):
    "Half the pixels, four times the epochs, as far as the rule lets them"
    small = replace(RECIPE, name='small', size=48, resize=48, epochs=4)
    found = study(items, drawn, tmp_path / 'study', [RECIPE, small], folds=[0], protocol='fixed',
                  minutes=seconds(items, 4.5) / 60, packs=False, n_resamples=200)
    assert [run.info['recipe']['epochs'] for run in found.runs] == [4, 8]
    text = str(found)
    assert 'At equal time' in text and ', 8' in text and found.to_dict()['minutes'] == seconds(items, 4.5) / 60
    with pytest.raises(AgeclsError, match='minutes chooses the epochs; epochs cannot vary as well'):
        study(items, drawn, tmp_path / 'never', [RECIPE], dict(epochs=[1, 2]), minutes=1)
    assert not (tmp_path / 'never').exists()


@pytest.mark.slow
def test_a_job_trains_what_the_driver_has_chosen(drawn, items, monkeypatch, tmp_path):
    "Measured once, by as many processes as train; and two at once end with the same bytes as one after the other"
    def together(measure, jobs, gpus=None):
        assert jobs == 2 and measure.func.__name__ == 'measure_speed'
        return Speed(0.01, 0.01, 0.01, 0., 0., 0.)
    monkeypatch.setattr(settle, 'measure_together', together)
    minutes = seconds(items, 3.5) / 60
    run = cross_validate(items, drawn, RECIPE, tmp_path / 'run', [0, 1], 'fixed', progress=False,
                         minutes=minutes, jobs=2)
    assert (run.info['minutes']['epochs'], run.history().groupby('fold').size().tolist()) == (3, [3, 3])
    alone = cross_validate(items, drawn, replace(RECIPE, epochs=3), tmp_path / 'alone', [0, 1], 'fixed', progress=False)
    assert len(predictions(run.path)) == 2 and predictions(run.path) == predictions(alone.path)
    assert sorted(p.name for p in run.path.iterdir()) == ['fold_0', 'fold_1', 'run.json']


@pytest.mark.slow
def test_truly(drawn, tmp_path):
    "A few seconds on this machine: no assertion on how long it takes"
    out = tmp_path / 'run'
    command = ['cv', drawn, '--out', out, '--recipe', 'levi_hassner_onecycle', '--size', 40, '--bs', 16, '--limit', 12,
               '--folds', 0, '--minutes', 0.1]
    done = agecls(*command, check=0)
    info = json.loads((out / 'run.json').read_text())
    assert 3 <= info['recipe']['epochs'] <= 120 and info['recipe']['epochs'] == info['minutes']['epochs']
    assert f'for 0.1 minutes a fold: {info["recipe"]["epochs"]} epochs at' in done.stderr
    recipe, measured = Recipe.from_dict(info['recipe']), Speed(**info['minutes']['measured'])
    assert fold_seconds(recipe, measured, 1, 1, 1) < 6 and min(asdict(measured).values()) >= 0
    before = predictions(out)
    (out / 'fold_0/done.json').unlink()
    again = agecls(*command, check=0)
    assert predictions(out) == before and 'for 0.1 minutes' not in again.stderr


@pytest.mark.parametrize('options, told', [
    (['--minutes', 1, '--epochs', 2], 'agecls: --minutes chooses the epochs; leave epochs out, or --minutes'),
    (['--minutes', 1, '--set', 'iters=9'], 'agecls: --minutes chooses the epochs; leave iters out, or --minutes'),
    (['--minutes', 1, '--recipe', 'linear_probe_resnet34'],
     'agecls: linear_probe_resnet34 is a probe and has no epochs to choose; leave out --minutes (minutes=…), or this '
     'recipe'),
    (['--minutes', 0], 'agecls cv: argument --minutes: must be more than 0, not 0 (agecls cv --help tells more)')])
def test_one_line(drawn, tmp_path, options, told):
    assert agecls('cv', drawn, '--out', tmp_path / 'never', *options, check=2).stderr.splitlines()[-1] == told
    assert not (tmp_path / 'never').exists()
