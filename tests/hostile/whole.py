"Small undamaged files, which the tests then break"
import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

LABELS = ['0-2', '4-6', '60+']


@cache
def keep(make):
    "Files that are made once for all examples"
    folder = Path(tempfile.mkdtemp(prefix='agecls_hostile_'))
    make(folder)
    return folder


def fold_files(path):
    from agecls_fastai.data.adience import FOLD_COLUMNS
    for k in range(5):
        rows = ['\t'.join(FOLD_COLUMNS)]
        rows += ['\t'.join([f'{k}@N01', f'{i}_o.jpg', str(100 * k + i), age, 'mf'[i % 2], *'1234567'])
                 for i, age in enumerate(['(0, 2)', '(4, 6)', '(8, 12)', '35', 'None'])]
        (path / f'fold_{k}_data.txt').write_text('\n'.join([*rows, '']))
    (path / 'manifest.json').write_text(json.dumps(dict(
        drawn_by='agecls synth', size=8, source='aligned',
        fold_files={f'fold_{k}_data.txt': dict(rows=5, sha256='0' * 64) for k in range(5)})))


def table(n=12):
    return pd.DataFrame(dict(file=[f'p/{i}.png' for i in range(n)], label=[LABELS[i % 3] for i in range(n)],
                             fold=[i // 3 % 2 for i in range(n)], subject=[f's{i}' for i in range(n)],
                             age=[str(i) for i in range(n)], gender=['m', 'f'] * (n // 2)))


def probabilities(n, seed):
    p = np.random.default_rng(seed).dirichlet([1] * 3, n)
    return {f'p_{x}': p[:, i] for i, x in enumerate(LABELS)} | dict(pred=[LABELS[i] for i in p.argmax(1)])


def run_folder(path):
    from agecls_fastai.recipes import RECIPES
    from agecls_fastai.runs.folder import write_fold
    items = table(24)
    path.joinpath('run.json').write_text(json.dumps(dict(
        recipe=json.loads(RECIPES['frozen_resnet34'].to_json()), items_digest='0' * 64, images_digest='1' * 64,
        protocol='strict', labels=LABELS, seed=0, data='drawn', n_images=24, n_subjects=24, weights_sha256=None,
        composition={str(k): [4, 4, 4] for k in (0, 1)}, skipped={}, device='cpu', versions=dict(torch='2'))))
    for k in (0, 1):
        part = items[items['fold'] == k].drop(columns='fold')
        made = part.assign(**probabilities(len(part), k))
        history = pd.DataFrame(dict(epoch=range(8), train_loss=1.0, accuracy=0.5, lr=0.1, seconds=2.0))
        write_fold(path / f'fold_{k}', made, history, LABELS, made, fold=k, seconds=3.0)
    Path(path / 'fold_7').mkdir()
    shutil.copy(path / 'fold_0/history.csv', path / 'fold_7')


def believed(folder):
    "Make `done.json` fit the files again"
    done = json.loads((folder / 'done.json').read_text())
    for key, file in (('predictions_sha256', 'predictions.csv'), ('valid_sha256', 'valid.csv'),
                      ('history_sha256', 'history.csv')):
        done[key] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / 'done.json').write_text(json.dumps(done))


def bundle(path):
    import torch
    from safetensors.torch import save

    from agecls_fastai.recipes import RECIPES
    weights = save({'0.weight': torch.ones(3, 2), '0.bias': torch.ones(3)})
    (path / 'model.safetensors').write_bytes(weights)
    (path / 'MODEL_CARD.md').write_text('# A model')
    (path / 'model.json').write_text(json.dumps(dict(
        format=2, labels=LABELS, recipe=json.loads(RECIPES['frozen_resnet34'].to_json()),
        normalize=[[0.5] * 3, [0.2] * 3], trained_on={x: 4 for x in LABELS}, seen=['0' * 12],
        calibration=dict(temperature=1.5, images=9, subjects=9, thresholds={'0.9': 0.8, '0.95': None}),
        weights_sha256=hashlib.sha256(weights).hexdigest(), versions=dict(torch='2'))))


def pack(path):
    from agecls_fastai.loading.pack import build_pack
    items = table()
    (path / 'data/p').mkdir(parents=True)
    for file in items['file']: Image.new('RGB', (20, 20), 'teal').save(path / 'data' / file)
    build_pack(items, path / 'data', path / 'pack', 16, shard=8)


def checkpoint(path):
    import torch
    torch.save(dict(format=1, key={'a': '1'}, fit=1, epoch=0, epochs=1, found_lr=None,
                    training=dict(model={'w': torch.ones(3)})), path / 'c.pt')
    torch.save({'w': torch.ones(3), 'b': torch.zeros(2)}, path / 'w.pth')


def onnx_model(path):
    import onnx
    from onnx import TensorProto, helper
    node = helper.make_node('Identity', ['images'], ['p'])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in ('images', 'p'))
    model = helper.make_model(helper.make_graph([node], 'g', [x], [y]), opset_imports=[helper.make_opsetid('', 17)])
    model.ir_version = 8
    helper.set_model_props(model, {'agecls': json.dumps(dict(
        format=1, labels=LABELS, side=16, ages=[1.0, 5.0, 70.0], thresholds={'0.9': 0.8}, rule='mode'))})
    onnx.save(model, path / 'm.onnx')
