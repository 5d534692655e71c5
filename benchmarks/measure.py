"What all benchmarks share: contenders in turn, a table, the machine"
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, IndexSplitter, Normalize
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageBlock

PACKAGES = ('torch', 'torchvision', 'fastai', 'pillow', 'simplejpeg', 'opencv-python-headless', 'onnxruntime')


def per_second(function, *args, clock=time.perf_counter):
    "Run something that returns how many pictures it has done; pictures a second"
    start = clock()
    done = function(*args)
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return done / (clock() - start)


def seconds(function, *args):
    "How long something takes"
    return 1 / per_second(lambda: function(*args) is None or 1)


def plain_fastai(items, path, item_tfms, batch_tfms=(), **kwargs):
    "fastai's loaders as one writes them: each picture decoded in each epoch, all of the table in training"
    block = DataBlock((ImageBlock, CategoryBlock(vocab=list(items['label'].cat.categories), sort=False)),
                      splitter=IndexSplitter([]), get_x=ColReader('file', pref=f'{path}/'), get_y=ColReader('label'),
                      item_tfms=item_tfms, batch_tfms=[*batch_tfms, Normalize.from_stats(*imagenet_stats)])
    return block.dataloaders(items, num_workers=os.cpu_count(), **kwargs)


def drawn_as_utkface(folder, subjects=30, size=48):
    "Drawn faces under names like UTKFace's, to try what is meant for real ones"
    from agecls_fastai.data.adience import read_adience
    from agecls_fastai.data.ages import group_years
    from agecls_fastai.data.synthetic import draw_adience
    folder = Path(folder)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as tmp:
        path = draw_adience(Path(tmp) / 'faces', n_subjects=subjects, size=size)
        for i, row in enumerate(read_adience(path).itertuples()):
            name = f'{group_years(row.label)[0] + i % 3}_{i % 2}_{i % 5}_{i:05}.jpg.chip.jpg'
            shutil.copy(path / row.file, folder / name)
    return folder


def take_turns(contenders, runs):
    "name → figures: in each run each of the contenders (name → function that gives a figure) once"
    rows = {name: [] for name in contenders}
    for _ in range(runs):
        for name, run in contenders.items(): rows[name].append(run())
    return rows


def machine(runs=None):
    "The machine and the versions, in words"
    cpu = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').exists():
        names = [line.split(':')[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines()
                 if line.startswith('model name')]
        cpu = names[0] if names else cpu
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    here = dict(cwd=Path(__file__).parent, text=True, capture_output=True)
    commit = subprocess.run(['git', 'describe', '--always', '--exclude', '*'], **here).stdout.strip()
    # tables that other benchmarks have just written are no changes
    tables = [f':!*.{suffix}' for suffix in ('md', 'json', 'npz')]
    changed = subprocess.run(['git', 'status', '--porcelain', '..', *tables], **here).stdout.strip()
    versions = []
    for p in PACKAGES:
        try: versions.append(f'{p} {version(p)}')
        except PackageNotFoundError: pass
    told, commit = '' if runs is None else f'medians of {runs} runs in turn; ', commit or '?'
    return (f'{told}{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {memory:.0f} GiB, {gpu}; Python '
            f'{platform.python_version()}, {", ".join(versions)}; {time.strftime("%Y-%m-%d")}, commit '
            f'{commit}{"-dirty" * bool(changed)}')


def table(rows, unit, invert=False):
    "Medians, spread, ratio to the first of each kind, as Markdown; a text in place of figures is shown as it is"
    lines = [f'| what | contender | {unit} | spread | ratio |', '| --- | --- | --- | --- | --- |']
    first = {}
    for (what, name), figures in rows.items():
        if isinstance(figures, str):
            lines.append(f'| {what} | {name} | {figures} | | |')
            continue
        median = statistics.median(figures)
        base = first.setdefault(what, median)
        ratio = base / median if invert else median / base
        def show(x): return f'{x:,.0f}' if x >= 100 else f'{x:.3g}'
        lines.append(f'| {what} | {name} | {show(median)} | {show(min(figures))} to {show(max(figures))} | '
                     f'{ratio:.{2 if ratio < 3 else 1}f}× |')
    return '\n'.join(lines)


def command():
    "The command that runs, without folders that nobody else has"
    words = list(sys.argv)
    for option, shown in (('--out', []), ('--keep', []), ('--folds', ['--folds', 'FOLDS'])):
        if option in words: words[words.index(option):words.index(option) + 2] = shown
    return ' '.join(['python', *words])


def write(out, about, rows, unit, invert=False, notes=()):
    "Write OUT.json and OUT.md, and print the table"
    out = Path(out)
    text = f'`{command()}`\n\n{about}\n\n{table(rows, unit, invert)}\n' + ''.join(f'\n{note}\n' for note in notes)
    out.parent.mkdir(parents=True, exist_ok=True)
    Path(f'{out}.md').write_text(text)
    Path(f'{out}.json').write_text(json.dumps(dict(command=command(), about=about, unit=unit, notes=list(notes), rows=[
        dict(what=what, contender=name, figures=figures) for (what, name), figures in rows.items()]), indent=1) + '\n')
    print(text)
