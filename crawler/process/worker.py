"""What runs in a worker process: a batch of bodies in, a batch of plain tuples out. Never raises for a bad picture.

Limits are the kernel's: a timer for each picture and a ceiling for the memory, so that nothing in C can pass them.
"""

from __future__ import annotations

import gc
import os
import signal
import warnings

from crawler import allocator
from crawler.children import obey_parent
from crawler.errors import words
from crawler.found import Page, PageOrder
from crawler.model import Reason
from crawler.picture_settings import ProcessSettings
from crawler.process.decode import Refused
from crawler.process.done import Done, Failed, ReadPage, Results, Told
from crawler.process.job import Job
from crawler.process.noise import Noise

_OBJECTS = 50_000
"""New objects from which on the collector looks for what refers to itself."""

_job = Job(ProcessSettings())
_noise: Noise | None = None


def setup(settings: ProcessSettings) -> None:
    """Prepare this process; called once, when it starts."""
    obey_parent()
    allocator.keep()
    _limit_memory(settings.worker_memory)
    global _noise
    _noise = Noise()
    use(settings)
    rest_collector()


def rest_collector() -> None:
    """Have the collector look rarely: what is loaded now stays, and what a batch makes goes without it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS)


def use(settings: ProcessSettings) -> ProcessSettings:
    """Work by these settings from now on. Returns those before."""
    global _job
    before, _job = _job.settings, Job(settings)
    if _noise is not None:
        _job.hear(_noise.heard)
    return before


def ready() -> tuple[int, str]:
    """Identity of this process, and why it is of no use (empty: it is): the first task of every worker."""
    return os.getpid(), _job.trouble


def work(bodies: list[bytes], samples: list[Told] | None = None, read_page: ReadPage | None = None) -> Results:
    """Process pictures one after the other. A picture that takes longer than `process_timeout` ends this process.

    Args:
        samples: what is known of each, where that is needed.
        read_page: what is called for those that are pages.
    """
    results: Results = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _job.note
        for at, body in enumerate(bodies):
            _start_timer(_job.settings.process_timeout)
            results.append(one(_job, body, samples[at] if samples else None, read_page))
        _start_timer(0)
    return results


def one(job: Job, body: bytes, sample: Told, read_page: ReadPage | None = None) -> Done | Page | Failed:
    """Process one picture, or read one page, whatever becomes of it."""
    try:
        if isinstance(sample, PageOrder):
            assert read_page is not None, "only who reads pages is given any"
            return read_page(body, sample)
        return job.done(body, sample)
    except Refused as error:
        return error.reason.value, str(error)
    except MemoryError:
        return Reason.OUT_OF_MEMORY.value, f"needs more than {job.settings.worker_memory} bytes of memory"
    except Exception as error:  # a bug or a new kind of bad file must not cost the others of the batch
        return Reason.DECODE.value, f"{type(error).__name__}: {words(error)}"


def _start_timer(seconds: float) -> None:
    """SIGALRM with its default action ends this process, whatever C code it is in; the parent reads that as `too_slow`."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
