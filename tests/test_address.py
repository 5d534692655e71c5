"The project's address stands in settings.ini alone: what is made where it is set, and where it is empty"
import re
import shutil
import subprocess
import sys

import check_generated
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'docs'))
from address import colab_address, file_address, fill, long_description, read_address  # noqa: E402

ADDRESS = 'https://github.com/somebody/agecls_fastai'


@pytest.fixture(params=[ADDRESS, ''])
def copy(request, tmp_path):
    "A copy of the sources with this address in settings.ini, and nowhere else"
    for name in ('nbs', 'docs', 'agecls_fastai'):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_*'))
    for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'LICENSE', 'MANIFEST.in'):
        shutil.copy(ROOT / name, tmp_path)
    settings = tmp_path / 'settings.ini'
    text = re.sub(r'(?m)^address =.*', f'address = {request.param}', settings.read_text('utf-8'))
    settings.write_text(text, 'utf-8')
    assert read_address(tmp_path) == request.param
    check_generated.write_tutorials(tmp_path, request.param)
    check_generated.write_readme(tmp_path, request.param)
    return tmp_path, request.param


def test_it_stands_nowhere_else():
    "The address of this repository, where it has one, is in settings.ini and what is made from it"
    address = read_address()
    if not address: return
    made = {'README.md'} | {p.relative_to(ROOT).as_posix() for p in (ROOT / 'nbs/tutorials').glob('*.ipynb')}
    tracked = subprocess.run(['git', 'grep', '-lF', address], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert set(tracked) <= made | {'settings.ini'}


def test_readme(copy):
    path, address = copy
    text = (path / 'README.md').read_text('utf-8')
    assert '{address}' not in text and 'pip install' in text
    assert (f'pip install "agecls_fastai[weights] @ git+{address}"' in text) == bool(address)
    assert ('git clone' in text) == bool(address)


def test_tutorials_open_in_colab(copy):
    path, address = copy
    tutorials = list((path / 'nbs/tutorials').glob('*.ipynb'))
    assert len(tutorials) >= 5
    for file in tutorials:
        text, name = file.read_text('utf-8'), file.relative_to(path).as_posix()
        where = f'@ git+{address}' if address else '../..[weights]'
        assert text.count('%pip install') == 1 and where in text, name
        opened = f'https://colab.research.google.com/github/somebody/agecls_fastai/blob/main/{name}'
        assert (opened in text) == bool(address), name


def test_the_wheel_says_where_it_is_from(copy):
    "And README's links do not break on a page elsewhere, such as PyPI"
    path, address = copy
    code = ('import setuptools.build_meta as b, sys; name = b.prepare_metadata_for_build_wheel("made"); '
            'print(open(f"made/{name}/METADATA", encoding="utf-8").read(), file=sys.stderr)')
    (path / 'made').mkdir()
    done = subprocess.run([sys.executable, '-c', code], cwd=path, capture_output=True, text=True, check=True)
    head, _, description = done.stderr.partition('# agecls_fastai')
    assert (f'Project-URL: Repository, {address}\n' in head) == bool(address)
    links = re.findall(r'\[[^\]]*\]\(([^)\s]+)\)', re.sub(r'(?ms)^```.*?^```', '', description))
    assert len(links) > 5 and all(link.startswith('https://') for link in links), links
    pictures = re.findall(r'!\[[^\]]*\]\(([^)\s]+)\)', description)
    assert bool(pictures) == bool(address) and all('/raw/main/README_files/' in link for link in pictures)


@pytest.mark.parametrize('address', [ADDRESS, ''])
def test_the_site_links_to_the_repository(address, tmp_path):
    "Sphinx with the site's settings, on two pages"
    source, out = tmp_path / 'source', tmp_path / 'out'
    source.mkdir()
    (source / 'index.md').write_text('# One\n\n:::{toctree}\nother\n:::\n')
    (source / 'other.md').write_text('# Other\n\n```python\n1 + 1\n```\n')
    (source / 'site.json').write_text('{"files": {"other": "nbs/01_other.ipynb"}, "names": []}')
    subprocess.run([sys.executable, '-m', 'sphinx', '-q', '-W', '-c', ROOT / 'docs', '-D', f'address={address}',
                    source, out], check=True, capture_output=True)
    page = (out / 'other.html').read_text('utf-8')
    for link in (f'{ADDRESS}/blob/main/nbs/01_other.ipynb', f'{ADDRESS}/edit/main/nbs/01_other.ipynb', f'"{ADDRESS}"'):
        assert (link in page) == bool(address), link


def test_words():
    assert fill('a\nin {address}\nb\n', '') == 'a\nb\n' and fill('in {address}', ADDRESS) == f'in {ADDRESS}'
    assert file_address('https://gitlab.com/a/b', 'x.md', 'raw') == 'https://gitlab.com/a/b/-/raw/main/x.md'
    assert colab_address('https://gitlab.com/a/b', 'x.ipynb') == ''                  # it opens GitHub's alone
    text = '[x](y.md) ![p](q.png) [z](https://z.org) `[a](b)`\n```sh\n[k](l)\n```\n'
    assert long_description(text, '') == 'x  [z](https://z.org) `a`\n```sh\n[k](l)\n```\n'
