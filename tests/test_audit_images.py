"The audit of pictures on a damaged copy: it names what is damaged, all of it and nothing else"
import json
import shutil

import pytest
from conftest import agecls
from PIL import Image

from agecls_fastai.data.adience import image_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A drawn data set of some 1,600 pictures"
    path = tmp_path_factory.mktemp('whole') / 'faces'
    agecls('synth', path, '--subjects', 300, '--size', 64, check=0)
    return path


@pytest.fixture(scope='module')
def damaged(whole, tmp_path_factory):
    "A copy with 50 pictures removed, 20 truncated, 10 copied into another fold; and what was done to it"
    path = tmp_path_factory.mktemp('damaged') / 'faces'
    shutil.copytree(whole, path)
    table = image_table(path)
    files = table['file'].sample(frac=1, random_state=0).tolist()
    removed, truncated, rest = files[:50], files[50:70], table[table['file'].isin(files[70:])]
    for file in removed: (path / file).unlink()
    for i, file in enumerate(truncated):
        data = (path / file).read_bytes()
        (path / file).write_bytes(data[:len(data) * (i + 1) // 22])
    one, other = (rest.loc[rest['fold'] == k, 'file'].tolist()[:10] for k in (1, 3))
    for i, (a, b) in enumerate(zip(one, other)):
        if i % 2: shutil.copy(path / a, path / b)
        else:  # the same picture, saved again
            with Image.open(path / a) as image: image.save(path / b, quality=70)
    return path, removed, truncated, {frozenset(pair) for pair in zip(one, other)}


def test_a_whole_copy(whole):
    done = agecls('audit', whole, '--json', check=0)
    found = json.loads(done.stdout)['images']['aligned']
    assert (found['missing'], found['unreadable'], found['other_size'], found['pairs'], found['unnamed']) == (
        [], {}, {}, [], [])
    assert 'images looked at' in done.stderr and 'images compared' in done.stderr


def test_a_damaged_copy(damaged, tmp_path):
    path, removed, truncated, pairs = damaged
    before = {p: p.stat().st_mtime_ns for p in path.rglob('*')}
    done = agecls('audit', path, '--json', '--sheet', tmp_path / 'pairs.png', check=1)
    answer = json.loads(done.stdout)
    found = answer['images']['aligned']
    assert set(found['missing']) == set(removed) and len(removed) == 50
    assert set(found['unreadable']) == set(truncated) and len(truncated) == 20
    assert {frozenset(p['files']) for p in found['pairs']} == pairs and len(pairs) == 10
    assert sum(p['same'] for p in found['pairs']) == 5 and found['other_size'] == {}
    assert [p.split(':')[1] for p in answer['problems']] == [
        ' 50 missing', ' 20 cannot be decoded', ' 5 the same file under two subjects or in two folds']
    with Image.open(tmp_path / 'pairs.png') as sheet: assert sheet.width > 900 and sheet.height > 600
    assert {p: p.stat().st_mtime_ns for p in path.rglob('*')} == before


def test_the_text_names_them_too(damaged):
    path, removed, truncated, pairs = damaged
    text = agecls('audit', path, check=1).stdout
    for file in [*removed, *truncated, *(file for pair in pairs for file in pair)]: assert file in text, file
    assert 'damaged' in text


def test_parts_can_be_left_out(damaged, tmp_path):
    path, *_, pairs = damaged
    found = json.loads(agecls('audit', path, '--json', '--no-looks', check=1).stdout)['images']['aligned']
    assert len(found['pairs']) == 5 and all(p['same'] for p in found['pairs'])
    done = agecls('audit', path, '--no-images', check=0)
    assert 'no pictures were looked at' in done.stdout
    for argv, why in [(['--sheet', tmp_path / 'x.gif'], 'PNG or JPEG'),
                      (['--no-images', '--sheet', 'x.png'], '--sheet'),
                      (['--labels', 'extended'], 'does not apply to an audit'),
                      (['--source', 'sideways'], 'aligned, faces, frontalized'),
                      (['--source', 'frontalized'], 'needs a pattern'),
                      (['--subject', '(x)'], 'does not apply to adience data')]:
        done = agecls('audit', path, *argv, check=2)
        assert len(done.stderr.splitlines()) == 1 and why in done.stderr, done.stderr
