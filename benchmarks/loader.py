"""How many pictures a second do the loaders deliver, and what does packing cost?

    python benchmarks/loader.py [--images 400] [--runs 5] [--out benchmarks/loader]

Draws pictures of 816 × 816 pixels (JPEG, some 150 kB each, as Adience's are), and lets the contenders take turns: in
each run each of them goes once over all pictures. The table has medians, the spread, and the ratio to plain fastai.
"""
import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, IndexSplitter, Normalize
from fastai.vision.augment import Flip, RandomCrop, Resize, aug_transforms
from fastai.vision.core import PILImage, imagenet_stats
from fastai.vision.data import ImageBlock
from PIL import Image
from torchvision.transforms import v2

from agecls_fastai.adience import read_adience
from agecls_fastai.data import age_dls
from agecls_fastai.pack import build_pack, decode_square
from agecls_fastai.synthetic import draw_adience

CORES = os.cpu_count()


class Plain(torch.utils.data.Dataset):
    "What one writes in plain PyTorch"
    def __init__(self, files, labels, tfms): self.files, self.labels, self.tfms = files, labels, tfms
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        with Image.open(self.files[i]) as image: return self.tfms(image.convert('RGB')), self.labels[i]


def contenders(items, path, pack, bs):
    "name → a loader of batches, normalised, 224 pixels"
    labels = list(items['label'].cat.categories)
    def fastai(item_tfms, batch_tfms):
        block = DataBlock((ImageBlock, CategoryBlock(vocab=labels, sort=False)), splitter=IndexSplitter([]),
                          get_x=ColReader('file', pref=f'{path}/'), get_y=ColReader('label'), item_tfms=item_tfms,
                          batch_tfms=[*batch_tfms, Normalize.from_stats(*imagenet_stats)])
        return block.dataloaders(items, bs=bs, num_workers=CORES, drop_last=False).train
    # the smallest fold is left out: almost all pictures are in training
    small, what = items['fold'].value_counts().idxmin(), dict(size=224, resize=256, bs=bs, protocol='fixed', pack=pack)
    def ours(augment): return age_dls(items, path, small, augment=augment, **what).train
    crop = v2.Compose([v2.Resize(256), v2.RandomCrop(224), v2.RandomHorizontalFlip(), v2.ToImage(),
                       v2.ToDtype(torch.float32, scale=True), v2.Normalize(*imagenet_stats)])
    affine = v2.Compose([v2.Resize(256), v2.RandomHorizontalFlip(), v2.RandomAffine(10, scale=(1, 1.1)),
                         v2.ColorJitter(0.2, 0.2), v2.CenterCrop(224), v2.ToImage(),
                         v2.ToDtype(torch.float32, scale=True), v2.Normalize(*imagenet_stats)])
    files, codes = [str(path / f) for f in items['file']], items['label'].cat.codes.tolist()
    def torch_(tfms):
        return torch.utils.data.DataLoader(Plain(files, codes, tfms), bs, shuffle=True, num_workers=CORES)
    return {('affine', 'plain fastai'): fastai(Resize(256), aug_transforms(size=224)),
            ('affine', 'plain PyTorch'): torch_(affine), ('affine', 'this library, pack'): ours('affine'),
            ('crop and mirror', 'plain fastai'): fastai([Resize(256), RandomCrop(224)], [Flip()]),
            ('crop and mirror', 'plain PyTorch'): torch_(crop), ('crop and mirror', 'this library, pack'): ours('crop')}


def per_second(function, *args):
    "Run something that returns how many pictures it has done; pictures a second"
    start = time.perf_counter()
    return function(*args) / (time.perf_counter() - start)


def epoch(loader):
    "One pass"
    return sum(len(y) for _, y in loader)


def table(rows):
    "Medians, spread, ratio to the first of each kind, as Markdown"
    lines = ['| what | contender | pictures/s | spread | ratio |', '| --- | --- | --- | --- | --- |']
    first = {}
    for (what, name), rates in rows.items():
        median = statistics.median(rates)
        base = first.setdefault(what, median)
        spread = f'{min(rates):,.0f} to {max(rates):,.0f}'
        lines.append(f'| {what} | {name} | {median:,.0f} | {spread} | {median / base:.1f}× |')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=400, help='about so many')
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--size', type=int, default=816)
    parser.add_argument('--bs', type=int, default=64)
    parser.add_argument('--out', default='benchmarks/loader', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as tmp:
        path = draw_adience(Path(tmp) / 'faces', n_subjects=max(10, args.images // 5), size=args.size)
        items = read_adience(path)
        pack = build_pack(items, path, Path(tmp) / 'pack', 256)
        data = [(path / f).read_bytes() for f in items['file'][:100]]
        resize, loaders, rows = Resize(256), contenders(items, path, pack, args.bs), {}
        decoding = {
            'PILImage.create and Resize(256)': lambda d: resize(PILImage.create(d)),
            'Pillow, bilinear': lambda d: PILImage.create(d).resize((256, 256), Image.Resampling.BILINEAR),
            'this library, decode_square': lambda d: decode_square(d, 256)}
        for _ in range(args.runs):
            for name, decode in decoding.items():
                rate = per_second(lambda f: sum(f(d) is not None for d in data), decode)
                rows.setdefault(('decoding, one core', name), []).append(rate)
            for name, loader in loaders.items():
                rows.setdefault(name, []).append(per_second(epoch, loader))
        kilobytes = np.mean([len(d) for d in data]) / 1000
    about = (f'{len(items)} drawn pictures of {args.size} × {args.size} pixels, {kilobytes:.0f} kB each; batches of '
             f'{args.bs}; medians of {args.runs} runs in turn; {CORES} cores ({platform.machine()}), device '
             f'{"cuda: " + torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}; '
             + ', '.join(f'{p} {version(p)}' for p in ('torch', 'torchvision', 'fastai', 'pillow', 'simplejpeg')))
    text = f'{about}\n\n{table(rows)}\n'
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out + '.md').write_text(text)
    Path(args.out + '.json').write_text(json.dumps(dict(about=about, rows=[
        dict(what=what, contender=name, pictures_per_second=rates) for (what, name), rates in rows.items()]), indent=1))
    print(text)


if __name__ == '__main__': main()
