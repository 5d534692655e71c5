"""In which precision does a network train fastest on this machine, and does `precision='auto'` choose it?

    python benchmarks/precision.py [--bs 16] [--sizes 96 128] [--runs 5] [--compile] [--out benchmarks/precision]

Training steps on one batch in memory, channels last, the steps in turn: float32, and bfloat16 and float16 where the
device has instructions for it. ResNet-34 sees 224 pixels as well, and there float32 is timed in PyTorch's own layout,
too. The table in `agecls_fastai.training.loop` that `auto` goes by, `BFLOAT16_FROM`, is made of what this writes; for a
processor without AMX, of an earlier table, precision_avx512.
"""
import argparse
import gc
import statistics

import torch
from measure import machine, per_second, take_turns, write
from torch import nn

from agecls_fastai.training.loop import best_precision, hardware_precisions, keep_memory

ARCHS = ('resnet34', 'tf_efficientnet_lite0', 'mobilenetv3_large_100', 'convnext_atto', 'levi_hassner')


def network(arch, size):
    "With eight classes"
    if arch == 'levi_hassner':
        from agecls_fastai.training.levi_hassner import LeviHassnerNet
        return LeviHassnerNet(8, size)
    if arch == 'resnet34':
        from torchvision.models import resnet34
        return resnet34(num_classes=8)
    import timm
    return timm.create_model(arch, num_classes=8)


def contender(arch, size, bs, device, number='float32', layout=torch.channels_last, compiled=False):
    "A function that trains one step and says how many pictures a second that were"
    torch.manual_seed(0)
    model = network(arch, size).to(device, memory_format=layout)
    x = torch.randn(bs, 3, size, size, device=device).contiguous(memory_format=layout)
    y = torch.randint(8, (bs,), device=device)
    opt = torch.optim.AdamW(model.parameters(), fused=True)
    if compiled: model.compile()
    def step():
        with torch.autocast(device, dtype=getattr(torch, number), enabled=number != 'float32'):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return bs
    for _ in range(2): step()                                            # the first ones are slower
    return lambda: per_second(step)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bs', type=int, default=16)
    parser.add_argument('--archs', nargs='+', default=ARCHS, choices=ARCHS)
    parser.add_argument('--sizes', type=int, nargs='+', default=[96, 128])
    parser.add_argument('--large', type=int, default=224, help='the size that ResNet-34 sees as well (224)')
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--compile', action='store_true', help='with torch.compile, too (needs a C++ compiler)')
    parser.add_argument('--out', default='benchmarks/precision', help='where .json and .md go')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu': keep_memory()                                    # as training does
    numbers, rows, behind = hardware_precisions(device)[::-1], {}, {}
    for arch in args.archs:
        for size in [*args.sizes, *([args.large] if arch == 'resnet34' and args.large else [])]:
            given, ways = (arch, size, args.bs, device), {}
            if size == args.large and arch == 'resnet34':
                ways['float32, not channels last'] = contender(*given, layout=torch.contiguous_format)
            ways |= {number: contender(*given, number) for number in numbers}
            if args.compile and arch == 'resnet34': ways['float32, compiled'] = contender(*given, compiled=True)
            what = f'{arch}, {size} pixels'
            rows |= {(what, name): figures for name, figures in take_turns(ways, args.runs).items()}
            medians = {number: statistics.median(rows[what, number]) for number in numbers}
            auto = best_precision(device, arch, size)
            behind[what] = auto, 1 - medians[auto] / max(medians.values())
            del ways
            gc.collect()
    has = [name for name in ('avx512', 'avx512_bf16', 'amx_tile') if getattr(torch.cpu, f'_is_{name}_supported')()]
    notes = ['What `auto` chooses, and how far that is behind the fastest: '
             + '; '.join(f'{what}: {auto}, {100 * less:.1f} %' for what, (auto, less) in behind.items()) + '.']
    if numbers == ['float32']: notes.append('There is but one way here: the machine computes in float32 alone.')
    write(args.out, f'Training steps, batches of {args.bs}, channels last unless said; the processor has '
          f'{", ".join(has) or "none of avx512, amx"}; {machine(args.runs)}', rows, 'pictures/s', notes=notes)


if __name__ == '__main__': main()
