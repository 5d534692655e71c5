"""Do the modules and README.md match the notebooks, and are the notebooks clean? Is the table of bad input that of its
tests? Do README and tutorials have the address of settings.ini?

Everything is generated again in a copy of the sources, and compared with what is here; nothing here is touched.
`--write` takes the new README.md, the new tutorials and the new table over.
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from fastcore.nbio import read_nb, write_nb
from hostile import bad_input
from nbconvert import MarkdownExporter
from nbconvert.writers import FilesWriter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'docs'))
from address import fill, read_address, write_tutorial  # noqa: E402

BIN = Path(sys.executable).parent
SOURCES = ['nbs', 'agecls_fastai', 'pyproject.toml', 'settings.ini', 'setup.py', 'README.md']


def files(root):
    "The files to compare, with their contents"
    patterns = ['README.md', 'README_files/*', 'nbs/**/*.ipynb', 'agecls_fastai/**/*.py']
    paths = [path for pattern in patterns for path in root.glob(pattern)]
    return {str(p.relative_to(root)): p.read_bytes() for p in paths if p.is_file()}


def generate(root):
    "Fill in the address, export, clean, and make README.md, in `root`"
    for module in root.glob('agecls_fastai/**/*.py'):
        if module.name != '__init__.py': module.unlink()  # a module whose notebook is gone must not stay
    address = read_address(root)
    write_tutorials(root, address)
    for command in ('nbdev-export', 'nbdev-clean'): subprocess.run([BIN / command], cwd=root, check=True)
    write_readme(root, address)


def write_tutorials(root, address):
    "The tutorials in `root` with the address of now"
    for path in (root / 'nbs/tutorials').glob('*.ipynb'):
        notebook = read_nb(path)
        write_tutorial(notebook, address, path.relative_to(root).as_posix())
        write_nb(notebook, path)


def write_readme(root, address):
    "README.md out of the front page; a cell with `#| echo: false` shows what comes out alone"
    notebook = nbformat.read(root / 'nbs' / 'index.ipynb', as_version=4)
    notebook.metadata['language_info'] = {'name': 'python'}  # nbdev-clean drops it; it colours the code
    alts = []
    for cell in notebook.cells:
        cell.source = fill(cell.source, address)
        if cell.cell_type != 'code': continue
        if re.search(r'^#\| *echo: *false', cell.source, re.M): cell.metadata['tags'] = ['answer']
        if any('image/png' in output.get('data', {}) for output in cell.outputs):
            alts.append(re.search(r'^#\| *fig-alt: *(.+)', cell.source, re.M)[1])
        cell.source = re.sub(r'(?m)^#\|.*\n?', '', cell.source)
    exporter = MarkdownExporter(config=Config(TagRemovePreprocessor=dict(enabled=True, remove_input_tags={'answer'})))
    text, resources = exporter.from_notebook_node(notebook, {
        'unique_key': 'README', 'output_files_dir': 'README_files'})
    text = re.sub(r'!\[png\]', lambda _: f'![{alts.pop(0)}]', text)
    FilesWriter(build_directory=str(root)).write(text, resources, notebook_name='README')


def main():
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / ROOT.name
        copy.mkdir()
        for name in SOURCES:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
                shutil.copytree(ROOT / name, copy / name, ignore=ignore)
            elif (ROOT / name).is_file(): shutil.copy2(ROOT / name, copy / name)
        generate(copy)
        if '--write' in sys.argv:
            bad_input.TABLE.write_text(bad_input.text(), 'utf-8')
            shutil.copytree(copy / 'nbs/tutorials', ROOT / 'nbs/tutorials', dirs_exist_ok=True)
            shutil.copy2(copy / 'README.md', ROOT / 'README.md')
            shutil.rmtree(ROOT / 'README_files', ignore_errors=True)
            if (copy / 'README_files').is_dir(): shutil.copytree(copy / 'README_files', ROOT / 'README_files')
        here, made = files(ROOT), files(copy)
    wrong = [f'{name} tells of a folder of the machine that it was run on' for name, text in here.items()
             if b'/site-packages/' in text]
    wrong += [f'{name} ' + ('is not made by any notebook' if name not in made else 'is missing' if name not in here else
                           'differs from what the notebooks give') for name in sorted(here.keys() | made)
             if here.get(name) != made.get(name)]
    if bad_input.TABLE.read_text('utf-8') != bad_input.text():
        wrong.append(f'{bad_input.TABLE.relative_to(ROOT)} is not what tests/hostile/bad_input.py gives')
    if wrong: sys.exit('\n'.join([*wrong, 'make export brings modules and notebooks together']))
    print(f'{len(made)} generated files match the notebooks')


if __name__ == '__main__': main()
