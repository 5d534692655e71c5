"What pyproject.toml declares dynamic: requirements, extras, entry points and Python version, read from settings.ini"
import ast
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

root = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(root / 'settings.ini', encoding='utf-8')
settings = config['DEFAULT']
version = re.search(r'^__version__ = (.+)$', (root / 'agecls_fastai' / '__init__.py').read_text('utf-8'), re.M)

setup(
    version=ast.literal_eval(version[1]),
    python_requires=f'>={settings["min_python"]}',
    install_requires=settings['requirements'].split(),
    extras_require={key.removesuffix('_requirements'): value.split() for key, value in settings.items()
                    if key.endswith('_requirements')},
    entry_points={'console_scripts': settings['console_scripts'].split(),
                  'nbdev': ['agecls_fastai = agecls_fastai._modidx:d']})
