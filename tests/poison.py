"""What a worker does in tests of crashes: bodies that say what they do to their process, or real work for any other."""

from __future__ import annotations

import os
import signal
import time

from crawler.process import worker
from crawler.process.done import Results, Told


def work(bodies: list[bytes], samples: list[Told] | None = None) -> Results:
    """Like the work of a worker, but `SEGV`, `KILL`, `EXIT`, `HANG` do what they say, `SLOW` takes its time first."""
    results: Results = []
    for body in bodies:
        _act(body)
        results += worker.work([body.removeprefix(b"SLOW")])
    return results


def _act(body: bytes) -> None:
    if body.startswith(b"SEGV"):
        os.kill(os.getpid(), signal.SIGSEGV)
    elif body.startswith(b"KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif body.startswith(b"EXIT"):
        os._exit(3)
    elif body.startswith(b"HANG"):
        worker._start_timer(worker._job.settings.process_timeout)
        while True:
            pass
    elif body.startswith(b"SLOW"):
        time.sleep(0.02)
