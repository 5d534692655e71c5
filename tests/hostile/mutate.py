"""Broken input, drawn by Hypothesis: random bytes, and good files that were damaged

The same few examples each time; with HYPOTHESIS_PROFILE=long others, EXAMPLES=N of each kind (3,000).
"""
import copy
import csv
import io
import json
import math
import os
import resource
import sys
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from agecls_fastai.core.errors import AgeclsError

QUIET = dict(database=None, suppress_health_check=list(HealthCheck), deadline=10_000)
settings.register_profile('short', max_examples=40, derandomize=True, **QUIET)
settings.register_profile('long', max_examples=int(os.environ.get('EXAMPLES', 3000)), print_blob=True, **QUIET)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'short'))

MOST = 400 * 2**20  # bytes that a reader may take for a file of some kilobytes; PyTorch's first use takes most of it
TEXTS = ['', ' ', '0', '-1', '1e999', 'nan', 'None', 'null', '\0', '\ufeff', '\r\n', '\n', '\t', '"', ',', '"\n', '²',
         '٣', '..', '../../x', '/etc/passwd', 'C:\\x', '\\\\host\\x', 'a/../../b', '\x1b[31m', '=1+1', '9' * 5000,
         'x' * 6000, '2' + '0' * 30, '\ud800', '🙂', 'e\u0301', '1.5', 'fold', '(0, 2)', '-2147483649', 'True']
NUMBERS = [0, -1, 2**31, 2**60, 2**63, -2**64, 10**30, 0.5, -0.0, 1e308, 1e-308, math.inf, -math.inf, math.nan]
texts = st.sampled_from(TEXTS) | st.text(max_size=8)
values = st.sampled_from([*TEXTS, *NUMBERS, None, True, False]) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6)


@st.composite
def broken_bytes(draw, data):
    "A file that is cut off, or has bytes changed, inserted or removed; or something else altogether"
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from(['cut', 'flip', 'put in', 'take out', 'other', 'twice']))
        junk = draw(st.binary(max_size=40) | texts.map(lambda x: x.encode('utf-8', 'surrogatepass')))
        if what == 'cut': data = data[:at]
        elif what == 'flip' and at < len(data):
            data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1:]
        elif what == 'put in': data = data[:at] + junk + data[at:]
        elif what == 'take out': data = data[:at] + data[at + draw(st.integers(1, 60)):]
        elif what == 'other': data = junk
        else: data += data
    return data


def places(value, at=()):
    "The paths to all parts of a JSON value"
    yield at
    if isinstance(value, dict):
        for key, x in value.items(): yield from places(x, (*at, key))
    elif isinstance(value, list):
        for i, x in enumerate(value[:4]): yield from places(x, (*at, i))


@st.composite
def broken_json(draw, value):
    "JSON text with values changed, missing or repeated; or which is broken as text"
    how = draw(st.integers(0, 9))
    if how == 0: return draw(broken_bytes(json.dumps(value).encode()))
    if how == 1: return draw(st.sampled_from([b'[' * 2000, b'{"a":' * 2000, b'1' * 5000, b'null', b'[]', b'""',
                                             b'\xff\xfe{\x00}\x00', b'NaN', b'{"a": 1' + b'0' * 5000 + b'}']))
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.sampled_from(list(places(value))))
        if not at:
            if how == 2: return json.dumps(draw(values)).encode()
            continue
        inside = value
        for key in at[:-1]: inside = inside[key]
        what = draw(st.sampled_from(['other', 'other', 'other', 'gone', 'renamed', 'longer']))
        if what == 'other': inside[at[-1]] = draw(values)
        elif what == 'gone': del inside[at[-1]]
        elif isinstance(inside, dict): inside[draw(texts)] = inside.pop(at[-1]) if what == 'renamed' else draw(values)
        else: inside.append(draw(values))
    text = json.dumps(value)
    if how == 3 and isinstance(value, dict) and value:                       # a repeated key
        key = draw(st.sampled_from(sorted(value)))
        text = text[:-1] + f', {json.dumps(key)}: {json.dumps(draw(values))}}}'
    return text.encode()


@st.composite
def broken_table(draw, text, sep=','):
    "A table with cells and lines changed, missing or repeated; or which is broken as text"
    if draw(st.integers(0, 3)) == 0: return draw(broken_bytes(text.encode()))
    rows = list(csv.reader(io.StringIO(text), delimiter=sep))
    for _ in range(draw(st.integers(1, 3))):
        if not rows: break
        i = draw(st.integers(0, len(rows) - 1) | st.just(0))
        what = draw(st.sampled_from(['cell', 'cell', 'cell', 'column', 'less', 'more', 'no line', 'twice', 'short']))
        if what in ('cell', 'column') and rows[i]:
            j, junk = draw(st.integers(0, len(rows[i]) - 1)), draw(texts)
            for row in rows[1:] if what == 'column' else [rows[i]]: row[j:j + 1] = [junk]
        elif what == 'less': rows[i] = rows[i][:-1]
        elif what == 'more': rows[i] = [*rows[i], draw(texts)]
        elif what == 'no line': del rows[i]
        elif what == 'twice': rows.append(list(rows[i]))
        elif what == 'short': rows = rows[:draw(st.integers(0, len(rows)))]
    if draw(st.booleans()):
        out = io.StringIO()
        csv.writer(out, delimiter=sep, lineterminator=draw(st.sampled_from(['\n', '\r\n', '\r']))).writerows(rows)
        text = out.getvalue()
    else: text = '\n'.join(sep.join(row) for row in rows) + '\n'
    return text.encode('utf-8', 'surrogatepass')


@contextmanager
def told_in_one_line(*others):
    "The code in this context works, or gives an error of one line, and takes little memory"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try: yield
    except (AgeclsError, *others) as e:
        assert isinstance(e, others) or len(str(e).splitlines()) == 1 and str(e).isprintable(), ascii(str(e))
        assert len(str(e)) < 5000, len(str(e))
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert taken * (1 if sys.platform == 'darwin' else 1024) < MOST, taken
