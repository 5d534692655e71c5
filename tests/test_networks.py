"Every path with every kind of network: maps and features, convolutions and transformers, of timm and of torchvision"
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
from conftest import predictions
from fastai.callback.core import Callback
from timm.models import generate_default_cfgs, register_model, swin_transformer

from agecls_fastai.core.errors import AgeclsError
from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.folds import limit_items
from agecls_fastai.predict.export import export_model, quantise
from agecls_fastai.predict.predictor import Predictor
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.runs.evaluate import evaluate
from agecls_fastai.training import fit
from agecls_fastai.training.bundle import to_learner
from agecls_fastai.training.cams import activation_maps
from agecls_fastai.training.hub import load_bundle, push_bundle
from agecls_fastai.training.models import NetBody, age_learner, depth_groups, resolve_arch

pytestmark = pytest.mark.slow

SIZE, VIT, SWIN = 64, 'test_vit', 'swin_nano'
NETWORKS = ['resnet18', 'tf_efficientnet_lite0', 'mobilenetv3_small_050', 'convnext_atto', VIT, SWIN]
OTHERS = ['torchvision.efficientnet_b0', 'mobilenet_v3_small', 'torchvision.vit_b_16']
# timm's smallest Swin has 28 million weights; this one is built by the same code
default_cfgs = generate_default_cfgs({SWIN: swin_transformer._cfg()})


@register_model
def swin_nano(pretrained=False, **kwargs):
    return swin_transformer._create_swin_transformer(SWIN, pretrained=pretrained, **dict(
        embed_dim=24, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4)) | kwargs)


FINE = replace(RECIPES['finetune_resnet34'], size=SIZE, resize=SIZE, bs=12, epochs=1, views='flip', average=0.5)


@pytest.fixture(scope='module')
def items(drawn): return limit_items(read_adience(drawn), 14)


def weights_of(arch, folder):
    "A file of random weights, as timm or torchvision would have them for ImageNet, at the size they were made for"
    torch.manual_seed(1)
    net = timm.create_model(arch) if isinstance(resolve_arch(arch), str) else resolve_arch(arch)(weights=None)
    torch.save(net.state_dict(), folder / f'{arch}.pth')
    return folder / f'{arch}.pth'


@pytest.fixture(scope='module', params=NETWORKS)
def trained(request, items, drawn, tmp_path_factory):
    "A fold, fine-tuned from a file of weights: network, file, recipe, run"
    arch, folder = request.param, tmp_path_factory.mktemp('networks')
    recipe, file = replace(FINE, arch=arch), weights_of(arch, folder)
    # one of them in bfloat16, as on processors with instructions for it
    run = cross_validate(items, drawn, recipe, folder / 'run', [0], weights=file, keep_models=True, progress=False,
                         num_workers=0, precision='bfloat16' if arch == 'resnet18' else 'auto')
    return arch, file, recipe, run


def test_fine_tuned(trained, items, drawn):
    "All layers were trained, and the kept network gives the same predictions for the same pictures"
    arch, file, recipe, run = trained
    bundle, start = load_bundle(run.path / 'fold_0/model'), torch.load(file, weights_only=True)
    same = [start[k.removeprefix('0.model.')].equal(x) for k, x in bundle.state.items()
            if k.removeprefix('0.model.') in start and k.endswith('weight') and x.ndim == 4]
    # a layer may stand still, where what follows it is silent; the first one and nearly all others have moved
    assert arch == 'resnet18' or same and not same[0] and sum(same) < len(same) / 4, 'the body was not trained'
    unseen = items[items['fold'] == 0]
    unseen = unseen.assign(fold=pd.factorize(unseen['subject'])[0] % 2)      # a table has two folds
    again = evaluate(run.path / 'fold_0/model', unseen, drawn).predictions
    before = run.predictions
    columns = [c for c in before if c.startswith('p_')]
    both = before.merge(again, on='file', suffixes=('', '_again'))
    assert len(both) == len(before)
    assert np.allclose(both[columns], both[[f'{c}_again' for c in columns]], atol=2e-3)
    assert not np.allclose(both[columns].std(), 0, atol=1e-6), 'every picture got the same answer'


def test_goes_on(trained, items, drawn, tmp_path, monkeypatch):
    "Stopped after its first epoch and started again, the fold ends with the same predictions"
    arch, file, recipe, run = trained
    if arch not in (VIT, 'mobilenetv3_small_050'): pytest.skip('two of them suffice')
    class Stop(Callback):
        def before_epoch(self):
            if self.opt.frozen_idx == 0: raise KeyboardInterrupt
    def stopped(recipe): return [*callbacks(recipe), Stop()]
    callbacks = fit.training_callbacks
    args = dict(folds=[0], weights=file, progress=False, num_workers=0)
    monkeypatch.setattr(fit, 'training_callbacks', stopped)
    with pytest.raises(KeyboardInterrupt): cross_validate(items, drawn, recipe, tmp_path / 'run', **args)
    monkeypatch.setattr(fit, 'training_callbacks', callbacks)
    assert (tmp_path / 'run/fold_0/checkpoint.pt').is_file()
    cross_validate(items, drawn, recipe, tmp_path / 'run', **args)
    assert predictions(tmp_path / 'run') == predictions(run.path)


def test_exported(trained, items, drawn, tmp_path):
    "ONNX gives the network's predictions; so does its form of eight bits"
    arch, _, _, run = trained
    pytest.importorskip('onnxruntime')
    onnx, photos = tmp_path / 'model.onnx', [drawn / f for f in items['file'][:4]]
    export_model(run.path / 'fold_0/model', onnx)
    one, other = (Predictor(model, device='cpu').predict(photos) for model in (run.path / 'fold_0/model', onnx))
    columns = [c for c in one if c.startswith('p_')]
    assert np.allclose(one[columns], other[columns], atol=1e-4)
    if arch not in (VIT, 'tf_efficientnet_lite0'): return
    small = quantise(onnx, tmp_path / 'int8.onnx', items.groupby('fold').head(3), drawn, n=8)
    assert small.bytes[1] < 0.6 * small.bytes[0]
    assert np.isfinite(Predictor(tmp_path / 'int8.onnx').predict(photos)[columns]).all(axis=None)


def test_hub(trained, items, drawn, tmp_path, monkeypatch):
    "Pushed to a hub, which is a folder here, and fetched from it: the same predictions"
    hub = pytest.importorskip('huggingface_hub')
    class Api:
        def create_repo(self, repo, **kwargs): pass
        def create_commit(self, repo, changes, **kwargs):
            for change in changes: (tmp_path / change.path_in_repo).write_bytes(change.path_or_fileobj)
            return SimpleNamespace(commit_url=f'https://hub/{repo}')
    monkeypatch.setattr(hub, 'HfApi', Api)
    monkeypatch.setattr(hub, 'hf_hub_download', lambda repo, file, **kwargs: tmp_path / file)
    kept, photos = trained[3].path / 'fold_0/model', [drawn / f for f in items['file'][:4]]
    push_bundle(kept, 'somebody/age')
    one, other = (Predictor(str(model), device='cpu').predict(photos) for model in (kept, 'hf:somebody/age'))
    columns = [c for c in one if c.startswith('p_')]
    assert len(columns) == 8 and one[columns].equals(other[columns])


def test_class_maps(trained, items, drawn):
    arch, _, _, run = trained
    few = items[items['fold'] == 0][:4].reset_index(drop=True)
    learn = load_bundle(run.path / 'fold_0/model').learner(few, drawn, num_workers=0)
    pictures, maps = activation_maps(learn, few, few['label'].cat.codes)
    assert pictures.shape == (4, SIZE, SIZE, 3) and maps.shape == (4, SIZE, SIZE)
    highest = maps.max(axis=(1, 2))
    assert maps.min() >= 0 and (np.isclose(highest, 1, atol=1e-3) | (highest < 1)).all()
    if arch in (VIT, SWIN):                                                  # a class may have none, not all of them
        assert (maps.std(axis=(1, 2)) > 0.01).any(), 'the same everywhere'


def test_trained_further(trained, items, drawn):
    "A kept network in a new Learner: rates by depth, and a freeze that leaves the head"
    arch, _, recipe, run = trained
    dls = recipe.dls(items, drawn, 0, num_workers=0)
    learn = to_learner(load_bundle(run.path / 'fold_0/model'), dls)
    groups = depth_groups(learn.model)
    assert len(groups) > 4
    assert sorted(id(p) for g in groups for p in g) == sorted(map(id, learn.model.parameters()))
    learn.create_opt()
    learn.opt.set_hyper('lr', slice(1e-5, 1e-3))
    rates = [h['lr'] for h in learn.opt.hypers]
    assert rates == sorted(set(rates)) and np.allclose(np.diff(np.log(rates)), np.log(100) / (len(rates) - 1))
    learn.train_bn = False
    learn.create_opt()
    learn.freeze()
    assert [n for n, p in learn.model.named_parameters() if p.requires_grad] == [
        n for n, _ in learn.model.named_parameters() if n.startswith('1.')]


@pytest.mark.parametrize('arch', NETWORKS + OTHERS[1:2])
def test_frozen(arch, items, drawn, tmp_path):
    "The probe of a network, and a head trained on its frozen body: the body stays as it was, and both predict"
    file = weights_of(arch, tmp_path)
    for recipe in (replace(RECIPES['linear_probe_resnet34'], arch=arch, size=SIZE, resize=SIZE, bs=12),
                   replace(RECIPES['frozen_resnet34'], arch=arch, size=SIZE, resize=SIZE, bs=12, epochs=1,
                           train_bn=False)):
        run = cross_validate(items, drawn, recipe, tmp_path / recipe.name, [0], weights=file, keep_models=True,
                             progress=False, num_workers=0)
        assert np.isfinite(run.predictions.filter(like='p_')).all(axis=None)
        bundle = load_bundle(run.path / 'fold_0/model')
        dls = recipe.dls(items, drawn, 0, num_workers=0)
        body = {f'0.{k}': x for k, x in age_learner(dls, arch, weights=file).model[0].state_dict().items()}
        assert all(bundle.state[k].equal(x) for k, x in body.items()), recipe.name


@pytest.mark.parametrize('arch', ['resnet18', 'mobilenetv3_small_050', 'mobilenet_v3_small', VIT])
def test_growing_pictures(arch, items, drawn, tmp_path):
    "Networks work from 32 pixels on; a network that takes one size says so in one line"
    recipe = replace(FINE, arch=arch, schedule='one_cycle', pretrained=False, start_size=32, epochs=2)
    def run(): return cross_validate(items, drawn, recipe, tmp_path / 'run', [0], progress=False, num_workers=0)
    if arch != VIT: assert np.isfinite(run().predictions.filter(like='p_')).all(axis=None)
    else:
        with pytest.raises(AgeclsError, match=f'cannot grow .start_size. .*: it takes {SIZE} pixels'): run()


@pytest.mark.parametrize('arch', OTHERS)
def test_others_of_torchvision(arch, items, drawn, tmp_path):
    "From a file of its own weights, whose positions are resampled for another size; kept and loaded"
    file = weights_of(arch, tmp_path)
    recipe = replace(FINE, arch=arch)
    dls = recipe.dls(items, drawn, 0, num_workers=0)
    learn = recipe.learner(dls, file)
    assert isinstance(learn.model[0], NetBody) and len(depth_groups(learn.model)) > 4
    state = torch.load(file, weights_only=True)
    first = next(k for k in state if state[k].ndim == 4)
    assert learn.model[0].model.state_dict()[first].equal(state[first])
    assert [p.requires_grad for p in (next(learn.model[0].parameters()), learn.model[1][-1].weight)] == [False, True]
    with torch.no_grad(): assert learn.model.eval()(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 8)
    (tmp_path / 'other.pth').write_bytes(weights_of('resnet18', tmp_path).read_bytes())
    with pytest.raises(AgeclsError, match='other.pth does not fit'): recipe.learner(dls, tmp_path / 'other.pth')


def test_transformers_are_read_as_they_were_trained():
    "For tokens, and for a map whose channels come last, a body outputs what the network itself would pool"
    torch.manual_seed(0)
    picture = torch.rand(2, 3, SIZE, SIZE)
    for arch in (VIT, SWIN):
        net = timm.create_model(arch, num_classes=0, img_size=SIZE).eval()
        with torch.no_grad(): assert NetBody(net, SIZE, True)(picture).equal(net(picture)), arch
    assert any(any(block.shift_size) for layer in net.layers for block in layer.blocks)     # its windows shift
    net = torchvision.models.swin_t(weights=None).eval()
    whole = net.head
    net.head = torch.nn.Identity()
    body = NetBody(net, SIZE)
    with torch.no_grad(): pooled = body(picture)
    net.head = whole
    with torch.no_grad(): assert torch.allclose(whole(pooled), net(picture), atol=1e-5)


def test_names():
    "A name that both have is timm's; `torchvision.` before it gives the other one"
    assert resolve_arch('efficientnet_b0') == 'efficientnet_b0'
    assert resolve_arch('torchvision.efficientnet_b0') is torchvision.models.efficientnet_b0
    assert resolve_arch('vit_b_16') is torchvision.models.vit_b_16
    assert resolve_arch('resnet18') is torchvision.models.resnet18
    for name in ('torchvision.nothing', 'fcn_resnet50'):
        with pytest.raises(AgeclsError, match='unknown arch'): resolve_arch(name)


@pytest.mark.parametrize('arch, size', [('efficientformer_l1', 64), ('torchvision.maxvit_t', 64), (VIT, 50)])
def test_impossible_sizes(arch, size, items, drawn):
    recipe = replace(FINE, arch=arch, pretrained=False, size=size, resize=size)
    with pytest.raises(AgeclsError, match=f'cannot be built for pictures of {size} pixels') as e:
        recipe.learner(recipe.dls(items, drawn, 0, num_workers=0))
    assert '\n' not in str(e.value)
