"In a notebook: fastai's bars while a fold trains, and one table that fills as the folds end"
import re

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

CODE = '''
from dataclasses import replace
from agecls_fastai.data.adience import read_adience
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.recipes import RECIPES

recipe = replace(RECIPES['levi_hassner_onecycle'], size=40, resize=44, bs=16, epochs=2)
run = cross_validate(read_adience({path!r}), {path!r}, recipe, {out!r}, folds=[0, 3], data='drawn faces')
'''


class Watched(NotebookClient):
    "A client that keeps every message about an output"
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def process_message(self, msg, cell, cell_index):
        self.seen.append((msg['msg_type'], msg['content']))
        return super().process_message(msg, cell, cell_index)


@pytest.mark.slow
def test_a_table_of_all_folds_and_fastais_bars(drawn, tmp_path):
    code = CODE.format(path=str(drawn), out=str(tmp_path / 'run'))
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = Watched(nb, timeout=300, kernel_name='python3')
    client.execute()
    shown = [o['data'].get('text/html', '') for o in nb.cells[0].outputs if o.output_type == 'display_data']
    tables = [html for html in shown if 'class="dataframe"' in html]
    assert len(tables) == 1                                                # one, written over
    assert sum('<td>1</td>' in html and 'fastprogress' in html for html in shown) == 2     # fastai's, a fold each
    done = pd.read_csv(tmp_path / 'run/fold_3/predictions.csv', dtype=str)
    state, accuracy, _, images = re.findall('<td>(.*?)</td>', tables[0])[4:]
    assert state.startswith('done in') and int(images) == len(done)
    assert accuracy == f'{100 * (done.pred == done.label).mean():.1f} %'
    # how it was on the way
    texts = [content['data'].get('text/plain', '') for kind, content in client.seen if 'display_data' in kind]
    states = [[line.split()[1:3] for line in text.splitlines()[2:]] for text in texts if 'state' in text.split('\n')[0]]
    assert states[0] == [['to', 'do'], ['to', 'do']]
    assert [['done', 'in'], ['under', 'way']] in states
    bars = [content['data']['text/html'] for kind, content in client.seen if kind == 'update_display_data'
            and '<progress' in content['data'].get('text/html', '')]
    assert bars
