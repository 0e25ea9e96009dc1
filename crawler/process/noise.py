"""What decoders say on standard error, which is the terminal of the user: heard here, and told with the picture."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable

_LONGEST = 4096


class Noise:
    """Takes over this process's standard error, as far as C libraries write it, and the log of Pillow."""

    def __init__(self) -> None:
        self._logged: list[str] = []
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as the process is
        # Python's own messages, a traceback or what the user's function prints, go where they went.
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        os.dup2(self._file.fileno(), 2)
        handler = _Handler(self._logged.append)
        logging.getLogger("PIL").addHandler(handler)
        logging.getLogger("PIL").propagate = False

    def heard(self) -> list[str]:
        """What was said since the last time."""
        lines, self._logged[:] = self._logged[:], []
        if os.fstat(2).st_size:
            text = os.pread(2, _LONGEST, 0).decode("utf-8", "replace")
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)
            lines += [line.strip() for line in text.splitlines() if line.strip()]
        return lines


class _Handler(logging.Handler):
    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record.getMessage())
