"README's lines do what they say: each `agecls …` line and each block of Python is run as it stands, on drawn faces"
import re
import shlex
import shutil
from functools import partial

import numpy as np
import pytest
from conftest import ROOT, agecls
from faulty_server import FaultyServer, tar_gz
from forks import Fork
from PIL import Image
from skimage import data

from agecls_fastai import all as everything
from agecls_fastai.data import download
from agecls_fastai.recipes import RECIPES, change_recipe

README = (ROOT / 'README.md').read_text('utf-8')
TINY = ['--size', 28, '--epochs', 1, '--limit', 8, '--set', 'arch=test_resnet', '--no-pretrained']
# the options that are added to a command so that it is short, and finds what stands for the network here
ADDED = {'cv': [*TINY, '--folds', 0, 1], 'study': [*TINY, '--folds', 0], 'pack': ['--size', 32]}


def blocks(language): return re.findall(rf'(?ms)^```{language}\n(.*?)^```', README)


LINES = [line for block in blocks('sh') for line in block.splitlines() if line.startswith('agecls ')]
CARDS = re.search(r'(?ms)^## What do you want to do\?$(.*?)^## ', README)[1]


def place(path):
    "What README's lines find in the folder that they are run in: photographs, UTKFace, a table, class folders"
    rng = np.random.default_rng(0)
    def face(name):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(path / name)
    for name in ('holiday/1.jpg', 'holiday/2.jpg', 'scan.tif'):
        (path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(data.astronaut()).save(path / name)
    ages = [1, 5, 10, 17, 28, 40, 50, 70]
    for i in range(40): face(f'UTKFACE/{ages[i % 8]}_{i % 2}_{i % 5}_2017010912{i:011}.jpg')
    for i in range(80): face(f'PICTURES/{i}.png')
    lines = [f'{i}.png,{ages[i % 8]},person {i // 2}' for i in range(80)]
    (path / 'people.csv').write_text('\n'.join(['path,age,name', *lines]) + '\n')
    for i in range(45):
        face(f'ALBUM/{("child", "adult", "old")[i % 3]}/p{i % 15}_{i}.jpg')
        face(f'album/{("4-6", "25-32", "60-100")[i % 3]}/p{i % 15}_{i}.jpg')


@pytest.fixture
def home(tmp_path, monkeypatch, drawn):
    "The folder that README is read in; Adience's server and the Hub are on this machine"
    from hub_server import Hub
    place(tmp_path)
    files = {p.name: p.read_bytes() for p in drawn.glob('*.txt')}
    pictures = {p.relative_to(drawn).as_posix(): p.read_bytes() for p in drawn.rglob('aligned/*/*.jpg')}
    known = {name: dict(at_most=10**6) for name in files} | {'aligned.tar.gz': download.REMOTE_FILES['aligned.tar.gz']}
    monkeypatch.setattr(download, 'REMOTE_FILES', known)
    monkeypatch.chdir(tmp_path)
    for name, word in dict(ADIENCE_USER='me', ADIENCE_PASSWORD='word', HF_TOKEN='hf_token').items():
        monkeypatch.setenv(name, word)
    from huggingface_hub import constants
    with FaultyServer(files | {'aligned.tar.gz': tar_gz(pictures)}, 'me', 'word') as server, Hub() as hub:
        monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
        monkeypatch.setitem(ADDED, 'download', ['--base-url', server.url])
        yield tmp_path


def open_page(words, log):
    "`agecls app` goes on until it is told to stop: its first line says where the page is"
    page = Fork([words], log)
    assert page.when(lambda: 'The page is at http://127.0.0.1' in page.text()), page.text()
    page.end()


@pytest.mark.slow
def test_commands(home, drawn):
    pytest.importorskip('gradio', reason='there is no Gradio')
    assert len(LINES) > 20
    for line in LINES:
        _, *words = shlex.split(line, comments=True)
        if words[0] == 'app': open_page(words, home / 'app.log')
        else:
            done = agecls(*words, *ADDED.get(words[0], []))
            # a drawn data set is whole by its own digests, which Adience's server does not have
            if words[0] == 'download': shutil.copy(drawn / 'manifest.json', 'adience')
            assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
    for made in ('adience_256/pack.json', 'report.html', 'sets.csv', 'age.onnx', 'runs/classes/run.json'):
        assert (home / made).is_file(), made


def test_make_knows_its_targets():
    made = re.findall(r'make ([\w-]+)', '\n'.join(blocks('sh')), re.M)
    assert {'demo', 'test', 'docs'} <= set(made)
    for target in made: assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.M), target


@pytest.mark.slow
def test_cards(home, monkeypatch):
    "Each says what it does in at most five lines of Python, in the order of the page, and names its guide"
    cards = re.split(r'^### ', CARDS, flags=re.M)[1:]
    assert [card.splitlines()[0] for card in cards] == ['Compare two networks', 'Train on your own pictures',
                                                        'Predict photographs', 'Read a report', 'Cite']
    drawn = agecls('synth', 'adience', '--subjects', 18, '--size', 40)
    assert drawn.returncode == 0, drawn.stderr
    for name in ('levi_hassner_onecycle', 'finetune_lite0'):              # as small as the commands above
        monkeypatch.setitem(RECIPES, name, change_recipe(RECIPES[name], dict(
            arch='test_resnet', size=32, epochs=1, bs=16, pretrained=False)))
    monkeypatch.setattr(everything, 'cross_validate', partial(everything.cross_validate, folds=[0, 1]))
    known = {}
    for card in cards:
        [code] = re.findall(r'(?ms)^```python\n(.*?)^```', card)
        assert len(code.splitlines()) <= 5, code
        exec(code, known)
        [guide] = re.findall(r'Guide: \[.*?\((nbs/[\w/]+\.ipynb)\)', card, re.M)
        assert (ROOT / guide).is_file(), guide
    assert known['answers']['group'].notna().sum() >= 2 and (home / 'report.html').is_file()
