"Tables and names of age groups in the ways that people and programs write them; every file is made here"
import gzip
import math
import warnings
import zipfile

import pandas as pd
import pytest
from PIL import Image

from agecls_fastai.cli import main
from agecls_fastai.core.errors import AgeclsError, DataWarning, what_file_is, what_it_is
from agecls_fastai.core.files import read_json
from agecls_fastai.data.adience import FOLD_COLUMNS, read_fold_table
from agecls_fastai.data.ages import age_order, group_middles, group_years, is_age_group, nearest_group
from agecls_fastai.data.datasets import read_data
from agecls_fastai.data.sheets import read_table
from agecls_fastai.data.sources import FAIRFACE_FILES, FAIRFACE_GROUPS, group_ages, read_fairface
from agecls_fastai.data.tables import read_items
from agecls_fastai.training.weights import load_weights

ROWS = [('Jürgen/1.jpg', '0-2', 0, 'Jürgen', '1,5'), ('Zoë, née Ö/2.jpg', '60+', 0, 'Zoë', '61'),
        ('a;b/3.jpg', '4-6', 1, 'Añil', '5,25'), ('d/4.jpg', '60+', 1, 'Dan "D"', '77')]
COLUMNS = ['file', 'label', 'fold', 'subject', 'age']
TABLE = pd.DataFrame(ROWS, columns=COLUMNS).astype(str)


def words(f, *args, **kwargs):
    "The one line of an error"
    with pytest.raises(AgeclsError) as e: f(*args, **kwargs)
    assert '\n' not in str(e.value)
    return str(e.value)


# --- encodings, delimiters, line ends ---

@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'], ids=['LF', 'CRLF', 'CR'])
@pytest.mark.parametrize('sep', list(',;\t|'), ids=['comma', 'semicolon', 'tab', 'bar'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'cp1252'])
@pytest.mark.parametrize('suffix', ['csv', 'tsv', 'txt', 'csv.gz'])
def test_any_program_may_have_written_it(tmp_path, suffix, encoding, sep, end):
    content = TABLE.to_csv(index=False, sep=sep, lineterminator=end).encode(encoding)
    (tmp_path / f't.{suffix}').write_bytes(gzip.compress(content) if suffix.endswith('gz') else content)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        assert read_table(tmp_path / f't.{suffix}').equals(TABLE)
    told = [str(w.message) for w in told]
    if encoding == 'cp1252': assert len(told) == 1 and told[0].endswith("Windows-1252, for example 'Jürgen'"), told
    else: assert told == []


@pytest.mark.parametrize('text, columns', {
    'file,"a;b;c;d",label\n1,2,3\n': ['file', 'a;b;c;d', 'label'],
    'file,"a;b\nc;d",label\n1,2,3\n': ['file', 'a;b\nc;d', 'label'],
    'file;"size, in cm";x\n1;2;3\n': ['file', 'size, in cm', 'x'],
    'file;size, in cm;x\n1;1,5;3\n2;7;3\n': ['file', 'size, in cm', 'x'],
    'file;size, in cm\n1;1,5\n2;7\n': ['file', 'size, in cm'],
    'file,cut;ends,x\n1,2,3\n4,5;6;7,8\n': ['file', 'cut;ends', 'x'],
    'file\tone, two; three\n1\t2\n': ['file', 'one, two; three'],
    'file\n1\n': ['file'], 'who\nDoe, J.\nRoe, K.\n': ['who'], 'who\nDoe, J.\nRoe; K.\n': ['who'],
    'file|x\n1|2\n': ['file', 'x'], 'sep=|\nfile|x\n1|2\n': ['file', 'x'], 'file,x|y\n1,2\n': ['file', 'x|y'],
    'file|x, y\n1|2\n3|4,5\n': ['file', 'x, y'],
    'sep=;\nfile;x\n1;2\n': ['file', 'x'], '\n\nfile;x\n1;2\n': ['file', 'x'], 'file;x': ['file', 'x'],
    '"file";"x"\n"1;2";"3"\n': ['file', 'x']}.items())
def test_the_header_says_what_parts_the_columns(tmp_path, text, columns):
    (tmp_path / 't.csv').write_text(text, 'utf-8-sig')
    found = read_table(tmp_path / 't.csv')
    assert list(found.columns) == columns
    assert len(found) == text.strip('\n').count('\n') - text.startswith('sep=') - ('b\nc' in text)


def test_a_long_table_has_its_last_row(tmp_path):
    "What is guessed from the first lines holds for all, and a quotation in the last line is read to its end"
    rows = [f'p/{i}.jpg;"4-6; about";{i},5' for i in range(20_000)]
    (tmp_path / 't.csv').write_text('\n'.join(['file;label;age', *rows]))
    found = read_table(tmp_path / 't.csv')
    assert found.iloc[-1].tolist() == ['p/19999.jpg', '4-6; about', '19999,5'] and len(found) == 20_000


def test_a_letter_that_is_not_utf_8_far_below(tmp_path):
    (tmp_path / 't.csv').write_bytes(b'file,who\n' + b'a.jpg,Ann\n' * 100_000 + 'b.jpg,Jürgen\n'.encode('cp1252'))
    with pytest.warns(DataWarning, match="Windows-1252, for example 'Jürgen'"):
        found = read_table(tmp_path / 't.csv')
    assert found.who.iloc[-1] == 'Jürgen'


def test_decimal_commas_are_numbers_where_numbers_are_wanted(tmp_path):
    (tmp_path / 't.csv').write_text(TABLE.to_csv(index=False, sep=';'), 'utf-8')
    found = read_data(tmp_path, items=tmp_path / 't.csv', columns=dict(label='age'), ages=True,
                      classes=['under 3', '3-59', '60 and over']).items
    assert found.label.tolist() == ['under 3', '60 and over', '3-59', '60 and over']
    assert found.age.tolist() == ['1,5', '61', '5,25', '77']                # rides along as it is


def workbook():
    from io import BytesIO
    f = BytesIO()
    with zipfile.ZipFile(f, 'w') as z:
        for name in ('[Content_Types].xml', '_rels/.rels', 'xl/workbook.xml'): z.writestr(name, '<?xml version="1.0"?>')
    return f.getvalue()


def plain_zip():
    from io import BytesIO
    f = BytesIO()
    with zipfile.ZipFile(f, 'w') as z: z.writestr('t.csv', 'file,label\n')
    return f.getvalue()


POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'
OTHERS = {  # what is in the file → what is said of it
    'pointer': (POINTER, 'it is a Git LFS pointer: git lfs pull fetches the file itself'),
    'page': (b'\r\n<!DOCTYPE html>\n<html lang="en">', 'it is a web page (HTML)'),
    'page without a doctype': (b'<html><head><title>Sign in</title>', 'it is a web page (HTML)'),
    'zip': (plain_zip(), 'it is an archive (zip)'), 'gzip': (gzip.compress(b'file,label\n'), 'it is an archive (gzip)'),
    'workbook': (workbook(), 'it is an Excel workbook (.xlsx): open it there and save the table as CSV'),
    'old workbook': (b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1' + bytes(99), 'it is an old Excel workbook (.xls)'),
    'pdf': (b'%PDF-1.7\n', 'it is a PDF'), 'empty': (b'', 'it is an empty file'),
    'zeros': (bytes(999), 'it is nothing but zeros'),
    'parquet': (b'PAR1' + bytes(9), 'it is a Parquet file: call it .parquet'),
    'picture': (b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'it is a picture (PNG)'),
    'photo': (b'\xff\xd8\xff\xe0\0\x10JFIF', 'it is a picture (JPEG)'),
    'other bytes': (b'\x01\xff\0\x7f' * 9, 'it is no text'),
    'database': (b'SQLite format 3\0' + bytes(84), 'it is a SQLite database: export its table as CSV'),
    'cut row': (b'file,label,fold\na.jpg,4-6,0\nb.jpg,4-', 'it is cut off: its last row has 2 of 3 fields'),
    'cut letter': ('file,label\na.jpg,4–'.encode()[:-1], 'it is cut off: it ends within a letter'),
    'cut UTF-16': ('file,label\na.jpg,4'.encode('utf-16')[:-1], 'it is UTF-16 that is cut off or damaged; save it as'),
    'broken UTF-16': ('file,label\n'.encode('utf-16') + b'\0\xd8\0\xd8\n\0', 'it is UTF-16 that is cut off or damaged'),
    'UTF-16 by its mark alone': (b'\xff\xfefile,label\na,4\n', 'it is UTF-16 that is cut off or damaged'),
    **{code: ('file,label\na.jpg,4\n'.encode(code), 'it is UTF-32; save it as UTF-8')
       for code in ('utf-32', 'utf-32-le', 'utf-32-be')}, 'blank lines': (b'\n\n \n', 'it has no header'),
    'cut quotation': (b'file,label\n"a.jpg,4-6\n', 'a quotation mark in line 2 never ends'),
    'cut quotation below': (b'file,label\n"a\nb.jpg",4-6\nc,"4-6\nd,4', 'a quotation mark in line 4 never ends')}


@pytest.mark.parametrize('name', ['t.csv', 't.tsv', 't.txt'])
@pytest.mark.parametrize('content, said', OTHERS.values(), ids=OTHERS)
def test_a_table_that_is_something_else(tmp_path, content, said, name):
    (tmp_path / name).write_bytes(content)
    told = words(read_items, tmp_path / name, ['4-6', '60+'])
    assert told.startswith(f'{tmp_path / name} cannot be read as a ') and said in told


@pytest.mark.parametrize('name', ['t.parquet', 't.csv.gz', 't.csv.zip', 't.tsv.xz', 't.csv.bz2'])
@pytest.mark.parametrize('which', ['pointer', 'page', 'empty', 'pdf'])
def test_a_packed_table_that_is_something_else(tmp_path, which, name):
    (tmp_path / name).write_bytes(OTHERS[which][0])
    assert OTHERS[which][1] in words(read_table, tmp_path / name)


@pytest.mark.parametrize('name', 't.parquet|t.csv.parquet|t.csv.gz|t.gz|t.csv.xz|t.csv.bz2|t.csv.zip'.split('|'))
def test_a_csv_under_the_name_of_something_else(tmp_path, name):
    (tmp_path / name).write_text('file,label\na.jpg,4-6\n')
    assert words(read_table, tmp_path / name).endswith('it is a text: "file,label a.jpg,4-6"; call it .csv')


def test_a_packed_table_that_is_cut_off_is_what_it_is_called(tmp_path):
    content = gzip.compress(TABLE.to_csv(index=False).encode())
    (tmp_path / 't.csv.gz').write_bytes(content[:len(content) // 2])
    assert 'unpack it first' not in words(read_table, tmp_path / 't.csv.gz')


@pytest.mark.parametrize('suffix', ['csv', 'tsv', 'csv.gz'])
@pytest.mark.parametrize('text, line, n, what', [
    ('a,b\n1,2,3,4\n', 2, 4, 'a comma'), ('a,b\n1,2\n3,4,5\n', 3, 3, 'a comma'),
    ('a;b\n1;2;3\n4;5;6\n', 2, 3, 'a semicolon'),
    ('sep=;\na;b\n1;2;3\n', 3, 3, 'a semicolon'), ('a\tb\n"1\n1"\t2\n3\t4\t5\n', 4, 3, 'a tab'),
    ('a|b\n\n1|2|3\n', 3, 3, 'a vertical bar'), ('a,b\n1,2,\n3,4,\n', 2, 3, 'a comma')])
def test_a_row_with_more_fields_than_the_header(tmp_path, text, line, n, what, suffix):
    content = text.encode()
    (tmp_path / f't.{suffix}').write_bytes(gzip.compress(content) if suffix.endswith('gz') else content)
    said = words(read_table, tmp_path / f't.{suffix}')
    assert f'line {line} has {n} fields, where the header has 2; put fields with {what} between quotation' in said


@pytest.mark.parametrize('end', ['', '\n'])
def test_a_header_and_nothing_else(tmp_path, end):
    for rows in ('', ',,,\n,,,\n'):
        (tmp_path / 't.csv').write_text(f'file,label,fold,subject\n{rows}'.rstrip('\n') + end)
        for labels in (None, ['0-2', '60+']):
            assert words(read_items, tmp_path / 't.csv', labels).endswith('t.csv has no rows')


def test_rows_without_anything_are_no_rows(tmp_path):
    lines = TABLE.to_csv(index=False, sep=';').splitlines()
    for i in (1, 3, 3, len(lines)): lines.insert(i, ';;;;')
    (tmp_path / 't.csv').write_text('\n'.join([*lines, ';;;;']), 'utf-8')
    assert read_table(tmp_path / 't.csv').equals(TABLE)


@pytest.mark.parametrize('column', ['file', 'label', 'fold', 'subject', 'age'])
@pytest.mark.parametrize('kind', ['csv', 'DataFrame'])
def test_a_column_that_is_used_is_there_once(tmp_path, column, kind):
    table = pd.concat([TABLE, TABLE[[column]]], axis=1)
    if kind == 'csv':
        table.to_csv(tmp_path / 't.csv', index=False)
        table = tmp_path / 't.csv'
    if column == 'age': assert read_items(table).label.tolist() == ['0-2', '60+', '4-6', '60+']
    else: assert f'column {column} is there more than once' in words(read_items, table)


def test_two_encodings_in_one_table(tmp_path):
    "Each byte is read as what it is, and no UTF-8 as Windows-1252"
    rows = ['1,Müller'.encode(), '2,Jürgen'.encode('cp1252'), '3,Zoë'.encode(), 'é,'.encode('cp1252') + 'Añil'.encode()]
    (tmp_path / 't.csv').write_bytes(b'\n'.join([b'file,who', *rows, b'']))
    with pytest.warns(DataWarning, match="is UTF-8, but not in line 3, 5; the rest is read as .* 'Jürgen'"):
        found = read_table(tmp_path / 't.csv')
    assert found.who.tolist() == ['Müller', 'Jürgen', 'Zoë', 'Añil'] and found.file[3] == 'é'
    (tmp_path / 't.csv').write_bytes(b'\n'.join([b'file,who', *rows, b'5,\x81', b'']))
    assert 'line 6 is neither UTF-8 nor' in words(read_table, tmp_path / 't.csv')


def test_what_is_in_a_packed_table_is_looked_at(tmp_path):
    (tmp_path / 't.csv.gz').write_bytes(gzip.compress(OTHERS['page'][0]))
    assert 'it is a web page' in words(read_table, tmp_path / 't.csv.gz')


def test_a_table_is_none_of_them():
    content = TABLE.to_csv(index=False).encode()
    assert what_it_is(content, len(content)) is None


ANSWERS = {b'Not Found': 'Not Found', b'{"error": "no such model"}': '{"error": "no such model"}',
           b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>': 'NoSuchKey',
           b'Entry not found\n': 'Entry not found'}


@pytest.mark.parametrize('content, words', ANSWERS.items())
def test_what_a_server_answered_is_a_text_only_where_bytes_are_wanted(tmp_path, content, words):
    (tmp_path / 'w').write_bytes(content)
    assert what_file_is(tmp_path / 'w') == f'a text: "{words}"'
    assert what_it_is(content, len(content)) is None
    if content.startswith(b'{'): assert read_json(tmp_path / 'w') == dict(error='no such model')
    with pytest.raises(AgeclsError) as e: load_weights(tmp_path / 'w')
    assert f'it is a text: "{words}"' in str(e.value)


# --- what a spreadsheet makes of age groups ---

DATES = {  # the group that was → what becomes of it in some country's spreadsheet
    '4-6': '06-Apr|6-Apr|Apr-06|Apr 6|April 6|4/6/2024|6/4/24|04/06/2024|06.04.2024|2024-04-06|2024-04-06 00:00:00|'
           '2024-04-06T00:00:00|6. Apr|06. Apr.|06-avr|06-abr|4月6日|6-Apr-24|45388|4/6/2024 0:00|'
           '06.апр|6 апреля|06-апр|6 kwi|06.kwi|6 kwietnia|06.Nis|6 Nisan|06-dub|6. dubna|6.huhti|6. huhtikuuta|'
           '06.ápr|ápr. 6.|április 6.|6-4月|6/4|4/6|6. 4.|06.04.|6.4.|06.04|Sat, Apr 6|'
           'Saturday, April 6, 2024|сб, 06 апр|April 6th|6th April|Apr, 6|Sat, 4/6/2024',
    '8-13': '13-Aug|Aug 13|Aug-13|13. Aug|13-août|13-ago|13/08/2024|13.08.|13.08|8/13|13. 8.|13.авг|13 sie|13.Ağu|'
            '13.srp|13.elo|aug. 13.|13-8月',
    '1-2': '01-Feb|02-Jan|02. Jan|2. Januar|02-ene|02-gen', '3-9': '09-Mar|03-Sep|09. Mrz|09. Mär|9-mrt',
    '10-19': '19-Oct|19. Okt|19-out|19-ott', '1-15': 'Jan-15|15-Jan',
    '5-12': '12.май|12 мая|12 maj|12.May|12.kvě|12.touko|máj.12|05.дек|5 gru|05.Ara|05.pro|5.joulu|dec. 5.',
    '4-60': 'Apr-60|Apr 1960|1960-04-01'}


@pytest.mark.parametrize('order', ['by name', 'told'])
@pytest.mark.parametrize('was, date', [(was, date) for was, dates in DATES.items() for date in dates.split('|')])
def test_dates_are_told_for_what_they_are(tmp_path, was, date, order):
    labels = ['0-2', was, '60+'] if order == 'told' else None
    (tmp_path / 't.csv').write_text(TABLE.replace({'label': {'4-6': date}}).to_csv(index=False), 'utf-8')
    told = words(read_items, tmp_path / 't.csv', labels)
    assert 'a spreadsheet has turned age groups into dates, in row 2' in told and was in told and date in told
    assert 'format the column as text' in told


@pytest.mark.parametrize('label', ['06-Apr', '2024-04-06'])
def test_dates_are_told_where_they_were_taken_for_the_classes(tmp_path, label):
    table = TABLE.replace({'label': {'4-6': label}})
    assert 'once 4-6 most probably' in words(read_items, table, ['0-2', label, '60+'])
    table['label'] = pd.Categorical(table['label'], ['0-2', label, '60+'], ordered=True)
    assert 'once 4-6 most probably' in words(read_items, table)


@pytest.mark.parametrize('label', ['02-Feb', '2. 2.', '2/2', '02.фев'])
def test_a_date_that_was_no_group_is_still_a_date(label):
    told = words(read_items, TABLE.replace({'label': {'0-2': label}}), ['0-2', '4-6', '60+'])
    assert f"into dates, in row 0 ('{label}'); take" in told and '2-2' not in told


@pytest.mark.parametrize('ages', [['13.08', '6.4', '22.5', '61'], ['1.5', '12.12', '8', '70.0']])
def test_ages_with_a_decimal_point_are_no_dates(ages):
    assert group_ages(ages).notna().all()
    columns = dict(label='age')
    found = read_data('.', items=TABLE.assign(age=ages), columns=columns, ages=True, classes=['0-12', '13+']).items
    assert found.label.tolist() == ['13+' if float(age) >= 13 else '0-12' for age in ages]
    with pytest.warns(DataWarning, match='single years'): read_items(TABLE.assign(label=ages))


def test_dates_among_ages(tmp_path):
    (tmp_path / 't.csv').write_text(TABLE.replace({'age': {'61': '06-Apr'}}).to_csv(index=False), 'utf-8')
    told = words(read_data, tmp_path, items=tmp_path / 't.csv', columns=dict(label='age'), ages=True)
    assert "turned age groups into dates, in row 1 ('06-Apr'" in told


def test_few_rows_are_named_however_many_there_are():
    table = pd.DataFrame(dict(file=[f'{i}.jpg' for i in range(5000)], label='06-Apr', subject='Ann'))
    told = words(read_items, table, ['4-6', '60+'], n_folds=2)
    assert 'into dates' in told and 'and 4,997 more' in told and len(told) < 400


def test_real_dates_elsewhere_are_left_alone():
    table = TABLE.assign(born='2013-08-01', taken='06-Apr')
    found = read_items(table, n_folds=None)
    assert found.born.tolist() == ['2013-08-01'] * 4 and found.label.cat.categories.tolist() == ['0-2', '4-6', '60+']


def test_a_date_of_birth_may_be_what_the_label_is_made_of():
    table = TABLE.assign(label=['2013-08-01', '1950-04-06', '2013-08-01', '1950-04-06'])
    def young(born): return born.str[:4].astype(int).map(lambda year: 'young' if year > 2000 else 'old')
    assert read_items(table, ['young', 'old'], to_label=young).label.tolist() == ['young', 'old', 'young', 'old']


def test_classes_may_be_called_by_months():
    table = TABLE.replace({'label': {'0-2': 'May 1', '4-6': 'May 2', '60+': 'May 3'}})
    assert read_items(table, ['May 1', 'May 2', 'May 3']).label.tolist() == ['May 1', 'May 3', 'May 2', 'May 3']


def test_dates_in_fold_files_of_adience(tmp_path):
    for k in range(5):
        rows = ['\t'.join(['1@N01', f'{i}.jpg', str(i), '08-Dec' if k == i == 2 else '(8, 12)', 'f', *'1234567'])
                for i in range(4)]
        (tmp_path / f'fold_{k}_data.txt').write_text('\n'.join(['\t'.join(FOLD_COLUMNS), *rows, '']))
    told = words(read_fold_table, tmp_path)
    assert "fold_2_data.txt: a spreadsheet has turned age groups into dates, in line 4 ('08-Dec', once 8-12" in told


# --- names of age groups ---

NAMES = {  # years → how they are written
    (4, 6): '4-6|4–6|4—6|4−6|4‑6|4 - 6|(4, 6)|(4,6)|[4,6]|[4, 6]|(4-6)|4 to 6|4 TO 6|4..6|4...6|4…6|4_6|4~6|４－６|'
            '4-6 years|4-6 yrs|4-6y|4 to 6 years old|4–6 Years Old|age 4-6|Ages 4 to 6|aged 4-6|age_4_6|'
            '4 years to 6 years|4y-6y|4-to-6| 4-6 |04-06|4-6 y/o|(3, 6]|[4, 7)|4\u00a0–\u00a06|from 4 to 6',
    (7, 7): '7|7 years|7 yrs|7y|7 years old|age 7|007|7.0',
    (60, math.inf): '60+|60 +|≥60|≥ 60|>=60|>= 60|60 and over|60 or older|60 plus|60 and above|60+ years|'
                    '60 years and over|60 years or older|60 OR MORE|at least 60|60_and_over|60-inf|[60, inf)|age 60+|'
                    '60 & over|60 and up|+60|60 years+|60-plus',
    (61, math.inf): '>60|> 60|more than 60|More Than 60|over 60|older than 60|above 60|more_than_60|over 60 years|'
                    '> 60 years old|(60, inf]',
    (0, 2): '0-2|<3|< 3|under 3|below 3|younger than 3|less than 3|Under 3 years|under_3|[0, 3)|(-1, 2]|≤2|up to 2',
    (0, 3): '≤ 3|≤3|<=3|up to 3|at most 3|3 and under|3 or younger|3 years and under|3 and below|3 or less'}


@pytest.mark.parametrize('name, years', [(name, years) for years, names in NAMES.items() for name in names.split('|')])
def test_the_years_of_a_name(name, years):
    assert group_years(name) == years
    assert all(isinstance(year, int) for year in group_years(name) if year < math.inf)
    middle = (years[0] + min(years[1], 100)) / 2
    assert group_middles([name]) == [middle]
    assert nearest_group(*([years[0]] * 2), ['100-110', name, '120+']) == name


NO_NAMES = ('|old|adult|-|4-|-6|4/6|agent 7|06-Apr|1990|1990-2000|4-6 months|class 4|x4-6|4-6x|(4, 6|60+70|9-3|<0|f|'
            'teens|4, 6|10 to|4 5|nan|60..|60...|60…|...60|4-6..')


@pytest.mark.parametrize('name', NO_NAMES.split('|'))
def test_what_is_no_age_group(name):
    assert not is_age_group(name)
    with pytest.raises(AgeclsError): group_years(name)


ORDERS = '0-2|4-6|8-13|60-100', '(0, 2)|(4, 6)|(8, 12)|(60, 100)', 'under 3|3 to 12|13–17|18 and over', \
    '≤ 3|4..9|10_19|> 19', '0-10|10-20|20+', '8|9|10|11-70|more than 70', '|'.join(FAIRFACE_GROUPS), \
    '[0, 10)|[10, 20)|[20, inf)', '0-2 years|3-9 years|10+ years'


@pytest.mark.parametrize('order', [order.split('|') for order in ORDERS], ids=ORDERS)
def test_age_groups_are_in_order_by_themselves(tmp_path, order):
    assert age_order(order[::-1]) == order
    rows = [(f'{label}_{i}.jpg', label, i % 2, f'{label}{i}') for i in range(4) for label in order[::-1]]
    table = pd.DataFrame(rows, columns=['file', 'label', 'fold', 'subject'])
    table.to_csv(tmp_path / 't.csv', index=False)
    assert read_data(tmp_path, items=tmp_path / 't.csv').items.label.cat.categories.tolist() == order
    for label in order:
        (tmp_path / 'faces' / label).mkdir(parents=True)
        for i in range(2): Image.new('RGB', (8, 8)).save(tmp_path / 'faces' / label / f'{i}.png')
    assert read_data(tmp_path / 'faces', 'folder', n_folds=2).items.label.cat.categories.tolist() == order


@pytest.mark.parametrize('names, said', [
    (['4-6', '4–6'], 'mean the same ages'), (['60+', '≥ 60'], 'mean the same ages'), (['0-12', '10-20'], 'share ages'),
    (['10', '0-10'], 'share ages'), (['60+', '60-69'], 'share ages'), (['0-99', '4-6'], 'share ages')])
def test_age_groups_without_an_order(tmp_path, names, said):
    table = pd.DataFrame([(f'{x}_{i}.jpg', x, i, f'{x}{i}') for i in range(2) for x in names], columns=COLUMNS[:4])
    assert said in words(read_items, table)
    assert read_items(table, names).label.cat.categories.tolist() == names      # who says it knows it
    for name in names:
        (tmp_path / name).mkdir()
        Image.new('RGB', (8, 8)).save(tmp_path / name / 'a.png')
    assert said in words(read_data, tmp_path, 'folder', n_folds=2)


def by_years(labels, tmp_path):
    "Pictures of such classes are read in the ways there are, with the order told"
    rows = pd.DataFrame([(f'{x}/{i}.png', x, i, f'{x}{i}') for i in range(2) for x in labels], columns=COLUMNS[:4])
    kinds = pd.Categorical(rows['label'], labels, ordered=True)
    for file in rows['file']:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(tmp_path / file)
    return {'told': lambda: read_items(rows, labels), 'Parquet': lambda: read_items(rows.assign(label=kinds)),
            'folders': lambda: read_data(tmp_path, 'folder', classes=labels, n_folds=2)}


@pytest.mark.parametrize('way', ['told', 'Parquet', 'folders'])
@pytest.mark.parametrize('labels, right', [
    ('8-13|4-6', '4-6 8-13'), ('60+|4-6|0-2', '0-2 4-6 60+'), ('over 60|0-60', "0-60 'over 60'"),
    ('10-20|0-10', '0-10 10-20'), ('60+|60-69|0-2', '0-2 60-69 60+'), ('7|4-6', '4-6 7')])
def test_an_order_against_the_years(tmp_path, labels, right, way):
    told = words(by_years(labels.split('|'), tmp_path)[way])
    assert 'go from young to old' in told and told.endswith(f'by their years the order is {right}')


def test_numbers_of_classes_may_go_down():
    table = TABLE.assign(label=['2', '1', '0', '1'])
    with pytest.warns(DataWarning, match='go from young to old'): found = read_items(table, ['2', '1', '0'])
    assert found.label.cat.categories.tolist() == ['2', '1', '0']


@pytest.mark.parametrize('spelling', '4–6|4 to 6|(4, 6)|4-6 years| 4-6 |Age 4-6'.split('|'))
def test_the_same_years_are_the_same_class(tmp_path, spelling):
    "The order's spelling is kept"
    for told, there in ((spelling, '4-6'), ('4-6', spelling)):
        assert read_items(TABLE.replace({'label': {'4-6': there}}),
                          ['0-2', told, '60+']).label.tolist() == ['0-2', '60+', told, '60+']
        folder = tmp_path / told
        for name in ('0-2', there):
            (folder / name.strip()).mkdir(parents=True)
            for i in range(2): Image.new('RGB', (8, 8)).save(folder / name.strip() / f'{i}.png')
        found = read_data(folder, 'folder', classes=['0-2', told], n_folds=2).items
        assert found.label.astype(str).value_counts().to_dict() == {'0-2': 2, told: 2}
    assert "row 0 ('4-7')" in words(read_items, TABLE.replace({'label': {'0-2': '4-7'}}), ['0-2', spelling, '60+'])


def test_single_years_are_classes_but_that_is_said():
    table = TABLE.assign(label=['1', '61', '5', '77'])
    with pytest.warns(DataWarning, match='the 4 classes are single years, 1 to 77, those'): found = read_items(table)
    assert found.label.cat.categories.tolist() == ['1', '5', '61', '77']


def test_ages_go_to_groups_of_any_spelling():
    ages = [0, 2, 3, 12, 13, 64, 65, 99]
    for groups in (['0-2', '3-12', '13-64', '65+'], ['under 3', '3 to 12', '13–64', '≥ 65'],
                   ['<3', '(3, 12)', '13_64', 'over 64']):
        assert group_ages(ages, groups).cat.codes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


OVER = '30-59|over 60', '30-59|> 60', '30-59|More than 60 years', '30-59|older_than_60', 'under 60|over 60', '<60|>60'


@pytest.mark.parametrize('groups', OVER)
def test_a_year_that_no_group_holds_goes_to_the_one_that_names_it(groups):
    younger, older = groups = groups.split('|')
    assert group_ages([59, 60, 60.9, 61], groups).tolist() == [younger, older, older, older]


@pytest.mark.parametrize('groups, year, group', [
    ('0-59|60|over 60', 60, '60'), ('0-60|over 60', 60, '0-60'), ('0-55|over 60', 58, '0-55'),
    ('0-55|over 60', 60, 'over 60'), ('0-59|61+', 60, '0-59'),
    ('0-59|[61, inf)', 60, '0-59'), ('under 3|4-6', 3, 'under 3'), ('0-2|4-6', 3, '0-2')])
def test_other_years_and_ties_stay_where_they_are(groups, year, group):
    assert group_ages([year], groups.split('|')).tolist() == [group]


def test_who_is_70_in_fairface(): assert group_ages(['69', '70'], FAIRFACE_GROUPS).tolist() == ['60-69', 'more than 70']


# --- FairFace ---

@pytest.fixture
def fairface(tmp_path):
    rows = [(f'{split}/{i}.jpg', FAIRFACE_GROUPS[i % 9], ['Male', 'Female'][i % 2], 'East Asian', i % 3 == 0)
            for split in ('train', 'val') for i in range(1, 19)]
    labels = pd.DataFrame(rows, columns=['file', 'age', 'gender', 'race', 'service_test'])
    for file in labels.file:
        place = tmp_path / 'fairface-img-margin025-trainval' / file
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(place)
    for split, file in zip(('train', 'val'), FAIRFACE_FILES):
        labels[labels.file.str.startswith(split)].to_csv(tmp_path / file, index=False)
    return tmp_path


@pytest.mark.parametrize('data', ['.', 'fairface-img-margin025-trainval'])
def test_fairface_by_its_own_files(fairface, data, capsys):
    out = fairface / 'items.csv'
    assert main(['items', str(fairface / data), '--dataset', 'fairface', '--n-folds', '2', '--out', str(out)]) == 0
    said = capsys.readouterr()
    assert 'pictures are missing' not in said.err and "--classes 0-2 3-9" in said.out and "'more than 70'" in said.out
    found = read_items(out)
    assert found.label.cat.categories.tolist() == FAIRFACE_GROUPS and len(found) == 36
    assert found.groupby('split').size().to_dict() == dict(train=18, val=18)
    assert set(found.gender) == {'f', 'm'} and set(found.race) == {'East Asian'}
    assert set(found.service_test) == {'True', 'False'}
    assert (found.subject == found.file).all() and all((fairface / data / file).is_file() for file in found.file)


def test_one_of_the_files_of_fairface(fairface):
    pictures = fairface / 'fairface-img-margin025-trainval'
    found = read_data(pictures, 'fairface', items=fairface / FAIRFACE_FILES[1], n_folds=2).items
    assert set(found.split) == {'val'} and len(found) == 18
    (fairface / FAIRFACE_FILES[1]).unlink()
    with pytest.warns(DataWarning, match=f'{FAIRFACE_FILES[1]} is missing; only {FAIRFACE_FILES[0]} is read'):
        assert set(read_fairface(pictures, n_folds=2).split) == {'train'}
    with pytest.warns(DataWarning, match='is missing'): found = read_fairface(pictures, target='gender', n_folds=2)
    assert found.label.cat.categories.tolist() == ['f', 'm']
    (fairface / FAIRFACE_FILES[0]).unlink()
    assert 'items (--items FILE) names one' in words(read_fairface, pictures)


@pytest.mark.parametrize('column, spellings', [
    ('age', {'more than 70': x, '3-9': y}) for x, y in [
        ('More than 70 ', '3–9'), ('70+', '3 to 9'), ('>70', '(3, 9)'), ('over 70', ' 3-9'),
        ('70 and over', '03-09')]] + [
    ('gender', {'Male': x, 'Female': y}) for x, y in [('male ', 'FEMALE'), ('M', 'F'), ('m', ' f')]] + [
    ('race', {'East Asian': x}) for x in ('east asian', ' East Asian ', 'EAST ASIAN')])
def test_other_spellings_in_fairface(fairface, column, spellings):
    whole = read_fairface(fairface, n_folds=2)
    for name in FAIRFACE_FILES:
        table = pd.read_csv(fairface / name)
        table.replace({column: spellings}).to_csv(fairface / name, index=False)
    assert read_fairface(fairface, n_folds=2).equals(whole)
    assert read_fairface(fairface, target='gender', n_folds=2)['label'].tolist() == whole['gender'].tolist()


@pytest.mark.parametrize('csv', [None, FAIRFACE_FILES[0]])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_folder_too_deep_in_fairface(fairface, split, csv):
    path = fairface / 'fairface-img-margin025-trainval'
    told = words(read_fairface, path / split, csv and fairface / csv)
    assert told.endswith(f'give the folder above, {path.resolve()}')


@pytest.mark.parametrize('split', ['train', 'val'])
def test_pictures_of_one_split_are_missing(fairface, split):
    (fairface / 'fairface-img-margin025-trainval' / split).rename(fairface / 'elsewhere')
    with pytest.warns(DataWarning, match=f'none of the 18 pictures of {split} is in '):
        read_fairface(fairface, n_folds=2)


def test_a_column_twice_in_fairface(fairface):
    file = fairface / FAIRFACE_FILES[1]
    file.write_text(file.read_text().replace('race', 'age', 1))
    assert 'column age is there more than once' in words(read_fairface, fairface)


def test_fairface_as_a_plain_table(fairface):
    columns = dict(label='age', subject='file')
    found = read_data(fairface, items=fairface / FAIRFACE_FILES[0], columns=columns, n_folds=2)
    assert found.items.label.cat.categories.tolist() == FAIRFACE_GROUPS


def test_fairface_after_excel(fairface):
    file = fairface / FAIRFACE_FILES[0]
    pd.read_csv(file).replace({'age': {'3-9': '09. Mrz', '10-19': '19. Okt'}}).to_csv(file, sep=';', index=False)
    told = words(read_fairface, fairface)
    assert "age: a spreadsheet has turned age groups into dates, in row 0 ('09. Mrz', once 3-9" in told
