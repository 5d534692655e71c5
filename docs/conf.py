"""Sphinx's configuration; `build.py` calls Sphinx with the pages that it has made out of the notebooks

Nothing that a page needs comes from elsewhere: the site is read from a folder without a network, or from a server.
"""
import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

from agecls_fastai import __version__

project = 'agecls_fastai'
version = release = __version__
extensions = ['myst_nb']
exclude_patterns = []

nb_execution_mode = 'off'  # the outputs are those in the notebooks; `make test` runs them
nb_render_markdown_format = 'myst'
nb_ipywidgets_js = {}  # by default a remote script
nb_merge_streams = True
myst_enable_extensions = ['colon_fence', 'dollarmath', 'attrs_block']
myst_heading_anchors = 4
suppress_warnings = ['myst.header']  # a function's heading comes below the notebook's title, wherever it stands

html_theme = 'furo'
html_title = project
html_static_path = ['static']
html_css_files = ['style.css']
html_copy_source = False
html_show_sphinx = html_show_copyright = False
pygments_style, pygments_dark_style = 'friendly', 'github-dark'
html_math_renderer = 'mathml'


def formula(display):
    "A visitor that writes a formula as MathML, which browsers show by themselves: no script, no fonts"
    def visit(translator, node):
        mathml = convert(node.astext(), display=display)
        space, name = '<mspace width="0.17em" />', '(<mi>[a-z]{2,}</mi>)'  # 3 ln 2, not 3ln2
        mathml = re.sub(f'{name}(?!<mo)', rf'\1{space}', re.sub(f'(</m(?:n|i|sub)>){name}', rf'\1{space}\2', mathml))
        translator.body.append(f'<div class="formula">{mathml}</div>' if display == 'block' else mathml)
        raise SkipNode
    return visit


def setup(app):
    app.add_html_math_renderer('mathml', (formula('inline'), None), (formula('block'), None))
