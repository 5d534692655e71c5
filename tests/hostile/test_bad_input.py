"Every error in the table of the documentation is the command's own"
import ast
import json
import re

import pytest
from bad_input import CASES, ELSEWHERE, PARTS, ROOT, TABLE, text, told


@pytest.mark.filterwarnings('ignore::UserWarning:torch')
@pytest.mark.parametrize('part, what, words, make', CASES, ids=[f'{part}: {what}' for part, what, *_ in CASES])
def test_what_is_told(part, what, words, make, tmp_path):
    status, lines = told(make, tmp_path)
    # progress and warnings come before it
    assert status == 2 and not [x for x in lines[:-1] if 'rror' in x or 'Traceback' in x]
    pattern = '.*'.join(map(re.escape, words.split('…')))                       # … stands for a library's own words
    assert re.fullmatch(f'agecls: {pattern}', lines[-1]), lines[-1]


@pytest.mark.parametrize('part, what, happens, where, words', ELSEWHERE, ids=[f'{x[0]}: {x[1]}' for x in ELSEWHERE])
def test_the_others_are_there(part, what, happens, where, words):
    file, _, name = where.partition('::')
    source = (ROOT / file).read_text('utf-8')
    if name:
        [node] = [x for x in ast.parse(source).body if isinstance(x, ast.FunctionDef) and x.name == name]
        lines = source.splitlines()[min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1:node.end_lineno]
        shown = '\n'.join(lines)
    else: shown = '\n'.join(''.join(cell['source']) for cell in json.loads(source)['cells'])
    assert words in shown


def test_the_table_is_written():
    assert TABLE.read_text('utf-8') == text(), 'python tests/hostile/bad_input.py --write'
    page = json.loads((ROOT / 'nbs/hostile_input.ipynb').read_text('utf-8'))
    shown = [''.join(o['data'].get('text/markdown', '')) for c in page['cells'] for o in c.get('outputs', [])]
    assert shown == [text()], 'run nbs/hostile_input.ipynb again'
    assert {part for part, *_ in [*CASES, *ELSEWHERE]} == set(PARTS)
