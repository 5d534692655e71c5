"""The documentation site: notebooks → pages for Sphinx → HTML, in `_docs/` or where `--out` says

nbdev's processors take hidden and exported cells away and fill in the reference; no cell is run. What is left to do
here is to give Sphinx titles, tags, addresses and an order of the pages.
"""
import argparse
import ast
import inspect
import json
import posixpath
import re
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import nbformat
from address import fill, read_address
from docutils.nodes import make_id
from fastcore.nbio import read_nb
from nbdev.config import nbpath2html
from nbdev.processors import FilterDefaults
from sphinx.cmd.build import main as sphinx

from agecls_fastai.showdoc import shown

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
# first what people want to do, then where they look things up, then what was measured; in the order of reading
PAGES = {
    'Guides': ['tutorials/adience_in_colab', 'tutorials/your_own_data', 'tutorials/predict_photographs',
               'tutorials/read_a_report', 'many_machines', 'how_a_beats_b', 'tutorials/a_fold_by_hand',
               'responsible_use'],
    'Help': ['faq', 'glossary', 'cite'],
    'Measured': ['real_faces', 'years', 'other_software', 'performance', 'which_loss', 'when_it_breaks',
                 'hostile_input', 'ten_million']}
# the packages, from the ground up, with what a part of the site is called
PACKAGES = dict(core='Foundations', data='Data', scores='Scores', loading='Batches', training='Training', runs='Runs',
                results='Results', predict='Prediction', commands='Commands')
# page → what readers call its subject; it is in the index, and the search finds the page by it first
ALSO_CALLED = {
    'tutorials/your_own_data': ['own images', 'own pictures', 'own photos', 'own dataset', 'custom dataset',
                                'my images', 'my photos'],
    'tutorials/predict_photographs': ['predict photos', 'predict images', 'new photos'],
    'tutorials/read_a_report': ['confusion matrix'],
    'real_faces': ['benchmark', 'state of the art'],
    'years': ['MAE in years', 'mean absolute error', 'CS@5', 'age regression'],
    'responsible_use': ['fairness', 'bias', 'ethics'],
    'cite': ['citation', 'how to cite'],
    'faq': ['troubleshooting', 'class imbalance', 'imbalanced classes'],
    'scores/tables': ['LaTeX tables'],
    'training/weights': ['pretrained weights offline'],
}
PROJECT = {'CHANGELOG.md': 'changelog', 'CONTRIBUTING.md': 'contributing'}


def page_of(path):
    "The address of a notebook's page: without the number that orders the files"
    return nbpath2html(Path(path)).with_suffix('').as_posix()


def notebooks():
    "Every notebook, by part of the site, in the order of reading"
    pages = {title: [NBS / f'{name}.ipynb' for name in names] for title, names in PAGES.items()}
    known = {NBS / 'index.ipynb', *sum(pages.values(), [])}
    rest = [p for p in [*NBS.glob('[!._]*.ipynb'), *NBS.glob('tutorials/[!._]*.ipynb')] if p not in known]
    if left := [p.name for p in rest if not p.name[0].isdigit()]: sys.exit(f'PAGES has no place for {left}')
    reference = {title: sorted((NBS / name).glob('[!._]*.ipynb')) for name, title in PACKAGES.items()}
    return {**pages, **reference, 'Recipes and entry points': sorted(rest)}


def processed(path):
    "A notebook as nbdev makes it ready for its own site"
    nb = read_nb(path)
    FilterDefaults()(nb)
    return nb


def shown_symbols(nb):
    "The names that a page explains"
    return list(filter(None, map(shown, nb.cells)))


def constants(path, longest=12):
    "The public constants of a notebook, in a cell; `show_doc` is for functions and classes"
    found = []
    for cell in read_nb(path).cells:
        if cell.cell_type != 'code' or not re.match(r'#\| *export\b', cell.source): continue
        lines = cell.source.splitlines()
        for node in ast.parse(cell.source).body:
            if not isinstance(node, ast.Assign): continue
            names = [x.id for target in node.targets for x in ast.walk(target) if isinstance(x, ast.Name)]
            if not all(re.fullmatch('[A-Z][A-Z0-9_]*', name) for name in names): continue
            source = lines[node.lineno - 1:node.end_lineno]
            found.append('\n'.join(source if len(source) <= longest else [*source[:longest - 1], '    # and so on']))
    if not found: return []
    return [nbformat.v4.new_markdown_cell('## Constants\n\n```python\n' + '\n'.join(found) + '\n```')]


def target_of(name, symbol):
    "What links to a symbol name; docutils knows no capital letters, so classes are told from functions by a word"
    return f'{name.replace("/", ".")}.{"class." * symbol[0].isupper()}{symbol}'.lower()


def public_names(path, explained, name):
    "Of a module's page, all public names: whole name, page, anchor, kind; for the index and for other sites' links"
    module = re.search(r'^#\| *default_exp +([\w.]+)', '\n'.join(c.source for c in read_nb(path).cells), re.M)
    if not module or module[1] == 'all': return []
    module, found = import_module(f'agecls_fastai.{module[1]}'), []
    named = ''.join(cell.source for cell in constants(path))
    for symbol in getattr(module, '__all__', []):
        thing = getattr(module, symbol)
        kind = ('exception' if inspect.isclass(thing) and issubclass(thing, BaseException) else
                'class' if inspect.isclass(thing) else 'function' if inspect.isfunction(thing) else 'data')
        anchor = (make_id(target_of(name, symbol)) if symbol in explained else
                  'constants' if re.search(rf'^{symbol}\b', named, re.M) else '')     # the page
        found.append((f'{module.__name__}.{symbol}', name, anchor, kind))
    return found


class Linker:
    "Rewrites the links in Markdown text for Sphinx"
    def __init__(self, targets, pages): self.targets, self.pages = targets, pages

    def __call__(self, text, folder):  # the folder that relative links start from
        def rewrite(found):
            label, address = found[1], found[2]
            if re.match(r'[a-z]+:|#', address): return found[0]
            path, _, anchor = address.partition('#')
            if path.startswith('/'):  # nbdev's address of a symbol
                module, symbol = path[1:].removesuffix('.html'), label.strip('`()').split('.')
                while symbol and (module, '.'.join(symbol)) not in self.targets: symbol.pop()  # a method: its class
                return f'[{label}](#{self.targets[module, ".".join(symbol)]})' if symbol else label
            file = posixpath.normpath(posixpath.join(folder, path))
            if file in self.pages: return f'[{label}](/{self.pages[file]}{"#" * bool(anchor)}{anchor})'
            return f'[{label}](/{file})'
        def prose(text):
            # nbdev links the name of a symbol within a link, too
            text = re.sub(r'\[\[(`[^`\]]+`)\]\([^()\s]+\)\]\(', r'[\1](', text)
            # as in Jupyter, a formula may go over lines, whatever they begin with; to Markdown a + there begins a list
            text = re.sub(r'(?<![\\$\w])\$(?!\$)[^$`]+?(?<!\$)\$(?![\$\w])', lambda m: m[0].replace('\n', ' '), text)
            return re.sub(r'\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)', rewrite, text)
        parts = re.split(r'(?ms)(^```.*?^```)', text)  # code stays as it is
        return ''.join(part if part.startswith('```') else prose(part) for part in parts)


def page(nb, name, link, folder):
    "A notebook for MyST-NB"
    cells, address = [], read_address()
    for cell in nb.cells:
        source = fill(cell.source, address)
        if cell.cell_type == 'raw':
            fields = dict(re.findall(r'^(title|description): (.+(?:\n  .+)*)$', source, re.M))
            fields = {k: ' '.join(v.split()).strip('\'"') for k, v in fields.items()}
            lead = fields.get('description', '')
            cells.append(nbformat.v4.new_markdown_cell(f'# {fields["title"]}\n\n' + f'{{.lead}}\n{lead}' * bool(lead)))
        elif cell.cell_type == 'markdown':
            if source.startswith('<!-- WARNING'): continue
            cells.append(nbformat.v4.new_markdown_cell(link(source, folder)))
        elif symbol := shown(cell):
            text = ''.join(cell.outputs[0]['data']['text/markdown'])
            cells.append(nbformat.v4.new_markdown_cell(f'({target_of(name, symbol)})=\n{link(text, folder)}'))
        else:
            hidden = re.search(r'^#\| *echo: *false', source, re.M)
            code = nbformat.v4.new_code_cell(re.sub(r'(?m)^#\|.*\n?', '', source).strip())
            if hidden: code.metadata['tags'] = ['remove-input']
            code.outputs = [nbformat.from_dict(o) for o in cell.outputs]
            for output in code.outputs:
                data = output.get('data', {})
                if 'text/markdown' in data: data['text/markdown'] = link(''.join(data['text/markdown']), folder)
            if code.source or code.outputs: cells.append(code)
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata = dict(kernelspec=dict(name='python3', display_name='Python 3', language='python'),
                         language_info=dict(name='python', pygments_lexer='ipython3'))
    return made


def write_pages(out):
    "Sphinx's source folder"
    parts = notebooks()
    files = [NBS / 'index.ipynb', *sum(parts.values(), [])]
    nbs = {page_of(p.relative_to(NBS)): (p, processed(p)) for p in files}
    targets = {(name, s): target_of(name, s) for name, (_, nb) in nbs.items() for s in shown_symbols(nb)}
    pages = {p.relative_to(ROOT).as_posix(): f'{name}.ipynb' for name, (p, _) in nbs.items()}
    pages |= {file: f'{name}.md' for file, name in PROJECT.items()}
    link = Linker(targets, pages)
    if lost := ALSO_CALLED.keys() - nbs: sys.exit(f'ALSO_CALLED names {sorted(lost)}, which are no pages')
    for name, (path, nb) in nbs.items():
        # README.md is made of the front page, so its links start from the root
        folder = '' if name == 'index' else path.relative_to(ROOT).parent.as_posix()
        made = page(nb, name, link, folder)
        if path.name[0].isdigit(): made.cells += constants(path)
        if name in ALSO_CALLED:                                            # !: before what the search finds in texts
            words = ', '.join(f'! {word}' for word in ALSO_CALLED[name])
            made.cells.insert(1, nbformat.v4.new_markdown_cell(f'```{{index}} {words}\n```'))
        for i, cell in enumerate(made.cells): cell['id'] = f'c{i}'
        if name == 'index':
            trees = {caption: [page_of(p.relative_to(NBS)) for p in part] for caption, part in parts.items()}
            for caption, names in (trees | {'Project': list(PROJECT.values())}).items():
                tree = '\n'.join([':::{toctree}', ':hidden:', f':caption: {caption}', '', *names, ':::'])
                made.cells.append(nbformat.v4.new_markdown_cell(tree, id=f'tree-{caption.replace(" ", "-")}'))
        file = out / f'{name}.ipynb'
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(made, file)
    for file, name in PROJECT.items(): (out / f'{name}.md').write_text(link((ROOT / file).read_text('utf-8'), ''))
    shutil.copy(ROOT / 'LICENSE', out)
    # for conf.py
    files = {name: path.relative_to(ROOT).as_posix() for name, (path, _) in nbs.items()}
    files |= {name: file for file, name in PROJECT.items()}
    found = [row for name, (path, nb) in nbs.items() for row in public_names(path, shown_symbols(nb), name)]
    (out / 'site.json').write_text(json.dumps(dict(files=files, names=found)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=ROOT / '_docs')
    out = parser.parse_args().out.resolve()
    with tempfile.TemporaryDirectory() as tmp:
        source = Path(tmp) / 'pages'
        source.mkdir()
        write_pages(source)
        site = Path(tmp) / 'site'
        rc = sphinx(['-W', '--keep-going', '-q', '-E', '-b', 'html', '-c', str(Path(__file__).parent),
                     '-d', str(Path(tmp) / 'doctrees'), str(source), str(site)])
        if rc: sys.exit(rc)
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(site, out)
    (out / '.nojekyll').touch()  # or GitHub Pages leaves out what begins with an underscore
    print(f'{len(list(out.rglob("*.html")))} pages: {out / "index.html"}')


if __name__ == '__main__': main()
