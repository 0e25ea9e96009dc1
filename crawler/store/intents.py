"""Names that are about to appear on disk and are not in the journal yet.

Written before the rename, so that after a kill the files that nobody recorded are known and removed: a rerun may
give them other names (another ending, another hash), and the old ones would stay for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from crawler.disk import write_all

_REWRITE_BYTES = 256 * 1024


class Intents:
    """A small file of target numbers and names. `announce` is called from the store's thread, `forget` from the journal's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[int, set[str]] = {}
        # Unbuffered: what a full disk refuses must not be tried again when the file is closed.
        self._file = path.open("ab", buffering=0)

    def announce(self, names: Mapping[str, int], durable: bool) -> None:
        """Write down name and target number. Returns when a kill can no longer lose them (`durable`: nor a power loss)."""
        for name, index in names.items():
            self._open.setdefault(index, set()).add(name)
        write_all(self._file.fileno(), _lines((index, name) for name, index in names.items()))
        if durable:
            os.fsync(self._file.fileno())
        if self._file.tell() > _REWRITE_BYTES:
            self._rewrite()

    def forget(self, indexes: Iterable[int]) -> None:
        """The journal has these targets."""
        for index in indexes:
            self._open.pop(index, None)

    def close(self, finished: bool) -> None:
        """Close the file; remove it if everything it names is in the journal."""
        self._file.close()
        if finished and not self._open:
            self._path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        """Keep only what is still open, so that the file stays small however long the run is."""
        self._file.close()
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(_lines([(index, name) for index, names in list(self._open.items()) for name in names]))
        os.replace(fresh, self._path)
        self._file = self._path.open("ab", buffering=0)


def read_intents(path: Path) -> dict[int, list[str]]:
    """Names by target number, of a run that was cut off. A name cut off itself was never renamed to: it is left out."""
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    except FileNotFoundError:
        return {}
    names: dict[int, list[str]] = {}
    for entry in whole.split(b"\n"):
        index, _, name = entry.partition(b"\t")
        if index.isdigit() and name:
            names.setdefault(int(index), []).append(os.fsdecode(name))
    return names


def _lines(entries: Iterable[tuple[int, str]]) -> bytes:
    return b"".join(b"%d\t%s\n" % (index, os.fsencode(name)) for index, name in entries)
