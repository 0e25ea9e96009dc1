"""Processes that are started by this one: how, and what holds for all of them. Standard library only: they read it too."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext

_STOP_SECONDS = 10
_PIPE_BYTES = 1 << 20
"""What Linux lets everybody have (pipe(7)); 64 KiB is what a pipe has by itself."""


def worker_context() -> BaseContext:
    """How workers are started. Never fork: a loop and threads are running here, and a fork copies their locks."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["crawler.process.worker"])
        return context
    return multiprocessing.get_context("spawn")


def prepare() -> None:
    """Start what workers come from, ahead of the first: it loads what they need while this process loads what it needs."""
    context = worker_context()
    if context.get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        with no_interrupt():
            ensure_running()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """What is started here does not take a Ctrl-C of the terminal, which reaches the whole group, while it comes up."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # first: it lifts the mask when it has started its process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def site(module: str, *arguments: str) -> Iterator[str]:
    """A module that serves for as long as its standard input is open: the address it prints, empty if it did not start."""
    import subprocess  # here, because workers read this file too

    served = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the crawl: the site must outlive it to let it drain
    )
    assert served.stdin is not None and served.stdout is not None
    try:
        yield served.stdout.readline().strip()
    finally:
        served.stdin.close()
        served.stdout.close()
        try:
            served.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            served.kill()
            served.wait()


def widen_pipes(executor: ProcessPoolExecutor) -> None:
    """Let the pipes to and from its worker hold most of a batch, so that neither side waits for the other after each 64 KiB.
    Only Linux has a way to; a user who has too many wide pipes open gets ordinary ones.
    """
    try:
        from fcntl import F_SETPIPE_SZ, fcntl
    except ImportError:
        return
    for connection in _ends(executor, ("_call_queue", "_writer"), ("_result_queue", "_reader")):
        with suppress(OSError):
            fcntl(connection.fileno(), F_SETPIPE_SZ, _PIPE_BYTES)


def close_spare_ends(executor: ProcessPoolExecutor) -> None:
    """Close our copies of the worker's ends of its two pipes, once the worker has its own.

    A worker killed in the middle of a message leaves the executor's threads reading or writing the rest of it. With
    these copies open the pipe looks alive and they wait for ever; without them they see its end and the pool is broken,
    as it should be.
    """
    for connection in _ends(executor, ("_result_queue", "_writer"), ("_call_queue", "_reader")):
        connection.close()


def _ends(executor: ProcessPoolExecutor, *names: tuple[str, str]) -> Iterator[Connection]:
    """Ends of an executor's pipes, by queue and end. It has no public way to them: what a Python does not have is left out."""
    for queue, end in names:
        connection = getattr(getattr(executor, queue, None), end, None)
        if connection is not None:
            yield connection


def obey_parent() -> None:
    """Called in the new process: Ctrl-C, which reaches the whole group, is left to the parent, and when that is gone so are
    we.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell us: leave when its end of the pipe closes, so that no process is left behind."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
