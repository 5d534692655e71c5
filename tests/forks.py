"""Commands in processes of their own that have PyTorch already: forks, as loading it takes longer than most tests

A fork can use neither the threads nor the GPU of its parent, so the tests have one thread and no GPU (conftest.py)."""
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import agecls_fastai.runs.crossval  # noqa: F401  with PyTorch, fastai and timm
from agecls_fastai import cli

LIMIT = 120  # seconds that a run may take


class Lost(Exception):
    "A trial that did not end as it should"


class TooLate(Lost):
    "It had ended before it could be disturbed, as on a machine that does other things, too"


class Fork:
    """Commands, one after the other until one fails, or what `prepare` does, in a process of its own

    What it says goes to the file `log`."""
    begun = []                                                           # all of them, for `end_all`

    def __init__(self, commands, log, prepare=None):
        self.log, self.pid = log, os.fork()
        if self.pid:
            self.begun.append(self)
            return
        status = 99
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            for stream in (1, 2): os.dup2(out, stream)
            # what this process writes to is closed to the fork
            sys.stdout, sys.stderr = (open(n, 'w', buffering=1, closefd=False) for n in (1, 2))
            if prepare: prepare()
            status = 0
            for command in commands:
                status = cli.main([str(x) for x in command])
                if status: break
        except SystemExit as e:
            status = e.code if isinstance(e.code, int) else int(e.code is not None)
            if isinstance(e.code, str): print(e.code, file=sys.stderr)
        except BaseException as e: print('not caught:', repr(e), file=sys.stderr)
        finally:
            with contextlib.suppress(Exception): sys.stdout.flush()
            os._exit(status)

    def ended(self):
        "Its exit status, negative for a signal; None while it runs"
        if not hasattr(self, 'status'):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid: return None
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, limit=LIMIT):
        end = time.monotonic() + limit
        while self.ended() is None:
            if time.monotonic() > end:
                self.end()
                raise Lost(f'it hangs; {self.text()[-300:]}')
            time.sleep(0.005)
        return self.status

    def end(self):
        "Kill it, if it still runs"
        if self.ended() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def when(self, seen):
        "Wait until something is there; False if the run has ended before"
        end = time.monotonic() + LIMIT
        while not seen():
            if self.ended() is not None or time.monotonic() > end: return False
            time.sleep(0.002)
        return True

    def stop(self, sig):
        "Send a signal; again where a library has swallowed it"
        if self.ended() is not None: raise TooLate('it had ended before it was disturbed')
        for _ in range(20):
            with contextlib.suppress(ProcessLookupError): os.kill(self.pid, sig)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                if self.ended() is not None: return self.status
                time.sleep(0.005)
        return self.wait()

    def text(self): return Path(self.log).read_text('utf-8', 'replace') if Path(self.log).exists() else ''


def wait_all(forks, limit=LIMIT):
    "Wait for all; where one fails, the others, which may wait for it, are ended. An error shows what they have said"
    end = time.monotonic() + limit
    while None in (states := [fork.ended() for fork in forks]) and not any(states) and time.monotonic() < end:
        time.sleep(0.005)
    if states != [0] * len(forks):
        end_all()
        raise Lost(f'{states}: {[fork.text()[-500:] for fork in forks]}')


def end_all():
    "None is left"
    while Fork.begun: Fork.begun.pop().end()
