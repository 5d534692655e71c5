"Options that are given more than once, in every command"
import argparse
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO

import pytest

from agecls_fastai.cli import make_parser
from agecls_fastai.commands.options import Parser

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
