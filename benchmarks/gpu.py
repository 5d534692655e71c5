"""What gpu.sh runs: every part in a process of its own, with its own time limit, written down as it ends"""
import argparse
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from agecls_fastai.core.files import write_atomic  # which loads no PyTorch

HERE = Path(__file__).resolve().parent
# in the order of importance; name → benchmark, most seconds, words, and the words of a try
PARTS = {
    'check': ('check', 40, '', ''),
    'real_faces': ('real_faces', 200, '--only guessing,linear_probe_lite0,finetune_lite0',
                   '--only guessing,linear_probe_lite0,finetune_lite0 --size 32 --epochs 1 --limit 16 --folds 0'),
    'training': ('training', 70, '--batches 20 --bs 64 --runs 3', '--batches 2 --bs 8 --size 80 --sees 32 --runs 1'),
    'loader': ('loader', 60, '--images 400 --runs 3', '--images 40 --size 96 --bs 8 --runs 1'),
    'compile': ('training', 110, '--batches 20 --bs 64 --runs 3 --compile',
                '--batches 2 --bs 8 --size 80 --sees 32 --runs 1 --compile'),
    'jobs': ('jobs', 60, '--subjects 200 --epochs 4 --jobs 2 --runs 1',
             '--subjects 12 --size 36 --epochs 1 --jobs 2 --runs 1'),
    'predict': ('predict', 80, '--images 64 --runs 3 --subjects 100 --epochs 3',
                '--images 4 --bs 2 --size 80 --sees 32 --subjects 40 --epochs 1 --runs 1'),
    'probe': ('probe', 60, '--subjects 100 --runs 1 --crossval', '--subjects 12 --size 40 --epochs 1 --runs 1')}
ALL = 470  # seconds, of all parts together


# --- a part, in its own process

def check(out):
    "A step on the GPU, and what the machine is"
    import torch
    from measure import machine
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    x = torch.randn(512, 512, device=device, requires_grad=True)
    (x @ x).square().mean().backward()
    Path(f'{out}.json').write_text(json.dumps(dict(about=machine(), finite=bool(x.grad.isfinite().all()))))


def do_part(name, out, argv):
    "Run a benchmark here, and say what the GPU has seen of it"
    sys.path.insert(0, str(HERE))
    if name == 'check': check(out)
    else:
        sys.argv = [f'benchmarks/{name}.py', *argv, '--out', out]
        try: runpy.run_path(str(HERE / f'{name}.py'), run_name='__main__')
        except SystemExit as e:
            if e.code: raise
    import torch
    gpu = torch.cuda.is_available()
    Path(f'{out}.device.json').write_text(json.dumps(dict(
        device=torch.cuda.get_device_name() if gpu else 'cpu',
        peak_memory=torch.cuda.max_memory_allocated() if gpu else 0)))


# --- all parts, one after the other; nothing of this loads PyTorch

def read(file): return json.loads(file.read_text()) if file.is_file() else None


def run_part(name, benchmark, argv, more, seconds, folder, log):
    "What came of it: seconds, exit status, result, and where it ran"
    out, start = folder / 'out' / name / benchmark, time.monotonic()
    out.parent.mkdir(parents=True)
    log.write(f'\n=== {name}: {" ".join(argv)}\n')
    log.flush()
    words = [sys.executable, str(Path(__file__).resolve()), '--part', benchmark, '--out', str(out), *argv, *more]
    if name == 'real_faces' and '--limit' not in argv:                   # the folds that all others had
        out.mkdir()
        shutil.copy(HERE / 'real_faces/items.npz', out)
    # a group of its own, so that its own processes end with it
    process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try: status = process.wait(seconds)
    except subprocess.TimeoutExpired: status = f'not done in {seconds:.0f} s'
    finally:
        try: os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError: pass
        process.wait()
    return dict(status=status, seconds=round(time.monotonic() - start, 1), argv=argv, result=read(Path(f'{out}.json')),
                text=Path(f'{out}.md').read_text() if Path(f'{out}.md').is_file() else '',
                **(read(Path(f'{out}.device.json')) or {}))


def on_gpu(name, part):
    "Did it run there? By what PyTorch has taken of its memory, or where processes of its own have said they were"
    if name != 'real_faces': return part.get('peak_memory', 0) > 0
    rows = ((part['result'] or {}).get('part_1') or {}).get('rows', [])
    devices = {d.get('device') for r in rows if r['name'] != 'guessing' for d in r['done'].values()}
    return devices == {'cuda'}


def prepare(args, tmp):
    "The pictures of real faces, or in a try drawn ones and a network of random weights: the words of that part"
    if args.try_:
        code = (f'import sys; sys.path.insert(0, {str(HERE)!r}); import timm, torch; '
                f'from measure import drawn_as_utkface; drawn_as_utkface({str(tmp / "faces")!r}, 60); '
                f'torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), {str(tmp / "weights.pth")!r})')
        subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.DEVNULL)
        return ['--data', str(tmp / 'faces'), '--weights', str(tmp / 'weights.pth')]
    with tarfile.open(args.faces) as f: f.extractall(tmp, filter='data')
    return ['--data', str(tmp / 'faces'), *(['--weights', args.weights] if args.weights else [])]


def write(out, found):
    "Both files, whole"
    head = f'`benchmarks/gpu.sh`\n\n{((found.get("check") or {}).get("result") or {}).get("about", "")}'
    parts = [f'## {name}\n\n{p["status"] if p["status"] != 0 else "done"} in {p["seconds"]} s'
             f'{"" if p["on_gpu"] else ", not on a GPU"}\n\n{p["text"]}' for name, p in found.items()]
    for suffix, content in dict(json=json.dumps(found, indent=1, ensure_ascii=False),
                                md='\n\n'.join([head, *parts])).items():
        write_atomic(out / f'gpu.{suffix}', content + '\n')


def main():
    if sys.argv[1:2] == ['--part']:
        name, _, out, *argv = sys.argv[2:]
        return do_part(name, out, argv)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--faces', help='the .tar.gz that real_faces/small_tar.py made')
    parser.add_argument('--weights', help='a file of weights of the network on real faces, instead of a package')
    parser.add_argument('--try', dest='try_', action='store_true', help='little data, also without a GPU')
    parser.add_argument('--only', help='parts, with commas')
    parser.add_argument('--seconds', type=float, help=f'for all parts together: {ALL}, or an hour for a try')
    parser.add_argument('--out', type=Path, default=HERE)
    args = parser.parse_args()
    names = args.only.split(',') if args.only else list(PARTS)
    if unknown := [n for n in names if n not in PARTS]: sys.exit(f'there is no part {unknown}; there are {list(PARTS)}')
    if 'real_faces' in names and not args.try_ and not args.faces: sys.exit('--faces is needed, or --try')
    args.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended from outside'))   # and so its part, by `finally`
    found, end = {}, time.monotonic() + (args.seconds or (3600 if args.try_ else ALL))
    with tempfile.TemporaryDirectory() as tmp, open(args.out / 'gpu.log', 'w') as log:
        tmp = Path(tmp)
        for name in names:
            benchmark, most, words, little = PARTS[name]
            argv = (little if args.try_ else words).split()
            left = end - time.monotonic()
            if left < 5: result = dict(status='no time was left', seconds=0, argv=argv, result=None, text='')
            else:
                try:
                    more = prepare(args, tmp) if name == 'real_faces' else []
                    result = run_part(name, benchmark, argv, more, left if args.try_ else min(most, left), tmp, log)
                except Exception as e:                                   # the others go on
                    result = dict(status=f'{type(e).__name__}: {e}', seconds=0, argv=argv, result=None, text='')
            found[name] = result | dict(on_gpu=on_gpu(name, result))
            write(args.out, found)
            print(f'{name}: {result["status"] or "done"}, {result["seconds"]} s'
                  f'{"" if found[name]["on_gpu"] else ", not on a GPU"}', flush=True)
    bad = [n for n, p in found.items() if p['status'] != 0 or not (p['on_gpu'] or args.try_)]
    return f'failed: {", ".join(bad)}' if bad else 0


if __name__ == '__main__': sys.exit(main())
