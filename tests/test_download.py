"Downloading from a server that goes wrong; the login must not get out in any of it"
import base64
import gzip
import hashlib
import io
import logging
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from faulty_server import DATE, Fault, FaultyServer, tar_gz
from PIL import Image

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.core.progress import Progress
from agecls_fastai.data import download
from agecls_fastai.data.adience import FOLD_COLUMNS, audit, read_adience
from agecls_fastai.data.download import REMOTE_FILES, download_adience, unpack

USER, PASSWORD = 'marked-user-7f3a', 'marked-password-91c2'
SECRETS = [USER, PASSWORD, base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()]
ARCHIVE = 'aligned.tar.gz'
WAITS = (0.01, 0.01, 0.01)


def jpeg(seed):
    "A small picture of noise, which does not pack any smaller"
    pixels, out = hashlib.shake_128(str(seed).encode()).digest(32 * 32 * 3), io.BytesIO()
    Image.frombytes('RGB', (32, 32), pixels).save(out, 'jpeg', quality=90)
    return out.getvalue()


def adience(faces=20):
    "The files of a small Adience, and its table"
    files, pictures = {}, {}
    for k in range(5):
        rows = ['\t'.join(FOLD_COLUMNS)]
        for i in range(faces):
            rows.append('\t'.join([f'{k}@N01', f'{i}_o.jpg', str(100 * k + i), '(0, 2)', 'f', *'1234567']))
            pictures[f'aligned/{k}@N01/landmark_aligned_face.{100 * k + i}.{i}_o.jpg'] = jpeg(100 * k + i)
        files[f'fold_{k}_data.txt'] = '\n'.join([*rows, '']).encode()
    table = {name: dict(size=len(text), sha256=hashlib.sha256(text).hexdigest()) for name, text in files.items()}
    table |= {name: file for name, file in REMOTE_FILES.items() if name not in table}
    frontal = {name.replace('fold', 'fold_frontal'): text for name, text in files.items()}
    return files | frontal | {ARCHIVE: tar_gz(pictures, level=0), 'LICENSE.txt': b'research only\n'}, table, pictures


FILES, TABLE, PICTURES = adience()


@pytest.fixture(autouse=True)
def no_leak(tmp_path, capfd, caplog, monkeypatch):
    "After each test: the login is in no output, no log and no file"
    for name in ('ADIENCE_USER', 'ADIENCE_PASSWORD'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1,localhost')
    monkeypatch.setattr(download, 'WAITS', WAITS)
    caplog.set_level(logging.DEBUG)
    yield
    said = ''.join([*capfd.readouterr(), caplog.text]).encode()
    kept = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    for secret in SECRETS:
        assert secret.encode() not in said
        assert not [path for path, content in kept.items() if secret.encode() in content or secret in str(path)]


@pytest.fixture
def server():
    with FaultyServer(FILES, USER, PASSWORD) as server: yield server


def get(server, dest, **changes):
    "Download; return what it says"
    given = dict(user=USER, password=PASSWORD, base_url=server.url, files=TABLE, progress=Progress(io.StringIO()))
    given |= changes
    assert download_adience(dest, **given) == dest
    return given['progress'].stream.getvalue() if given['progress'] else ''


def get_fails(server, dest, *words, **changes):
    "Download in vain: the message is one line, holds `words` and not the login"
    with pytest.raises(AgeclsError) as raised: get(server, dest, **changes)
    message = str(raised.value)
    assert '\n' not in message and not any(secret in message for secret in SECRETS)
    for word in words: assert word in message
    return message


def assert_complete(dest, archive=FILES[ARCHIVE], pictures=PICTURES):
    "Everything is there byte for byte, and nothing else"
    here = {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob('*') if path.is_file()}
    assert here.pop('.aligned.unpacked.json')
    expected = {name: content for name, content in FILES.items() if name in TABLE}
    assert here == expected | {ARCHIVE: archive} | pictures


def asked(server, name=ARCHIVE):
    "The ranges that a file was asked for in"
    return [request.headers.get('Range') for request in server.requests if request.path == f'/{name}']


def test_whole_and_again(server, tmp_path):
    said = get(server, tmp_path / 'data')
    assert_complete(tmp_path / 'data')
    assert 'README.txt: not on the server, and not needed' in said
    assert read_adience(tmp_path / 'data').file.tolist() == sorted(PICTURES, key=lambda f: int(f.split('.')[1]))
    assert audit(tmp_path / 'data').rows == [20] * 5
    server.requests.clear()
    get(server, tmp_path / 'data', user=None, password=None)
    (tmp_path / 'data' / ARCHIVE).unlink()
    said = get(server, tmp_path / 'data', user=None, password=None)
    assert not server.requests and 'may be deleted' not in said


def test_what_is_missing_is_fetched(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / 'fold_2_data.txt').unlink()
    next(tmp_path.glob('aligned/*/*')).unlink()
    server.requests.clear()
    get(server, tmp_path)
    assert {request.path for request in server.requests} == {'/fold_2_data.txt', '/README.txt'}
    assert_complete(tmp_path)
    next(tmp_path.glob('aligned/*/*')).unlink()
    (tmp_path / ARCHIVE).unlink()
    get(server, tmp_path)
    assert_complete(tmp_path)
    new = tar_gz(PICTURES | {'aligned/new.jpg': b'new'})
    (tmp_path / ARCHIVE).write_bytes(new)                      # another version, fetched by other means
    get(server, tmp_path, user=None, password=None)
    assert_complete(tmp_path, new, PICTURES | {'aligned/new.jpg': b'new'})


def test_choices(server, tmp_path):
    server.files['faces.tar.gz'] = tar_gz({'faces/1@N01/1.jpg': jpeg(1)})
    get(server, tmp_path, source='faces', frontal=False)
    assert not list(tmp_path.glob('*frontal*')) and not (tmp_path / ARCHIVE).exists()
    assert (tmp_path / 'faces/1@N01/1.jpg').read_bytes() == jpeg(1)


@pytest.mark.parametrize('faults, ranges', [
    ([Fault(drop=0)], [None, None]),
    ([Fault(drop=30_000)], [None, 'bytes=30000-']),
    ([Fault(status=500)], [None, None]),
    ([Fault(status=429), Fault(drop=9), Fault(status=503)], [None, None, 'bytes=9-', 'bytes=9-']),
    ([Fault(silence=1)], [None, None]),
    ([Fault(drop=30_000), Fault(ranges=False)], [None, 'bytes=30000-']),
    ([Fault(drop=30_000), Fault(shift=5)], [None, 'bytes=30000-', None]),
    ([Fault(drop=30_000), Fault(shift=5, announce=5)], [None, 'bytes=30000-', None]),
    ([Fault(drop=20_000, times=99)], [None, *(f'bytes={i}-' for i in range(20_000, len(FILES[ARCHIVE]), 20_000))]),
    ([Fault(announce=100)], [None, f'bytes={len(FILES[ARCHIVE])}-', None]),
])
def test_goes_on_by_itself(server, tmp_path, monkeypatch, faults, ranges):
    monkeypatch.setattr(download, 'TIMEOUT', 0.5)
    server.faults[ARCHIVE] = [Fault(**vars(fault)) for fault in faults]
    get(server, tmp_path)
    assert asked(server) == ranges
    assert_complete(tmp_path)


@pytest.mark.parametrize('etag, date', [(True, True), (False, True), (False, False)])
def test_goes_on_only_where_the_version_is_certain(tmp_path, etag, date):
    with FaultyServer(FILES, USER, PASSWORD, etag=etag, date=date) as server:
        server.faults[ARCHIVE] = [Fault(drop=30_000)]
        get(server, tmp_path)
    condition = [request.headers.get('If-Range') for request in server.requests][-1]
    tag = f'"{hashlib.sha256(FILES[ARCHIVE]).hexdigest()}"'
    assert condition == (tag if etag else DATE if date else None)
    assert asked(server) == [None, 'bytes=30000-' if date else None]
    assert_complete(tmp_path)


@pytest.mark.parametrize('etag, careless, faces', [
    (True, False, 20), (True, False, 25), (False, False, 1), (False, False, 25),
    (True, True, 20), (True, True, 1), (False, True, 25),
])
def test_changed_between_attempts(tmp_path, etag, careless, faces):
    "Another ETag or another size is noticed, even where the server does not heed If-Range"
    pictures = {name: content[::-1] for name, content in adience(faces)[2].items()}
    new = tar_gz(pictures, level=0)
    assert (len(new) == len(FILES[ARCHIVE])) == (faces == 20)
    with FaultyServer(FILES, USER, PASSWORD, etag=etag) as server:
        server.faults[ARCHIVE] = [Fault(drop=30_000, then=new), Fault(careless=careless)]
        get(server, tmp_path)
    assert_complete(tmp_path, new, pictures)


def test_changed_and_nobody_can_know(tmp_path):
    "The same size and date, and no ETag: gzip's checksum tells in the end"
    pictures = {name: content[::-1] for name, content in PICTURES.items()}
    with FaultyServer(FILES, USER, PASSWORD, etag=False) as server:
        server.faults[ARCHIVE] = [Fault(drop=30_000, then=tar_gz(pictures, level=0))]
        get_fails(server, tmp_path, f'{tmp_path / ARCHIVE} is damaged', 'delete it')
    assert not (tmp_path / '.aligned.unpacked.json').exists()


@pytest.mark.parametrize('fault, words', [
    (Fault(status=500, times=99), ['the server answers 500', 'given up after 4 attempts']),
    (Fault(drop=30_000, ranges=False, times=99), ['given up after 4 attempts', 'start again to resume']),
    (Fault(announce=100, times=99), ['given up after 4 attempts']),
    (Fault(announce=None, times=1), ['does not say how large', '/aligned.tar.gz']),
    (Fault(status=401), ['the login was refused (401)', download.LOGIN_PAGE]),
    (Fault(status=403), ['the login was refused (403)']),
    (Fault(status=404), ['/aligned.tar.gz (404)']),
    (Fault(status=410), ['answers 410']),
    (Fault(location='/aligned.tar.gz', times=99), ['redirects']),
    (Fault(location='ftp://127.0.0.1/aligned.tar.gz'), ['redirects']),
])
def test_gives_up_and_goes_on_when_called_again(server, tmp_path, fault, words):
    server.faults[ARCHIVE] = [Fault(**vars(fault))]
    get_fails(server, tmp_path, *words)
    if fault.status in (401, 403, 404, 410): assert len(asked(server)) == 1      # no use in trying again
    server.faults.clear()
    server.requests.clear()
    get(server, tmp_path)
    assert not {'/LICENSE.txt', '/fold_0_data.txt'} & {request.path for request in server.requests}
    if fault.drop: assert asked(server) == ['bytes=30000-']
    assert_complete(tmp_path)


def test_no_login(tmp_path, monkeypatch):
    "Without one nothing is asked for, and no empty folder stays"
    for name in ('ADIENCE_USER', 'ADIENCE_PASSWORD'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('sys.stdin', io.StringIO())
    with pytest.raises(AgeclsError, match='login'): download_adience(tmp_path / 'data')
    assert not (tmp_path / 'data').exists()


def test_wrong_login(server, tmp_path):
    get_fails(server, tmp_path, 'the login was refused (401)', password='another')
    assert len(server.requests) == 1
    get_fails(server, tmp_path, '(404)', '/elsewhere/fold_0_data.txt', base_url=f'{server.url}/elsewhere')


def test_not_the_known_file(server, tmp_path):
    server.faults['fold_3_data.txt'] = [Fault(announce=-7)]
    size = TABLE['fold_3_data.txt']['size']
    get_fails(server, tmp_path, 'fold_3_data.txt', f'{size - 7:,} bytes, where {size:,} belong')
    server.files['fold_3_data.txt'] = FILES['fold_3_data.txt'].replace(b'(0, 2)', b'(4, 6)', 1)
    get_fails(server, tmp_path, 'fold_3_data.txt has the right size but not the known contents')
    assert not list(tmp_path.glob('.*.part')) and not (tmp_path / 'fold_3_data.txt').exists()
    server.files = dict(FILES)
    get(server, tmp_path)
    assert_complete(tmp_path)
    get_fails(server, tmp_path / 'small', 'where at most 99 belong', files={ARCHIVE: TABLE[ARCHIVE] | dict(at_most=99)})


def test_the_users_file_is_left_alone(server, tmp_path):
    (tmp_path / 'fold_1_data.txt').write_text('mine')
    get_fails(server, tmp_path, str(tmp_path / 'fold_1_data.txt'), 'not the known file', f'agecls audit {tmp_path}')
    assert (tmp_path / 'fold_1_data.txt').read_text() == 'mine' and not server.requests


def test_no_room(server, tmp_path, monkeypatch):
    usage, real = shutil.disk_usage(tmp_path), shutil.disk_usage
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=50_000))
    get_fails(server, tmp_path, 'aligned.tar.gz needs', f'{tmp_path} has 50 kB free')
    monkeypatch.setattr(shutil, 'disk_usage', real)
    get(server, tmp_path)
    assert_complete(tmp_path)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs a device that is always full')
@pytest.mark.parametrize('where', [ARCHIVE, sorted(PICTURES)[30]])
def test_disk_full(server, tmp_path, where):
    full = tmp_path / Path(where).parent / f'.{Path(where).name}.part'
    full.parent.mkdir(parents=True, exist_ok=True)
    full.symlink_to('/dev/full')
    get_fails(server, tmp_path, str(tmp_path), 'No space left on device', 'resumes')
    full.unlink(missing_ok=True)
    get(server, tmp_path)
    assert_complete(tmp_path)


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_the_login_stays_behind_at_a_redirect(server, tmp_path, host):
    with FaultyServer(FILES) as other:
        there = other.url.replace('127.0.0.1', host)
        server.faults[ARCHIVE] = [Fault(location=f'{there}/{ARCHIVE}', times=2)]
        other.faults[ARCHIVE] = [Fault(drop=30_000)]
        get(server, tmp_path)
    assert [request.headers.get('Range') for request in other.requests] == [None, 'bytes=30000-']
    assert not any('Authorization' in request.headers for request in other.requests)
    assert all('Authorization' in request.headers for request in server.requests)
    assert_complete(tmp_path)


def test_a_redirect_to_where_a_login_is_needed(server, tmp_path):
    with FaultyServer(FILES, 'somebody', 'else') as other:
        server.faults['fold_0_data.txt'] = [Fault(location=f'{other.url}/fold_0_data.txt')]
        get_fails(server, tmp_path, 'redirects to 127.0.0.1', 'yours is not sent to another server')
    assert 'Authorization' not in other.requests[0].headers


@pytest.mark.parametrize('address', ['ftp://127.0.0.1/x', 'no address', 'http://', 'http://x:port/', 'file:///etc',
                                     'http://x/?key=1', ''])
def test_no_address(server, tmp_path, address):
    # what stands behind a ? may be a secret
    said = '?' if '?' in address else f'not {address!r}'
    get_fails(server, tmp_path / 'data', 'base_url', said, base_url=address)
    assert not (tmp_path / 'data').exists()


def test_an_address_with_a_login(server, tmp_path):
    get_fails(server, tmp_path, 'must not hold a login', base_url=f'http://{USER}:{PASSWORD}@127.0.0.1/')


def test_bad_arguments(server, tmp_path):
    (tmp_path / 'file').write_text('')
    get_fails(server, tmp_path / 'file', 'is a file')
    get_fails(server, tmp_path / 'file' / 'below', str(tmp_path / 'file'))
    get_fails(server, tmp_path, 'aligned, faces', source='both')
    get_fails(server, tmp_path, 'Connection refused', 'given up', base_url='http://127.0.0.1:9')


def test_login_from_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.StringIO())
    get_fails(server, tmp_path, 'ADIENCE_USER', 'terminal', 'talhassner.github.io', user=None, password=None)
    monkeypatch.setenv('ADIENCE_USER', USER)
    get_fails(server, tmp_path, 'a login is needed', password=None)
    monkeypatch.setenv('ADIENCE_PASSWORD', PASSWORD)
    get(server, tmp_path, user=None, password=None)
    assert_complete(tmp_path)


def script(server, dest, slow='', login=True):
    "The arguments of a process that downloads"
    given = f'{USER!r}, {PASSWORD!r}' if login else 'None, None'
    return [sys.executable, '-c', f'''
import sys, time
sys.path.append({os.path.dirname(__file__)!r})
from test_download import TABLE
from agecls_fastai.data.download import download_adience
from agecls_fastai.core.progress import Progress
class Slow(Progress):
    def update(self, text):
        if {slow!r} and text.startswith({slow!r}): time.sleep(0.005)
print(download_adience({str(dest)!r}, {given}, {server.url!r}, files=TABLE, progress=Slow()))
''']


def test_login_from_a_terminal(server, tmp_path):
    pid, terminal = pty.fork()
    if not pid: os.execv(sys.executable, script(server, tmp_path, login=False))
    shown = b''
    def read(until=None):
        nonlocal shown
        while not until or until not in shown:
            try: block = os.read(terminal, 4096)
            except OSError: break  # the process has ended
            if not block: break
            shown += block
    read(b'User name for Adience: ')
    os.write(terminal, f'{USER}\n'.encode())
    read(b'Password: ')
    os.write(terminal, f'{PASSWORD}\n'.encode())
    read()
    assert os.waitpid(pid, 0)[1] == 0, shown
    assert PASSWORD.encode() not in shown
    assert_complete(tmp_path)


@pytest.mark.parametrize('what', ['download', 'unpack'])
def test_killed_and_started_again(server, tmp_path, what):
    if what == 'download': server.faults[ARCHIVE] = [Fault(pace=0.05)]
    slow = 'unpacking' if what == 'unpack' else ''
    def begun():
        part = tmp_path / f'.{ARCHIVE}.part'
        if what == 'download': return part.exists() and part.stat().st_size > 20_000
        return sum(path.is_file() for path in tmp_path.glob('aligned/*/*')) > 30
    process = subprocess.Popen(script(server, tmp_path, slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not begun() and process.poll() is None and time.monotonic() < end: time.sleep(0.001)
    assert process.poll() is None, 'it was too quick to be killed'
    process.send_signal(signal.SIGKILL)
    said = process.communicate()
    left = sorted(path for path in tmp_path.glob('aligned/*/landmark*'))
    times = [path.stat().st_mtime_ns for path in left]
    assert len(left) < len(PICTURES) and not (tmp_path / '.aligned.unpacked.json').exists()
    server.requests.clear()
    done = subprocess.run(script(server, tmp_path), capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.decode().strip() == str(tmp_path), done.stderr
    assert_complete(tmp_path)
    if what == 'download': assert asked(server)[0].startswith('bytes=')
    else: assert not asked(server) and times == [path.stat().st_mtime_ns for path in left]  # not written again
    assert not any(secret.encode() in text for secret in SECRETS for text in (*said, done.stdout, done.stderr))


def member(name, type=tarfile.REGTYPE, link='', size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type, link, size
    return info


def headers(info, content=b''):
    "An archive of one header, whatever it says, and some contents"
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + content + bytes(1024))


GOOD = {'aligned/1@N01/1.jpg': jpeg(1)}
END = len(gzip.decompress(tar_gz(GOOD)).rstrip(b'\0')) // 512 * 512 + 512  # of the last block of the picture


@pytest.mark.parametrize('archive, words', [
    (tar_gz({'/tmp/absolute.jpg': b'x'}), ['refused', 'leads out']),
    (tar_gz({'aligned/../../up.jpg': b'x'}), ['refused', 'leads out']),
    (tar_gz({member('aligned/link', tarfile.SYMTYPE, '/etc/passwd'): b''}), ['refused', 'neither']),
    (tar_gz({member('aligned/link', tarfile.SYMTYPE, '1@N01'): b''}), ['refused', 'neither']),
    (tar_gz({member('aligned/link', tarfile.LNKTYPE, 'aligned/1@N01/1.jpg'): b''}), ['refused', 'neither']),
    (tar_gz({member('aligned/null', tarfile.CHRTYPE): b''}), ['refused', 'neither']),
    (tar_gz({member('aligned/pipe', tarfile.FIFOTYPE): b''}), ['refused', 'neither']),
    (headers(member('aligned/holes', tarfile.GNUTYPE_SPARSE)), ['refused', 'neither']),
    (tar_gz({'fold_0_data.txt': b'x'}), ['refused', 'is not in aligned/']),
    (tar_gz({'aligned/giant.jpg': bytes(30_000_000)}), ['refused', '30,000,000 bytes, more than is allowed']),
    (tar_gz({f'aligned/{i}.jpg': bytes(90_000) for i in range(20)}), ['refused', 'more than is allowed']),
    (headers(member('aligned/x', tarfile.XHDTYPE, size=30_000_000), bytes(30_000_000)), ['refused', 'more comes out']),
    (gzip.compress(gzip.decompress(tar_gz(GOOD)) + bytes(30_000_000)), ['refused', 'more comes out']),
    (headers(member('aligned/x', tarfile.XHDTYPE, size=-512)), ['refused', 'more comes out']),
    (headers(member('aligned/x', size=-512)), ['refused']),
    (tar_gz({f'aligned/{i}': b'' for i in range(101)}), ['refused', 'more than 100 files and folders']),
    (tar_gz(GOOD)[:-20], ['damaged', 'delete it']),
    (tar_gz(GOOD)[:-8] + bytes(8), ['damaged', 'CRC']),
    (gzip.compress(gzip.decompress(tar_gz(GOOD))[:END]), ['damaged', 'cut off']),
    (gzip.compress(gzip.decompress(tar_gz(GOOD))[:END - 600]), ['damaged', 'unexpected end']),
    (gzip.compress(gzip.decompress(tar_gz(GOOD))[:END] + b'x' * 2048), ['damaged', 'no file']),
    (gzip.decompress(tar_gz(GOOD)), ['damaged', 'gzip']),
    (tar_gz({}), ['damaged']),
    (b'', ['damaged']),
    (b'<html>', ['damaged', 'gzip']),
], ids=lambda value: '-'.join(value) if isinstance(value, list) else '')
def test_bad_archives(tmp_path, archive, words):
    file = tmp_path / 'in' / ARCHIVE
    file.parent.mkdir()
    file.write_bytes(archive)
    with pytest.raises(AgeclsError) as raised:
        unpack(file, tmp_path / 'out', limit=1_500_000, members=100, progress=False)
    message = str(raised.value)
    assert '\n' not in message and str(file) in message
    for word in words: assert word in message
    assert file.read_bytes() == archive                        # it is the user's to delete
    written = [path for path in tmp_path.rglob('*') if path.is_file() and path != file]
    assert all((tmp_path / 'out' / 'aligned') in path.parents for path in written)
    assert sum(path.stat().st_size for path in written) < 1_500_000
    assert not [path for path in written if path.name.endswith('.part')]


def test_a_link_in_the_data_folder_is_not_followed(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'aligned').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / ARCHIVE).write_bytes(tar_gz(GOOD))
    with pytest.raises(AgeclsError, match='refused'): unpack(tmp_path / ARCHIVE, tmp_path / 'out', progress=False)
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_folders_in_the_archive(tmp_path):
    folders = [member('./', tarfile.DIRTYPE), member('./aligned', tarfile.DIRTYPE)]
    (tmp_path / ARCHIVE).write_bytes(tar_gz(dict.fromkeys(folders, b'') | {'./aligned/1.jpg': b'1'}))
    assert unpack(tmp_path / ARCHIVE, tmp_path, progress=False) == 1
    assert (tmp_path / 'aligned' / '1.jpg').read_bytes() == b'1'


def test_progress(server, tmp_path):
    server.faults[ARCHIVE] = [Fault(drop=30_000), Fault(pace=0.01)]
    said = get(server, tmp_path, progress=Progress(io.StringIO(), every=0))
    [line, *_] = [line for line in said.splitlines() if line.startswith(f'{ARCHIVE}: ') and ' left' in line]
    assert ' kB of ' in line and '/s, 0:' in line
    assert f'{ARCHIVE}: going on after 30 kB' in said


def test_a_damaged_tree_is_mended(server, tmp_path):
    get(server, tmp_path)
    first, second = sorted(tmp_path.glob('aligned/*/*'))[:2]
    first.write_bytes(b'cut')
    second.rename(second.with_name('Thumbs.jpg'))
    server.requests.clear()
    get(server, tmp_path, user=None, password=None)
    assert not server.requests                                          # the archive is still there
    (second.with_name('Thumbs.jpg')).unlink()
    get(server, tmp_path, user=None, password=None)
    assert_complete(tmp_path)


@pytest.mark.parametrize('content', ['', '{', '[]', '{"size": "x"}'])
def test_a_damaged_note_of_ours_is_no_obstacle(server, tmp_path, content):
    get(server, tmp_path)
    (tmp_path / '.aligned.unpacked.json').write_text(content)
    get(server, tmp_path)
    (tmp_path / ARCHIVE).rename(tmp_path / f'.{ARCHIVE}.part')
    (tmp_path / f'.{ARCHIVE}.part.json').write_text(content)
    (tmp_path / '.aligned.unpacked.json').unlink()
    get(server, tmp_path)
    assert_complete(tmp_path)


def test_a_page_instead_of_a_fold_file(server, tmp_path):
    table = TABLE | {'fold_frontal_9_data.txt': dict(at_most=1000)}
    get_fails(server, tmp_path, 'fold_frontal_9_data.txt (404)', '--no-frontal', files=table)
    with FaultyServer(FILES | {'fold_frontal_9_data.txt': b'<html>Log in</html>'}, USER, PASSWORD) as other:
        get_fails(other, tmp_path, 'is no fold file', files=table)
    assert not list(tmp_path.glob('*frontal_9*'))


def test_an_environment_that_makes_no_sense(server, tmp_path, monkeypatch):
    get_fails(server, tmp_path, 'characters that cannot be sent', user='a\udcff')
    monkeypatch.delenv('NO_PROXY')
    monkeypatch.setenv('http_proxy', 'nonsense://x')
    get_fails(server, tmp_path, 'proxy')


def test_the_real_fold_files(real_folds, tmp_path):
    files = {file.name: file.read_bytes() for file in real_folds.glob('fold_?_data.txt')} | {ARCHIVE: FILES[ARCHIVE]}
    with FaultyServer(files, USER, PASSWORD) as server:
        server.faults['fold_2_data.txt'] = [Fault(drop=100_000)]
        get(server, tmp_path, frontal=False, files=None)
    assert audit(tmp_path).whole
