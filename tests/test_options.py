"Options that are given more than once, misspelt ones, and what a shell completes, in every command"
import argparse
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO

import pytest
from conftest import ROOT, agecls

from agecls_fastai.cli import main, make_parser
from agecls_fastai.commands.options import Parser, near_value

PARSER = make_parser()
COMMANDS = next(a for a in PARSER._actions if isinstance(a, argparse._SubParsersAction)).choices
OPTIONS = [(command, a) for command, parser in COMMANDS.items() for a in parser._actions
           if a.option_strings and not isinstance(a, argparse._HelpAction)]
FLAGS = [x for x in OPTIONS if x[1].nargs == 0]
APPENDED = [x for x in OPTIONS if isinstance(x[1], argparse._AppendAction)]
SEVERAL = [x for x in OPTIONS if x[1].nargs in ('+', '*')]
ONE = [x for x in OPTIONS if x not in FLAGS + APPENDED + SEVERAL]


def each(options):
    ids = [f'{command} {"/".join(option.option_strings)}' for command, option in options]
    return pytest.mark.parametrize('command, option', options, ids=ids)


def values(option):
    "Two words that the option takes; the first is its default where it has one"
    if option.choices: words = list(option.choices)
    elif '=' in (option.metavar or ''): words = ['file=a', 'label=b']
    elif option.type: words = ['64', '65']
    else: words = ['a b', 'c']
    words = list(dict.fromkeys(words if option.default is None else [str(option.default), *words]))
    assert len(words) > 1
    return words[:2]


def parse(command, *words):
    "What a command is given, with all that it needs besides, or the exit status and the lines that are told"
    parser, needs = COMMANDS[command], []
    for a in parser._actions:
        if not a.option_strings: needs.append(next(iter(a.choices)) if a.choices else 'x')
        elif a.required and not set(a.option_strings) & {word.partition('=')[0] for word in words}:
            needs += [a.option_strings[0], 'x']
    err = StringIO()
    try:
        with redirect_stderr(err): return PARSER.parse_args([command, *needs, *words]), None
    except SystemExit as e: return e.code, err.getvalue().splitlines()


def test_every_option_is_of_a_kind_that_is_tested():
    assert {o.dest for _, o in SEVERAL} >= {'set', 'columns', 'classes', 'folds', 'recipes', 'vary'}
    assert {c for c, _ in ONE} >= {'cv', 'study', 'predict', 'report', 'download'}
    assert {type(o.nargs) for _, o in ONE} == {type(None)}, 'what would twice mean for such an option?'


@each(SEVERAL)
def test_options_for_several_values_add_up(command, option):
    name, (first, second) = option.option_strings[-1], values(option)
    kind = option.type or str
    for words in ([name, first, name, second], [f'{name}={first}', '--debug', f'{name}={second}']):
        args, _ = parse(command, *words)
        assert getattr(args, option.dest) == [kind(first), kind(second)]
    args, _ = parse(command, name, second, name, first, second)
    assert getattr(args, option.dest) == [kind(second), kind(first), kind(second)]  # what that means, the command tells


@each([x for x in SEVERAL if '=' in x[1].metavar])
def test_a_name_is_set_to_one_thing(command, option):
    name = option.option_strings[-1]
    for words in ([name, 'size=64', name, 'loss=coral', 'size=96'], [name, 'size=64', 'size=96']):
        status, lines = parse(command, *words)
        assert status == 2
        assert len(lines) == 1 and lines[0].startswith(f'agecls {command}: {name}: size is set twice: 64, then 96 (')
    args, _ = parse(command, name, 'size=64', name, 'loss=coral', 'size=64')
    assert getattr(args, option.dest) == ['size=64', 'loss=coral', 'size=64']


@each(ONE)
def test_options_for_one_value_refuse_another(command, option):
    names, (first, second) = option.option_strings, values(option)
    kind = option.type or str
    args, _ = parse(command, names[-1], first, names[0], first)
    assert getattr(args, option.dest) == kind(first)
    args, _ = parse(command, names[0], second)                           # the default does not count
    assert getattr(args, option.dest) == kind(second)
    for words in ([names[0], first, names[-1], second], [f'{names[-1]}={second}', '--debug', names[-1], first]):
        status, lines = parse(command, *words)
        assert status == 2 and len(lines) == 1 and f'{names[-1]} is given twice' in lines[0]
    if option.dest not in ('user', 'password', 'base_url'):
        assert f'twice: {kind(second)}, then {kind(first)} (' in lines[0]


@each(FLAGS)
def test_flags_may_be_repeated(command, option):
    name = option.option_strings[-1]
    assert getattr(parse(command, name, name)[0], option.dest) is True


@each(APPENDED)
def test_what_is_appended_adds_up(command, option):
    name, kind = option.option_strings[-1], option.type or str
    one, other = ('a', 'b') if kind is str else ('0.2', '0.3')
    assert getattr(parse(command, name, one, name, other)[0], option.dest) == [kind(one), kind(other)]


def test_a_login_is_not_told_and_a_line_is_one_line():
    for name, secret in (('--password', 'hunter2'), ('--user', 'me'), ('--base-url', 'https://me:hunter2@x')):
        status, lines = parse('download', name, 'other', name, secret)
        assert (status, len(lines)) == (2, 1) and secret not in lines[0] and 'other' not in lines[0]
    status, lines = parse('items', '--out', 'a\nb', '--out', '\x1b[31mred')
    assert lines == [r'agecls items: --out is given twice: a\nb, then \x1b[31mred (agecls items --help tells more)']


def test_defaults_groups_and_parents():
    parent = Parser(add_help=False)
    parent.add_argument_group('group').add_argument('--x', nargs='+', default=['default'])
    parent.add_mutually_exclusive_group().add_argument('--y', default='default')
    parser = argparse.ArgumentParser(parents=[parent], exit_on_error=False)
    assert vars(parser.parse_args([])) == dict(x=['default'], y='default')
    args = parser.parse_args(['--x', 'a', '--y', 'b', '--x', 'c', 'd'])
    assert (args.x, args.y) == (['a', 'c', 'd'], 'b')
    assert parser.parse_args(['--x', 'a']).x == ['a']                    # nothing is left of the parse before
    with redirect_stderr(StringIO()) as err, pytest.raises(SystemExit):
        parser.parse_args(['--y', 'b', '--y', 'default'])
    assert '--y is given twice: b, then default' in err.getvalue()


def test_no_torch():
    code = ('import sys; from agecls_fastai.cli import main\n'
            'try: main(["verify", "none", "--data", "a", "--data", "b"])\nfinally: print(*sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2 and 'given twice: a, then b' in done.stderr
    assert 'argparse' in done.stdout.split() and not {'torch', 'fastai', 'pandas'} & set(done.stdout.split())


def light(code):
    "What a process of its own prints, which modules it has loaded, and how it ends"
    done = subprocess.run([sys.executable, '-c', f'import sys\n{code}'], capture_output=True, text=True)
    out, _, modules = done.stdout.partition('MODULES ')
    return done.returncode, out, done.stderr, set(modules.split())


def test_no_command_shows_the_commands():
    code = ('from agecls_fastai.cli import main\n'
            'try: main([])\nfinally: print("MODULES", *sys.modules)')
    status, out, err, modules = light(code)
    assert (status, err) == (0, '') and out.startswith('usage: agecls') and set(COMMANDS) <= set(out.split())
    assert not {'torch', 'fastai', 'pandas', 'numpy'} & modules
    assert parse_all('--verson') == (2, ['agecls: unrecognized arguments: --verson; did you mean --version? (agecls '
                                         '--help tells more)'])


def parse_all(*words):
    "The exit status of `agecls`, and the lines of its error"
    with redirect_stderr(StringIO()) as err:
        try: status = main(list(words))
        except SystemExit as e: status = e.code
    return status, err.getvalue().splitlines()


def test_a_misspelt_command():
    assert parse_all('cvv')[1] == ["agecls: there is no command 'cvv'; did you mean cv? (agecls --help tells more)"]
    assert parse_all('xyz')[1] == ["agecls: there is no command 'xyz' (agecls --help tells more)"]


@each([x for x in OPTIONS if len(x[1].option_strings[-1]) > 5])
def test_a_misspelt_option(command, option):
    name = option.option_strings[-1]
    typo = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name[:-1]
    status, lines = parse(command, typo)
    assert status == 2 and len(lines) == 1 and len(lines[0]) < 200
    assert f'unrecognized arguments: {typo}; did you mean --' in lines[0]


@each([x for x in OPTIONS if x[1].choices])
def test_a_misspelt_choice(command, option):
    name, word = option.option_strings[-1], max(option.choices, key=len)
    status, lines = parse(command, name, f'{word}{word[-1]}')
    assert status == 2 and len(lines) == 1
    told = f'{name} must be one of {", ".join(option.choices)}, not {word + word[-1]!r}; did you mean {word}? ('
    assert told in lines[0]
    assert 'did you mean' not in parse(command, name, 'zzzzzzz')[1][0]


def test_a_misspelt_value_or_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('faces', 'runs'): (tmp_path / name).mkdir()
    (tmp_path / 'runs/finetune').mkdir()
    for words, near in ((['items', 'fases'], 'faces'), (['status', 'runs/finetun'], 'runs/finetune'),
                        (['verify', 'runs/finetun'], 'runs/finetune'), (['evaluate', 'runs/finetun', 'faces'],
                        'runs/finetune'), (['items', 'faces', '--dataset', 'utkfase'], 'utkface'),
                        (['cv', 'faces', '--out', 'x', '--precision', 'flaot32'], 'float32'),
                        (['cv', 'faces', '--out', 'x', '--recipe', 'finetune_lite'], 'finetune_lite0'),
                        (['cv', 'faces', '--out', 'x', '--set', 'epoch=3'], 'epochs'),
                        (['cv', 'faces', '--out', 'x', '--set', 'loss=corall'], 'coral'),
                        (['cv', 'faces', '--out', 'x', '--pack', 'face'], 'faces'), (['help', 'predikt'], 'predict')):
        status, lines = parse_all(*words)
        assert status == 2 and len(lines) == 1 and lines[0].endswith(f'; did you mean {near}?'), lines
        assert len(lines[0]) < 220
    assert near_value('there is no folder fases', ['fases', 'x']) == '; did you mean faces?'
    assert near_value('there is no folder elsewhere', ['elsewhere']) == ''
    assert near_value('level must be one of 0.8, 0.9, 0.95, not 0.7', []) == ''
    assert near_value('there is no column gendr; there are file, gender', []) == '; did you mean gender?'
    assert near_value("there is no table 'score'; there are scores, folds", []) == '; did you mean scores?'
    assert near_value('faces is no run folder: it has no run.json', ['faces']) == ''       # it is there
    assert near_value('row 3 is odd: run', ['run']) == ''                                  # not what is missing


def test_another_data_set_than_it_is(faces, capsys):
    for words, why in ((['--dataset', 'utkface'], 'it holds fold files of Adience, so leave out dataset (--dataset)'),
                       (['--n-folds', '5'], 'n_folds (--n-folds) does not apply to adience data, only to table, ')):
        assert main(['items', str(faces), *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and why in lines[0] and len(lines[0]) < 350


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    from agecls_fastai.data.synthetic import draw_adience
    return draw_adience(tmp_path_factory.mktemp('options') / 'faces', n_subjects=20, size=16)


def test_a_folder_is_read_once(faces, monkeypatch, capsys):
    from agecls_fastai.data import datasets
    kind, read = datasets.DATASETS['adience'], []
    def counted(*args, **kwargs):
        read.append(args)
        return kind.read(*args, **kwargs)
    monkeypatch.setitem(datasets.DATASETS, 'adience', kind._replace(read=counted))
    assert main(['info', str(faces)]) == 0 and len(read) == 1
    assert f'agecls cv {faces}' in capsys.readouterr().out


def test_the_columns_of_a_data_set_are_explained(faces, capsys):
    assert main(['items', str(faces)]) == 0
    heading, columns = capsys.readouterr().out.splitlines()[3:5]
    assert 'share of each class' in heading and columns.split()[:3] == ['images', 'subjects', '0-2']


@pytest.mark.skipif(not shutil.which('bash'), reason='needs bash')
def test_a_shell_completes_values(tmp_path, capsys):
    pytest.importorskip('shtab')
    (tmp_path / 'album').mkdir()
    (tmp_path / 'album.csv').touch()
    assert main(['completion', 'bash']) == 0
    (tmp_path / 'complete.bash').write_text(capsys.readouterr().out)
    def completed(line):
        words = line.split(' ')
        script = f'''source complete.bash
            COMP_WORDS=({' '.join(w or "''" for w in words)}); COMP_CWORD={len(words) - 1}
            $(complete -p agecls | sed 's/.*-F \\([^ ]*\\).*/\\1/') agecls "{words[-1]}" "{words[-2]}"
            echo "${{COMPREPLY[@]}}"'''
        return subprocess.run(['bash', '-c', script], cwd=tmp_path, capture_output=True, text=True).stdout.split()
    assert completed('agecls cv album --recipe finetune_l') == ['finetune_lite0']
    assert completed('agecls recipes mod') == ['modern']
    assert completed('agecls help pred') == ['predict'] and 'data' in completed('agecls help ')
    assert completed('agecls items album --dataset im') == ['imdb-wiki']
    assert completed('agecls cv album --precision b') == ['bfloat16']
    assert completed('agecls predict run --detector ') == ['yunet', 'haar']
    assert completed('agecls compare --table d') == ['differences']
    assert completed('agecls cv al') == ['album']                          # a folder
    assert completed('agecls cv album --items al') == ['album', 'album.csv']


def test_where_people_look_for_years():
    "That the age is moved into the predicted group is said in the help and in the guide"
    words = 'moved to the nearest age of the predicted group where it lies outside it'
    assert words in ' '.join(COMMANDS['predict'].format_help().split())
    for page in ('README.md', 'nbs/tutorials/predict_photographs.ipynb'):
        assert words in (ROOT / page).read_text('utf-8')


LEVI = ['--recipe', 'levi_hassner', '--out', 'OUT']


@pytest.mark.parametrize('command, words, why', [
    ('cv', [*LEVI, '--folds', 9], 'there is no fold 9; the folds are 0, 1, 2, 3, 4'),
    ('cv', [*LEVI, '--device', 'gpu'], 'device must be a name'),
    ('cv', [*LEVI, '--device', 'cuda:99'], 'there is no device cuda:99 here'),
    ('cv', [*LEVI, '--precision', 'float16', '--device', 'cpu'], 'float16'),
    ('cv', [*LEVI, '--weights', 'none.pth'], 'there is no file of weights none.pth'),
    ('cv', [*LEVI, '--size', 32], 'size must be 35 or more'),
    ('cv', [*LEVI, '--set', 'loss=coral', 'loss_args={"sigma": 2}'], 'the loss coral has no sigma'),
    ('cv', ['--recipe', 'levi_hassner', '--out', 'DATA'], 'is no run folder'),
    ('study', ['--recipes', 'levi_hassner', '--out', 'OUT', '--baseline', 'resnet'], 'the baseline must be'),
    ('study', ['--recipes', 'levi_hassner', '--out', 'OUT', '--folds', 9], 'there is no fold 9'),
    ('study', ['--recipes', 'levi_hassner', '--out', 'OUT', '--size', 32], 'size must be 35 or more'),
    ('study', ['--recipes', 'levi_hassner', '--out', 'OUT', '--device', 'gpu'], 'device must be a name'),
    ('study', ['--recipes', 'levi_hassner', '--out', 'DATA'], 'holds the data'),
    ('evaluate', ['--device', 'gpu'], 'device must be a name'),
    ('evaluate', ['--out', 'DATA'], 'is no run folder')])
def test_mistakes_come_before_pictures(strangers, trained, tmp_path, command, words, why):
    "Where people are not known, all pictures are compared, which takes long: what is wrong anyhow is told before"
    words = [{'OUT': tmp_path / 'out', 'DATA': strangers[0]}.get(word, word) for word in words]
    model = [trained] if command == 'evaluate' else []
    done = agecls(command, *model, *strangers, *words, check=2)
    assert why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / 'out').exists()


def test_pictures_are_compared_where_it_matters(strangers, trained, tmp_path):
    for command in (['cv', *LEVI], ['study', '--recipes', 'levi_hassner', '--out', 'OUT'], ['evaluate', trained]):
        words = [tmp_path / 'out' if word == 'OUT' else word for word in command]
        at = 2 if command[0] == 'evaluate' else 1
        assert 'RuntimeError: pictures are read' in agecls(*words[:at], *strangers, *words[at:], check=1).stderr
    agecls('pack', *strangers, '--out', tmp_path / 'pack', '--size', 40, check=0)
