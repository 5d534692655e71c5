"The documentation site: whole, without a network, every link and every name in it"
import inspect
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT


class Page(HTMLParser):
    "The links, the resources, the anchors and the text of a page"
    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loads, self.anchors, self.words = path, [], [], set(), []
        self.feed(path.read_text('utf-8'))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[name] for name in ('id', 'name') if attrs.get(name)}
        if tag == 'a' and 'href' in attrs: self.links.append(attrs['href'])
        elif tag == 'link' and attrs['rel'] not in ('canonical', 'index', 'search', 'next', 'prev'):
            self.loads.append(attrs['href'])
        else: self.loads += [attrs[name] for name in ('src', 'data', 'poster', 'srcset') if attrs.get(name)]

    def handle_data(self, data): self.words.append(data)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, built as `make docs` does, where a warning is an error"
    out = tmp_path_factory.mktemp('docs') / 'site'
    done = subprocess.run([sys.executable, ROOT / 'docs' / 'build.py', '--out', out], capture_output=True, text=True,
                          cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope='module')
def pages(site): return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob('*.html')}


def test_every_notebook_is_a_page(pages):
    notebooks = [p for p in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
    # beside them: changelog, contributing, the index of names and the search
    assert len(pages) == len(notebooks) + 4, sorted(pages)
    assert {'index.html', 'folds.html', 'tutorials/your_own_data.html', 'changelog.html'} <= set(pages)


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for page in pages.values():
        assert not [address for address in page.loads if re.match(r'(?i)(https?:)?//', address)], page.path
    for style in site.rglob('*.css'):
        text = re.sub(r'/\*.*?\*/', '', style.read_text('utf-8'), flags=re.S)
        assert not re.search(r'(url\(|@import)\s*["\']?(https?:)?//', text), style


def test_links_within_the_site_lead_somewhere(site, pages):
    seen = 0
    for name, page in pages.items():
        for address in page.links + page.loads:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc: continue
            file = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            assert file.is_file(), f'{name}: {address}'
            if parts.fragment and file.suffix == '.html':
                anchors = pages[file.relative_to(site.resolve()).as_posix()].anchors
                assert unquote(parts.fragment) in anchors | {''}, f'{name}: {address}'
            seen += 1
    assert seen > 1000


def test_every_public_name_is_explained(pages):
    everything = import_module('agecls_fastai.all')
    def is_ours(thing): return (inspect.isfunction(thing) or inspect.isclass(thing)) and str(
        thing.__module__).startswith('agecls_fastai.')
    names = {name: thing.__module__.removeprefix('agecls_fastai.') for name, thing in vars(everything).items()
             if not name.startswith('_') and is_ours(thing)}
    assert len(names) > 100
    for name, module in names.items():
        anchor = f'{module}-{"class-" * name[0].isupper()}{name}'.lower().replace('_', '-')
        assert anchor in pages[f'{module}.html'].anchors, f'{name} is not explained on the page {module}'


def test_parameters_are_in_a_table(pages):
    text = ' '.join(' '.join(pages['metrics.html'].words).split())
    assert 'Parameter Type Meaning inp scores (n, n_classes) or class indices (n,)' in text
    assert '#|' not in text and 'show_doc' not in text


def test_formulas_are_drawn_without_a_script(pages):
    page = pages['losses.html'].path.read_text('utf-8')
    assert page.count('<math') > 20 and not re.search(r'(?i)<script[^>]*mathjax', page)
    text = re.sub(r'(?s)<(pre|code|script).*?</\1>', '', page)
    assert not re.search(r'\$|\\(frac|ell|sum)', text)


def test_search_index(site):
    text = (site / 'searchindex.js').read_text('utf-8')
    index = json.loads(text[text.index('{'):text.rindex('}') + 1])
    [title] = [found for name, found in index['alltitles'].items() if name == 'one_off_accuracy']
    assert [index['docnames'][document] for document, _ in title] == ['metrics']


def test_search_in_a_browser_without_a_server(site, tmp_path):
    browser = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not browser: pytest.skip('there is no Chromium')
    def seen(address):
        done = subprocess.run([browser, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}',
                               '--virtual-time-budget=5000', '--dump-dom', f'{site.as_uri()}/{address}'],
                              capture_output=True, text=True, timeout=120)
        return done.stdout
    found = re.findall(r'<a href="([^"]+)" data-score', seen('search.html?q=one_off_accuracy'))
    assert 'metrics.html#metrics-one-off-accuracy' in found[:2], found
    assert 'id="metrics-one-off-accuracy"' in seen(found[found.index('metrics.html#metrics-one-off-accuracy')])
