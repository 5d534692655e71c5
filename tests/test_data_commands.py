"Other people's data from the command line: items, audit, cv, evaluate"
import json
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import agecls
from faulty_server import FaultyServer, tar_gz
from PIL import Image

from agecls_fastai.data.adience import read_adience

TINY = ['--size', 40, '--epochs', 1, '--bs', 8, '--recipe', 'levi_hassner_onecycle']


@pytest.fixture(scope='module')
def album(tmp_path_factory):
    "Class folders: three pictures of each of twelve people, half of them grown up"
    path, rng = tmp_path_factory.mktemp('album') / 'album', np.random.default_rng(0)
    for i in range(36):
        group, person = ('child', 'adult')[i % 2], f'p{i % 12:02}'
        (path / group).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path / group / f'{person}_{i}.png')
    return path


FOLDER = ['--dataset', 'folder', '--classes', 'child', 'adult', '--subject', r'([^/]+)_\d+\.png', '--n-folds', 3]


def test_a_folder_of_classes(album, tmp_path):
    text = agecls('items', album, *FOLDER, '--out', tmp_path / 'items.csv', check=0).stdout
    assert '36 images of 12 subjects' in text and 'child, adult' in text
    table = pd.read_csv(tmp_path / 'items.csv')
    assert table.groupby('subject')['fold'].nunique().max() == 1 and table['fold'].nunique() == 3
    audit = agecls('audit', album, *FOLDER, '--json', check=0)
    assert json.loads(audit.stdout)['images']['pictures']['pairs'] == []
    run = agecls('cv', album, *FOLDER, *TINY, '--folds', 1, '--out', tmp_path / 'run', '--json', check=0)
    answer = json.loads(run.stdout)
    assert [s['metric'] for s in answer['scores']] == ['accuracy'] and answer['published'] == []
    by_table = ['--items', tmp_path / 'items.csv', '--classes', 'child', 'adult']
    again = agecls('cv', album, *by_table, *TINY, '--folds', 1, '--out', tmp_path / 'run', check=0)
    assert 'was done before' in again.stderr                            # the same items, read in another way


def test_a_table_of_ages(album, tmp_path):
    files = sorted(p.relative_to(album).as_posix() for p in album.rglob('*.png'))
    ages = [5 if file.startswith('child') else 40 for file in files]
    ages[3] = ''
    pd.DataFrame(dict(path=files, years=ages)).to_csv(tmp_path / 'ages.tsv', sep='\t', index=False)
    done = agecls('items', album, '--items', tmp_path / 'ages.tsv', '--columns', 'file=path', 'label=years',
                  'subject=path', '--ages', '--classes', '0-17', '18+', '--n-folds', 2, '--json', check=0)
    answer = json.loads(done.stdout)
    assert answer['images'] == 35 and answer['labels'] == ['0-17', '18+']
    notes = done.stderr.splitlines()
    assert len(notes) == 1 and notes[0].startswith('note: 1 of 36 pictures left out') and files[3] in notes[0]


@pytest.mark.slow
def test_evaluate(drawn, tmp_path):
    "A run that kept its models is evaluated on other drawn people; gender instead of age is refused"
    other = tmp_path / 'other'
    agecls('synth', other, '--subjects', 40, '--size', 40, '--seed', 1, check=0)
    run = tmp_path / 'run'
    agecls('cv', drawn, *TINY, '--folds', 0, 2, '--keep-models', '--out', run, check=0)
    files = ['MODEL_CARD.md', 'model.json', 'model.onnx', 'model.safetensors']
    assert sorted(p.name for p in (run / 'fold_2/model').iterdir()) == files
    done = agecls('evaluate', run, other, '--out', tmp_path / 'elsewhere', '--json', check=0)
    answer = json.loads(done.stdout)
    assert answer['folds'] == [0] and answer['data'].startswith('faces drawn by agecls synth')
    predictions = pd.read_csv(tmp_path / 'elsewhere/fold_0/predictions.csv')
    assert predictions['file'].tolist() == read_adience(other)['file'].tolist()
    assert 'levi_hassner_onecycle' in agecls('compare', tmp_path / 'elsewhere', check=0).stdout
    for argv, why in [((run, drawn), 'are among those that the model was trained with'),
                      ((run, other, '--target', 'gender'), 'the data has f, m'),
                      ((tmp_path / 'none', other), 'there is no model'),
                      ((run, other, '--device', 'gpu'), "device must be a name like 'cpu'")]:
        done = agecls('evaluate', *argv, check=2)
        assert why in done.stderr and 'Traceback' not in done.stderr, done.stderr
    shutil.rmtree(run / 'fold_0/model')
    (run / 'fold_2/model/model.safetensors').write_bytes(b'cut')
    assert 'the weights are not those that were saved' in agecls('evaluate', run, other, check=2).stderr


def test_gender(drawn, tmp_path):
    done = agecls('cv', drawn, '--target', 'gender', *TINY, '--folds', 1, '--out', tmp_path / 'run', check=0)
    assert 'gender labels' in done.stdout and 'one-off' not in done.stdout + done.stderr
    assert 'Published' not in done.stdout                                # drawn faces are not Adience
    history = pd.read_csv(tmp_path / 'run/fold_1/history.csv')
    assert 'accuracy' in history and 'one_off_accuracy' not in history


def test_frontal_and_pattern(drawn, tmp_path):
    done = agecls('items', drawn, '--subset', 'frontal', check=0)
    assert 'frontal faces, by yaw' in done.stdout and 'not real people' in done.stdout
    pattern = 'aligned/{user_id}/landmark_aligned_face.{face_id}.{original_image}'
    run = agecls('cv', drawn, '--source', 'frontalized', '--pattern', pattern, *TINY, '--folds', 0, '--out',
                 tmp_path / 'run', check=0)
    assert 'frontalized' in run.stdout


def test_download_command(real_folds, tmp_path):
    "The real fold files from a server of our own: login by argument and environment, a wrong one, none written down"
    files = {file.name: file.read_bytes() for file in real_folds.glob('fold_?_data.txt')}
    agecls('synth', tmp_path / 'drawn', '--subjects', 12, '--size', 16, check=0)
    pictures = {p.relative_to(tmp_path / 'drawn').as_posix(): p.read_bytes()
                for p in (tmp_path / 'drawn/aligned').rglob('*.jpg')}
    files['aligned.tar.gz'] = tar_gz(pictures)
    said = ''
    with FaultyServer(files, user='marked-user', password='marked-word') as server:
        command = ['download', tmp_path / 'adience', '--base-url', server.url, '--no-frontal']
        done = agecls(*command, '--user', 'marked-user', '--password', 'wrong-word', check=2)
        assert len(done.stderr.splitlines()) == 1 and 'login' in done.stderr, done.stderr
        said += done.stderr + agecls(*command, check=2, stdin=subprocess.DEVNULL).stderr
        env = os.environ | dict(ADIENCE_USER='marked-user', ADIENCE_PASSWORD='marked-word')
        done = agecls(*command, check=0, env=env)
        assert 'agecls audit' in done.stdout and 'aligned.tar.gz' in done.stderr
        n = len(server.requests)
        said += done.stdout + done.stderr + agecls(*command, check=0, env=env).stderr
        assert len(server.requests) == n                                # nothing is fetched twice
    written = b''.join(p.read_bytes() for p in (tmp_path / 'adience').rglob('*') if p.is_file()) + said.encode()
    assert not any(word in written for word in (b'marked-user', b'marked-word', b'wrong-word'))
    found = json.loads(agecls('audit', tmp_path / 'adience', '--no-images', '--json', check=0).stdout)
    assert found['whole'] and found['compared_with'] == 'Adience'
    assert len(list((tmp_path / 'adience/aligned').rglob('*.jpg'))) == len(pictures)


def test_pack(drawn, tmp_path):
    "The same run with any number of loader processes; a pack of another size, a missing picture"
    pack = tmp_path / 'pack'
    done = agecls('pack', drawn, '--out', pack, '--size', 45, check=0)
    assert '45 × 45 pixels' in done.stdout
    found = []
    for workers in (0, 2):
        out = tmp_path / f'run_{workers}'
        agecls('cv', drawn, *TINY, '--folds', 2, '--pack', pack, '--workers', workers, '--out', out, check=0)
        found.append((out / 'fold_2/predictions.csv').read_bytes())
    assert found[0] == found[1]
    other = [64 if x == 40 else x for x in TINY]
    for argv, why in [([*other, '--pack', pack], 'is a pack of 45 pixels'),
                      ([*TINY, '--pack', tmp_path / 'none'], 'there is no pack')]:
        done = agecls('cv', drawn, *argv, '--folds', 2, '--out', tmp_path / 'x', check=2)
        assert why in done.stderr.splitlines()[-1] and not (tmp_path / 'x').exists(), done.stderr
    spoilt = shutil.copytree(drawn, tmp_path / 'spoilt')
    (spoilt / read_adience(spoilt)['file'][3]).unlink()
    done = agecls('pack', spoilt, '--out', tmp_path / 'p', '--size', 45, check=2)
    assert 'cannot be packed' in done.stderr.splitlines()[-1]
    agecls('pack', spoilt, '--out', tmp_path / 'p', '--size', 45, '--skip-bad-images', check=0)


def test_what_is_not_adience_is_not_called_so(drawn, tmp_path):
    "Without its manifest a drawn set is a damaged copy; with a damaged one it is an error"
    bare = shutil.copytree(drawn, tmp_path / 'bare')
    (bare / 'manifest.json').unlink()
    assert 'a damaged copy of Adience' in agecls('items', bare, check=0).stdout
    (bare / 'manifest.json').write_text('{')
    assert 'is no manifest' in agecls('items', bare, check=2).stderr
