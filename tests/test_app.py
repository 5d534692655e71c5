"The web page in a real browser: pictures, garbage, and no word to anybody else"
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.augment import view_preds
from agecls_fastai.predict.predictor import Predictor
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.fold import prediction_table
from agecls_fastai.training.bundle import save_bundle

pytest.importorskip('gradio', reason='there is no Gradio')
playwright = pytest.importorskip('playwright.sync_api', reason='there is no Playwright')
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if not CHROMIUM: pytest.skip('there is no Chromium', allow_module_level=True)

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
    (tmp / 'garbage.jpg').write_bytes(b'garbage' * 100)
    (tmp / 'large.jpg').write_bytes(os.urandom(2_000_000))
    bomb = bytearray((tmp / 'astronaut.png').read_bytes())
    bomb[16:24] = (30_000).to_bytes(4) * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    (tmp / 'bomb.png').write_bytes(bomb)
    return tmp


@pytest.fixture(scope='module')
def server(folder):
    "The running command: process, address, folder of temporary files, what it says on standard error"
    temporary = folder / 'temporary'
    temporary.mkdir()
    with open(folder / 'stderr', 'w') as err:
        command = [sys.executable, '-c', WATCHED, 'app', folder / 'model', '--examples', folder / 'examples',
                   '--max-mb', '1']
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True,
                                   env=os.environ | dict(TMPDIR=str(temporary)))
        line = process.stdout.readline()
        found = re.search(r'http://127\.0\.0\.1:\d+/', line)
        assert found, line + (folder / 'stderr').read_text()
        yield process, found[0], temporary, folder / 'stderr'
        if process.poll() is None: process.kill()
        process.wait()


@pytest.fixture(scope='module')
def page(server):
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[
            '--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'])
        page = browser.new_context(viewport=dict(width=1100, height=700), permissions=[
            'camera', 'clipboard-read', 'clipboard-write']).new_page()
        page.asked = []
        page.on('request', lambda request: page.asked.append(request.url))
        page.goto(server[1])
        yield page
        browser.close()


def clear(page, kind):
    "The page without a picture"
    if page.get_by_label('Remove Image').count(): page.get_by_label('Remove Image').click()
    playwright.expect(page.locator('#answer')).to_have_text('')
    page.get_by_label(kind).check()


def upload(page, file, kind, answer='#answer h3'):
    "Choose a file and wait for what is said about it"
    clear(page, kind)
    page.set_input_files('input[type=file]', str(file))
    page.wait_for_selector(answer, timeout=30_000)
    return page.locator('#answer')


def test_a_drawn_face(page, folder):
    file = folder / 'examples' / '0.jpg'
    answer = upload(page, file, 'it is a face')
    said = Predictor(folder / 'model').predict(file).iloc[0]
    head = answer.locator('h3').inner_text()
    assert head == f'{said["group"]}, {100 * said["confidence"]:.0f} %'
    assert said['set'] in answer.inner_text() and f'{said["expected_age"]:.1f} years' in answer.inner_text()
    bars = answer.locator('.bars span').all()
    shares = [bar.bounding_box()['width'] for bar in bars]
    labels = answer.locator('.bars th').all_inner_texts()
    assert labels[shares.index(max(shares))] == said['group'] and len(bars) == 8
    where = answer.locator('details img')
    assert not where.is_visible()
    answer.locator('summary').click()
    assert where.is_visible() and where.evaluate('image => image.naturalWidth') == 224
    if file := os.environ.get('AGECLS_SCREENSHOT'): page.screenshot(path=file)


def test_a_photograph(page, folder):
    answer = upload(page, folder / 'astronaut.png', 'find the faces in it')
    assert answer.locator('h3').all_inner_texts()[0].startswith('Face 1: ')
    box = answer.locator('svg rect').bounding_box()
    photo = answer.locator('svg').bounding_box()
    assert 0.25 < (box['x'] + box['width'] / 2 - photo['x']) / photo['width'] < 0.6
    page.get_by_label('it is a face').check()                              # asks again
    playwright.expect(answer.locator('h3')).not_to_contain_text('Face')


@pytest.mark.parametrize('file, message', [
    ('garbage.jpg', 'the picture is no picture'),
    ('bomb.png', 'the picture unpacks into more than 178 million pixels')])
def test_what_cannot_be_answered(page, folder, file, message):
    for kind in ('it is a face', 'find the faces in it'):
        assert upload(page, folder / file, kind, '#answer .error').inner_text().strip() == message


def test_no_face(page, folder):
    Image.new('RGB', (300, 200), 'green').save(folder / 'green.png')
    answer = upload(page, folder / 'green.png', 'find the faces in it', '#answer .error')
    assert 'No face is found' in answer.inner_text()


def test_a_large_file(page, folder):
    upload(page, folder / 'large.jpg', 'it is a face', 'text=/exceed the maximum allowed size of 1/')


def test_paste(page):
    clear(page, 'it is a face')
    page.evaluate("""async () => {
      const canvas = document.createElement('canvas')
      canvas.getContext('2d').fillRect(0, 0, 50, 50)
      const file = await new Promise(made => canvas.toBlob(made, 'image/png'))
      await navigator.clipboard.write([new ClipboardItem({'image/png': file})]) }""")
    page.get_by_label('Paste from clipboard').click()
    page.wait_for_selector('#answer h3', timeout=30_000)


def test_camera(page):
    clear(page, 'it is a face')
    page.get_by_label('Capture from camera').click()
    page.get_by_text('Click to Access Webcam').click()
    page.wait_for_function("""() => {
      const video = document.querySelector('video')
      return video && video.videoWidth > 0 && video.currentTime > 0.3 }""")  # frames come
    page.get_by_label('capture photo').click()
    page.wait_for_selector('#answer h3', timeout=30_000)
    page.get_by_label('Upload file').click()


def test_an_example(page):
    clear(page, 'it is a face')
    page.locator('.gallery button').first.click()
    page.wait_for_selector('#answer h3', timeout=30_000)


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
