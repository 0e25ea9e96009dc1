"""Lines of a text file or of standard input, read in pieces: a list of any length is never whole in memory."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiofiles

from crawler.errors import InputError

PIECE = 64 * 1024
LONGEST_LINE = 16 * 1024
"""A longer line is cut here: far more than any address, and it bounds the memory that one line can take."""

_BOM = b"\xef\xbb\xbf"
_COUNTED_BYTES = 64 * 1024 * 1024

Read = Callable[[int], Awaitable[bytes]]


async def read_lines(source: str) -> AsyncIterator[list[tuple[int, str]]]:
    """Number (from 1) and text of the lines of a file, or of standard input for `-`; blank lines and comments left out.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        async with _reader(source) as read:
            async for batch in _split(read):
                yield batch
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from error


async def _split(read: Read) -> AsyncIterator[list[tuple[int, str]]]:
    rest, number = b"", 0
    while piece := await read(PIECE):
        lines = (rest + piece).split(b"\n")
        # What was cut from an endless line stays cut: only its beginning is carried on.
        rest = lines.pop()[:LONGEST_LINE]
        if batch := _wanted(lines, number):
            yield batch
        number += len(lines)
    if batch := _wanted([rest], number):
        yield batch


def _wanted(lines: list[bytes], number: int) -> list[tuple[int, str]]:
    texts = ((at, line[:LONGEST_LINE].removeprefix(_BOM).strip()) for at, line in enumerate(lines, number + 1))
    return [(at, text.decode("utf-8", "replace")) for at, text in texts if text and not text.startswith(b"#")]


@asynccontextmanager
async def _reader(source: str) -> AsyncIterator[Read]:
    if source == "-":
        async with _stdin() as read:
            yield read
    else:
        async with aiofiles.open(source, "rb") as file:
            yield file.read


@asynccontextmanager
async def _stdin() -> AsyncIterator[Read]:
    """Standard input without a blocked thread: one waiting for a pipe could not be cancelled."""
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


def count_lines(path: Path) -> int | None:
    """How many targets a text file holds; None for what is no file or is too large to be read twice."""
    if not path.is_file() or path.stat().st_size > _COUNTED_BYTES:
        return None
    with path.open("rb") as file:
        total, rest = 0, b""
        while piece := file.read(PIECE):
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()[:LONGEST_LINE]
            total += len(_wanted(lines, 0))
        return total + len(_wanted([rest], 0))
