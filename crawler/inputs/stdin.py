"""Standard input on the loop, without a blocked thread: one waiting for a pipe could not be cancelled."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiofiles

from crawler.errors import InputError

Read = Callable[[int], Awaitable[bytes]]
"""Gives at most so many bytes, none at the end."""


@asynccontextmanager
async def stdin() -> AsyncIterator[Read]:
    """Reads standard input. Raises InputError if it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    descriptor = sys.stdin.fileno()
    if stat.S_ISREG(os.fstat(descriptor).st_mode) or os.fstat(descriptor).st_rdev == os.makedev(1, 3):
        async with aiofiles.open(descriptor, "rb", closefd=False) as file:  # epoll knows no files, nor /dev/null
            yield file.read
        return
    # Not connect_read_pipe: uvloop closes what it is given twice, and by then the number may be another file's.
    blocking = os.get_blocking(descriptor)
    os.set_blocking(descriptor, False)
    try:
        yield lambda size: _read_when_ready(descriptor, size)
    finally:
        os.set_blocking(descriptor, blocking)  # the flag is shared with whoever gave us this pipe


async def _read_when_ready(descriptor: int, size: int) -> bytes:
    """What is there, up to `size` bytes; waits while nothing is."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)  # a pipe that is always full must not keep the loop to itself
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(descriptor, _settle, ready)
            try:
                await ready
            finally:
                loop.remove_reader(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
