"""Disturb a run in every way that comes to mind, start it again, and see whether it ends as one that was left alone.

    python tests/faults/disturb.py [--short] [--only NAME …] [--seed 0] [--out benchmarks/faults]

Five folds of a small network on drawn faces, packed and cross-validated by the command line. Each trial disturbs a run
of its own, and starts the same command again. It has survived if the disturbed run ended as it should (killed, or with
one line and the exit status that the trial expects), the second one ended well, its predictions are those of the
undisturbed run byte for byte, `agecls verify` finds nothing, and no other file is left in the folders. The moments are
drawn by the seed. PyTorch is loaded once; runs are forks of this process.
"""
import argparse
import contextlib
import errno
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

import agecls_fastai.results.compare as compare
from agecls_fastai import cli
from agecls_fastai.core.errors import DataWarning
from agecls_fastai.data.adience import read_adience
from agecls_fastai.recipes import Recipe
from agecls_fastai.runs.verify import verify_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from forks import Fork, Lost, TooLate  # noqa: E402

SIZE = ['--set', 'arch=test_resnet', 'size=32', 'resize=32', 'schedule=one_cycle', 'epochs=2', 'bs=16']
FILES = ('done.json', 'history.csv', 'predictions.csv', 'valid.csv')


def expect(fork, status, *words):
    "It ended with this status, and its last line says these words"
    found = fork.wait()
    line = (fork.text().splitlines() or [''])[-1]
    if found != status: raise Lost(f'exit status {found}, not {status}: {fork.text()[-300:]}')
    if missing := [w for w in words if w not in line]: raise Lost(f'the last line lacks {missing}: {line}')
    if 'Traceback' in fork.text(): raise Lost('a traceback')


class Bench:
    "Data, undisturbed runs, and folders for the others"
    def __init__(self, folder, seed, short):
        self.short, self.folder, self.rng, self.n, self.undisturbed = short, Path(folder), random.Random(seed), 0, {}
        self.data = self.folder / 'faces'
        self.fork([['synth', self.data, '--subjects', 10 if short else 20, '--size', 32]], 'synth').wait()
        self.files = read_adience(self.data)['file']
        self.folds = sorted(read_adience(self.data)['fold'].unique().tolist())

    def fork(self, commands, name, prepare=None): return Fork(commands, self.folder / f'{name}.log', prepare)

    def trial(self):
        "A folder for a trial"
        self.n += 1
        place = self.folder / f'trial_{self.n}'
        place.mkdir()
        place.chmod(0o755)
        return place

    def cv(self, place, *options, pack=True):
        "The commands of a run in that folder"
        packs = ['pack', self.data, '--out', place / 'pack', '--size', 32]
        command = ['cv', self.data, '--recipe', 'finetune_resnet34', '--no-pretrained', *SIZE, '--out', place / 'run']
        return [*([packs] if pack else []), [*command, *(['--pack', place / 'pack'] if pack else []), *options]]

    def reference(self, name='packed', *options, pack=True, prepare=None):
        "The predictions of a run that nobody disturbs; its seconds and how often it writes are kept, too"
        if name not in self.undisturbed:
            place, counter, start = self.trial(), Writes(), time.monotonic()
            def counted():
                if prepare: prepare()
                counter()
                cli.main = lambda argv, main=cli.main: (main(argv), (place / 'writes').write_text(str(counter.n)))[0]
            expect(self.fork(self.cv(place, *options, pack=pack), f'reference_{name}', counted), 0)
            self.undisturbed[name] = predictions(place / 'run')
            if name == 'packed':
                self.seconds, self.writes = time.monotonic() - start, int((place / 'writes').read_text())
        return self.undisturbed[name]

    def part(self):
        "Options and folds: two are enough in the short form, where a trial is not about all of them"
        return (['--folds', 0, 1], [0, 1]) if self.short else ([], self.folds)

    def disturb(self, place, sig, share, *options):
        "Start a run and send it a signal at any moment of that share of it; anew where it had ended by then"
        for _ in range(20):
            run, start = self.fork(self.cv(place, *options), place.name), time.monotonic()
            if sig != signal.SIGKILL: run.when((place / 'run/run.json').exists)
            time.sleep(self.rng.uniform(0, share * self.seconds))
            if run.ended() is None:
                run.stop(sig)
                return run
            self.seconds = min(self.seconds, time.monotonic() - start)   # the machine has become faster
            shutil.rmtree(place)
            place.mkdir()
        raise Lost('it was too quick')

    def again(self, place, reference, *options, pack=True, prepare=None, folds=None):
        "The same command again; it must end as if nothing had happened"
        run = self.fork(self.cv(place, *options, pack=pack), f'{place.name}_again', prepare)
        expect(run, 0)
        self.whole(place, reference, folds, pack)
        return run

    def whole(self, place, reference, folds=None, pack=True):
        "The folder is that of an undisturbed run"
        folds = self.folds if folds is None else folds
        want = {f'fold_{k}': reference[f'fold_{k}'] for k in folds}
        found = predictions(place / 'run')
        if found != want: raise Lost(f'other predictions: {sorted(k for k in want if found.get(k) != want[k])}')
        there = {str(p.relative_to(place)) for p in place.rglob('*') if p.is_file()}
        expected = {'run/run.json'} | {f'run/fold_{k}/{file}' for k in folds for file in FILES}
        if pack: expected |= {'pack/pack.json', 'pack/shard_00000.npy', 'pack/shard_00000.json'}
        if there != expected: raise Lost(f'files: {sorted(there ^ expected)}')
        if findings := verify_run(place / 'run').findings: raise Lost(f'verify: {findings}')
        shutil.rmtree(place)


def predictions(run): return {p.parent.name: p.read_bytes() for p in sorted(run.glob('fold_*/predictions.csv'))}


class Writes:
    "Count the moments at which a file gets its name or reaches the disk; do something at one of them"
    def __init__(self, at=0, then=None): self.n, self.at, self.then = 0, at, then

    def __call__(self):
        for name in ('fsync', 'replace'): setattr(os, name, self.wrap(getattr(os, name)))

    def wrap(self, function):
        def called(*args, **kwargs):
            self.n += 1
            if self.n == self.at and self.then(): return function(*args, **kwargs)
            return function(*args, **kwargs)
        return called


def kill_self(): os.kill(os.getpid(), signal.SIGKILL)


# --- the trials: each takes the bench and its number, and raises Lost ---

def killed(bench, i):
    "SIGKILL at any moment"
    reference = bench.reference()
    place = bench.trial()
    if bench.disturb(place, signal.SIGKILL, 0.9).status != -signal.SIGKILL: raise Lost('it was not killed')
    bench.again(place, reference)


def killed_writing(bench, i):
    "SIGKILL at the moment at which a file is written or gets its name"
    reference = bench.reference()
    place, at = bench.trial(), bench.rng.randint(1, bench.writes)
    expect(bench.fork(bench.cv(place), place.name, Writes(at, kill_self)), -signal.SIGKILL)
    bench.again(place, reference)


def killed_twice(bench, i):
    "SIGKILL in the second epoch of a fold, and again after it has resumed"
    reference = bench.reference()
    place, k = bench.trial(), bench.rng.choice(bench.folds)
    for _ in range(2):
        run = bench.fork(bench.cv(place), place.name)
        run.when((place / f'run/fold_{k}/checkpoint.pt').exists)
        run.stop(signal.SIGKILL)
    run = bench.again(place, reference)
    if 'resumes after epoch' not in run.text() and 'was done before' not in run.text(): raise Lost('it began anew')


def damaged_checkpoint(bench, i):
    "The checkpoint is cut off or changed between two runs"
    reference = bench.reference()
    place = bench.trial()
    file = place / 'run/fold_0/checkpoint.pt'
    run = bench.fork(bench.cv(place, '--folds', 0), place.name)
    if not run.when(file.exists): raise Lost('there was no checkpoint')
    run.stop(signal.SIGKILL)
    if file.exists():                                                    # else the fold was done before the kill
        data = bytearray(file.read_bytes())
        data[bench.rng.randrange(len(data) // 3, len(data) // 2)] ^= 255
        file.write_bytes(data if i % 2 else data[:len(data) // 2])
    again = bench.again(place, reference, '--folds', 0, folds=[0])
    if 'was done before' not in again.text() and 'is damaged' not in again.text(): raise Lost('the damage went unseen')


def stopped(bench, sig):
    reference = bench.reference()
    place, (options, folds) = bench.trial(), bench.part()
    run = bench.disturb(place, sig, 0.6 * len(folds) / 5, *options)
    run.wait()                                                           # then it is known whether anything was saved
    what = 'repeat the command to resume' if (place / 'run').exists() else \
        'nothing is saved yet; repeat the command to begin again'
    expect(run, 130, f'agecls: interrupted; {what}')
    bench.again(place, reference, *options, folds=folds)


def terminated(bench, i):
    "SIGTERM, as batch systems send it"
    stopped(bench, signal.SIGTERM)


def ctrl_c(bench, i):
    "Ctrl-C"
    stopped(bench, signal.SIGINT)


def disk_full(bench, i):
    "No space left on the disk, from a random write on"
    reference = bench.reference()
    place, (options, folds) = bench.trial(), bench.part()
    at = bench.rng.randint(2, bench.writes * len(folds) // 5)
    def full(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    def then():
        os.fsync = os.replace = full
        full()
    run = bench.fork(bench.cv(place, *options), place.name, Writes(at, then))
    expect(run, 2, 'No space left on device')
    bench.again(place, reference, *options, folds=folds)


def file_too_large(bench, i):
    "A file-size limit stops the writing of the checkpoint, the predictions, or run.json"
    import resource
    reference = bench.reference()
    place, limit, options = bench.trial(), (30_000, 4_000, 400)[i % 3], ['--folds', 0]
    expect(bench.fork(bench.cv(place)[:1], place.name), 0)
    def limited(): resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    more = ['--no-checkpoints'] if i % 3 == 1 else []
    expect(bench.fork(bench.cv(place, *options, *more)[1:], place.name, limited), 2, 'File too large')
    bench.again(place, reference, *options, folds=[0])


def small_disk(bench, i):
    "A file system that is really full (where the test may mount one)"
    reference = bench.reference()
    place = bench.trial()
    expect(bench.fork(bench.cv(place)[:1], place.name), 0)
    (place / 'run').mkdir()
    if os.system(f'mount -t tmpfs -o size={(300, 40, 1500)[i % 3]}k none {place / "run"} 2> /dev/null'): return 'cannot'
    try:
        expect(bench.fork(bench.cv(place)[1:], place.name), 2, 'No space left on device')
        os.system(f'mount -o remount,size=64m {place / "run"}')
        run = bench.fork(bench.cv(place), f'{place.name}_again')
        expect(run, 0)
        shutil.copytree(place / 'run', place / 'copy')
    finally: os.system(f'umount {place / "run"}')
    (place / 'run').rmdir()
    (place / 'copy').rename(place / 'run')
    bench.whole(place, reference)


def read_only(bench, i):
    "The run folder becomes read-only"
    reference = bench.reference()
    place, (options, folds) = bench.trial(), bench.part()
    expect(bench.fork(bench.cv(place, '--folds', 0), place.name), 0)
    folders = [place / 'run', place / 'run/fold_0']
    for folder in folders: folder.chmod(0o555)
    def nobody():
        if os.getuid() == 0: os.setresuid(65534, 65534, 65534)           # root may write everywhere
    expect(bench.fork(bench.cv(place, *options)[1:], place.name, nobody), 2, 'Permission denied')
    for folder in folders: folder.chmod(0o755)
    bench.again(place, reference, *options, folds=folds)


def picture(bench, spoil):
    reference = bench.reference('files', '--folds', 0, pack=False)
    place, file = bench.trial(), bench.data / bench.rng.choice(bench.files)
    whole = file.read_bytes()
    run = bench.fork(bench.cv(place, '--folds', 0, pack=False), place.name)
    try:
        if not run.when((place / 'run/run.json').exists): raise Lost('it was too quick')
        spoil(file)
        expect(run, 2, file.name, 'cannot be read' if file.exists() else 'there is no such file')
    finally: file.write_bytes(whole)
    bench.again(place, reference, '--folds', 0, pack=False, folds=[0])


def vanished(bench, i):
    "A picture vanishes while the network is trained"
    picture(bench, lambda file: file.unlink())


def truncated(bench, i):
    "A picture is cut off while the network is trained"
    picture(bench, lambda file: os.truncate(file, 200))


def dead_worker(bench, i):
    "A loader process is killed; the second run uses none, with the same result"
    reference = bench.reference('files', '--folds', 0, pack=False)
    place = bench.trial()
    run = bench.fork(bench.cv(place, '--folds', 0, '--workers', 1, pack=False), place.name)
    children = Path(f'/proc/{run.pid}/task/{run.pid}/children')
    def workers(): return children.read_text().split() if children.exists() else []
    if not run.when(workers): raise Lost('there was no worker')
    while run.ended() is None:                                           # one that has done its work is not missed
        for pid in workers():
            with contextlib.suppress(ProcessLookupError): os.kill(int(pid), signal.SIGKILL)
    expect(run, 2, 'a loader process has died')
    bench.again(place, reference, '--folds', 0, pack=False, folds=[0])


def small_memory():
    "Batches of more than 8 images find no memory"
    learner = Recipe.learner
    def small(self, *args, **kwargs):
        def look(module, x):
            if len(x[0]) > 8: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
        learn = learner(self, *args, **kwargs)
        learn.model.register_forward_pre_hook(look)
        return learn
    Recipe.learner = small


def out_of_memory(bench, i):
    "The GPU's memory does not suffice (simulated), and the run is killed after it has continued with half the batch"
    reference = bench.reference('memory', '--folds', 0, prepare=small_memory)
    place = bench.trial()
    run = bench.fork(bench.cv(place, '--folds', 0), place.name, small_memory)
    if not run.when((place / 'run/fold_0/checkpoint.pt').exists): raise Lost('there was no checkpoint')
    run.stop(signal.SIGKILL)
    if json.loads((place / 'run/run.json').read_text())['smaller_batches'] != {'0': 8}: raise Lost('run.json is silent')
    bench.again(place, reference, '--folds', 0, prepare=small_memory, folds=[0])


def nan_loss(bench, i):
    "The loss becomes NaN: there is no result, and a new run with a lower learning rate works"
    reference = bench.reference()
    place = bench.trial()
    commands = bench.cv(place, '--folds', 0)
    commands[-1][commands[-1].index('--set') + 1:commands[-1].index('--set') + 1] = ['base_lr=1e9']
    expect(bench.fork(commands, place.name), 2, 'the loss became', 'in epoch', 'learning rate of')
    if (place / 'run').exists(): raise Lost('something was written')
    bench.again(place, reference, '--folds', 0, folds=[0])


def clock_jumps(bench, i):
    "The clock jumps by up to a year, forwards and backwards, whenever it is read"
    reference = bench.reference()
    place, start = bench.trial(), time.monotonic()
    def jump():
        rng, now = random.Random(i), time.time
        time.time = lambda: now() + rng.uniform(-3e7, 3e7)
    expect(bench.fork(bench.cv(place, '--folds', 0), place.name, jump), 0)
    seconds = json.loads((place / 'run/fold_0/done.json').read_text())['seconds']
    if not 0 < seconds < time.monotonic() - start: raise Lost(f'it says it took {seconds} s')
    bench.again(place, reference, '--folds', 0, folds=[0])


def second_process(bench, i):
    "A second process in the same folder stops and names the first; a third waits; the first is killed"
    reference = bench.reference()
    place, (options, folds) = bench.trial(), bench.part()
    expect(bench.fork(bench.cv(place)[:1], place.name), 0)
    first = bench.fork(bench.cv(place, *options)[1:], f'{place.name}_first')
    if not first.when((place / 'run/.fold_0.lock.json').exists): raise Lost('there was no lock')
    expect(bench.fork(bench.cv(place, *options)[1:], f'{place.name}_second'), 2, f'process {first.pid} on ', '--wait')
    third = bench.fork(bench.cv(place, *options, '--wait')[1:], f'{place.name}_third')
    third.when(lambda: 'waiting for it' in third.text())
    first.stop(signal.SIGKILL)
    expect(third, 0)
    bench.again(place, reference, *options, folds=folds)


def five_processes(bench, i):
    "Five processes at once, a fold each, into one new folder"
    reference = bench.reference()
    place = bench.trial()
    expect(bench.fork(bench.cv(place)[:1], place.name), 0)
    runs = [bench.fork(bench.cv(place, '--folds', k)[1:], f'{place.name}_{k}') for k in bench.folds]
    for run in runs: expect(run, 0)
    bench.whole(place, reference)


def two_jobs(bench, i):
    "Two folds at once, and the process that started them is killed"
    reference, (options, folds) = bench.reference(), bench.part()
    place = bench.trial()
    run = bench.fork(bench.cv(place, *options, '--jobs', 2), place.name)
    if not run.when(lambda: list((place / 'run').glob('fold_*/checkpoint.pt'))): raise Lost('there was no checkpoint')
    run.stop(signal.SIGKILL)
    time.sleep(0.5)                                                      # the others notice, and end
    bench.again(place, reference, *options, '--jobs', 2, folds=folds)


def workers(bench, i):
    "No fault: another number of loader processes gives the same result"
    reference = bench.reference('files', '--folds', 0, pack=False)
    bench.again(bench.trial(), reference, '--folds', 0, '--workers', i % 3 + 1, pack=False, folds=[0])


TRIALS = {  # how often in the short form, and in the whole
    killed: (2, 13), killed_writing: (1, 12), killed_twice: (0, 3), damaged_checkpoint: (1, 4), terminated: (1, 5),
    ctrl_c: (1, 5), disk_full: (1, 8), file_too_large: (1, 3), small_disk: (0, 3), read_only: (1, 1), vanished: (1, 3),
    truncated: (0, 3), dead_worker: (1, 3), out_of_memory: (1, 3), nan_loss: (1, 1), clock_jumps: (1, 3),
    second_process: (1, 2), five_processes: (1, 2), two_jobs: (0, 2), workers: (1, 2)}


def run_trials(short, only, seed, say):
    "A row a kind of fault: what, tried, survived, lost, and why"
    rows, start = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        bench = Bench(folder, seed, short)
        for trial, counts in TRIALS.items():
            if only and trial.__name__ not in only: continue
            row = dict(name=trial.__name__, what=trial.__doc__, tried=0, survived=0, lost=[])
            for i in range(counts[0 if short else 1]):
                try:
                    try: outcome = trial(bench, i)
                    except TooLate: outcome = trial(bench, i)                # once more: nothing was disturbed yet
                except Lost as e: row['lost'].append(str(e))
                else:
                    if outcome == 'cannot': continue
                    row['survived'] += 1
                row['tried'] += 1
            if not row['tried']: continue
            rows.append(row)
            say(f'{time.monotonic() - start:6.1f} s  {row["name"]}: {row["survived"]} of {row["tried"]}'
                + ''.join(f'\n    {x}' for x in row['lost']))
    return rows, time.monotonic() - start


def table(rows, command, where):
    "Markdown"
    lines = [f'`{command}`', '', where, '', '| what happens | tried | survived | lost |', '| --- | --- | --- | --- |']
    rows = [*rows, dict(what='all', tried=sum(r['tried'] for r in rows), survived=sum(r['survived'] for r in rows),
                        lost=sum((r['lost'] for r in rows), []))]
    for row in rows:
        lines.append(f'| {row["what"]} | {row["tried"]} | {row["survived"]} | {len(row["lost"])} |')
    return '\n'.join(lines) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--short', action='store_true', help='one or two of most, in a minute')
    parser.add_argument('--only', nargs='+', choices=[t.__name__ for t in TRIALS], metavar='NAME')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', help='where .json and .md go')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    warnings.simplefilter('always', DataWarning)
    torch.set_num_threads(1)
    compare.compare = lambda runs, **kwargs: 'the table is of no interest here'
    gc.collect()
    gc.freeze()  # what is loaded here is never looked at again: a fork would do so at its start
    rows, seconds = run_trials(args.short, args.only, args.seed, lambda line: print(line, flush=True))
    if args.out:
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks'))
        from measure import machine
        command = 'make faults' if not (args.short or args.only) else 'python tests/faults/disturb.py …'
        where = (f'Five folds of a small network on drawn faces, two epochs each, seed {args.seed}. Survived: it ended '
                 'as expected; when repeated, the command gave the same predictions byte for byte, `agecls verify` '
                 f'found nothing, and no file was left over. {seconds / 60:.0f} minutes; {machine()}')
        Path(f'{args.out}.json').write_text(json.dumps(dict(command=command, where=where, rows=rows), indent=1) + '\n')
        Path(f'{args.out}.md').write_text(table(rows, command, where))
    return any(row['lost'] for row in rows)


if __name__ == '__main__': sys.exit(main())
