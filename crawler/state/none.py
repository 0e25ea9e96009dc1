"""The journal of a run that keeps nothing: every target is new."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crawler.batcher import Batcher
from crawler.clock import SystemClock
from crawler.discover_settings import DiscoverSettings
from crawler.model import Outcome, Past, Picture, Target, Twin
from crawler.seen import Seen
from crawler.state.findings import TableFindings
from crawler.state.found_tables import TABLES, FoundTables
from crawler.state.rows import fingerprints
from crawler.state.transaction import script
from crawler.state.twins import Claims, Twins, signed


class NullJournal:
    """A Journal that remembers nothing beyond its run.

    Args:
        unique: find out which addresses come more than once.
        dedup: by what pictures count as the same, and how far their looks may be apart.
    """

    def __init__(self, unique: bool = False, dedup: tuple[str, int] = ("url", 0)) -> None:
        self._unique = unique
        self._dedup = dedup
        self._batcher: Batcher[None, None] | None = None
        self._seen: Seen | None = None
        self._db: sqlite3.Connection | None = None
        self._twins: Twins | None = None
        self._claims: Claims | None = None

    async def __aenter__(self) -> NullJournal:
        if self._dedup[0] != "url":
            twins = await self._thread().call(self._open)
            self._claims = Claims(twins, lambda question: self._thread().call(question))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._batcher is not None:
            await self._batcher.close(self._close)

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        return ()

    async def past(self, targets: Sequence[Target]) -> Mapping[int, Past]:
        if not self._unique:
            return {}
        repeated = await self._thread().call(lambda: self._first(targets))
        return {index: Past(same_as=first) for index, first in repeated.items()}

    async def twin(self, picture: Picture) -> Twin | None:
        return None if self._claims is None else await self._claims.claim(picture)

    async def settle(self, outcome: Outcome) -> None:
        if self._claims is not None and outcome.picture is not None:
            picture = outcome.picture
            look = signed(picture.likeness.look)
            known = (picture.target.index, picture.target.url, picture.sha256, picture.likeness.pixels, look)
            await self._thread().call(lambda: self._keep(known))
            self._claims.settled(picture.target.index)

    async def findings(self, settings: DiscoverSettings, numbered: bool, pages_ahead: int) -> TableFindings:
        """As `FolderJournal.findings`, for this run only."""
        tables = await self._thread().call(lambda: self._found_tables(settings))
        return TableFindings(
            self._ask, tables, settings, SystemClock(), 0 if numbered else None, pages_ahead, keep_base=False
        )

    async def flush(self) -> None:
        return None

    async def forget(self, target: Target) -> None:
        return None

    async def recall_robots(self, origin: str) -> tuple[str, float] | None:
        return None

    async def keep_robots(self, origin: str, text: str, expires: float) -> None:
        return None

    def _thread(self) -> Batcher[None, None]:
        if self._batcher is None:
            self._batcher = Batcher("crawler-seen", lambda items: items)
        return self._batcher

    async def _ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        return await self._thread().call(lambda: question(self._database()))

    # Below: in the thread.

    def _found_tables(self, settings: DiscoverSettings) -> FoundTables:
        script(self._database(), TABLES)
        return FoundTables(self._database(), settings)

    def _database(self) -> sqlite3.Connection:
        """A temporary one of SQLite's own: in memory while it is small."""
        if self._db is None:
            self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = OFF")
        return self._db

    def _first(self, targets: Sequence[Target]) -> dict[int, int]:
        if self._seen is None:
            self._seen = Seen()
        return self._seen.first(fingerprints(targets))

    def _open(self) -> Twins:
        db = self._database()
        db.execute(
            "CREATE TABLE targets (id INTEGER PRIMARY KEY, url TEXT, reason TEXT, sha256 BLOB, pixels INTEGER, look INTEGER)"
        )
        self._twins = Twins(db, *self._dedup)
        return self._twins

    def _keep(self, known: tuple[int, str, bytes, int | None, int | None]) -> None:
        assert self._db is not None and self._twins is not None
        self._db.execute("INSERT OR REPLACE INTO targets VALUES (?, ?, NULL, ?, ?, ?)", known)
        self._twins.drop(known[0])

    def _close(self) -> None:
        if self._seen is not None:
            self._seen.close()
        if self._db is not None:
            self._db.close()
