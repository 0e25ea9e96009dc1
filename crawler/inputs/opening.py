"""Files of lists as streams of bytes: here, in a store (fsspec) or standard input, unpacked as their ending says."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from crawler.errors import CrawlerError, InputError
from crawler.extras import require
from crawler.inputs.places import compression_of, is_remote, told
from crawler.inputs.stdin import Read
from crawler.urls import masked


def check_compression(source: str) -> None:
    """Raises MissingExtra if what unpacks the file is not installed."""
    if compression_of(source) == ".zst":
        try:
            import compression.zstd  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            require("backports.zstd", "sources", source)


@contextmanager
def opened(source: str, piped: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """A file to be read, unpacked. Blocks.

    Args:
        piped: standard input, if that is the source.

    Raises:
        InputError: it cannot be opened, read or unpacked to its end.
    """
    with reading(source), ExitStack() as stack:
        file = piped or stack.enter_context(_raw(source))
        yield stack.enter_context(_unpacked(file, compression_of(source)))


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn what is said of a file while it is read into an InputError."""
    try:
        yield
    except CrawlerError:
        raise
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{masked(source)}: is damaged or cut off: {told(error, source)}") from error
    except OSError as error:
        raise InputError(f"{masked(source)}: {told(error, source)}") from error
    except Exception as error:
        if is_remote(source) or type(error).__name__ == "ZstdError":
            raise InputError(f"{masked(source)}: cannot be read to its end: {told(error, source)}") from error
        raise


def _raw(source: str) -> Any:
    if is_remote(source):
        import fsspec

        return fsspec.open(source, "rb").open()
    return open(source, "rb")  # noqa: PTH123


def _unpacked(file: IO[bytes], compression: str | None) -> Any:
    if compression == ".gz":
        return gzip.open(file)
    if compression == ".bz2":
        return bz2.open(file)
    if compression == ".xz":
        return lzma.open(file)
    if compression == ".zst":
        try:
            from compression import zstd
        except ImportError:
            from backports import zstd
        return zstd.open(file)
    return io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file


class PipedFile(io.RawIOBase):
    """Standard input for a thread: each read is made on the loop, so that a run can end while nothing comes."""

    def __init__(self, read: Read, loop: asyncio.AbstractEventLoop) -> None:
        self._read = read
        self._loop = loop
        self._asked: Future[bytes] | None = None
        self._over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._over:
            return 0
        self._asked = asyncio.run_coroutine_threadsafe(self._once(len(buffer)), self._loop)
        try:
            data = self._asked.result()
        except CancelledError:
            return 0
        buffer[: len(data)] = data
        return len(data)

    def give_up(self) -> None:
        """Nothing more is wanted: a read that waits finds the end. Called on the loop."""
        self._over = True
        if self._asked is not None:
            self._asked.cancel()

    async def _once(self, size: int) -> bytes:
        return await self._read(size)
