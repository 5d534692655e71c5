"The wheel: what it needs, and whether it works in an environment with nothing else"
import subprocess
import sys
import venv
import zipfile
from configparser import ConfigParser
from email.parser import Parser

import pytest
import yaml
from conftest import ROOT

from agecls_fastai import __version__


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "A wheel, built by way of an sdist, as for PyPI"
    out = tmp_path_factory.mktemp('dist')
    subprocess.run([sys.executable, '-m', 'build', '--outdir', out, ROOT], check=True, capture_output=True)
    [file] = out.glob('*.whl')
    return file


@pytest.mark.slow
def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith('.dist-info/METADATA')]
        metadata = Parser().parsestr(archive.read(name).decode())
        entry_points = archive.read(name.replace('METADATA', 'entry_points.txt')).decode()
        modules = {n.removeprefix('agecls_fastai/') for n in archive.namelist() if n.startswith('agecls_fastai/')}
    settings = ConfigParser()
    settings.read(ROOT / 'settings.ini')
    required = metadata.get_all('Requires-Dist')
    assert {r for r in required if 'extra' not in r} == set(settings['DEFAULT']['requirements'].split())
    assert sum('extra == "dev"' in r for r in required) == len(settings['DEFAULT']['dev_requirements'].split())
    assert metadata['Version'] == __version__
    assert metadata['Requires-Python'] == f'>={settings["DEFAULT"]["min_python"]}'
    assert 'agecls = agecls_fastai.cli:main' in entry_points and 'agecls_fastai._modidx:d' in entry_points
    package = ROOT / 'agecls_fastai'
    files = [p.relative_to(package).as_posix() for p in package.rglob('*')]
    sources = {file for file in files if file.endswith(('.py', '.onnx', '.txt'))}
    assert {f'data/{model}.{ending}' for model in ('face_detection_yunet_2023mar', 'centerface_bnmerged')
            for ending in ('onnx', 'LICENSE.txt')} <= sources
    assert modules == sources and {'cli.py', 'all.py', 'runs/crossval.py', 'core/__init__.py'} <= modules


def test_citation():
    "CITATION.cff and the page Cite name this version and the same works"
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text('utf-8'))
    assert citation['version'] == __version__ and citation['license'] == 'Apache-2.0'
    page = (ROOT / 'nbs/cite.ipynb').read_text('utf-8')
    for work in citation['references']: assert work['doi'] in page and work['title'] in page, work['title']


@pytest.mark.slow
def test_wheel_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / 'venv', with_pip=True)
    binaries = next(p for p in (tmp_path / 'venv/bin', tmp_path / 'venv/Scripts') if p.is_dir())
    subprocess.run([binaries / 'python', '-m', 'pip', 'install', '--no-deps', '--quiet', wheel], check=True)
    done = subprocess.run([binaries / 'agecls', '--help'], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and 'cross-validate' in done.stdout, done


def test_help_does_not_import_torch():
    code = 'import sys; from agecls_fastai.cli import make_parser; make_parser().format_help(); print(*sys.modules)'
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert not {'torch', 'fastai', 'pandas', 'numpy'} & set(loaded)
