"No name in a table, a fold file, a run, a model or an archive leads out of the folder that it belongs to"
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from whole import LABELS, bundle, fold_files, keep, pack, run_folder, table

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data.adience import audit, read_adience
from agecls_fastai.data.datasets import read_data
from agecls_fastai.data.images import check_images
from agecls_fastai.data.tables import read_items

BAD = ['../private.jpg', 'p/../../private.jpg', '/etc/passwd', 'C:\\private.jpg', 'c:private.jpg', '..\\private.jpg',
       '\\\\host\\share\\x.jpg', '//host/x.jpg', 'p/\0.jpg', 'p/a\nb.jpg', 'p/a\rb.jpg', '..', '', ' ']


@pytest.mark.parametrize('name', BAD)
def test_in_a_table(name):
    for items in (table(), table().drop(columns='fold')):
        items.loc[3, 'file'] = name
        with pytest.raises(AgeclsError, match='file must be a relative path inside the data folder') as raised:
            read_items(items, LABELS, n_folds=None if 'fold' in items else 2)
        assert str(raised.value).isprintable() and 'row 3' in str(raised.value)


@pytest.mark.parametrize('column, value', [
    ('user_id', '../../x'), ('user_id', '/etc'), ('user_id', '..'), ('original_image', '../../../private.jpg'),
    ('original_image', 'a\\b.jpg'), ('original_image', '..'), ('original_image', '.'), ('original_image', 'a\0.jpg'),
    ('face_id', '../1'), ('face_id', '')])
@pytest.mark.parametrize('pattern', [None, '{original_image}', 'x/{user_id}/{original_image}'])
def test_in_a_fold_file(tmp_path, column, value, pattern):
    path = shutil.copytree(keep(fold_files), tmp_path / 'data')
    file = path / 'fold_2_data.txt'
    head, row, *rest = file.read_text().split('\n')
    cells = dict(zip(head.split('\t'), row.split('\t'))) | {column: value}
    file.write_text('\n'.join([head, '\t'.join(cells.values()), *rest]))
    with pytest.raises(AgeclsError, match=f'{column} has an impossible value'):
        read_adience(path, pattern=pattern, source='frontalized' if pattern else 'aligned')
    assert any(f'{column} has an impossible value' in problem for problem in audit(path).problems)


@pytest.fixture
def linked(tmp_path):
    "A data folder in which a link leads to a picture outside, and its items"
    items = read_items(table(), LABELS)
    (tmp_path / 'data/p').mkdir(parents=True)
    for file in items['file']: Image.new('RGB', (20, 20), 'teal').save(tmp_path / 'data' / file)
    Image.new('RGB', (20, 20), 'red').save(tmp_path / 'private.png')
    (tmp_path / 'data/p/3.png').unlink()
    (tmp_path / 'data/p/3.png').symlink_to(tmp_path / 'private.png')
    return items, tmp_path / 'data'


def test_links(linked, tmp_path):
    from agecls_fastai.loading.loaders import age_dls
    from agecls_fastai.loading.pack import build_pack
    items, path = linked
    for reader in (check_images, lambda i, p: build_pack(i, p, tmp_path / 'pack', 16),
                   lambda i, p: age_dls(i, p, 0, size=16, protocol='fixed')):
        with pytest.raises(AgeclsError, match='a link leads out of the data folder'): reader(items, path)
    assert not (tmp_path / 'pack').exists()
    (path / 'p/3.png').unlink()
    (path / 'p/3.png').symlink_to('4.png')                                     # within the folder
    (tmp_path / 'door').symlink_to(path)                                       # the data folder itself is a link
    assert check_images(items, tmp_path / 'door')[1] == {}
    assert len(build_pack(items, tmp_path / 'door', tmp_path / 'pack', 16)) == len(items)


def test_class_folders_that_are_links(linked, tmp_path):
    items, path = linked
    for file, label in zip(items['file'], items['label']):
        (tmp_path / label).mkdir(exist_ok=True)
        shutil.move(path / file, tmp_path / label)
    for label in LABELS: (path / label).symlink_to(tmp_path / label)
    found = read_data(path, 'folder', classes=LABELS, n_folds=2).items
    with pytest.raises(AgeclsError, match='a link leads out of the data folder'): check_images(found, path)


@pytest.mark.parametrize('name', ['../private.png', '/etc/passwd', 'p/../../private.png'])
def test_in_predictions(tmp_path, name):
    "A report of somebody else's run must not publish a private picture of this machine"
    from whole import believed

    from agecls_fastai.runs.format import load_run
    from agecls_fastai.runs.verify import verify_run
    path = shutil.copytree(keep(run_folder), tmp_path / 'run')
    file = path / 'fold_0/predictions.csv'
    made = pd.read_csv(file)
    made.loc[0, 'file'] = name
    made.to_csv(file, index=False)
    believed(path / 'fold_0')
    with pytest.raises(AgeclsError, match='a file is no path inside the data folder'): load_run(path)
    assert any('no path inside' in finding for finding in verify_run(path, tmp_path).findings)


def test_links_behind_a_run(tmp_path):
    from agecls_fastai.results.examples import plot_errors
    path, data = keep(run_folder), tmp_path / 'data'
    (data / 'p').mkdir(parents=True)
    Image.new('RGB', (20, 20), 'red').save(tmp_path / 'private.png')
    for i in range(24): (data / f'p/{i}.png').symlink_to(tmp_path / 'private.png')
    with pytest.raises(AgeclsError, match='a link leads out of the data folder'): plot_errors(path, data)


def test_files_of_a_fold_elsewhere(tmp_path):
    "`done.json` names the files of the model; no other file is read for it"
    from agecls_fastai.runs.verify import verify_run
    path = shutil.copytree(keep(run_folder), tmp_path / 'run')
    done = json.loads((path / 'fold_0/done.json').read_text())
    done['model'] = {'../../../private': '0' * 64, '/etc/passwd': ''}
    (path / 'fold_0/done.json').write_text(json.dumps(done))
    assert not any('private' in finding or 'passwd' in finding for finding in verify_run(path).findings)


@pytest.mark.parametrize('name', ['../out', '/tmp/agecls_hostile_out', 'a/../../out'])
def test_in_a_bundle(tmp_path, name):
    "Nothing is unpacked: two members are read, whatever else the archive holds"
    from agecls_fastai.training.bundle import FILES
    from agecls_fastai.training.hub import load_bundle
    file = tmp_path / 'in/m.agecls'
    file.parent.mkdir()
    with zipfile.ZipFile(file, 'w') as z:
        for member in FILES: z.write(keep(bundle) / member, member)
        z.writestr(name, 'out')
    assert load_bundle(file).labels == LABELS
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*')) == ['in', 'in/m.agecls']
    assert not os.path.exists('/tmp/agecls_hostile_out')


def test_in_a_pack(tmp_path):
    "The index of a pack only names its pictures; they are not read by these names"
    from agecls_fastai.loading.pack import open_pack
    path = shutil.copytree(keep(pack), tmp_path / 'p')
    index = path / 'pack/shard_00000.json'
    rows = json.loads(index.read_text())
    rows[0][0] = '../../private.png'
    index.write_text(json.dumps(rows))
    found = open_pack(path / 'pack')
    with pytest.raises(AgeclsError, match='is a pack of other images'): found.check(table(), path / 'data')


def test_what_is_no_file(tmp_path):
    "A pipe would block the reader, and a device would never end"
    items = read_items(table(), LABELS)
    (tmp_path / 'p').mkdir()
    for file in items['file']: Image.new('RGB', (20, 20)).save(tmp_path / file)
    (tmp_path / 'p/3.png').unlink()
    os.mkfifo(tmp_path / 'p/3.png')
    with pytest.raises(AgeclsError, match=r'row 3: it is no plain file'): check_images(items, tmp_path)
    with pytest.raises(AgeclsError, match='there is no file'): read_items(tmp_path / 'p/3.png', LABELS)


def test_names_of_what_is_written(tmp_path, monkeypatch):
    "Names of recipes and variants become names of folders in a study, and cannot leave it"
    from agecls_fastai.results import study
    folders = []
    def cross_validate(items, path, recipe, out, **kwargs):
        folders.append(Path(out))
        raise AgeclsError('that is enough')
    monkeypatch.setattr(study, 'cross_validate', cross_validate)
    items = read_items(table(), LABELS)
    (tmp_path / 'p').mkdir()
    for file in items['file']: Image.new('RGB', (20, 20)).save(tmp_path / file)
    from agecls_fastai.recipes import RECIPES, change_recipe
    for name in ('../../up/\n\0x', '..', '.', '/etc'):
        recipe = change_recipe(RECIPES['levi_hassner'], dict(name=name))
        with pytest.raises(AgeclsError, match='enough'): study.study(items, tmp_path, tmp_path / 'out', [recipe])
    assert len(folders) == 4 and all(f.parent == tmp_path / 'out' and re.fullmatch(r'[\w,=+-][\w,=.+-]*', f.name)
                                     for f in folders)
