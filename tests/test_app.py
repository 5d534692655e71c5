"The web page in a real browser: pictures, garbage, no word to anybody else, and no more memory than was promised"
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.pictures import reads_heif
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.augment import view_preds
from agecls_fastai.predict.predictor import Predictor
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.fold import prediction_table
from agecls_fastai.training.bundle import save_bundle

pytest.importorskip('gradio', reason='there is no Gradio')
pytestmark = pytest.mark.slow
playwright = pytest.importorskip('playwright.sync_api', reason='there is no Playwright')
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if not CHROMIUM: pytest.skip('there is no Chromium', allow_module_level=True)

MOST_MEMORY = 2.5e9                                                        # bytes, as nbs/predict/05_app.ipynb promises

# the command, in a process that tells on standard error to whom it connects
WATCHED = '''
import sys
def told(event, args):
    if event == 'socket.connect' and isinstance(args[1], tuple): print('CONNECT', args[1][0], file=sys.stderr)
    if event == 'socket.getaddrinfo': print('CONNECT', args[0], file=sys.stderr)
sys.addaudithook(told)
from agecls_fastai.cli import main
sys.exit(main())
'''


def party(columns, rows, side, n=100):
    "A photograph of a group: an astronaut many times, each in another light"
    from skimage import data
    face = Image.fromarray(data.astronaut()).crop((124, 20, 334, 230)).resize((side, side), Image.Resampling.BICUBIC)
    photo = Image.new('RGB', (columns * side, rows * side), 'grey')
    for i in range(min(n, columns * rows)):
        light = ImageEnhance.Brightness(face).enhance(0.6 + 0.8 * (i * 7 % 11) / 11)
        photo.paste(light, (i % columns * side, i // columns * side))
    return photo


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A model that was trained for a moment, and pictures of many kinds"
    tmp = tmp_path_factory.mktemp('app')
    path = draw_adience(tmp / 'faces', n_subjects=60, size=96)
    recipe = replace(RECIPES['levi_hassner_onecycle'], size=48, resize=54, bs=16, epochs=3)
    learn = recipe.learner(recipe.dls(read_adience(path), path, test_fold=0, num_workers=0))
    with learn.no_bar(), learn.no_logging():
        recipe.fit(learn)
        valid = learn.dls.valid_ds.items
        save_bundle(learn, recipe, tmp / 'model', prediction_table(valid, view_preds(learn, valid).numpy()),
                    data='drawn faces')
    tested = learn.dls.test.items['file']
    (tmp / 'examples').mkdir()
    for i in range(2): shutil.copy(path / tested.iloc[i * 20], tmp / 'examples' / f'{i}.jpg')
    from skimage import data
    Image.fromarray(data.astronaut()).save(tmp / 'astronaut.png')
    party(3, 2, 300, 5).save(tmp / 'five.jpg', quality=90)
    party(6, 5, 240).save(tmp / 'thirty.jpg', quality=90)
    if reads_heif(): party(1, 1, 500).save(tmp / 'telephone.heic', 'HEIF')
    Image.new('RGB', (300, 200), 'green').save(tmp / 'green.png')
    (tmp / 'garbage.jpg').write_bytes(b'garbage' * 100)
    (tmp / 'large.jpg').write_bytes(os.urandom(2_000_000))
    bomb = bytearray((tmp / 'astronaut.png').read_bytes())
    bomb[16:24] = (30_000).to_bytes(4) * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    (tmp / 'bomb.png').write_bytes(bomb)
    return tmp


@contextmanager
def running(command, folder, name):
    "A running page: process, address, folder of temporary files, what it says on standard error"
    temporary = folder / name
    temporary.mkdir()
    with open(folder / f'{name}.err', 'w') as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True,
                                   env=os.environ | dict(TMPDIR=str(temporary)))
        try:
            line = process.stdout.readline()
            found = re.search(r'http://127\.0\.0\.1:\d+/', line)
            assert found, line + (folder / f'{name}.err').read_text()
            yield process, found[0], temporary, folder / f'{name}.err'
        finally:
            if process.poll() is None: process.kill()
            process.wait()


@pytest.fixture(scope='module')
def server(folder):
    "The command"
    command = [sys.executable, '-c', WATCHED, 'app', folder / 'model', '--examples', folder / 'examples',
               '--max-mb', '1']
    with running(command, folder, 'temporary') as found: yield found


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[
            '--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def page(server, browser):
    page = browser.new_context(viewport=dict(width=1100, height=700), permissions=[
        'camera', 'clipboard-read', 'clipboard-write']).new_page()
    page.asked = []
    page.on('request', lambda request: page.asked.append(request.url))
    page.goto(server[1])
    return page


def clear(page, kind, tab='Files'):
    "The page without a picture"
    for name in sorted(('Files', 'Camera'), key=tab.__eq__):
        page.get_by_role('tab', name=name).click()
        button = page.get_by_label({'Files': 'Clear', 'Camera': 'Remove Image'}[name], exact=True)
        if button.count() and button.is_visible(): button.click()
    playwright.expect(page.locator('#answer')).to_have_text('')
    page.get_by_label(kind).check()


def upload(page, files, kind='find the faces in it', answer='#answer h3'):
    "Choose files and wait for what is said about them"
    clear(page, kind)
    files = [str(file) for file in (files if isinstance(files, list) else [files])]
    page.set_input_files('#files input[type=file]', files)
    page.wait_for_selector(answer, timeout=120_000, state='attached')
    return page.locator('#answer')


def test_a_drawn_face(page, folder):
    file = folder / 'examples' / '0.jpg'
    answer = upload(page, file, 'it is a face')
    said = Predictor(folder / 'model').predict(file).iloc[0]
    assert answer.locator('h3').inner_text() == f'{said["group"]}, {100 * said["confidence"]:.0f} % sure'
    words = answer.locator('section p').first.inner_text()
    first, last = said['set'].split()[0].split('-')[0], said['set'].split()[-1].split('-')[1]
    assert words == f'about {said["expected_age"]:.0f} years; {first} to {last} in nine of ten such cases'
    bars = answer.locator('.bars span').all()
    shares = [bar.bounding_box()['width'] for bar in bars]
    labels = answer.locator('.bars th').all_inner_texts()
    assert labels[shares.index(max(shares))] == said['group'] and len(bars) == 8
    where = answer.locator('details img')
    assert not where.is_visible()
    answer.locator('summary').click()
    assert where.is_visible() and where.evaluate('image => image.naturalWidth') == 224


def test_a_photograph(page, folder):
    answer = upload(page, folder / 'astronaut.png')
    assert answer.locator('h3').count() == 1 and answer.locator('.faces').count() == 0
    box = answer.locator('.box').bounding_box()
    photo = answer.locator('svg').bounding_box()
    assert 0.25 < (box['x'] + box['width'] / 2 - photo['x']) / photo['width'] < 0.6
    page.get_by_label('it is a face').check()                              # asks again
    playwright.expect(answer.locator('svg')).to_have_count(0, timeout=30_000)
    assert answer.locator('h3').count() == 1


def overlap(a, b):
    return (min(a['x'] + a['width'], b['x'] + b['width']) - max(a['x'], b['x']) > 0.5
            and min(a['y'] + a['height'], b['y'] + b['height']) - max(a['y'], b['y']) > 0.5)


CUT_OFF = "[...document.querySelectorAll('.listed')].filter(x => x.scrollWidth > x.clientWidth).length"


def test_five_faces(page, folder):
    "An overview; a row, a box and a key open a card"
    answer = upload(page, folder / 'five.jpg', answer='#answer .faces')
    assert '5 faces' in answer.inner_text() and answer.locator('svg.photo').count() == 1
    boxes, tags = ([x.bounding_box() for x in answer.locator(f'svg {what}').all()] for what in ('.box', '.tag'))
    assert len(boxes) == len(tags) == answer.locator('.faces tbody tr').count() == 5
    assert not [(i, j) for i, tag in enumerate(tags) for j, box in enumerate(boxes) if i != j and overlap(tag, box)]
    if file := os.environ.get('AGECLS_SCREENSHOT'):
        Image.open(io.BytesIO(page.screenshot())).convert('RGB').quantize(200).save(file, optimize=True)
    card = page.locator('dialog.agecls')
    assert page.evaluate(CUT_OFF) == 0
    assert not answer.locator('h3').first.is_visible() and not card.is_visible()
    def opened(number):
        playwright.expect(card.locator('h3')).to_have_text(re.compile(f'Face {number}: '))
        assert card.locator('.bars').is_visible()
    answer.locator('.faces tbody tr').nth(3).click()
    opened(4)
    card.get_by_label('the next face').click()
    opened(5)
    page.keyboard.press('ArrowRight')                                      # round
    opened(1)
    page.keyboard.press('Escape')
    assert not card.is_visible()
    answer.locator('svg .face').nth(1).click()
    opened(2)
    card.get_by_label('close').click()
    for button in (answer.locator('svg .face').nth(2), answer.locator('.faces tbody button').nth(2)):
        button.focus()
        page.keyboard.press('Enter')
        opened(3)
        page.keyboard.press('Escape')
        assert not card.is_visible()


def test_thirty_faces(page, folder):
    "No longer a column of eight thousand pixels; sorted, and saved as they are in the command's table"
    answer = upload(page, folder / 'thirty.jpg', answer='#answer .faces')
    rows = answer.locator('.faces tbody tr')
    assert rows.count() == answer.locator('svg .face').count() == 30
    assert page.evaluate('document.documentElement.scrollHeight') < 2_500
    def column(n): return [float(x.split()[0]) for x in rows.locator(f'td:nth-child({n})').all_inner_texts()]
    sure, numbers = column(3), column(1)
    assert numbers == list(range(1, 31)) and len(set(sure)) > 1
    head = answer.locator('.sort', has_text='sure')
    head.click()
    assert column(3) == sorted(sure) and answer.locator('th[aria-sort=ascending]').inner_text().startswith('sure')
    assert column(1) != numbers and dict(zip(column(1), column(3))) == dict(zip(numbers, sure))
    head.focus()
    page.keyboard.press('Enter')
    assert column(3) == sorted(sure)[::-1] and answer.locator('th[aria-sort]').count() == 1
    number = int(column(1)[0])
    rows.first.click()                                                     # the card of that face, wherever it stands
    head = re.compile(f'Face {number}: .* {max(sure):.0f} % sure')
    playwright.expect(page.locator('dialog h3')).to_have_text(head)
    page.keyboard.press('Escape')
    with page.expect_download() as saved: answer.locator('a.csv').click()
    table = pd.read_csv(saved.value.path())
    assert saved.value.suggested_filename == 'ages.csv' and table.file.unique().tolist() == ['thirty.jpg']
    assert table.face.tolist() == numbers and (100 * table.confidence).round().tolist() == sure
    left = [float(x) for x in answer.locator('svg .box').evaluate_all('x => x.map(one => one.getAttribute("x"))')]
    assert table.left.tolist() == left


def test_two_files_of_which_one_is_broken(page, folder):
    odd = folder / '${1+1} {{x}} =1+1.png'
    shutil.copy(folder / 'garbage.jpg', odd)
    answer = upload(page, [odd, folder / 'five.jpg'], answer='#answer .faces')
    assert answer.locator('h2').all_inner_texts() == [odd.name, 'five.jpg']
    assert answer.locator('article').first.locator('.error').inner_text() == f'{odd.name} is no picture'
    assert answer.locator('article').nth(1).locator('.faces tbody tr').count() == 5
    assert '2 pictures' in answer.inner_text()
    with page.expect_download() as saved: answer.locator('a.csv').click()
    table = pd.read_csv(saved.value.path())
    assert table.file.tolist() == [odd.name] + ['five.jpg'] * 5 and table.error.notna().tolist() == [True] + [False] * 5


def test_heic(page, folder):
    "What no browser shows is answered, and no broken picture stands beside it"
    if not reads_heif(): pytest.skip('there is no pillow-heif')
    answer = upload(page, folder / 'telephone.heic')
    assert 'years' in answer.inner_text()
    broken = '[...document.images].filter(x => x.currentSrc && x.complete && !x.naturalWidth).map(x => x.src)'
    assert page.evaluate(broken) == []


@pytest.mark.parametrize('file, message', [
    ('garbage.jpg', 'the picture is no picture'),
    ('bomb.png', 'the picture unpacks into more than 178 million pixels')])
def test_what_cannot_be_answered(page, folder, file, message):
    for kind in ('it is a face', 'find the faces in it'):
        said = upload(page, folder / file, kind, '#answer .error').inner_text().strip()
        assert said == message.replace('the picture', file)


def test_no_face(page, folder):
    answer = upload(page, folder / 'green.png', answer='#answer .error')
    assert 'No face is found' in answer.inner_text() and answer.locator('svg').count() == 1


def test_a_large_file(page, folder):
    upload(page, folder / 'large.jpg', 'it is a face', 'text=/exceed the maximum allowed size of 1/')
    page.reload()
    page.wait_for_selector('#files input[type=file]', state='attached')


def test_paste(page):
    clear(page, 'it is a face', 'Camera')
    page.evaluate("""async () => {
      const canvas = document.createElement('canvas')
      canvas.getContext('2d').fillRect(100, 0, 60, 150)
      const file = await new Promise(made => canvas.toBlob(made, 'image/png'))
      await navigator.clipboard.write([new ClipboardItem({'image/png': file})]) }""")
    page.get_by_label('Paste from clipboard').click()
    page.wait_for_selector('#answer h3', timeout=30_000)


def test_camera(page):
    clear(page, 'it is a face', 'Camera')
    page.get_by_label('Capture from camera').click()
    page.get_by_text('Click to Access Webcam').click()
    page.wait_for_function("""() => {
      const video = document.querySelector('video')
      return video && video.videoWidth > 0 && video.currentTime > 0.3 }""")  # frames come
    page.get_by_label('capture photo').click()
    page.wait_for_selector('#answer h3', timeout=30_000)


def test_an_example(page):
    clear(page, 'it is a face')
    page.locator('.gallery button').first.click()
    page.wait_for_selector('#answer h3', timeout=30_000)


def test_what_stands_above(page):
    said = page.locator('.prose.about').inner_text()
    assert 'It must not decide about people' in said and 'Nothing is stored' in said and 'deleted 60 seconds' in said
    for term in ('prediction set', 'expected age', 'wrote beside'): assert term not in page.locator('body').inner_text()


def test_a_telephone(server, browser, folder):
    "Nothing is wider than the screen, and nobody has to scroll sideways in the table"
    page = browser.new_context(viewport=dict(width=390, height=844)).new_page()
    page.goto(server[1])
    for file, answer in (('green.png', '.error'), ('astronaut.png', 'h3'), ('five.jpg', '.faces'),
                         ('thirty.jpg', '.faces')):
        upload(page, folder / file, answer=f'#answer {answer}')
        assert page.evaluate('document.documentElement.scrollWidth') <= 390, file
        assert page.evaluate(CUT_OFF) == 0, file
    page.locator('#answer .faces tbody tr').nth(20).click()
    box = page.locator('dialog').bounding_box()
    assert box['x'] >= 0 and box['x'] + box['width'] <= 390 and box['y'] >= 0 and box['y'] + box['height'] <= 844
    page.context.close()


def test_health(server):
    found = httpx.get(f'{server[1]}health')
    assert (found.status_code, found.json()) == (200, dict(status='ok'))


def test_nobody_else_hears_of_it(page, server):
    process, address, temporary, err = server
    assert len(page.asked) > 10
    assert [url for url in page.asked if not url.startswith((address, 'data:', f'blob:{address}'))] == []
    port = int(address.strip('/').rsplit(':')[-1])
    if os.path.exists('/proc/net/tcp'):
        with open('/proc/net/tcp') as f: rows = [line.split() for line in f][1:]
        assert {row[1][:8] for row in rows if row[3] == '0A' and row[1].endswith(f':{port:04X}')} == {'0100007F'}
    said = err.read_text()
    assert {line.split()[1] for line in said.splitlines() if line.startswith('CONNECT')} <= {'127.0.0.1', 'localhost'}
    assert 'Traceback' not in said
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    time.sleep(0.5)
    assert [p for p in temporary.rglob('*') if p.is_file()] == []           # no picture is left


# the page, with a network as large as they are usually, that has learned nothing
LARGE = '''
import sys
from agecls_fastai.predict.app import make_app, run_app
from agecls_fastai.data.faces import face_finder
from agecls_fastai.predict.predictor import Predictor
run_app(make_app(Predictor(sys.argv[1], 'cpu'), face_finder(), keep=3600))
'''


def ask(address, photo):
    "Upload a photograph and ask for its faces as a browser does: what comes back, in one text"
    api, timeout = f'{address}gradio_api', httpx.Timeout(600)
    with httpx.Client(timeout=timeout) as client:
        config = client.get(f'{address}config').json()
        files, = (c['id'] for c in config['components'] if c['type'] == 'file')
        asked, = (d['id'] for d in config['dependencies'] if [files, 'change'] in [list(t) for t in d['targets']])
        path, = client.post(f'{api}/upload', files={'files': ('party.jpg', photo)}).json()
        given = [dict(path=path, orig_name='party.jpg', meta={'_type': 'gradio.FileData'})]
        session = uuid.uuid4().hex
        client.post(f'{api}/queue/join', json=dict(data=[given, 'find the faces in it'], fn_index=asked,
                                                   session_hash=session)).raise_for_status()
        said = ''
        with client.stream('GET', f'{api}/queue/data', params=dict(session_hash=session)) as answer:
            for line in answer.iter_lines():
                if not line.startswith('data: '): continue
                message = json.loads(line[6:])
                said += json.dumps(message.get('output'))
                if message['msg'] == 'process_completed': return message['success'], said
    return False, said


def test_memory(folder):
    "Twenty at once, each with 12 million pixels, four of them with 30 faces: below what is promised"
    if not os.path.exists('/proc/self/status'): pytest.skip('the highest memory is not told here')
    recipe = replace(RECIPES['finetune_resnet34'], pretrained=False)
    path = folder / 'faces'
    learn = recipe.learner(recipe.dls(read_adience(path), path, test_fold=0, num_workers=0))
    save_bundle(learn, recipe, folder / 'large', data='nothing')
    photos = {}
    for n in (3, 30):
        file = io.BytesIO()
        party(6, 5, 633, n).save(file, 'JPEG', quality=85)
        photos[n] = file.getvalue()
        assert np.prod(Image.open(file).size) > 12e6 - 1e5
    # two are answered at a time: two pairs with all faces ask for as much at once as twenty would, in less time
    asked = [3, 3, 30, 30] * 2 + [3] * 12
    with running([sys.executable, '-c', LARGE, folder / 'large'], folder, 'loaded') as (process, address, _, err):
        def highest():
            with open(f'/proc/{process.pid}/status') as f:
                return next(int(line.split()[1]) / 2**20 for line in f if line.startswith('VmHWM'))    # GiB
        before, started = highest(), time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(ask, address, photos[n]) for n in asked]
            found = httpx.get(f'{address}health', timeout=30)              # answered meanwhile
            assert found.status_code == 200
            answers = [answer.result() for answer in answers]
        print(f'{before:.2f} GiB before, {highest():.2f} GiB at most, {time.monotonic() - started:.0f} s')
        assert [done for done, _ in answers] == [True] * 20, err.read_text()
        assert all(f'{n} faces' in said for n, (_, said) in zip(asked, answers))
        assert highest() * 2**30 < MOST_MEMORY
