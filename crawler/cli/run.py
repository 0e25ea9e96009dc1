"""The command `run`: a loop, signals, progress and a summary around one crawl."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from crawler import allocator
from crawler.api import Crawler
from crawler.progress import Progress, Summary
from crawler.report.lines import LineProgress
from crawler.report.summary import print_summary, visible
from crawler.settings import Settings

_TERMINAL_EVERY = 0.25
LOG_WIDTH = 10_000  # a log is not folded: an address in it can be found and copied


_MOST_FILES = 65_536
_OBJECTS = 5_000
"""New objects from which on the collector looks for what refers to itself. Each may hold a body: not as many as in a worker."""


class Display(Protocol):
    """Shows a run while it goes on. Used as a context manager around it."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, progress: Progress) -> None:
        """The state now."""
        ...


class Silence:
    """The display of --quiet."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: Progress) -> None:
        return None


class Interrupts:
    """Ctrl-C and SIGTERM: the first ends the run in order, the second at once, the third leaves everything behind."""

    def __init__(self, run: Crawler, say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say
        self.received: int | None = None
        self._count = 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._receive, number)

    def _receive(self, number: int) -> None:
        self._count += 1
        self.received = self.received or number
        if self._count == 1:
            self._say("stopping: what is under way is finished; press Ctrl-C again to stop at once")
            self._run.stop()
        elif self._count == 2:
            self._run.abort()
        else:
            os._exit(128 + number)


def run_to_end(settings: Settings, *, quiet: bool = False, json_summary: bool = False, strict: bool = False) -> int:
    """Run, show, and return the exit code."""
    prepare()
    logging.getLogger("asyncio").addFilter(_without_noise)
    console = Console(stderr=True, quiet=quiet, emoji=False, width=None if sys.stderr.isatty() else LOG_WIDTH)
    display = _display(console, settings, quiet)
    run = Crawler(settings, progress=display.show, progress_every=_TERMINAL_EVERY if console.is_terminal else None)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        received = runner.run(_session(run, display, console))
    summary = run.summary
    if not quiet:
        print_summary(summary, console)
    if json_summary:
        print(json.dumps(summary.as_json()), flush=True)
    return _exit_code(summary, received, strict)


def prepare() -> None:
    """Make this process one that crawls and does nothing else."""
    _collect_rarely()
    allocator.give_back()
    _allow_open_files()


def _collect_rarely() -> None:
    """What is loaded by now stays: the collector need not look at it again and again. What a run makes is mostly freed
    without it; it looks every few dozen pictures for what refers to itself, which errors do.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS)
    gc.enable()


def _allow_open_files() -> None:
    """As many as the system lets this process have: a list of many hosts keeps a connection to each for a while."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems tell a limit that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _without_noise(record: logging.LogRecord) -> bool:
    """Leave out what clients of stores drop on the floor when a connection is cut: the upload itself has told it."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, OSError) and record.getMessage().startswith("Task exception was never retrieved"))


async def _session(run: Crawler, display: Display, console: Console) -> int | None:
    with display:
        async with run:
            interrupts = Interrupts(run, console.print)
            told = list(run.notes)
            _tell(told, console)
            try:
                await run.finish()
                _tell(run.notes[len(told) :], console)
            except asyncio.CancelledError:
                if interrupts.received is None:
                    raise
    return interrupts.received


def _tell(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(escape(visible(note)), soft_wrap=True)


def _exit_code(summary: Summary, received: int | None, strict: bool) -> int:
    if received is not None:
        return 128 + received
    return 1 if strict and summary.missed else 0


def _display(console: Console, settings: Settings, quiet: bool) -> Display:
    if quiet:
        return Silence()
    if not console.is_terminal:
        return LineProgress(sys.stderr)
    from crawler.report.terminal import TerminalProgress

    return TerminalProgress(console)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # none for Windows
        return None
    return uvloop.new_event_loop
