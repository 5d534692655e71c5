"A study, an ensemble and prediction sets, from the command line"
import io
import json

import pandas as pd
import pytest
from conftest import agecls

SMALL = ['--size', '32', '--bs', '16', '--device', 'cpu', '--no-pretrained', '--epochs', '1']
# what the options change is in all names, then what varies
NAMES = [f'{name},pretrained=false,size=32,bs=16,epochs=1,arch=test_resnet'
         for name in ('finetune_resnet34', 'emd_resnet34')]


@pytest.fixture(scope='module')
def done(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp('study') / 'study'
    command = ['study', drawn, '--recipes', 'finetune_resnet34,emd_resnet34', '--vary', 'arch=test_resnet',
               '--out', out, '--folds', '0', '1', *SMALL]
    return command, out, agecls(*command)


def test_study(done):
    command, out, first = done
    assert first.returncode == 0, first.stderr
    assert f'differences from {NAMES[0]}' in first.stdout
    assert 'The best that anybody could reach on these drawn faces' in first.stdout
    assert 'accuracy: difference' in first.stdout and ',arch=test_resnet' in first.stdout    # no name is cut
    told = agecls('compare', out)
    assert first.stdout.startswith(told.stdout), told.stdout + told.stderr
    table = pd.read_csv(io.StringIO(agecls('compare', out, '--csv', '--table', 'scores', check=0).stdout))
    assert table['run'].tolist() == NAMES
    runs = sorted(p.parent.name for p in out.glob('*/run.json'))
    assert runs == sorted(NAMES)
    times = {p: p.stat().st_mtime_ns for p in out.rglob('done.json')}
    again = agecls(*command, '--json')
    assert again.returncode == 0 and {p: p.stat().st_mtime_ns for p in out.rglob('done.json')} == times
    found = json.loads(again.stdout)
    assert [row['run'] for row in found['table']] == NAMES
    assert found['table'][1]['accuracy_p_holm'] <= 1


def test_other_recipe_in_the_same_folder(done):
    command, out, _ = done
    other = agecls(*command, '--seed', '1')
    assert other.returncode == 2 and 'holds another run' in other.stderr and len(other.stderr.splitlines()[-1:]) == 1


def test_compare_ensemble_calibrate(done, tmp_path):
    _, out, _ = done
    runs = sorted(p.parent for p in out.glob('*/run.json'))
    made = agecls('ensemble', *runs, '--out', tmp_path / 'both')
    assert made.returncode == 0 and 'ensemble' in made.stdout, made.stderr
    by = agecls('compare', *runs, tmp_path / 'both', '--baseline', runs[0], '--by-subject')
    assert by.returncode == 0 and by.stdout.count(f'− {runs[0].name}, accuracy') == 2, by.stdout + by.stderr
    wrong = agecls('compare', *runs, '--baseline', tmp_path / 'both')
    assert wrong.returncode == 2 and '--baseline must be one of the runs' in wrong.stderr
    sets = agecls('calibrate', tmp_path / 'both', '--level', '0.8', '--out', tmp_path / 'sets.csv')
    assert sets.returncode == 0 and 'expected calibration error, %' in sets.stdout, sets.stderr
    table = pd.read_csv(tmp_path / 'sets.csv')
    predictions = pd.concat(pd.read_csv(tmp_path / f'both/fold_{k}/predictions.csv') for k in (0, 1))
    assert table['file'].tolist() == predictions['file'].tolist() and table['size'].between(1, 8).all()
    for name, why in (('sets.xlsx', 'ends in .csv'), ('none/sets.csv', 'there is no folder')):
        bad = agecls('calibrate', tmp_path / 'both', '--out', tmp_path / name)
        assert bad.returncode == 2 and why in bad.stderr and not (tmp_path / name).exists()
    for level in ('0', '1', '90'):
        bad = agecls('calibrate', tmp_path / 'both', '--level', level)
        assert bad.returncode == 2 and 'level must be above 0 and below 1' in bad.stderr
