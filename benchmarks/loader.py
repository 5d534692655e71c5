"""How many pictures a second do the loaders deliver, and what does packing cost?

    python benchmarks/loader.py [--images 400] [--runs 5] [--out benchmarks/loader]

Draws pictures of 816 × 816 pixels (JPEG, some 150 kB each, as Adience's are), and lets the contenders take turns: in
each run each of them goes over all pictures until a second is over. Decoders are timed on bytes in memory, by the time
of one thread; packing and the loaders by the clock, over the number of cores.
"""
import argparse
import os
import shutil
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fastai.vision.augment import Brightness, Contrast, Flip, RandomCrop, Resize, aug_transforms
from fastai.vision.core import PILImage, imagenet_stats
from measure import machine, per_second, plain_fastai, take_turns, write
from PIL import Image
from torchvision.transforms import v2

from agecls_fastai.data.adience import read_adience
from agecls_fastai.data.synthetic import draw_adience
from agecls_fastai.loading.loaders import age_dls
from agecls_fastai.loading.pack import build_pack, decode_square

CORES = os.cpu_count()


class Plain(torch.utils.data.Dataset):
    "What one writes in plain PyTorch"
    def __init__(self, files, labels, tfms): self.files, self.labels, self.tfms = files, labels, tfms
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        with Image.open(self.files[i]) as image: return self.tfms(image.convert('RGB')), self.labels[i]


def contenders(items, path, pack, bs):
    "name → a loader of batches, normalised, 224 pixels"
    def fastai(item_tfms, batch_tfms):
        return plain_fastai(items, path, item_tfms, batch_tfms, bs=bs, drop_last=False).train
    # the smallest fold is left out: almost all pictures are in training
    small, what = items['fold'].value_counts().idxmin(), dict(size=224, resize=256, bs=bs, protocol='fixed', pack=pack)
    def ours(augment): return age_dls(items, path, small, augment=augment, **what).train
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*imagenet_stats)]
    light = v2.ColorJitter(0.2, 0.2)
    crop = v2.Compose([v2.Resize(256), v2.RandomCrop(224), v2.RandomHorizontalFlip(), light, *end])
    affine = v2.Compose([v2.Resize(256), v2.RandomHorizontalFlip(), v2.RandomAffine(10, scale=(1, 1.1)),
                         v2.RandomPerspective(0.2, 0.75), light, v2.CenterCrop(224), *end])
    files, codes = [str(path / f) for f in items['file']], items['label'].cat.codes.tolist()
    def torch_(tfms):
        return torch.utils.data.DataLoader(Plain(files, codes, tfms), bs, shuffle=True, num_workers=CORES)
    lit = [Flip(), Brightness(), Contrast()]
    return {('affine, mirror, light', 'plain fastai'): fastai(Resize(256), aug_transforms(size=224)),
            ('affine, mirror, light', 'plain PyTorch'): torch_(affine),
            ('affine, mirror, light', 'this library, pack'): ours('affine'),
            ('crop, mirror, light', 'plain fastai'): fastai([Resize(256), RandomCrop(224)], lit),
            ('crop, mirror, light', 'plain PyTorch'): torch_(crop),
            ('crop, mirror, light', 'this library, pack'): ours('crop_light')}


def other_libraries(items, path, bs, tmp):
    "FFCV and DALI, where they are installed: name → loader, and name → why not"
    found, missing = {}, {}
    mean, std = (np.array(x) * 255 for x in imagenet_stats)
    files, codes = [str(path / f) for f in items['file']], items['label'].cat.codes.tolist()
    try:
        from ffcv import transforms as ft
        from ffcv.fields import IntField, RGBImageField
        from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.writer import DatasetWriter
        class Squares(Plain):
            def __getitem__(self, i):
                with Image.open(self.files[i]) as image: return image.convert('RGB').resize((256, 256)), self.labels[i]
        writer = DatasetWriter(f'{tmp}/ffcv', dict(image=RGBImageField(write_mode='raw'), label=IntField()),
                               num_workers=1)
        writer.from_indexed_dataset(Squares(files, codes, None))
        crop = RandomResizedCropRGBImageDecoder((224, 224), scale=((224 / 256)**2,) * 2, ratio=(1, 1))
        steps = [crop, ft.RandomHorizontalFlip(), ft.RandomBrightness(0.2), ft.RandomContrast(0.2),
                 ft.NormalizeImage(mean, std, np.float32), ft.ToTensor(), ft.ToTorchImage()]
        loader = Loader(f'{tmp}/ffcv', batch_size=bs, num_workers=CORES, order=OrderOption.RANDOM, os_cache=True,
                        pipelines=dict(image=steps, label=[IntDecoder(), ft.ToTensor()]))
        sum(len(y) for _, y in loader)                                   # compiles
        found[f'FFCV {version("ffcv")}'] = loader
    except ImportError as e: missing['FFCV'] = f'not here: {e}'
    try:
        import nvidia.dali
        from nvidia.dali import fn, pipeline_def, types
        from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy
        def between(low, high): return fn.random.uniform(range=[low, high])
        gpu = torch.cuda.is_available()
        @pipeline_def
        def pipeline():
            data, labels = fn.readers.file(files=files, labels=codes, random_shuffle=True, name='files')
            image = fn.decoders.image(data, device='mixed' if gpu else 'cpu', output_type=types.RGB)
            image = fn.resize(image, size=256, mode='not_smaller')
            image = fn.brightness_contrast(image, brightness=between(0.8, 1.2), contrast=between(0.8, 1.2))
            return fn.crop_mirror_normalize(
                image, crop=(224, 224), crop_pos_x=between(0., 1.), crop_pos_y=between(0., 1.), dtype=types.FLOAT,
                mirror=fn.random.coin_flip(), mean=mean.tolist(), std=std.tolist(), output_layout='CHW'), labels
        class Pairs:
            made = pipeline(batch_size=bs, num_threads=CORES, device_id=0 if gpu else None)
            it = DALIGenericIterator([made], ['x', 'y'], reader_name='files', auto_reset=True,
                                     last_batch_policy=LastBatchPolicy.PARTIAL)
            def __iter__(self): return ((b[0]['x'], b[0]['y']) for b in self.it)
        found[f'DALI {nvidia.dali.__version__}, decoding each epoch'] = Pairs()
    except ImportError as e: missing['DALI'] = f'not here: {e}'
    return found, missing


def passes(loader, at_least):
    "So many passes that it takes that many seconds; pictures done"
    start, done = time.perf_counter(), 0
    while not done or time.perf_counter() - start < at_least: done += sum(len(y) for _, y in loader)
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return done


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
        resize = Resize(256)
        def decoder(decode):                                             # time of this thread alone: per core
            return lambda: per_second(lambda: sum(decode(d) is not None for d in data), clock=time.thread_time)
        def packing():
            shutil.rmtree(Path(tmp) / 'again', ignore_errors=True)
            return per_second(lambda: len(build_pack(items, path, Path(tmp) / 'again', 256))) / CORES
        each = 'decoding and resizing to 256'
        runs = {(each, 'fastai: PILImage.create, Resize(256)'): decoder(lambda d: resize(PILImage.create(d))),
                (each, 'Pillow, bilinear'):
                decoder(lambda d: PILImage.create(d).resize((256, 256), Image.Resampling.BILINEAR)),
                (each, 'this library'): decoder(lambda d: decode_square(d, 256)),
                (each, 'the same from files, the pack written: build_pack'): packing}
        loaders = contenders(items, path, pack, args.bs)
        at_least = 1 if args.runs > 1 else 0
        for (what, name), loader in loaders.items():
            runs[what, name] = lambda loader=loader: per_second(passes, loader, at_least) / CORES
        others, missing = other_libraries(items, path, args.bs, tmp)
        for name, loader in others.items():
            runs['crop, mirror, light', name] = lambda loader=loader: per_second(passes, loader, at_least) / CORES
        rows = take_turns(runs, args.runs)
        kilobytes = np.mean([len(d) for d in data]) / 1000
    write(args.out, f'{len(items)} drawn pictures of {args.size} × {args.size} pixels, {kilobytes:.0f} kB each; '
          f'batches of {args.bs}, 224 pixels, normalised; pictures a second and core; {machine(args.runs)}', rows,
          'pictures/s and core', notes=[f'{name} is {why}.' for name, why in missing.items()])


if __name__ == '__main__': main()
