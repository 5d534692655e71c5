"The report: one HTML file that holds everything in itself, from the command line"
import html
import io
import json
import os
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from conftest import agecls

from agecls_fastai.cli import main
from agecls_fastai.core.files import file_digest

pytestmark = pytest.mark.slow

SMALL = ['--size', '40', '--bs', '16', '--device', 'cpu', '--recipe', 'levi_hassner_onecycle']
VOID = {'meta', 'img', 'br', 'wbr', 'link', 'input', 'hr', 'path', 'use', 'image', 'rect', 'circle', 'line'}


class Page(HTMLParser):
    "What a browser would load, run and show"
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open, self.words, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [(tag, k, v) for k, v in attrs if k.split(':')[-1] in ('href', 'src', 'srcset', 'action')]
        self.ids += [v for k, v in attrs if k == 'id']
        self.odd = [k for k, _ in attrs if k.startswith('on')] + getattr(self, 'odd', [])
        if tag not in VOID: self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID: self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID: assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != 'style': self.words.append(data)

    @property
    def text(self): return ' '.join(' '.join(self.words).split())


def check_whole(file):
    "It is well formed, asks nothing of the network, runs nothing, and is small"
    text = file.read_text('utf-8')
    page = Page(text)
    assert page.open == [] and file.stat().st_size < 5e6
    assert not {'script', 'link', 'iframe', 'object', 'embed', 'base'} & set(page.tags) and not page.odd
    for tag, name, link in page.links: assert link.startswith(('#', 'data:image/')), (tag, name, link)
    targets = {link[1:] for tag, _, link in page.links if link.startswith('#')}
    assert targets <= set(page.ids), targets - set(page.ids)
    style = re.search(r'<style>(.*?)</style>', text, re.S)[1]
    assert '@import' not in style and 'url(' not in style and 'prefers-color-scheme: dark' in style
    assert all(link.startswith('#') for link in re.findall(r'url\(\s*["\']?([^)"\']*)', text))
    return page


@pytest.fixture(scope='module')
def runs(drawn, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp('runs')
    def cv(name, *options): agecls('cv', drawn, '--out', out / name, *SMALL, *options, check=0)
    shutil.copytree(trained, out / 'a')
    cv('b', '--epochs', '1', '--seed', '1')
    cv('g', '--epochs', '1', '--target', 'gender', '--protocol', 'fixed', '--folds', '0', '1')
    return out


def test_two_runs(runs, tmp_path):
    done = agecls('report', runs / 'a', runs / 'b', '-o', tmp_path / 'r.html')
    assert done.returncode == 0 and done.stdout == f'The report is {tmp_path / "r.html"}\n', done.stderr
    page = check_whole(tmp_path / 'r.html')
    told = json.loads(agecls('compare', runs / 'a', runs / 'b', '--json').stdout)
    d = next(x for x in told['differences'] if x['metric'] == 'accuracy')
    assert f'{100 * abs(d["difference"]):.1f} percentage points of accuracy' in page.text
    for s in told['scores']:
        shown = '{:.1f} [{:.1f}, {:.1f}]'.format(*(100 * s[x] for x in ('mean', 'low', 'high')))
        assert shown in page.text or 'accuracy' not in s['metric']
    info = json.loads((runs / 'a' / 'run.json').read_text())
    assert info['items_digest'] in page.text and info['versions']['torch'] in page.text
    assert page.text.count('Published') == 1 and 'Published figures on Adience: other data than here' in page.text
    assert 'details' in page.tags and told['published'] == []                # these are no faces of Adience
    assert 'image' not in page.tags and 'Pictures of faces are left out' in page.text


def test_faces(runs, drawn, tmp_path):
    agecls('report', runs / 'a', '-o', tmp_path / 'r.html', '--faces', drawn, check=0)
    page = check_whole(tmp_path / 'r.html')
    assert page.tags.count('image') > 10 and 'Class activation maps' in page.text
    agecls('report', runs / 'a', '-o', tmp_path / 'r.html', '--no-faces', check=0)
    assert 'image' not in check_whole(tmp_path / 'r.html').tags


def test_real_faces_only_if_asked(runs, drawn, tmp_path):
    from agecls_fastai.results.report import report
    run = tmp_path / 'run'
    shutil.copytree(runs / 'a', run)
    info = json.loads((run / 'run.json').read_text())
    (run / 'run.json').write_text(json.dumps(info | dict(benchmark=True, data='Adience, all faces')))
    page = check_whole(report(run, tmp_path / 'r.html', drawn, n_resamples=100))
    assert 'image' not in page.tags and 'may be of real people' in page.text
    assert 'not to be compared' not in page.text and 'Published, on Adience' in page.text
    assert 'image' in check_whole(report(run, tmp_path / 'r.html', drawn, faces=True, n_resamples=100)).tags


def test_gender(runs, tmp_path):
    done = agecls('report', runs / 'g', '-o', tmp_path / 'r.html', '--json')
    assert json.loads(done.stdout) == dict(path=str(tmp_path / 'r.html')), done.stderr
    page = check_whole(tmp_path / 'r.html')
    assert 'right one of 2 groups' in page.text and 'one-off' not in page.text
    assert page.text.startswith('Classification of faces: ')
    assert 'Temperature scaling and prediction sets need' in page.text and '--folds 0 1' in page.text


def test_hostile_text(runs, tmp_path):
    evil, label = '<script>alert(1)</script>', '"><img src=x onerror=alert(1)>$x_'
    run = tmp_path / 'run'
    shutil.copytree(runs / 'a', run)
    info = json.loads((run / 'run.json').read_text())
    old = info['labels'][0]
    info['labels'][0], info['recipe']['name'], info['data'] = label, evil, '</style><script>alert(2)</script>'
    (run / 'run.json').write_text(json.dumps(info))
    for folder in run.glob('fold_*'):
        done = json.loads((folder / 'done.json').read_text())
        for name in ('predictions', 'valid'):
            table = pd.read_csv(folder / f'{name}.csv', dtype=str, keep_default_na=False)
            table = table.rename(columns={f'p_{old}': f'p_{label}'}).assign(gender=evil)
            table.replace(dict.fromkeys(['label', 'pred'], {old: label})).to_csv(folder / f'{name}.csv', index=False)
            done[f'{name}_sha256'] = file_digest(folder / f'{name}.csv')
        (folder / 'done.json').write_text(json.dumps(done))
    agecls('report', run, '-o', tmp_path / 'r.html', check=0)
    page = check_whole(tmp_path / 'r.html')
    assert 'img' not in page.tags and evil in page.text and label in page.text


def test_a_study_its_title_and_its_figures(runs, tmp_path, monkeypatch):
    study = tmp_path / 'study'
    for name in 'ab': shutil.copytree(runs / name, study / name)
    done = agecls('report', study, '-o', tmp_path / 'r.html', '--title', 'Two seeds', '--figures', tmp_path / 'figures')
    assert done.returncode == 0 and done.stdout.endswith(f'The figures are in {tmp_path / "figures"}\n'), done.stderr
    page = check_whole(tmp_path / 'r.html')
    assert page.text.startswith('Two seeds')
    captions = (tmp_path / 'figures' / 'captions.md').read_text('utf-8')
    for name in re.findall('^## (.*)$', captions, re.M):
        for form in ('svg', 'png', 'pdf'): assert (tmp_path / 'figures' / f'{name}.{form}').stat().st_size > 1000
    assert 'accuracy_intervals' in captions and 'guessing' not in captions
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1772582400')
    for i in (0, 1): agecls('report', runs / 'b', '-o', tmp_path / f'{i}.html', check=0)
    assert (tmp_path / '0.html').read_bytes() == (tmp_path / '1.html').read_bytes()
    assert 'Made on 4 March 2026' in check_whole(tmp_path / '0.html').text


def test_methods(runs):
    told = json.loads(agecls('methods', runs / 'a', runs / 'b', '--json').stdout)
    [a, b] = told['texts'].values()
    for text in (a, b):
        assert '5-fold cross-validation, with no subject in two folds' in text and 'one-cycle policy' in text
        assert 'network is that of Levi and Hassner (2015), with random weights' in text and 'Holm' in text
    assert a.replace('random seed was 0', 'random seed was 1') != a and 'random seed was 1' in b
    assert '@inproceedings{levi2015' in told['bibtex'] and 'eidinger2014' not in told['bibtex']   # drawn faces
    assert told['bibtex'] in agecls('methods', runs / 'a', runs / 'b').stdout


def test_verify_answers_for_each(runs, tmp_path):
    for name in 'ab': shutil.copytree(runs / name, tmp_path / 'study' / name)
    whole = agecls('verify', tmp_path / 'study')
    assert whole.returncode == 0 and whole.stdout.count('all as written') == 2, whole.stdout + whole.stderr
    with open(tmp_path / 'study/b/fold_0/predictions.csv', 'a') as f: f.write('\n')
    altered = agecls('verify', runs / 'a', tmp_path / 'study/b', '--json')
    first, second = json.loads(altered.stdout)
    assert altered.returncode == 1 and first['whole'] and not second['whole']
    assert 'fold_0/predictions.csv was altered' in second['findings']


def test_tables_for_papers(runs):
    text = agecls('compare', runs / 'a', runs / 'b', '--csv', '--table', 'scores', check=0).stdout
    told = json.loads(agecls('compare', runs / 'a', runs / 'b', '--json').stdout)
    table = pd.read_csv(io.StringIO(text), float_precision='round_trip')
    assert table['mean'].tolist() == pytest.approx([row['mean'] for row in told['scores']], abs=1e-9)
    assert set(table['run']) == {row['name'] for row in told['runs']} and table.loc[0, 'mean'] < 1      # a fraction
    latex = agecls('compare', runs / 'a', '--latex', check=0).stdout
    assert latex.count('\\begin{tabular}') == latex.count('\\bottomrule') == 3
    assert 'accuracy, \\%' in latex.replace(r' \\ ', ' ')                    # a long head is stacked
    assert '| accuracy, % |' in agecls('compare', runs / 'a', '--markdown', check=0).stdout
    all_of_them = latex + ''.join(agecls(command, runs / 'a', '--latex', check=0).stdout for command in (
        'calibrate', 'status'))
    labels = re.findall(r'\\label\{(.*?)\}', all_of_them)                   # in one paper
    assert len(set(labels)) == len(labels) == all_of_them.count('\\toprule') and 'tab:status-folds' in labels
    assert not re.search(r'[\[ ]-\d', all_of_them)                           # no hyphen for a minus sign
    for argv, why in ((['--csv', '--latex'], 'not allowed with argument'), (['--csv', '--json'], 'exclude each other'),
                      (['--table', 'scores'], '--table needs --csv'), (['--csv', '--table', 'x'], 'there is no table')):
        done = agecls('compare', runs / 'a', *argv)
        assert done.returncode == 2 and why in done.stderr and not done.stdout, done.stderr


@pytest.mark.parametrize('argv, text', [
    (['a', '-o', 'r.pdf'], 'out must be the name of an HTML file'),
    (['a', '-o', 'none/r.html'], 'there is no folder'),
    (['none'], 'there is no run folder none'),
    (['a', 'a'], 'the same run is given twice'),
    (['a', 'g'], 'were not tested on the same items'),
    (['a', '--faces', 'none'], 'there is no data folder none'),
    (['a', '--faces', 'a', '--no-faces'], 'not allowed with argument'),
    (['a', '--faces', 'b'], 'b is not the data folder of a')])
def test_mistakes(runs, argv, text, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    try: status = main(['report', *argv])
    except SystemExit as e: status = e.code
    out, err = capsys.readouterr()
    assert status == 2 and out == '' and len(err.splitlines()) == 1 and text in err, err
    assert not list(runs.glob('*.html'))


def test_the_command_of_the_report_repeats_the_run(drawn, tmp_path, monkeypatch, capfd):
    "What stands under 'How to reproduce' is typed in a fresh folder, and ends with the same digest"
    digests = []
    for folder in ('first', 'again'):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        os.symlink(drawn, 'faces')
        if not digests: command = shlex.split('agecls cv faces --recipe levi_hassner_onecycle --size 40 --epochs 1 '
                                              "--set bs=16 --limit 9 --seed 3 --folds 1 --out 'runs/a b'")
        assert main(command[1:]) == 0
        digests.append(json.loads(Path('runs/a b/fold_1/done.json').read_text())['predictions_sha256'])
        if len(digests) > 1: break
        assert main(['report', 'runs/a b']) == 0
        page = html.unescape(Path('report.html').read_text())
        assert 'levi_hassner_onecycle,size=40,bs=16,epochs=1' in page     # it is not called by another recipe's name
        command = shlex.split(re.search(r'agecls cv faces[^<]*', page)[0])
    assert digests[0] == digests[1]
