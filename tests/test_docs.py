"The documentation site: whole, without a network, every link and every name in it"
import html
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
from check_layers import LAYERS
from conftest import ROOT
from snowballstemmer import stemmer
from sphinx.search.en import SearchEnglish
from sphinx.util.inventory import InventoryFile

from agecls_fastai import __version__

pytestmark = pytest.mark.slow

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


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
    assert {'index.html', 'data/folds.html', 'tutorials/your_own_data.html', 'changelog.html'} <= set(pages)


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
    "Functions and classes by `show_doc`, constants in a list"
    seen = 0
    package = ROOT / 'agecls_fastai'
    for file in package.rglob('[!_]*.py'):
        where = file.relative_to(package).with_suffix('')
        module = import_module('.'.join(('agecls_fastai', *where.parts)))
        page, place = pages[f'{where.as_posix()}.html'], '-'.join(where.parts)
        text = ' '.join(page.words) if file.stem != 'all' else ''
        for name in module.__all__ if text else []:
            thing = getattr(module, name)
            if inspect.isfunction(thing) or inspect.isclass(thing):
                anchor = f'{place}-{"class-" * name[0].isupper()}{name}'.lower().replace('_', '-')
                assert anchor in page.anchors, f'{name} is not explained on the page {place}'
            else: assert re.search(rf'\b{name}\b', text), f'{name} is not on the page {place}'
            seen += 1
    assert seen > 200


def test_parameters_are_in_a_table(pages):
    text = ' '.join(' '.join(pages['training/metrics.html'].words).split())
    assert 'Parameter Type Meaning inp scores (n, n_classes) or class indices (n,)' in text
    assert '#|' not in text and 'show_doc' not in text


def test_formulas_are_drawn_without_a_script(pages):
    page = pages['training/losses.html'].path.read_text('utf-8')
    assert page.count('<math') > 20 and not re.search(r'(?i)<script[^>]*mathjax', page)
    text = re.sub(r'(?s)<(pre|code|script).*?</\1>', '', page)
    assert not re.search(r'\$|\\(frac|ell|sum)', text)


@pytest.fixture(scope='module')
def index(site):
    text = (site / 'searchindex.js').read_text('utf-8')
    return json.loads(text[text.index('{'):text.rindex('}') + 1])


def test_search_index(index):
    [title] = [found for name, found in index['alltitles'].items() if name == 'one_off_accuracy']
    assert [index['docnames'][document] for document, _ in title] == ['training/metrics']


def search(index, words):
    "The pages that have all words in a title, or in their text, as the site's own search counts"
    stem, found = stemmer('english').stemWord, []
    for word in map(stem, set(words.lower().split()) - SearchEnglish.stopwords):
        def pages(table, word=word):
            hit = table.get(word, [])
            return {index['docnames'][i] for i in (hit if isinstance(hit, list) else [hit])}
        found.append(pages(index['titleterms']) | pages(index['terms']))
    return set.intersection(*found)


@pytest.mark.parametrize('words, page', {
    'MAE': 'faq', 'MAE years': 'years', 'mean absolute error': 'glossary', 'cite': 'cite', 'citation BibTeX': 'cite',
    'LaTeX': 'faq', 'own pictures': 'faq', 'own data': 'tutorials/your_own_data', 'imbalance': 'faq', 'offline': 'faq',
    'FAQ': 'faq', 'troubleshooting': 'faq', 'out of memory': 'faq', 'resume': 'faq', 'license weights': 'faq',
    'minors': 'responsible_use', 'glossary': 'glossary', 'report': 'tutorials/read_a_report',
    'predict photographs': 'tutorials/predict_photographs', 'DeepFace': 'faq', 'MTCNN': 'other_software'}.items())
def test_search_finds(index, words, page): assert page in search(index, words), (words, search(index, words))


@pytest.mark.parametrize('words, page', {
    'own images': 'tutorials/your_own_data', 'my photos': 'tutorials/your_own_data', 'fairness': 'responsible_use',
    'custom dataset': 'tutorials/your_own_data', 'mean absolute error': 'years', 'citation': 'cite'}.items())
def test_search_finds_first(index, pages, words, page):
    "As main entries of the index, which come before all that is found in texts"
    [[document, anchor, main]] = index['indexentries'][words]
    assert index['docnames'][document] == page and main
    assert f'id="{anchor}"' in pages[f'{page}.html'].path.read_text('utf-8')


def test_names_are_in_the_index_and_for_other_sites(site, pages):
    "genindex.html and objects.inv (intersphinx) have every public name of `agecls_fastai.all`"
    inventory = InventoryFile.loads((site / 'objects.inv').read_bytes(), uri='')
    listed = {}
    for kind in ('function', 'class', 'exception', 'data'):
        for name, item in inventory.data.get(f'py:{kind}', {}).items():
            listed[name] = item.uri.replace('#$', f'#{name}')
            file, _, anchor = listed[name].partition('#')
            assert anchor in pages[file].anchors | {''}, name
    everything, links = vars(import_module('agecls_fastai.all')), set(pages['genindex.html'].links)
    seen = 0
    for file in (ROOT / 'agecls_fastai').rglob('[!_]*.py'):
        name = '.'.join(('agecls_fastai', *file.relative_to(ROOT / 'agecls_fastai').with_suffix('').parts))
        if name == 'agecls_fastai.all': continue
        for symbol in import_module(name).__all__:
            assert listed[f'{name}.{symbol}'] in links, f'{name}.{symbol}'
            seen += symbol in everything
    assert seen > 150


def test_tasks_come_first(pages):
    "Guides and help are on the screen before the modules, and code has a button that copies it"
    side = [link for link in pages['faq.html'].links if link.endswith('.html')]
    place = {name: min(i for i, link in enumerate(side) if link.endswith(name)) for name in (
        'adience_in_colab.html', 'cite.html', 'real_faces.html', 'errors.html')}
    assert sorted(place, key=place.get) == list(place) and place['errors.html'] < 25
    assert any('copybutton' in address for address in pages['faq.html'].loads)
    assert f'agecls_fastai {__version__}' in ' '.join(pages['faq.html'].words)


DRIVER = """<!doctype html><iframe id="frame" width="1200" height="800"></iframe><pre id="seen"></pre><script>
const frame = document.getElementById('frame'), seen = []
const pause = () => new Promise(done => setTimeout(done, 50))
async function step(what, act) {                          // do something that leads to another page
  const loaded = new Promise(done => frame.addEventListener('load', done, {once: true}))
  await act(frame.contentDocument)
  await loaded
  seen.push([what, frame.contentWindow.location.href])
}
async function found(selector) {
  for (let i = 0; i < 100; i++) {
    const element = frame.contentDocument.querySelector(selector)
    if (element) return element
    await pause()
  }
}
(async () => {
  await step('front page', () => frame.src = SITE + '/index.html')
  const links = [...frame.contentDocument.querySelectorAll('.sidebar-tree a')]
  seen.push(['sidebar', links.map(link => link.getAttribute('href'))])
  for (const name of ['Your own data', 'losses', 'Performance'])
    await step(name, page => [...page.querySelectorAll('.sidebar-tree a')].find(a => a.textContent == name).click())
  await step('search', page => {
    page.querySelector('input.sidebar-search').value = 'one_off_accuracy'
    page.querySelector('form.sidebar-search-container').requestSubmit()
  })
  // one of the first two
  const result = await found('ul.search li:nth-child(-n+2) a[href$="#training-metrics-one-off-accuracy"]')
  await step('result', () => result.click())
  const place = () => frame.contentDocument.getElementById(
    'training-metrics-one-off-accuracy').getBoundingClientRect().top
  for (let i = 0; i < 100 && !(place() >= 0 && place() < 800); i++) await pause()     // the page scrolls there
  seen.push(['on the screen', place() >= 0 && place() < 800])
  document.getElementById('seen').textContent = JSON.stringify(seen)
})()
</script>"""


def test_in_a_browser_without_a_server(site, tmp_path):
    "A browser opens the front page, follows the sidebar, searches and lands on what was searched, all by clicks"
    if not BROWSER: pytest.skip('there is no Chromium and no Chrome on the path (Debian: apt install chromium)')
    driver = tmp_path / 'driver.html'
    driver.write_text(DRIVER.replace('SITE', json.dumps(site.as_uri())), 'utf-8')
    done = subprocess.run([BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files',
                           '--force-prefers-reduced-motion',
                           f'--user-data-dir={tmp_path / "profile"}', '--virtual-time-budget=30000', '--dump-dom',
                           driver.as_uri()], capture_output=True, text=True, timeout=240)
    seen = dict(json.loads(html.unescape(re.search('<pre id="seen">(.*?)</pre>', done.stdout, re.S)[1])))
    # in the order of the flow
    packages = [modules for name, modules in LAYERS.items() if name not in ('recipes', 'doors')]
    reference = [f'{module.replace(".", "/")}.html' for modules in packages for module in modules]
    assert [link for link in seen.pop('sidebar') if link in reference] == reference
    where = {what: str(place).removeprefix(site.as_uri()) for what, place in seen.items()}
    assert where.pop('search').startswith('/search.html?q=one_off_accuracy')
    assert where == {'front page': '/index.html', 'Your own data': '/tutorials/your_own_data.html',
                     'losses': '/training/losses.html', 'Performance': '/performance.html',
                     'result': '/training/metrics.html#training-metrics-one-off-accuracy', 'on the screen': 'True'}


def test_on_a_telephone_and_on_a_desk(site):
    "No page is wider than the window, code can be copied, and the front page shows a result and all tasks at once"
    playwright = pytest.importorskip('playwright.sync_api', reason='there is no Playwright')
    if not BROWSER: pytest.skip('there is no Chromium and no Chrome on the path (Debian: apt install chromium)')
    names = ['index', 'faq', 'glossary', 'cite', 'other_software', 'real_faces', 'performance', 'hostile_input',
             'tutorials/read_a_report', 'tutorials/your_own_data', 'training/metrics', 'runs/crossval', 'genindex']
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        for width in (390, 1400):
            page = browser.new_page(viewport=dict(width=width, height=900))
            for name in names:
                page.goto((site / f'{name}.html').as_uri())
                assert page.evaluate('document.documentElement.scrollWidth') <= width, (name, width)
            page.goto((site / 'index.html').as_uri())
            assert page.locator('button.copybtn').count() >= 10
        def bottom(place): return (box := place.bounding_box())['y'] + box['height']
        assert bottom(page.locator('.cell_output img').first) < 900
        cards = page.locator('#what-do-you-want-to-do h3')
        assert cards.count() == 5 and all(bottom(cards.nth(i)) < 900 for i in range(5))
        assert all(bottom(page.locator('.sidebar-tree').get_by_text(name, exact=True)) < 900
                   for name in ('Your own data', 'FAQ and troubleshooting', 'Performance'))
        browser.close()
