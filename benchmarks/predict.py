"""How fast are answers? Photographs shown to a ResNet-34, against fastai's ways and against the network alone

    python benchmarks/predict.py [--images 64] [--bs 1 8 32] [--runs 5] [--out benchmarks/predict]

Drawn pictures of 816 × 816 pixels, decoded in every run, seen by the network through 224. The limit is the network
alone, in PyTorch, on a batch that is decoded and normalised. Then the start: the time from the command to its first
answer. What int8 costs in accuracy is measured with a ResNet-34 that was trained on drawn faces (64 pixels, one fold),
on other drawn people; it is no figure of Adience.
"""
import argparse
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from measure import machine, per_second, plain_fastai, seconds, take_turns, write
from PIL import Image

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.predict.export import export_model, quantise
from agecls_fastai.predict.predictor import Predictor
from agecls_fastai.recipes import RECIPES
from agecls_fastai.runs.crossval import cross_validate
from agecls_fastai.scores.statistics import metric_words
from agecls_fastai.training.bundle import save_bundle
from agecls_fastai.training.hub import load_bundle


def untrained(items, path, folder, sees):
    "A bundle of a ResNet-34 with random weights"
    recipe = replace(RECIPES['finetune_resnet34'], pretrained=False, size=sees, resize=round(sees * 8 / 7))
    torch.manual_seed(0)
    learn = recipe.learner(recipe.dls(items, path, 0, device='cpu'))
    return load_bundle(save_bundle(learn, recipe, folder))


def fastai_learner(items, path, bundle, device):
    "The same network behind the loaders that one writes in fastai"
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.vision.augment import Resize
    dls = plain_fastai(items, path, Resize(bundle.recipe.size), bs=8, device=device)
    return Learner(dls, bundle.network(device), CrossEntropyLossFlat())


def accuracy_of_int8(folder, subjects, epochs):
    "Train, export, quantise, and score both on other people"
    here = draw_adience(folder / 'here', n_subjects=subjects, size=64)
    there = draw_adience(folder / 'there', n_subjects=3 * subjects, size=64, seed=1)
    recipe = replace(RECIPES['finetune_resnet34'], pretrained=False, size=56, resize=64, bs=32, epochs=epochs,
                     base_lr=1e-3)
    cross_validate(read_adience(here), here, recipe, folder / 'run', folds=[0], keep_models=True, progress=False)
    exported = export_model(folder / 'run/fold_0', folder / 'trained.onnx')
    found = quantise(exported, folder / 'trained_int8.onnx', read_adience(there), there,
                     load_bundle(folder / 'run/fold_0/model').info['seen'])
    parts = [f'{metric_words(name)} {100 * r.float32:.1f} % in float32, {100 * r.int8:.1f} % in int8'
             for name, r in found.scores.iterrows()]
    return (f'What int8 costs: {"; ".join(parts)}, on {found.images:,} pictures of other people than the network was '
            f'trained with (drawn faces, 64 pixels); the same group for {100 * found.agree:.1f} %.')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--bs', type=int, nargs='+', default=[1, 8, 32])
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--size', type=int, default=816, help='of the drawn pictures')
    parser.add_argument('--sees', type=int, default=224, help='pixels that the network sees')
    parser.add_argument('--subjects', type=int, default=300, help='to train the network that is quantised')
    parser.add_argument('--epochs', type=int, default=8, help='of that training')
    parser.add_argument('--out', default='benchmarks/predict', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    device, rows = torch.device('cuda' if torch.cuda.is_available() else 'cpu'), {}
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        path = draw_adience(tmp / 'faces', n_subjects=max(20, args.images // 3), size=args.size)
        items = read_adience(path)
        shown = items.iloc[:args.images]
        files = [path / f for f in shown['file']]
        in_memory = [Image.open(f).convert('RGB') for f in files]
        bundle = untrained(items, path, tmp / 'model', args.sees)
        fp32 = export_model(bundle, tmp / 'model.onnx')
        int8 = quantise(fp32, tmp / 'int8.onnx', items, path, bundle.info['seen'], n=16).path
        learn = fastai_learner(items, path, bundle, device)
        network = bundle.network(device)

        def alone(bs):
            x = torch.randn(bs, 3, args.sees, args.sees, device=device).to(memory_format=torch.channels_last)
            def run():
                with torch.inference_mode():
                    for _ in range(0, len(files), bs): network(x)
                return -(-len(files) // bs) * bs
            return run

        def get_preds(bs):
            def run():
                with learn.no_bar(): learn.get_preds(dl=learn.dls.test_dl(shown, bs=bs, num_workers=0))
                return len(files)
            return run

        def in_a_loop():
            with learn.no_bar():
                for _, row in shown.iterrows(): learn.predict(row)
            return len(files)

        def ours(model, photos, bs):
            predictor = Predictor(model, device=device, bs=bs)
            def run(): return len([row for row in predictor.answers(photos) if 'group' in row])
            return run
        for bs in args.bs:
            contenders = {'the network alone': alone(bs), 'Predictor, pictures in memory': ours(bundle, in_memory, bs),
                          'Predictor, files': ours(bundle, files, bs), 'learn.get_preds, files': get_preds(bs),
                          'ONNX Runtime, files': ours(fp32, files, bs),
                          'ONNX Runtime, int8, files': ours(int8, files, bs)}
            if bs == 1: contenders['learn.predict in a loop, files'] = in_a_loop
            if args.runs > 1:
                for run in contenders.values(): run()                    # warm up
            turns = take_turns({name: lambda run=run: per_second(run) for name, run in contenders.items()}, args.runs)
            rows |= {(f'batches of {bs}', name): figures for name, figures in turns.items()}

        def start(model):
            command = [sys.executable, '-m', 'agecls_fastai', 'predict', str(model), str(files[0])]
            return lambda: 1 / seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL) and None)
        starts = take_turns({'the bundle, by PyTorch': start(tmp / 'model'), 'ONNX Runtime': start(fp32),
                             'ONNX Runtime, int8': start(int8)}, args.runs)
        rows |= {('starts a second: from the command to the first answer', name): x for name, x in starts.items()}
        cost = accuracy_of_int8(tmp, args.subjects, args.epochs)
    median = {name: sorted(x)[len(x) // 2] for name, x in starts.items()}
    first = 'From the command to the first answer: ' + ', '.join(f'{name} {1 / x:.2f} s' for name, x in median.items())
    write(args.out, machine(args.runs), rows, 'images/s', notes=[f'{first}.', cost])


if __name__ == '__main__': main()
