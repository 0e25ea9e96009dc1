"""One run for one folder: a lock that dies with its process, so that a stale one is never in the way."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from crawler.errors import RunLocked


class FolderLock:
    """Holds `path` until closed or until the process ends, however it ends.

    Raises:
        RunLocked: another process holds it; says which.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = _written(self._file.fileno())
            self._file.close()
            raise RunLocked(f"{path.parent.parent}: another run is using this folder ({who})") from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def close(self) -> None:
        self._file.truncate(0)
        self._file.close()


def holder(path: Path) -> str | None:
    """Who holds the lock, None if nobody does. Changes nothing."""
    if not path.exists():
        return None
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _written(file.fileno())
    return None


def _written(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "unknown process"
