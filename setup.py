"What pyproject.toml declares dynamic: requirements, extras, entry points, address and more, read from settings.ini"
import ast
import re
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

root = Path(__file__).resolve().parent
sys.path.insert(0, str(root / 'docs'))
from address import file_address, long_description, read_address  # noqa: E402

address = read_address(root)
config = ConfigParser(delimiters=['='], interpolation=None)
config.read(root / 'settings.ini', encoding='utf-8')
settings = config['DEFAULT']
version = re.search(r'^__version__ = (.+)$', (root / 'agecls_fastai' / '__init__.py').read_text('utf-8'), re.M)

setup(
    version=ast.literal_eval(version[1]),
    long_description=long_description((root / 'README.md').read_text('utf-8'), address),
    long_description_content_type='text/markdown',
    project_urls={'Repository': address, 'Changelog': file_address(address, 'CHANGELOG.md')} if address else {},
    python_requires=f'>={settings["min_python"]}',
    install_requires=settings['requirements'].split(),
    extras_require={key.removesuffix('_requirements'): value.split() for key, value in settings.items()
                    if key.endswith('_requirements')},
    entry_points={'console_scripts': settings['console_scripts'].split(),
                  'nbdev': ['agecls_fastai = agecls_fastai._modidx:d']})
