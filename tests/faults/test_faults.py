"Runs that are disturbed, in the short form; `make faults` has the whole"
import json
import sys

import pytest
from conftest import ROOT
from forks import Fork

pytestmark = pytest.mark.slow

TABLE = ROOT / 'benchmarks' / 'faults.json'


@pytest.mark.skipif(sys.platform != 'linux', reason='forks, and looks into /proc')
def test_short_form(tmp_path):
    def disturb():
        sys.argv = ['disturb.py', '--short', '--out', str(tmp_path / 'faults')]
        import disturb
        sys.exit(disturb.main())
    fork = Fork([], tmp_path.parent / 'log', disturb)
    assert fork.wait(900) == 0, fork.text()
    rows = json.loads((tmp_path / 'faults.json').read_text())['rows']
    assert {row['name']: row['lost'] for row in rows if row['lost']} == {}
    assert sum(row['tried'] for row in rows) == sum(row['survived'] for row in rows) >= 16
    assert sorted(p.name for p in tmp_path.iterdir()) == ['faults.json', 'faults.md']


def test_the_table_is_of_these_trials():
    "What the documentation shows is of the trials that there are, and hides nothing"
    found, text = json.loads(TABLE.read_text()), TABLE.with_suffix('.md').read_text()
    source = (ROOT / 'tests/faults/disturb.py').read_text()
    assert found['command'] == 'make faults'
    for row in found['rows']:
        assert f'def {row["name"]}(bench' in source and f'"{row["what"]}"' in source, row['name']
        assert f'| {row["what"]} | {row["tried"]} | {row["survived"]} | {len(row["lost"])} |' in text
    assert sum(row['tried'] for row in found['rows'] if row['name'].startswith('killed')) >= 25
