"""Sphinx's configuration; `build.py` calls Sphinx with the pages that it has made out of the notebooks

Nothing that a page needs comes from elsewhere: the site is read from a folder without a network, or from a server.
"""
import json
import re
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.domains.python import ObjectEntry

from agecls_fastai import __version__

sys.path.insert(0, str(Path(__file__).parent))
from address import file_address, read_address  # noqa: E402

project = 'agecls_fastai'
version = release = __version__
extensions = ['myst_nb', 'sphinx_copybutton']
copybutton_selector = 'div:not(.output) > div.highlight > pre'  # code, not what came out of it
copybutton_prompt_text = '>>> '
exclude_patterns = []

nb_execution_mode = 'off'  # the outputs are those in the notebooks; `make test-all` runs them
nb_render_markdown_format = 'myst'
nb_ipywidgets_js = {}  # by default a remote script
nb_merge_streams = True
myst_enable_extensions = ['colon_fence', 'dollarmath', 'attrs_block']
myst_heading_anchors = 4
myst_ref_domains = ['std']  # a name is the page's heading of it, not the entry for other sites
suppress_warnings = ['myst.header']  # a function's heading comes below the notebook's title, wherever it stands

html_theme = 'furo'
html_title = f'{project} {version}'
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


def site(app): return json.loads((Path(app.srcdir) / 'site.json').read_text())


def add_names(app, env):
    "All public names, for the index (genindex.html) and for links from other sites (objects.inv)"
    objects, entries = env.get_domain('py').data['objects'], env.get_domain('index').data['entries']
    for name, page, anchor, kind in site(app)['names']:
        module, _, short = name.rpartition('.')
        objects[name] = ObjectEntry(page, anchor, kind, False)
        entries.setdefault(page, []).append(('single', f'{short} ({kind} in {module})', anchor, '', None))
    return []


def add_links(app, page, template, context, doctree):
    "Where there is an address: to the repository, and to each page's notebook"
    if page == 'index': context['furo_hide_toc'] = True                    # room for the cards
    address, file = app.config.address, site(app)['files'].get(page)
    if not address: return
    context['theme_footer_icons'] = [dict(name='Repository', url=address, html='Repository', **{'class': ''})]
    if file:
        context |= dict(theme_source_view_link=file_address(address, file),
                        theme_source_edit_link=file_address(address, file, 'edit'))


def setup(app):
    app.add_config_value('address', read_address(), 'html')
    app.connect('env-updated', add_names)
    app.connect('html-page-context', add_links, priority=900)              # after furo's own
    app.add_html_math_renderer('mathml', (formula('inline'), None), (formula('block'), None))
