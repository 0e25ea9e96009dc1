"""Which addresses the input has held so far, to fetch each once. On disk, for memory must not grow with the input."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

_CACHE_KIB = 4096


class Seen:
    """First position of every address, by its fingerprint, in a database that nobody else sees and that is gone with it.

    All calls from one thread.
    """

    def __init__(self) -> None:
        # An empty name is a temporary file of SQLite's own: in memory while it is small.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE seen (address INTEGER PRIMARY KEY, id INTEGER NOT NULL)")

    def fill(self, entries: Iterable[tuple[int, int]]) -> None:
        """Fingerprints and positions of what earlier runs have done, in order of position."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", entries)
        self._db.execute("COMMIT")

    def first(self, entries: Iterable[tuple[int, int]]) -> dict[int, int]:
        """Take fingerprints and positions; returns, for those that are not the first, who was."""
        repeated = {}
        self._db.execute("BEGIN")
        for address, index in entries:
            if self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (address, index)).rowcount:
                continue
            before = self._db.execute("SELECT id FROM seen WHERE address = ?", (address,)).fetchone()[0]
            if before < index:
                repeated[index] = before
            elif before > index:  # an earlier run met the two in another order
                self._db.execute("UPDATE seen SET id = ? WHERE address = ?", (index, address))
        self._db.execute("COMMIT")
        return repeated

    def close(self) -> None:
        self._db.close()
