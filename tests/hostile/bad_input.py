"""What bad input does: each with its exact error line, or with the test that shows it

`python tests/hostile/bad_input.py --write` writes the table of the documentation. `test_bad_input.py` makes each of the
first kind and compares the line; of the others it looks whether their tests are there and say so.
"""
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / 'benchmarks' / 'bad_input.md'
CASES = []  # (part, bad input, error, a function that makes it in a folder and returns the command)


def case(part, what, told):
    "Register a function that spoils something in a folder and returns the words of a command that reads it"
    def keep(make):
        CASES.append((part, what, told, make))
        return make
    return keep


def copied(make, to):
    from whole import keep
    return shutil.copytree(keep(make), to)


def spoil(file, old, new):
    "Put something else in a file"
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))


# --- fold files ---

def folds(d, old, new):
    from whole import fold_files
    data = copied(fold_files, d / 'data')
    spoil(data / 'fold_2_data.txt', old, new)
    return ['items', data]


FOLDS, TABLES, PICTURES, PACKS, RUNS, MODELS, OPTIONS = (
    'Fold files', 'Tables', 'Pictures', 'Packs', 'Run folders', 'Models', 'Options')


@case(FOLDS, 'a file that is cut off in the middle of a line',
      'fold_2_data.txt: line 5 does not have 12 fields (columns shifted or cut off) '
      '(agecls audit data lists all problems)')
def _(d):
    argv = folds(d, b'user_id', b'user_id')
    file = d / 'data/fold_2_data.txt'
    file.write_bytes(file.read_bytes().partition(b'\t35\t')[0])
    return argv


@case(FOLDS, 'one of the five files is missing', 'fold_2_data.txt is missing in data; the others are there')
def _(d):
    argv = folds(d, b'user_id', b'user_id')
    (d / 'data/fold_2_data.txt').unlink()
    return argv


@case(FOLDS, 'a missing column',
      'fold_2_data.txt: column user_id is missing; there are account, original_image, face_id, age, gender,'
      ' x, y, dx, dy, tilt_ang, fiducial_yaw_angle, fiducial_score (agecls audit data lists all problems)')
def _(d): return folds(d, b'user_id', b'account')


@case(FOLDS, 'a file name that leads out of the folder',
      'fold_2_data.txt: original_image has an impossible value in line 2 '
      "('../../private.jpg') (columns shifted?) (agecls audit data lists all problems)")
def _(d): return folds(d, b'0_o.jpg', b'../../private.jpg')


@case(FOLDS, 'bytes that are not UTF-8 text',
      'fold_2_data.txt: byte 101 is not UTF-8 text (agecls audit data lists all problems)')
def _(d): return folds(d, b'0_o.jpg', b'\xff_o.jpg')


@case(FOLDS, 'a NUL byte',
      "fold_2_data.txt: original_image has an impossible value in line 2 ('0\\x00o.jpg') "
      '(columns shifted?) (agecls audit data lists all problems)')
def _(d): return folds(d, b'0_o.jpg', b'0\0o.jpg')


@case(FOLDS, 'one person in two folds', 'a subject must be in one fold only: 100 (folds 1, 2)')
def _(d): return folds(d, b'\t200\t', b'\t100\t')


@case(FOLDS, 'a login page instead of the file',
      'fold_2_data.txt is a web page (HTML), as a download that needed a login leaves it '
      '(agecls audit data lists all problems)')
def _(d):
    argv = folds(d, b'user_id', b'user_id')
    (d / 'data/fold_2_data.txt').write_text('<html>\n<form>Log in</form>\n')
    return argv


# --- tables ---

def items(d, change, name='t.csv', *more):
    from whole import LABELS, table
    made = table()
    found = change(made)
    made = made if found is None else found
    (d / 'data').mkdir()
    file = d / name
    if isinstance(made, bytes): file.write_bytes(made)
    else: made.to_csv(file, index=False)
    return ['items', d / 'data', '--items', file, '--classes', *LABELS, *more]


def cell(column, value, row=3):
    def change(table): table.loc[row, column] = value
    return change


for name, what in {'../private.jpg': 'a name with `..`', '/etc/passwd': 'an absolute path',
                   'C:\\private.jpg': 'a drive letter', 'p/\0.jpg': 'a NUL byte in a name',
                   'p/a\nb.jpg': 'a line feed in a name'}.items():
    case(TABLES, what, 't.csv: file must be a relative path inside the data folder, without "..": row 3 '
         f'({name.replace(chr(92), "/")!r})')(
        lambda d, name=name: items(d, cell('file', name)))


@case(TABLES, 'the same file in two rows', 't.csv: a file is in more than one row: p/0.png (row 0, 3)')
def _(d): return items(d, cell('file', 'p/0.png'))


@case(TABLES, 'one person in two folds', 't.csv: a subject must be in one fold only: s0 (folds 0, 1)')
def _(d): return items(d, cell('subject', 's0'))


@case(TABLES, 'a label that is not a class', "t.csv: label outside the order ['0-2', '4-6', '60+']: row 3 ('old')")
def _(d): return items(d, cell('label', 'old'))


@case(TABLES, 'a fold that is not a number', "t.csv: fold is not a whole number: row 0 ('1e99')")
def _(d): return items(d, lambda t: t.assign(fold=['1e99', *t['fold'][1:]]))


@case(TABLES, 'a row without a subject', 't.csv: subject is missing, or no plain text, in row 3')
def _(d): return items(d, cell('subject', ''))


@case(TABLES, 'an impossible age', "t.csv: an age is a number of years from 0 to 130, not '999' (row 0)")
def _(d): return items(d, lambda t: t.assign(label=['999', *t['age'][1:]]), 't.csv', '--ages')


@case(TABLES, 'a column name with a colour code for the terminal',
      't.csv: column file is missing; there are \\x1b[31mfile, label, fold, subject, age, gender; file=… '
      '(--columns file=…) names another')
def _(d): return items(d, lambda t: t.rename(columns=dict(file='\x1b[31mfile')))


@case(TABLES, 'a row with too many fields', 't.csv cannot be read as a CSV: …')
def _(d): return items(d, lambda t: t.to_csv(index=False).encode() + b'a,b,c,d,e,f,g\n')


@case(TABLES, 'an empty file', 't.csv cannot be read as a CSV: it is an empty file')
def _(d): return items(d, lambda t: b'')


@case(TABLES, 'a Git LFS pointer instead of the file',
      't.csv cannot be read as a CSV: it is a Git LFS pointer: git lfs pull fetches the file itself')
def _(d): return items(d, lambda t: b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n')


@case(TABLES, 'an Excel workbook that is named .csv',
      't.csv cannot be read as a CSV: it is an Excel workbook (.xlsx): open it there and save the table as CSV')
def _(d): return items(d, lambda t: b'PK\3\4' + bytes(22) + b'[Content_Types].xml')


@case(TABLES, 'a table that is cut off', 't.csv cannot be read as a CSV: it is cut off: its last row has 2 of 6 fields')
def _(d): return items(d, lambda t: t.to_csv(index=False).encode() + b'p/99.png,4-6')


@case(TABLES, 'age groups that a spreadsheet turned into dates',
      "t.csv: a spreadsheet has turned age groups into dates, in row 3 ('06-Apr', once 4-6 most probably); take the "
      'table as it was before, or format the column as text and write the groups again')
def _(d): return items(d, cell('label', '06-Apr'))


@case(TABLES, 'a .parquet file in another format', 't.parquet cannot be read as a Parquet: …')
def _(d): return items(d, lambda t: b'PAR1 or so', 't.parquet')


@case(TABLES, 'a quotation mark that never ends', 't.csv cannot be read as a CSV: …')
def _(d): return items(d, lambda t: b'file,label,fold,subject\n"p/1.png,0-2,0,a\n')


# --- pictures ---

def pictures(d, change):
    from PIL import Image
    from whole import LABELS, table
    (d / 'data/p').mkdir(parents=True)
    made = table()
    made.to_csv(d / 't.csv', index=False)
    for file in made['file']: Image.new('RGB', (20, 20), 'teal').save(d / 'data' / file)
    change(d / 'data/p/3.png')
    return ['cv', d / 'data', '--items', d / 't.csv', '--out', d / 'run', '--recipe', 'levi_hassner_onecycle',
            '--size', 40, '--classes', *LABELS]


@case(PICTURES, 'a missing picture',
      '1 of 12 images cannot be read in data: p/3.png (row 3: there is no such file); skip_bad_images '
      '(--skip-bad-images) leaves them out')
def _(d): return pictures(d, lambda file: file.unlink())


@case(PICTURES, 'a picture that is cut off',
      '1 of 12 images cannot be read in data: p/3.png (row 3: …); skip_bad_images (--skip-bad-images) leaves '
      'them out')
def _(d): return pictures(d, lambda file: file.write_bytes(file.read_bytes()[:60]))


@case(PICTURES, 'a file that is not a picture',
      '1 of 12 images cannot be read in data: p/3.png (row 3: …); skip_bad_images (--skip-bad-images) leaves '
      'them out')
def _(d): return pictures(d, lambda file: file.write_bytes(b'<html>'))


@case(PICTURES, 'a picture that unpacks into 400 million pixels',
      '1 of 12 images cannot be read in data: p/3.png (row 3: …); skip_bad_images (--skip-bad-images) leaves '
      'them out')
def _(d):
    def bomb(file):
        from PIL import Image
        Image.new('1', (20_000, 20_000)).save(file)
    return pictures(d, bomb)


@case(PICTURES, 'a link that leads out of the data folder',
      '1 of 12 images cannot be read in data: p/3.png (row 3: a link leads out of the data folder); '
      'skip_bad_images (--skip-bad-images) leaves them out')
def _(d):
    def link(file):
        file.rename(d / 'private.png')
        file.symlink_to(d / 'private.png')
    return pictures(d, link)


@case(PICTURES, 'a pipe (FIFO) instead of a file',
      '1 of 12 images cannot be read in data: p/3.png (row 3: it is no plain file); skip_bad_images '
      '(--skip-bad-images) leaves them out')
def _(d):
    def pipe(file):
        file.unlink()
        os.mkfifo(file)
    return pictures(d, pipe)


# --- packs ---

def packed(d, change):
    from whole import LABELS, pack, table
    path = copied(pack, d / 'p')
    table().to_csv(d / 't.csv', index=False)
    change(path / 'pack')
    return ['pack', path / 'data', '--items', d / 't.csv', '--out', path / 'pack', '--size', 16, '--classes', *LABELS]


@case(PACKS, 'a shard that is cut off', 'p/pack is damaged (…); remove it and pack again')
def _(d): return packed(d, lambda p: os.truncate(p / 'shard_00001.npy', 500))


@case(PACKS, 'a shard that claims to hold 2⁶⁰ pictures', 'p/pack is damaged (…); remove it and pack again')
def _(d): return packed(d, lambda p: spoil(p / 'shard_00001.npy', b'(4, ', b'(1152921504606846976, '))


@case(PACKS, 'an index that is nested a thousand levels deep',
      'p/pack is damaged (p/pack/pack.json is damaged: …); remove it and pack again')
def _(d): return packed(d, lambda p: (p / 'pack.json').write_text('[' * 5000))


@case(PACKS, 'a picture that has changed since it was packed',
      'images have changed since p/pack was packed: p/3.png; remove it and pack again')
def _(d): return packed(d, lambda p: (p.parent / 'data/p/3.png').write_bytes(b'another one'))


@case(PACKS, 'a pack of another size', 'p/pack is a pack of 16 pixels, not 32; give another folder')
def _(d): return [32 if x == 16 else x for x in packed(d, lambda p: None)]


# --- run folders ---

def run(d, change, *more):
    from whole import run_folder
    path = copied(run_folder, d / 'run')
    change(path)
    return ['compare', path, *more]


@case(RUNS, 'a folder that is not a run', 'run is no run folder: it has no run.json')
def _(d): return run(d, lambda p: (p / 'run.json').unlink())


@case(RUNS, '`run.json` is cut off', 'run/run.json is damaged: …')
def _(d): return run(d, lambda p: os.truncate(p / 'run.json', 500))


@case(RUNS, 'a text in `run.json` where a number belongs', 'run/run.json is damaged: not what cross_validate writes')
def _(d): return run(d, lambda p: spoil(p / 'run.json', b'"n_images": 24', b'"n_images": "24"'))


@case(RUNS, 'half of a surrogate pair in `run.json`', 'run/run.json is damaged: …')
def _(d): return run(d, lambda p: spoil(p / 'run.json', b'"frozen_resnet34"', b'"\\ud800"'))


@case(RUNS, 'predictions that were changed', 'fold 0, 1 of run was altered or is damaged; see agecls verify run')
def _(d):
    def alter(p):
        for k in (0, 1): spoil(p / f'fold_{k}/predictions.csv', b'p/', b'q/')
    return run(d, alter)


@case(RUNS, 'comparison with a run on other images', 'run and other were not tested on the same items')
def _(d):
    from whole import run_folder
    other = copied(run_folder, d / 'other')
    spoil(other / 'run.json', b'"0000', b'"1111')
    return run(d, lambda p: None, other)


@case(RUNS, 'a prediction for a file outside the data folder',
      "run/fold_0/predictions.csv: a file is no path inside the data folder: '../../private.png'")
def _(d):
    def lead_out(p):
        from whole import believed
        spoil(p / 'fold_0/predictions.csv', b'p/0.png', b'../../private.png')
        believed(p / 'fold_0')
    return run(d, lead_out)


# --- models ---

def model(d, change):
    from PIL import Image
    from whole import bundle
    path = copied(bundle, d / 'model')
    Image.new('RGB', (20, 20)).save(d / 'a.png')
    return ['predict', change(path) or path, d / 'a.png']


def zipped(path, compression=zipfile.ZIP_STORED):
    from agecls_fastai.training.bundle import FILES
    file = path.with_suffix('.agecls')
    with zipfile.ZipFile(file, 'w', compression) as z:
        for name in FILES: z.write(path / name, name)
    return file


@case(MODELS, 'weights that were changed',
      'model: the weights are not those that were saved; the file is damaged or was changed')
def _(d): return model(d, lambda p: spoil(p / 'model.safetensors', b'\x80?\x00\x00', b'\x00?\x00\x00'))


@case(MODELS, 'weights that are a pickle', 'model/model.safetensors is no file of weights that can be opened safely: …')
def _(d):
    def change(p):
        import hashlib
        import pickle
        content = pickle.dumps(dict(weights=[1.0]))
        (p / 'model.safetensors').write_bytes(content)
        info = json.loads((p / 'model.json').read_text()) | dict(weights_sha256=hashlib.sha256(content).hexdigest())
        (p / 'model.json').write_text(json.dumps(info))
    return model(d, change)


@case(MODELS, '`model.json` is cut off', 'model/model.json is damaged: …')
def _(d): return model(d, lambda p: os.truncate(p / 'model.json', 500))


@case(MODELS, 'a `.agecls` that was cut off', 'model.agecls is damaged: …')
def _(d):
    def change(p):
        file = zipped(p)
        file.write_bytes(file.read_bytes()[:-40])
        return file
    return model(d, change)


@case(MODELS, 'a `.agecls` of 70 kB with 64 MB of zeros in it',
      'model.agecls is too large: model.safetensors unpacks into 67,108,864 bytes')
def _(d):
    def change(p):
        with open(p / 'model.safetensors', 'wb') as f: f.truncate(2**26)
        return zipped(p, compression=zipfile.ZIP_DEFLATED)
    return model(d, change)


@case(MODELS, 'a `.agecls` that holds a file twice', 'model.agecls is damaged: a file is in it twice')
def _(d):
    def change(p):
        import warnings
        file = zipped(p)
        with warnings.catch_warnings(), zipfile.ZipFile(file, 'a') as z:
            warnings.simplefilter('ignore')
            z.writestr('model.json', '{}')
        return file
    return model(d, change)


@case(MODELS, 'a recipe for pictures of a billion pixels',
      'model/model.json: recipe: size must be 4096 or less, not 1000000000')
def _(d): return model(d, lambda p: spoil(p / 'model.json', b'"size": 256', b'"size": 1000000000'))


def exported(d, change):
    from PIL import Image
    from whole import onnx_model
    path = copied(onnx_model, d / 'exported')
    Image.new('RGB', (20, 20)).save(d / 'a.png')
    change(path / 'm.onnx')
    return ['predict', path / 'm.onnx', d / 'a.png']


@case(MODELS, 'an .onnx file in another format', 'exported/m.onnx is no ONNX model that can be opened: …')
def _(d): return exported(d, lambda f: f.write_bytes(b'\x08\x07'))


@case(MODELS, 'an ONNX file from another program', 'exported/m.onnx was not written by agecls export')
def _(d): return exported(d, lambda f: spoil(f, b'agecls', b'others'))


@case(MODELS, 'an ONNX file with an impossible value', 'exported/m.onnx is damaged: side has an impossible value')
def _(d): return exported(d, lambda f: spoil(f, b'"side": 16', b'"side": -6'))


# --- options ---

@case(OPTIONS, '`--set size=1e9`', 'size must be 4096 or less, not 1000000000')
def _(d): return [*(w for w in pictures(d, lambda file: None) if w not in ('--size', 40)), '--set', 'size=1000000000']


@case(OPTIONS, '`--size 40 --set size=64`', 'size is set twice: 40, then 64')
def _(d): return [*pictures(d, lambda file: None), '--set', 'size=64']


@case(OPTIONS, '`--size 32` with the 2015 network', 'size must be 35 or more for this network, not 32')
def _(d): return [32 if word == 40 else word for word in pictures(d, lambda file: None)]


@case(OPTIONS, '`--size 16`, below what a network of timm can take',
      'convnext_atto cannot be built for pictures of 16 pixels, try another size: …')
def _(d):
    words = ['finetune_lite0' if w == 'levi_hassner_onecycle' else 16 if w == 40 else w
             for w in pictures(d, lambda file: None)]
    return [*words, '--set', 'arch=convnext_atto', '--no-pretrained']


@case(OPTIONS, '`--set colour=1`', 'a recipe has no colour; it has name, arch, …')
def _(d): return [*pictures(d, lambda file: None), '--set', 'colour=1']


@case(OPTIONS, '`--folds 7`, of two folds', 'there is no fold 7; the folds are 0, 1')
def _(d): return [*pictures(d, lambda file: None), '--folds', 7]


@case(OPTIONS, '`--precision float8`',
      "precision must be one of auto, measure, float32, bfloat16, float16, not 'float8'; did you mean float32?")
def _(d): return [*pictures(d, lambda file: None), '--precision', 'float8']


@case(OPTIONS, '`--precision float16`, on a processor',
      "precision must be auto, measure, float32, bfloat16 on cpu, not 'float16'")
def _(d): return [*pictures(d, lambda file: None), '--device', 'cpu', '--precision', 'float16']


@case(OPTIONS, '`--minutes 5 --epochs 3`', '--minutes chooses the epochs; leave epochs out, or --minutes')
def _(d): return [*pictures(d, lambda file: None), '--minutes', 5, '--epochs', 3]


@case(OPTIONS, '`--weights` with a pickle',
      'w.pth is no file of weights that can be opened safely: it holds more than tensors')
def _(d):
    import pickle
    (d / 'w.pth').write_bytes(pickle.dumps(dict(a=print)))
    argv = pictures(d, lambda file: None)
    argv[argv.index('levi_hassner_onecycle')] = 'finetune_resnet34'
    return [*argv, '--weights', d / 'w.pth']


def told(make, d):
    "Run the command; its status and standard error, without the folder's name"
    import contextlib
    import io

    from agecls_fastai.cli import main
    argv, said = [str(x) for x in make(d)], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()): status = main(argv)
    return status, said.getvalue().replace(f'{d}/', '').splitlines()


# --- what other tests show: part, bad input, what happens, the test (or notebook), words that stand in it ---

DOWNLOAD = 'Downloads and archives'
ELSEWHERE = [
    (DOWNLOAD, 'a wrong login', 'one attempt, and: the login was refused (401)',
     'tests/test_download.py::test_wrong_login', 'the login was refused (401)'),
    (DOWNLOAD, 'a redirect to another server', 'the file is fetched there, and the login is not sent along',
     'tests/test_download.py::test_the_login_stays_behind_at_a_redirect', "'Authorization' in request.headers"),
    (DOWNLOAD, 'an address that contains a login', 'base_url must not hold a login',
     'tests/test_download.py::test_an_address_with_a_login', 'must not hold a login'),
    (DOWNLOAD, 'a file with other contents than the known one',
     'it has the right size but not the known contents; it is not kept',
     'tests/test_download.py::test_not_the_known_file', 'has the right size but not the known contents'),
    (DOWNLOAD, 'an archive with `..`, absolute paths, links, devices or holes', 'refused: nothing of it is written',
     'tests/test_download.py::test_bad_archives', "['refused', 'leads out']"),
    (DOWNLOAD, 'an archive that unpacks into more bytes or files than it should', 'refused when it goes beyond',
     'tests/test_download.py::test_bad_archives', "['refused', 'more than is allowed']"),
    (DOWNLOAD, 'an archive that was cut off, or has another checksum', 'damaged: delete it',
     'tests/test_download.py::test_bad_archives', "['damaged', 'cut off']"),
    (DOWNLOAD, 'a link where the archive goes', 'refused: nothing is written behind it',
     'tests/test_download.py::test_a_link_in_the_data_folder_is_not_followed', 'symlink_to'),
    (FOLDS, 'a copy with missing or different rows, columns, files or labels',
     '`agecls audit` says which, and exits with 1', 'tests/test_real_folds.py::test_damaged_copies', "'damaged'"),
    (FOLDS, 'random changes (fuzzing)', 'it is read, or one line says why not',
     'tests/hostile/test_fuzz.py::test_fold_files', 'told_in_one_line'),
    (TABLES, 'random changes (fuzzing)', 'it is read, or one line says why not',
     'tests/hostile/test_fuzz.py::test_items', 'told_in_one_line'),
    (TABLES, 'a class called `all`, which heads a column of tables', 'a class cannot be called so',
     'nbs/data/00_items.ipynb', 'a class cannot be called'),
    (PICTURES, 'CMYK, 16 bits, transparent, rotated by EXIF, animated', 'the face in it is predicted',
     'tests/test_predict.py::test_every_kind_of_picture', "convert('CMYK')"),
    (PICTURES, 'unreadable pictures among those for `agecls predict`',
     'a line for each, the rest is answered, and the exit status is 1',
     'tests/test_predict.py::test_what_cannot_be_read_is_told_and_the_rest_is_answered', "bomb(tmp_path / 'bomb.png')"),
    (PICTURES, 'a file name with a colour code or a line feed', 'it is written as Python writes it',
     'tests/test_predict.py::test_names_that_would_disturb_a_terminal', 'x1b[31m'),
    (PICTURES, 'web page: a file that is not a picture, or a picture of 178 million pixels', 'the page says so',
     'tests/test_app.py::test_what_cannot_be_answered', 'unpacks into more than 178 million pixels'),
    (PICTURES, 'web page: a file that is too large', 'refused before it is read',
     'tests/test_app.py::test_a_large_file', 'exceed the maximum allowed size'),
    (PICTURES, 'the same person under two names, or in two folds', '`agecls audit` shows the pairs',
     'tests/test_audit_images.py::test_a_damaged_copy', 'pairs'),
    (PICTURES, 'random changes (fuzzing)', 'it is read, or one line says why not',
     'tests/hostile/test_fuzz.py::test_pictures', 'told_in_one_line'),
    (PACKS, 'an incomplete pack whose files were changed', 'the changed parts are packed again',
     'tests/hostile/test_fuzz.py::test_a_pack_that_was_begun', 'told_in_one_line'),
    (PACKS, 'features of a probe that were altered', 'a note, and they are computed again',
     'tests/hostile/test_no_pickle.py::test_packs_and_features', 'is damaged'),
    (RUNS, 'a table or a score that was altered', '`agecls verify` says which, and exits with 1',
     'nbs/runs/13_verify.ipynb', 'was altered'),
    (RUNS, 'a checkpoint that is damaged, or of another configuration', 'a note, and the fold begins anew',
     'nbs/training/10_checkpoint.ipynb', 'and ignored'),
    (RUNS, 'another recipe, seed or data for a folder that holds a run', 'the message says what differs',
     'tests/test_cv.py::test_mistakes', 'holds another run: seed (0 there, 1 now)'),
    (RUNS, 'HTML and scripts in its names', 'they stand in the report as text',
     'tests/test_report.py::test_hostile_text', '<script>alert(1)</script>'),
    (RUNS, 'random changes in its files (fuzzing)', 'it is read, or one line says why not',
     'tests/hostile/test_fuzz.py::test_run_json', 'look_at_run'),
    (RUNS, 'a folder called `fold_²` or `fold_007`', 'it is ignored',
     'tests/hostile/test_fuzz.py::test_what_else_is_in_a_run_folder', 'look_at_run'),
    (MODELS, 'impossible values in model.json', 'the message names the value',
     'tests/test_predict.py::test_impossible_values_in_a_bundle', "'model.json' in err[0]"),
    (MODELS, 'a pickle under any file name, given to any command', 'it is not opened',
     'tests/hostile/test_no_pickle.py::test_weights', 'that can be opened safely'),
    (MODELS, 'a pickle in the cache of pretrained weights', 'it is not opened',
     'tests/hostile/test_no_pickle.py::test_the_cache_of_pretrained_weights', 'cannot be fetched'),
    (MODELS, 'random changes (fuzzing)', 'it is read, or one line says why not',
     'tests/hostile/test_fuzz.py::test_weights_of_a_bundle', 'look_at_bundle'),
    (OPTIONS, 'an impossible level, device or output file', 'one line, before anything is done',
     'tests/test_predict.py::test_mistakes', 'level must be one of 0.8, 0.9, 0.95, not 0.5'),
    (OPTIONS, 'two values for an option that takes one', 'the message names both, except for a login',
     'tests/test_options.py::test_options_for_one_value_refuse_another', 'is given twice'),
    (OPTIONS, 'a misspelt `--password`', 'the message does not repeat the word after it',
     'tests/hostile/test_secrets.py::downloads', '--pasword'),
    (OPTIONS, 'a password, a token or a key', 'it appears in no output and no file',
     'tests/hostile/test_secrets.py::test_nothing_is_told', 'found == set()'),
]
PARTS = [DOWNLOAD, FOLDS, TABLES, PICTURES, PACKS, RUNS, MODELS, OPTIONS]


def text():
    "The table as Markdown"
    rows = [(part, what, f'`{says}`', 'tests/hostile/test_bad_input.py') for part, what, says, _ in CASES]
    rows += [(part, what, happens, where) for part, what, happens, where, _ in ELSEWHERE]
    def escaped(words): return words.replace('|', r'\|')
    lines = []
    for part in PARTS:
        lines += [f'### {part}', '', '| bad input | what happens | shown by |', '| --- | --- | --- |']
        lines += [f'| {escaped(what)} | {escaped(happens)} | `{where}` |'
                  for p, what, happens, where in rows if p == part]
        lines.append('')
    return '\n'.join(lines)


if __name__ == '__main__':
    if '--write' in sys.argv: TABLE.write_text(text(), 'utf-8')
    else: print(text())
