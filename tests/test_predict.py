"From a trained run to answers, by the command line: predict, export"
import io
import json
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agecls_fastai.cli import main
from agecls_fastai.predict.answers import kept_folders, load_kept, open_light
from agecls_fastai.predict.cards import _where
from agecls_fastai.predict.photos import square
from agecls_fastai.predict.predictor import NetAnswerer
from agecls_fastai.training.hub import load_bundle

CV = ['--recipe', 'levi_hassner_onecycle', '--size', '40', '--epochs', '1', '--bs', '16', '--keep-models', '--folds',
      '0', '1', '--final']


@pytest.fixture(scope='module')
def run(drawn, tmp_path_factory):
    "A run that kept its models"
    path = tmp_path_factory.mktemp('runs') / 'run'
    assert main(['cv', str(drawn), '--out', str(path), *CV]) == 0
    return path


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
    path = tmp_path_factory.mktemp('exported') / 'model.onnx'
    assert main(['export', str(run / 'fold_0'), str(path)]) == 0
    return path


@pytest.fixture
def faces(drawn): return sorted(drawn.rglob('*.jpg'))[:5]


def answers(capsys, *argv):
    "Exit status, lines of the output, lines of errors"
    capsys.readouterr()
    status = main(['predict', *map(str, argv)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


def test_in_words_json_and_csv(run, faces, capsys, tmp_path):
    status, out, err = answers(capsys, run, *faces)
    assert status == 0 and len(out) == 5 and not err
    assert out[0].startswith(f'{faces[0]}: ') and ' %), about ' in out[0]
    status, out, _ = answers(capsys, run, *faces, '--json')
    rows = [json.loads(line) for line in out]
    assert [row['file'] for row in rows] == [str(f) for f in faces]
    assert all(abs(sum(row['probabilities'].values()) - 1) < 1e-6 for row in rows)
    status, out, err = answers(capsys, run, *faces, '--csv', tmp_path / 'a.csv')
    assert status == 0 and not out and err == [f'The answers are in {tmp_path / "a.csv"}']
    table = pd.read_csv(tmp_path / 'a.csv')
    assert table['group'].tolist() == [row['group'] for row in rows]
    assert np.allclose(table['p_0-2'], [row['probabilities']['0-2'] for row in rows], atol=1e-6)


def test_several_models_are_averaged(run, faces, capsys):
    def p(*argv): return np.array([list(json.loads(line)['probabilities'].values())
                                   for line in answers(capsys, *argv, *faces, '--json')[1]])
    both, zero, one = p(run), p(run / 'fold_0'), p(run / 'fold_1')
    assert np.allclose(both, (zero + one) / 2, atol=1e-6) and not np.allclose(zero, one, atol=1e-3)
    assert np.allclose(p(run / 'fold_0', '--also', run / 'fold_1'), both, atol=1e-6)
    assert not np.allclose(p(run / 'fold_0', '--views', 'ten'), zero, rtol=0, atol=1e-6)


def test_the_final_model_is_of_all_folds(run, faces, capsys):
    assert answers(capsys, run / 'final', *faces)[0] == 0
    info, fold = (json.loads((run / name / 'model/model.json').read_text()) for name in ('final', 'fold_0'))
    assert 'fold' not in info and len(info['seen']) > len(fold['seen'])
    card = (run / 'final/model/MODEL_CARD.md').read_text()
    assert 'The final network was trained on all folds, so it has no test set.' in card and '| 0-2 |' in card
    assert json.loads((run / 'run.json').read_text())['labels'] == info['labels']


def test_names_from_standard_input(run, faces, capsys, monkeypatch):
    monkeypatch.setattr('sys.stdin', io.StringIO(f'{faces[0]}\n\n{faces[1]}\n'))
    status, out, _ = answers(capsys, run, '-')
    assert status == 0 and [line.split(': ')[0] for line in out] == [str(f) for f in faces[:2]]


def bomb(path):
    Image.new('L', (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (30_000).to_bytes(4) * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    path.write_bytes(data)


def test_what_cannot_be_read_is_told_and_the_rest_is_answered(run, faces, capsys, tmp_path):
    (tmp_path / 'words.jpg').write_text('no picture')
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'nothing').mkdir()
    bomb(tmp_path / 'bomb.png')
    bad = {'words.jpg': 'is no picture', 'empty.png': 'is empty', 'bomb.png': 'million pixels',
           'none.jpg': 'there is no such file', 'nothing': 'there are no pictures in the folder', 'z*': 'no file'}
    photos = [tmp_path / name for name in bad]
    status, out, err = answers(capsys, run, *photos[:3], faces[0], *photos[3:])
    assert status == 1 and len(out) == 1 and out[0].startswith(str(faces[0]))
    assert len(err) == len(bad) and all(why in line for why, line in zip(bad.values(), err))
    status, out, err = answers(capsys, run, *photos, faces[0], '--json')
    assert status == 1 and [('error' in json.loads(line)) for line in out] == [True] * len(bad) + [False]
    status, _, err = answers(capsys, run, *photos, faces[0], '--csv', tmp_path / 'a.csv')
    table = pd.read_csv(tmp_path / 'a.csv')
    assert status == 1 and table['error'].notna().tolist() == [True] * len(bad) + [False]


def test_every_kind_of_picture(run, faces, capsys, tmp_path):
    image, exif = Image.open(faces[0]), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / 'plain.png')
    image.rotate(90).save(tmp_path / 'turned.png', exif=exif)
    image.convert('RGBA').save(tmp_path / 'alpha.png')
    image.convert('CMYK').save(tmp_path / 'cmyk.tif')
    image.save(tmp_path / 'moving.gif', save_all=True, append_images=[Image.new('RGB', image.size)])
    grey = image.convert('L')
    grey.save(tmp_path / 'grey.png')
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / 'sixteen.png')
    names = ['plain.png', 'turned.png', 'alpha.png', 'grey.png', 'sixteen.png', 'cmyk.tif', 'moving.gif']
    status, out, _ = answers(capsys, run, *(tmp_path / name for name in names), '--json')
    p = {name: np.array(list(json.loads(line)['probabilities'].values())) for name, line in zip(names, out)}
    assert status == 0 and len(p) == 7
    for name in ('turned.png', 'alpha.png'): assert np.allclose(p[name], p['plain.png'], atol=1e-6)
    assert np.allclose(p['grey.png'], p['sixteen.png'], atol=1e-6)
    for name in ('cmyk.tif', 'moving.gif'): assert np.abs(p[name] - p['plain.png']).max() < 0.05


@pytest.mark.parametrize('argv, why', [
    (['none'], "there is no model 'none'"), (['none.onnx'], "there is no model 'none.onnx'"),
    (['RUN', '--device', 'meta'], 'there is no device meta here'), (['RUN', '--csv', 'a.jpg'], 'the name of the table'),
    (['RUN', '--level', '0.5'], 'level must be one of 0.8, 0.9, 0.95, not 0.5'),
    (['RUN', '--device', 'gpu9'], 'device must be a name like'),
    (['RUN', '--csv', 'nowhere/a.csv'], 'there is no folder nowhere'),
    (['ONNX', '--views', 'ten'], 'an exported model has its views inside'),
    (['RUN', '--also', 'none'], "there is no model 'none'"),
    (['RUN', '--also', 'ONNX', '--also', 'RUN'], '--also must name another model; '),
    (['RUN', '--also', 'ONNX'], 'the same network is given twice'),
    (['RUN', '--also', 'RUN/fold_0'], 'the same network is given twice')])
def test_mistakes(run, exported, faces, capsys, argv, why):
    argv = [{'RUN': run, 'ONNX': exported, 'RUN/fold_0': run / 'fold_0'}.get(a, a) for a in argv]
    status, out, err = answers(capsys, argv[0], faces[0], *argv[1:])
    assert status == 2 and not out and len(err) == 1 and why in err[0]


def test_the_exported_model_gives_the_same_answers(run, exported, faces, capsys):
    _, by_torch, _ = answers(capsys, run / 'fold_0', *faces)
    status, by_onnx, _ = answers(capsys, exported, *faces)
    assert status == 0 and by_onnx == by_torch


def test_what_an_exporter_prints(drawn, tmp_path, capfd):
    "PyTorch's older one fails with CORAL's probabilities, and says so past Python: nobody should see it"
    recipe = ['--recipe', 'levi_hassner_onecycle', '--size', 40, '--bs', 16, '--epochs', 1, '--set', 'loss=coral']
    words = ['cv', drawn, *recipe, '--folds', 0, '--keep-models', '--out', tmp_path / 'run', '--json']
    assert main([str(word) for word in words]) == 0
    assert json.loads(capfd.readouterr().out)['folds'] == [0]
    assert (tmp_path / 'run/fold_0/model/model.onnx').is_file()


def test_int8_says_what_it_costs(run, drawn, capsys, tmp_path, faces):
    capsys.readouterr()
    assert main(['export', str(run / 'fold_0'), str(tmp_path / 'm.onnx'), '--int8', str(drawn), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['unseen'] and found['bytes'][1] < found['bytes'][0] / 3
    assert set(found['scores']) == {'accuracy', 'one_off_accuracy'}
    assert answers(capsys, tmp_path / 'm.onnx', *faces)[0] == 0
    assert main(['export', str(run / 'fold_0'), str(tmp_path / 'm.pt2'), '--to', 'torch-export', '--int8',
                 str(drawn)]) == 2
    assert main(['export', str(run), str(tmp_path / 'm2.onnx')]) == 2
    assert 'has 2 networks; name one' in capsys.readouterr().err
    assert main(['export', str(run / 'fold_0'), str(tmp_path / 'm2.onnx'), '--int8', str(drawn), '--target',
                 'gender']) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ['m.onnx']      # a failure leaves nothing behind


def test_names_that_would_disturb_a_terminal(run, faces, capsys, tmp_path):
    (tmp_path / 'new\nline\x1b[31m.jpg').write_bytes(faces[0].read_bytes())
    status, out, _ = answers(capsys, run, tmp_path)
    assert status == 0 and len(out) == 1 and 'new\\nline\\x1b[31m.jpg' in out[0]


def test_no_names_are_a_mistake(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr('sys.stdin', io.StringIO(''))
    status, _, err = answers(capsys, run, '-', '--csv', tmp_path / 'a.csv')
    assert status == 2 and err == ['agecls: give the name of a picture'] and not list(tmp_path.iterdir())


@pytest.mark.parametrize('change', [
    dict(labels=['0-2'] * 8), dict(trained_on=5), dict(normalize=[['a', 'b', 'c'], [1, 1, 1]]),
    dict(normalize=[[0.5] * 3, [0, 1, 1]]), dict(calibration=dict(temperature=-1, thresholds={})),
    dict(calibration=dict(temperature=1, thresholds={'0.9': 'x'})), dict(recipe=dict(name='x', size='48')),
    dict(recipe=dict(name='x', loss='nosuch')), dict(recipe=5)])
def test_impossible_values_in_a_bundle(run, faces, capsys, tmp_path, change):
    shutil.copytree(run / 'fold_0/model', model := tmp_path / 'model')
    info = json.loads((model / 'model.json').read_text())
    (model / 'model.json').write_text(json.dumps(info | change))
    status, out, err = answers(capsys, model, faces[0])
    assert status == 2 and not out and len(err) == 1 and 'model.json' in err[0], err


def test_answers_come_as_names_go_in(exported, faces):
    "Somebody may pipe names in slowly, and need not wait for the last one"
    command = [sys.executable, '-m', 'agecls_fastai', 'predict', exported, '-', '--bs', '1']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        for _ in range(3): print(faces[0], file=p.stdin, flush=True)
        assert p.stdout.readline().startswith(str(faces[0]))             # two may be ahead
        p.stdin.close()
        assert len(p.stdout.readlines()) == 2
        p.wait(30)


def test_a_model_that_was_tampered_with(run, faces, capsys, tmp_path):
    shutil.copytree(run / 'fold_0/model', model := tmp_path / 'model')
    weights = bytearray((model / 'model.safetensors').read_bytes())
    weights[-1] ^= 1
    (model / 'model.safetensors').write_bytes(weights)
    status, _, err = answers(capsys, model, faces[0])
    assert status == 2 and 'the weights are not those that were saved' in err[0]
    (model / 'model.safetensors').write_bytes(weights[:1000])
    assert answers(capsys, model, faces[0])[0] == 2
    info = json.loads((model / 'model.json').read_text())
    (model / 'model.json').write_text(json.dumps(info | dict(format=99)))
    status, _, err = answers(capsys, model, faces[0])
    assert status == 2 and 'has format 99; this version reads' in err[0]
    (model / 'model.json').write_text(json.dumps(info | dict(labels=info['labels'][:3])))
    (model / 'model.safetensors').write_bytes((run / 'fold_0/model/model.safetensors').read_bytes())
    status, _, err = answers(capsys, model, faces[0])
    assert status == 2 and 'do not fit' in err[0] and len(err) == 1


def test_the_onnx_path_starts_fast(exported, faces):
    "Nothing heavy is imported: what it takes is told by Python itself, not by a clock"
    done = subprocess.run([sys.executable, '-X', 'importtime', '-m', 'agecls_fastai', 'predict', exported, faces[0]],
                          capture_output=True, text=True, timeout=60)
    loaded = {line.split('|')[-1].strip().split('.')[0] for line in done.stderr.splitlines() if '|' in line}
    assert done.returncode == 0 and 'onnxruntime' in loaded
    assert not loaded & {'torch', 'fastai', 'pandas', 'scipy', 'matplotlib', 'sklearn'}


def test_a_run_folder_answers_without_pytorch(run, faces, capsys, tmp_path):
    "By the ONNX file beside each network, as PyTorch does; where it does not fit, PyTorch answers"
    by_torch = answers(capsys, run, *faces, '--device', 'cpu', '--json')[1]
    done = subprocess.run([sys.executable, '-X', 'importtime', '-m', 'agecls_fastai', 'predict', run, *faces, '--json'],
                          capture_output=True, text=True, timeout=60)
    loaded = {line.split('|')[-1].strip().split('.')[0] for line in done.stderr.splitlines() if '|' in line}
    assert done.returncode == 0 and not loaded & {'torch', 'fastai', 'pandas', 'scipy'}
    for a, b in zip(map(json.loads, done.stdout.splitlines()), map(json.loads, by_torch)):
        assert a['group'] == b['group'] and a['file'] == b['file'] and abs(a['expected_age'] - b['expected_age']) < 0.01
        assert np.allclose(list(a['probabilities'].values()), list(b['probabilities'].values()), atol=1e-3)
    assert [len(kept_folders(f)) for f in (run, run / 'final', run / 'fold_1/model', tmp_path)] == [2, 1, 1, 0]
    shutil.copytree(run / 'fold_0/model', tmp_path / 'model')
    assert load_kept(tmp_path / 'model') is not None
    shutil.copy(run / 'fold_1/model/model.onnx', tmp_path / 'model/model.onnx')   # of another network
    assert load_kept(tmp_path / 'model') is None and open_light([str(tmp_path / 'model')]) is None
    assert answers(capsys, tmp_path / 'model', faces[0])[0] == 0


def test_two_visitors_at_once(run, faces):
    "While one is shown where the network looked, another is answered: neither sees anything of the other"
    answerer, face = NetAnswerer(load_bundle(run / 'fold_0/model')), Image.open(faces[0])
    x = np.stack([square(Image.open(f), answerer.side) for f in faces])
    alone, answers = np.asarray(_where(answerer, face, '0-2')), answerer.network(x)
    with ThreadPoolExecutor(2) as pool:
        maps, others = zip(*[(pool.submit(_where, answerer, face, '0-2'), pool.submit(answerer.network, x))
                             for _ in range(150)])
        assert all((np.asarray(m.result()) == alone).all() for m in maps)
        assert all(np.allclose(o.result(), answers, atol=1e-6) for o in others)


def test_what_is_wrong_is_told_before_a_network_is_loaded(run, faces, tmp_path):
    for argv, why in ((['none.jpg'], 'none.jpg: there is no such file'),
                      (['no*.png'], 'no file matches no*.png'),
                      ([faces[0], '--face-model', 'none.onnx'], 'there is no face model none.onnx'),
                      ([faces[0], '--level', '0.7'], 'level must be one of'),
                      ([faces[0], '--detector', 'haar', '--face-model', faces[0]], 'haar comes with OpenCV')):
        done = subprocess.run([sys.executable, '-X', 'importtime', '-m', 'agecls_fastai', 'predict', run, *argv],
                              capture_output=True, text=True, timeout=60, cwd=tmp_path)
        told = [line for line in done.stderr.splitlines() if '|' not in line]
        assert done.returncode and why in told[-1] and 'onnxruntime' not in done.stderr and not done.stdout, told


def test_doubts_and_reasons(exported, faces, capsys, tmp_path):
    from skimage import data
    two = Image.new('RGB', (1024, 512))
    for left in (0, 512): two.paste(Image.fromarray(data.astronaut()), (left, 0))
    two.save(tmp_path / 'two.jpg')
    Image.new('RGBA', (90, 90)).save(tmp_path / 'glass.png')
    Image.open(faces[0]).resize((6, 6)).save(tmp_path / 'tiny.png')
    (tmp_path / 'words.jpg').write_text('no picture')
    names = [tmp_path / n for n in ('two.jpg', 'glass.png', 'tiny.png', 'words.jpg', 'none.jpg')]
    rows = [json.loads(line) for line in answers(capsys, exported, *names, '--json')[1]]
    assert [row['reason'] for row in rows] == ['several_faces', 'one_colour', 'too_small', 'no_picture', 'missing']
    assert ['warning' in row for row in rows] == [True, False, True, False, False]
    _, out, _ = answers(capsys, exported, *names)
    assert '; warning: 2 faces are detected in it' in out[0] and len(out) == 2
    answers(capsys, exported, *names, '--csv', tmp_path / 'a.csv')
    table = pd.read_csv(tmp_path / 'a.csv')
    assert list(table)[-3:] == ['warning', 'reason', 'error']
    assert table['reason'].tolist() == [r['reason'] for r in rows]
    coffee = Path(data.__file__).parent / 'coffee.png'
    status, out, err = answers(capsys, exported, tmp_path / 'two.jpg', coffee, '--faces')
    assert status == 1 and len(out) == 2 and ' at ' in out[0] and err[-1].endswith('no face is found')


def test_names_that_begin_with_a_dash(exported, faces, capsys, tmp_path, monkeypatch):
    "As a pattern of the shell gives them"
    shutil.copy(faces[0], tmp_path / '-dash.jpg')
    shutil.copy(faces[1], tmp_path / '--json')
    monkeypatch.chdir(tmp_path)
    status, out, _ = answers(capsys, exported, '-dash.jpg')
    assert status == 0 and out[0].startswith('./-dash.jpg: ')
    assert json.loads(answers(capsys, exported, '-dash.jpg', '--json')[1][0])['file'] == './-dash.jpg'   # an option
    assert answers(capsys, exported, '--', '--json')[1][0].startswith('--json: ')
    with pytest.raises(SystemExit): main(['predict', str(exported), '-none.jpg'])


@pytest.mark.slow
def test_the_modern_recipe_trains_and_answers(drawn, faces, capsys, tmp_path):
    "A current backbone of timm's with all that the recipe sets"
    assert main(['cv', str(drawn), '--out', str(tmp_path / 'run'), '--recipe', 'modern', '--no-pretrained', '--size',
                 '32', '--epochs', '1', '--bs', '8', '--limit', '8', '--folds', '0', '--keep-models']) == 0
    status, out, _ = answers(capsys, tmp_path / 'run', *faces[:2])
    assert status == 0 and len(out) == 2
