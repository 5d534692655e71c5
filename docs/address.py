"""The project's address: it stands in settings.ini alone, and is empty until the project has one

A line of text with {address} in it is kept, with the address in its place, where there is one; else it is left out."""
import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = 'main'


def read_address(root=ROOT):
    "What settings.ini says, without a slash at its end"
    config = ConfigParser(delimiters=['='], interpolation=None)
    config.read(Path(root) / 'settings.ini', encoding='utf-8')
    return config['DEFAULT'].get('address', '').strip().rstrip('/')


def fill(text, address):
    "Text with the address, or without the lines that need it"
    if address: return text.replace('{address}', address)
    return ''.join(line for line in text.splitlines(True) if '{address}' not in line)


def file_address(address, file, kind='blob'):
    "Where a file of the repository is shown (blob), edited (edit), or lies as it is (raw)"
    between = '/-' if '//gitlab.' in address else ''
    return f'{address}{between}/{kind}/{BRANCH}/{file}'


def colab_address(address, file):
    "Where Colab opens a notebook: it does so for GitHub only; else nothing"
    found = re.fullmatch(r'https://github\.com/([^/]+/[^/]+)', address)
    return f'https://colab.research.google.com/github/{found[1]}/blob/{BRANCH}/{file}' if found else ''


INSTALL = '# In Colab, this installs the library'                          # how the cell below begins
COLAB = '[Open this page in Colab]('


def install_cell(address):
    "The first code of a tutorial"
    where = f'agecls_fastai[weights] @ git+{address}' if address else '../..[weights]'
    return (f'{INSTALL}; where it is installed, nothing happens\nimport importlib.util\n\n'
            f'if importlib.util.find_spec("agecls_fastai") is None:\n    %pip install -q "{where}"')


def write_tutorial(nb, address, file):
    "A tutorial's notebook (nbformat) with the address of now in the cells that need it"
    for cell in nb.cells:
        if cell.source.startswith(INSTALL): cell.source = install_cell(address)
    title = nb.cells[0]
    lines = [line for line in title.source.splitlines() if not line.startswith(COLAB)]
    where = colab_address(address, file)
    title.source = '\n'.join(lines).rstrip() + (f'\n\n{COLAB}{where})' if where else '')


def long_description(text, address):
    "README for a page elsewhere, as on PyPI: with whole addresses; without one, neither pictures nor links of its own"
    def link(found):
        picture, label, target = found.groups()
        if re.match(r'[a-z]+:|#', target): return found[0]
        if address: return f'{picture}[{label}]({file_address(address, target, "raw" if picture else "blob")})'
        return '' if picture else label
    parts = re.split(r'(?ms)(^```.*?^```)', text)                         # code stays as it is
    return ''.join(part if part.startswith('```') else re.sub(r'(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)', link,
                                                              part) for part in parts)
