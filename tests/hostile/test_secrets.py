"Every command runs with marked logins; then all its outputs and files are searched for the marks"
import argparse
import base64

import pytest
from faulty_server import Fault, FaultyServer
from hub_server import Hub

from agecls_fastai import cli
from agecls_fastai.data import download

MARKS = dict(
    ADIENCE_USER='marked-user-3c1d', ADIENCE_PASSWORD='marked-password-77ea',
    HF_TOKEN='hf_marked0token0d41b0never0to0be0shown', WANDB_API_KEY='deadbeef' * 5,
    AWS_SECRET_ACCESS_KEY='marked-aws-5512', GITHUB_TOKEN='ghp_marked9981', DATABASE_URL='marked-environment-8a0f')
LOGIN = f'{MARKS["ADIENCE_USER"]}:{MARKS["ADIENCE_PASSWORD"]}'
AS_SENT = base64.b64encode(LOGIN.encode()).decode()
SECRETS = [*MARKS.values(), AS_SENT, 'marked-proxy-0b7c', 'marked-argument-41f2']
TRAIN = ['--recipe', 'levi_hassner_onecycle', '--size', '40', '--epochs', '1', '--bs', '8', '--limit', '12']
LEFT_OUT = {'demo': 'is synth, cv, compare, report and predict', 'app': 'waits for browsers; tests/test_app.py'}


@pytest.fixture
def marked(tmp_path, monkeypatch):
    "A folder, and an environment that is full of secrets and keeps all files in that folder"
    import huggingface_hub.constants as constants
    homes = ['HF_HOME', 'TORCH_HOME', 'XDG_CACHE_HOME', 'WANDB_CACHE_DIR', 'WANDB_CONFIG_DIR', 'WANDB_DATA_DIR']
    others = dict(WANDB_MODE='offline', NO_PROXY='127.0.0.1')
    for name, value in (MARKS | {name: str(tmp_path / 'home' / name) for name in homes} | others).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download, 'WAITS', (0.01,))
    monkeypatch.chdir(tmp_path)
    with Hub() as hub:
        address = hub.url + '/{repo_id}/resolve/{revision}/{filename}'
        for name, value in dict(ENDPOINT=hub.url, HF_HUB_CACHE=str(tmp_path / 'home/hub'),
                                HF_HUB_DISABLE_TELEMETRY=True, HUGGINGFACE_CO_URL_TEMPLATE=address).items():
            monkeypatch.setattr(constants, name, value)
        yield tmp_path, hub


def downloads(agecls, d, monkeypatch):
    "A login that is refused, redirected, broken off, through a proxy, with arguments, with mistakes"
    def get(url, *argv): agecls('download', d / 'adience', '--base-url', url, '--debug', *argv, status=2)
    with FaultyServer({}, *LOGIN.split(':')) as server, FaultyServer({}, 'other', 'login') as strict:
        server.faults['fold_0_data.txt'] = [Fault(status=500, times=9)]
        get(server.url)
        server.faults['fold_0_data.txt'] = [Fault(location=f'{strict.url}/fold_0_data.txt')]
        get(server.url)
        get(strict.url)
        get(strict.url, '--user', 'x', '--password', 'marked-argument-41f2')
        assert any(AS_SENT in str(request.headers) for request in server.requests)
    get(f'http://{LOGIN}@127.0.0.1:9')
    for argv in (['--pasword', 'marked-argument-41f2'], ['--pasword=marked-argument-41f2']):
        with pytest.raises(SystemExit): cli.main(['download', str(d), *argv])
    with monkeypatch.context() as patch:
        patch.delenv('NO_PROXY')
        for proxy in ('http://user:marked-proxy-0b7c@127.0.0.1:9', 'nonsense://user:marked-proxy-0b7c@x'):
            patch.setenv('http_proxy', proxy)
            get('http://faces.invalid/x')


@pytest.mark.slow
def test_nothing_is_told(drawn, marked, monkeypatch, capfd, caplog):
    (d, hub), run = marked, set()

    def agecls(*argv, status=0):
        run.add(argv[0])
        assert cli.main([*map(str, argv)]) == status, capfd.readouterr().err[-300:]

    downloads(agecls, d, monkeypatch)
    agecls('synth', d / 'faces', '--subjects', 12, '--size', 16, '--seed', 7)
    agecls('audit', drawn)
    agecls('info', drawn)
    agecls('recipes', 'finetune_lite0')
    agecls('help', 'data')
    agecls('completion', 'bash')
    agecls('items', drawn, '--out', d / 'items.csv')
    agecls('pack', drawn, '--out', d / 'pack', '--size', 46)
    agecls('cv', drawn, *TRAIN, '--folds', 0, '--out', d / 'run', '--keep-models', '--final', '--log', 'wandb')
    agecls('cv', drawn, *TRAIN, '--folds', 0, '--out', d / 'other', '--set', 'wd=0.1', '--log', 'tensorboard')
    agecls('study', drawn, '--recipes', *TRAIN[1:], '--folds', 0, '--out', d / 'study', '--no-pack')
    agecls('status', d / 'run', '--json')
    agecls('verify', d / 'run')
    agecls('methods', d / 'run')
    agecls('compare', d / 'run', d / 'other', '--json')
    agecls('ensemble', d / 'run', d / 'other', '--out', d / 'both')
    agecls('calibrate', d / 'run')
    agecls('thresholds', d / 'run', status=2)                             # the run has no ages
    agecls('report', d / 'run', '-o', d / 'report.html', '--faces', drawn)
    agecls('evaluate', d / 'run/final/model', d / 'faces', '--out', d / 'evaluated')
    picture = next((d / 'faces').rglob('*.jpg'))
    agecls('predict', d / 'run', picture, '--csv', d / 'answers.csv')
    agecls('export', d / 'run/final/model', d / 'm.onnx')
    agecls('push', d / 'run/final', 'me/faces')
    agecls('predict', 'hf:me/faces', picture, '--json')
    for hub.broken in (401, 418):                                       # it sends the token back
        agecls('push', d / 'run/final/model', 'me/faces', '--debug', status=2)
        agecls('predict', 'hf:me/others', picture, '--debug', status=2)
    agecls('cv', drawn, *TRAIN, '--set', 'no_field=1', '--out', d / 'none', '--debug', status=2)
    # and now the search
    commands = next(a for a in cli.make_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    assert run | set(LEFT_OUT) == set(commands)
    assert f'Bearer {MARKS["HF_TOKEN"]}' in hub.tokens                  # the marks were used
    texts = {'standard output and error': ''.join(capfd.readouterr()).encode(), 'log': caplog.text.encode()}
    texts |= {str(p): str(p).encode() + p.read_bytes() for p in d.rglob('*') if p.is_file() and not p.is_symlink()}
    assert len(texts) > 100 and len(texts['standard output and error']) > 5000
    found = {(where, secret) for where, text in texts.items() for secret in SECRETS if secret.encode() in text}
    assert found == set()
