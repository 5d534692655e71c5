"""Do the modules and README.md match the notebooks, and are the notebooks clean? Is the table of bad input that of its
tests?

Everything is generated again in a copy of the sources, and compared with what is here; nothing here is touched.
`--write` takes the new README.md and the new table over.
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from hostile import bad_input
from nbconvert import MarkdownExporter
from nbconvert.writers import FilesWriter

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SOURCES = ['nbs', 'agecls_fastai', 'pyproject.toml', 'settings.ini', 'setup.py', 'README.md']


def files(root):
    "The files to compare, with their contents"
    patterns = ['README.md', 'README_files/*', 'nbs/**/*.ipynb', 'agecls_fastai/**/*.py']
    paths = [path for pattern in patterns for path in root.glob(pattern)]
    return {str(p.relative_to(root)): p.read_bytes() for p in paths if p.is_file()}


def generate(root):
    "Export, clean, and make README.md, in `root`"
    for module in root.glob('agecls_fastai/**/*.py'):
        if module.name != '__init__.py': module.unlink()  # a module whose notebook is gone must not stay
    for command in ('nbdev-export', 'nbdev-clean'): subprocess.run([BIN / command], cwd=root, check=True)
    notebook = nbformat.read(root / 'nbs' / 'index.ipynb', as_version=4)
    notebook.metadata['language_info'] = {'name': 'python'}  # nbdev-clean drops it; it colours the code
    text, resources = MarkdownExporter().from_notebook_node(notebook, {
        'unique_key': 'README', 'output_files_dir': 'README_files'})
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
