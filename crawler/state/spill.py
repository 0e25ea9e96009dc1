"""Where targets wait that have no room in memory: a database that lives as long as the run and is never read again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crawler.batcher import Batcher
from crawler.errors import JournalError
from crawler.found import Origin
from crawler.model import NO_EXTRA, NO_PAST, Extra, Past, Target, Visit

FILE = "spill.sqlite"
_CACHE_KIB = 8192


class TargetSpill:
    """The Spill of a run. Makes its file and its thread when it is first needed.

    Args:
        folder: where the file is; None for a temporary one of SQLite's own.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = folder / FILE if folder is not None else None
        self._batcher: Batcher[None, None] | None = None
        self._db: sqlite3.Connection | None = None

    async def __aenter__(self) -> TargetSpill:
        await asyncio.to_thread(self._discard)  # that of a run that was cut off
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._batcher is not None:
            await self._batcher.close(self._close)

    async def put(self, visits: Sequence[Visit]) -> None:
        rows = [
            (
                visit.host,
                visit.target.index,
                visit.target.url,
                visit.target.origin,
                _packed(visit.past),
                _row(visit.target),
            )
            for visit in visits
        ]
        await self._thread().call(lambda: self._insert(rows))

    async def take(self, host: str, most: int) -> Sequence[Visit]:
        rows = await self._thread().call(lambda: self._remove(host, most))
        return [
            Visit(Target(index, url, origin, None, *_told(row)), url, host, past=_past(packed))
            for index, url, origin, packed, row in rows
        ]

    def _thread(self) -> Batcher[None, None]:
        if self._batcher is None:
            self._batcher = Batcher("crawler-spill", lambda items: items)
        return self._batcher

    # Below: in the thread.

    def _insert(self, rows: Sequence[tuple[str, int, str, str, str | None, str | None]]) -> None:
        try:
            db = self._open()
            db.execute("BEGIN")
            db.executemany("INSERT OR REPLACE INTO spilled VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _remove(self, host: str, most: int) -> list[tuple[int, str, str, str | None, str | None]]:
        try:
            db = self._open()
            rows = db.execute(
                "SELECT id, url, origin, past, row FROM spilled WHERE host = ? ORDER BY id LIMIT ?", (host, most)
            ).fetchall()
            if rows:
                db.execute("DELETE FROM spilled WHERE host = ? AND id <= ?", (host, rows[-1][0]))
            return rows
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(str(self._path or ""), isolation_level=None, check_same_thread=False)
            # Nothing in it outlives the run: no journal of its own, no flush.
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.execute(
                "CREATE TABLE spilled (host TEXT, id INTEGER, url TEXT NOT NULL, origin TEXT NOT NULL, past TEXT, row TEXT, "
                "PRIMARY KEY (host, id)) WITHOUT ROWID"
            )
        return self._db

    def _failed(self, error: sqlite3.Error) -> JournalError:
        return JournalError(
            f"{self._path or 'a temporary file'}: targets that wait cannot be written or read ({error}); free space, and "
            "run the same command again, it goes on where it was"
        )

    def _discard(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._discard()


def _row(target: Target) -> str | None:
    """What goes with a target, None for most."""
    if not target.columns and target.extra is NO_EXTRA and target.found is None:
        return None
    return json.dumps([dict(target.columns), asdict(target.extra), target.found and asdict(target.found)])


def _told(row: str | None) -> tuple[dict[str, Any], Extra, str, Origin | None]:
    """The last four fields of a target."""
    if row is None:
        return {}, NO_EXTRA, "", None
    columns, extra, found = json.loads(row)
    return columns, Extra(**extra), "", found and Origin(**found | {"fallbacks": tuple(found["fallbacks"])})


def _packed(past: Past) -> str | None:
    if past is NO_PAST:
        return None
    return json.dumps(asdict(past) | {"sha256": past.sha256.hex()})


def _past(packed: str | None) -> Past:
    if packed is None:
        return NO_PAST
    fields = json.loads(packed)
    restored = {"sha256": bytes.fromhex(fields["sha256"]), "companions": tuple(fields["companions"])}
    return Past(**fields | restored)
