"""Lines of a text file or of standard input, read in pieces: a list of any length is never whole in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import aiofiles

from crawler.inputs.opening import opened, reading
from crawler.inputs.places import STDIN, compression_of, is_remote
from crawler.inputs.stdin import Read, stdin

PIECE = 64 * 1024
LONGEST_LINE = 16 * 1024
"""A longer line is cut here: far more than any address, and it bounds the memory that one line can take."""

_BOM = b"\xef\xbb\xbf"
_COUNTED_BYTES = 64 * 1024 * 1024


async def read_lines(source: str) -> AsyncGenerator[list[tuple[int, str]], None]:
    """Number (from 1) and text of the lines of a file, or of standard input for `-`; blank lines and comments left out.

    Raises:
        InputError: the file cannot be read.
    """
    with reading("standard input" if source == STDIN else source):
        async with _reader(source) as read, aclosing(_split(read)) as batches:
            async for batch in batches:
                yield batch


async def _split(read: Read) -> AsyncGenerator[list[tuple[int, str]], None]:
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
    if source == STDIN:
        async with stdin() as read:
            yield read
    elif is_remote(source) or compression_of(source):
        file = opened(source)
        raw = await asyncio.to_thread(file.__enter__)
        try:
            piece = getattr(raw, "read1", raw.read)  # gives what is there before it says that the rest is missing
            yield lambda size: asyncio.to_thread(piece, size)
        finally:
            await asyncio.to_thread(file.__exit__, None, None, None)
    else:
        plain = await aiofiles.open(source, "rb")
        try:
            yield plain.read
        finally:
            await asyncio.shield(plain.close())  # also where who reads is cancelled once more


def count_lines(path: Path) -> int | None:
    """How many targets a text file holds; None for what is no file or is too large to be read twice."""
    if not path.is_file() or path.stat().st_size > _COUNTED_BYTES:
        return None
    total, rest = 0, b""
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                lines = (rest + piece).split(b"\n")
                rest = lines.pop()[:LONGEST_LINE]
                total += len(_wanted(lines, 0))
    except OSError:
        return None  # which is told when it is read
    return total + len(_wanted([rest], 0))
