"""Is a training step of a ResNet-34 faster in bfloat16 on this processor? In which layout of memory? Compiled?

    python benchmarks/precision.py [--bs 16] [--size 224] [--runs 5] [--compile] [--out benchmarks/precision]
"""
import argparse

import torch
from measure import machine, per_second, take_turns, write
from torch import nn
from torchvision.models import resnet34


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bs', type=int, default=16)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--compile', action='store_true', help='with torch.compile, too (needs a C++ compiler)')
    parser.add_argument('--out', default='benchmarks/precision', help='where .json and .md go')
    args = parser.parse_args()
    y = torch.randint(8, (args.bs,))

    def contender(layout, dtype=torch.float32, compiled=False):
        model = resnet34(num_classes=8).to(memory_format=layout)
        x = torch.randn(args.bs, 3, args.size, args.size).contiguous(memory_format=layout)
        opt = torch.optim.AdamW(model.parameters(), fused=True)
        if compiled: model.compile()
        def step():
            with torch.autocast('cpu', dtype=dtype, enabled=dtype != torch.float32):
                loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            return args.bs
        step()
        return lambda: per_second(step)
    contenders = {'float32': contender(torch.contiguous_format),
                  'float32, channels last': contender(torch.channels_last),
                  'bfloat16, channels last': contender(torch.channels_last, torch.bfloat16)}
    if args.compile: contenders['float32, channels last, compiled'] = contender(torch.channels_last, compiled=True)
    rows = take_turns({('training step', name): run for name, run in contenders.items()}, args.runs)
    has = [name for name in ('avx512', 'avx512_bf16', 'amx_tile') if getattr(torch.cpu, f'_is_{name}_supported')()]
    write(args.out, f'ResNet-34, {args.size} pixels, batches of {args.bs}, pictures a second; the processor has '
          f'{", ".join(has) or "none of avx512, amx"}; {machine(args.runs)}', rows, 'pictures/s')


if __name__ == '__main__': main()
