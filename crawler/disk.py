"""What a file system refuses, said in one line with what to do. For all that write below the output folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crawler.errors import StoreError

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "use a file system or a limit that takes larger files",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "allow writing there",
    errno.EPERM: "allow writing there",
    errno.ENOENT: "put the folder back",
    errno.EMFILE: "raise the limit of open files",
}


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data` to an open file."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def flush(path: Path) -> None:
    """Bring what was written to a file, or the names in a folder, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError met while writing below `folder` into a StoreError."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "mend the cause")
        where = error.filename or folder
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error} ({where}); "
            f"{advice} and run the same command again, it goes on where it was"
        ) from error
