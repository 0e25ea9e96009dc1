"""The journal as a store of shards sees it: slices of the input, what is in them, and which are published."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from crawler.errors import SettingsChanged
from crawler.model import Settled
from crawler.state.rows import FORGET, INSERT, RECORD_COLUMNS, SETTLED_COLUMNS, key_of, record_of, row_of, settled_of
from crawler.state.schema import connect_to_read, differences
from crawler.state.transaction import transaction

STALE = -1
"""Instead of the number of its targets: the shard has to be written again."""

Ask = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class JournalShelf:
    """The Shelf of a FolderJournal.

    Args:
        path: of the journal.
        ask: runs a function on the journal's database, in its thread.
        settings: of the run that is going on.
        grown: is told the last position that is known, when there are more.
    """

    def __init__(self, path: Path, ask: Ask, settings: Mapping[str, Any], grown: Callable[[int], None]) -> None:
        self._path = path
        self._ask = ask
        self._settings = settings
        self._grown = grown

    def slice(self, first: int, last: int, by_key: bool = False) -> Callable[[], Iterator[Settled]]:
        return partial(read_slice, self._path, first, last, by_key)

    async def published_before(self, first: int, last: int) -> bool:
        found = await self._ask(
            lambda db: db.execute(
                "SELECT 1 FROM targets WHERE id BETWEEN ? AND ? AND reason IS NULL AND place IS NULL LIMIT 1",
                (first, last),
            ).fetchone()
        )
        return found is not None

    async def ended(self, first: int, last: int) -> int:
        found: int = await self._ask(lambda db: _ended(db, first, last))
        return found

    async def waiting(self, size: int) -> Sequence[int]:
        found: list[int] = await self._ask(lambda db: _waiting(db, size))
        return found

    async def cut_off(self, first: int, last: int, size: int) -> None:
        await self._ask(lambda db: db.executemany(FORGET, [(index,) for index in _beyond(db, first, last, size)]))

    async def empty(self) -> bool:
        found = await self._ask(lambda db: db.execute("SELECT 1 FROM targets LIMIT 1").fetchone())
        return found is None

    async def counts(self, size: int) -> Mapping[int, int]:
        # Only of what is not published: the others need no count, and there may be millions.
        found: dict[int, int] = await self._ask(lambda db: _counts(db, size))
        return found

    async def published(self) -> Sequence[int]:
        rows = await self._ask(lambda db: db.execute("SELECT id FROM shards").fetchall())
        return [shard for (shard,) in rows]

    async def unfinished(self, size: int, total: int | None) -> Sequence[int]:
        found: list[int] = await self._ask(lambda db: _unfinished(db, size, total))
        return found

    async def publish(self, shard: int, targets: int, first: int, last: int, emptied: bool) -> None:
        def note(db: sqlite3.Connection) -> None:
            with transaction(db):
                if emptied:
                    db.execute(
                        "UPDATE targets SET place = NULL WHERE id BETWEEN ? AND ? AND place IS NOT NULL", (first, last)
                    )
                db.execute("INSERT OR REPLACE INTO shards VALUES (?, ?)", (shard, targets))

        await self._ask(note)

    async def stale(self, shard: int) -> None:
        await self._ask(lambda db: db.execute("UPDATE shards SET targets = ? WHERE id = ?", (STALE, shard)))

    async def lose(self, indexes: Sequence[int]) -> None:
        await self._ask(lambda db: db.executemany(FORGET, [(index,) for index in indexes]))

    async def recall(self, name: str) -> str | None:
        found = await self._ask(lambda db: db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone())
        return None if found is None else str(found[0])

    async def keep(self, name: str, value: str) -> None:
        await self._ask(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value)))

    async def adopt(self, shards: Iterable[tuple[int, Mapping[str, Any], Iterable[Settled]]]) -> None:
        self._grown(await self._ask(lambda db: _adopt(db, shards, self._settings)))


def read_slice(path: Path, first: int, last: int, by_key: bool) -> Iterator[Settled]:
    """Targets that have ended, from one position to another."""
    with closing(connect_to_read(path)) as db:
        if not by_key:
            query = f"SELECT {SETTLED_COLUMNS} FROM targets WHERE id BETWEEN ? AND ? ORDER BY id"
            yield from map(settled_of, db.execute(query, (first, last)))
            return
        rows = db.execute("SELECT id, more FROM targets WHERE id BETWEEN ? AND ?", (first, last))
        for _, index in sorted((key_of(more), index) for index, more in rows):
            yield settled_of(db.execute(f"SELECT {SETTLED_COLUMNS} FROM targets WHERE id = ?", (index,)).fetchone())


def _ended(db: sqlite3.Connection, first: int, last: int) -> int:
    found: tuple[int] = db.execute("SELECT count(*) FROM targets WHERE id BETWEEN ? AND ?", (first, last)).fetchone()
    return found[0]


def _waiting(db: sqlite3.Connection, size: int) -> list[int]:
    return [shard for (shard,) in db.execute("SELECT DISTINCT id / ? FROM targets WHERE place IS NOT NULL", (size,))]


def _counts(db: sqlite3.Connection, size: int) -> dict[int, int]:
    found = {shard: _ended(db, shard * size, shard * size + size - 1) for shard in _unpublished(db, size)}
    return {shard: count for shard, count in found.items() if count}


def _beyond(db: sqlite3.Connection, first: int, last: int, size: int) -> list[int]:
    """Targets whose pictures do not end before that place."""
    found = []
    rows = db.execute(
        f"SELECT {RECORD_COLUMNS} FROM targets WHERE id BETWEEN ? AND ? AND place IS NOT NULL ORDER BY place DESC",
        (first, last),
    )
    for record in map(record_of, rows):
        if (record.place or 0) + record.size + sum(one.size for one in record.companions) <= size:
            break  # all others lie before it
        found.append(record.index)
    rows.close()
    return found


def _unpublished(db: sqlite3.Connection, size: int) -> list[int]:
    (last,) = db.execute("SELECT max(id) FROM targets").fetchone()
    if last is None:
        return []
    published = {shard for (shard,) in db.execute("SELECT id FROM shards")}
    return [shard for shard in range(last // size + 1) if shard not in published]


def _unfinished(db: sqlite3.Connection, size: int, total: int | None) -> list[int]:
    """Shards all of whose targets have ended, and which are not published as they are now."""
    waiting = set(_waiting(db, size))
    before = dict(db.execute("SELECT id, targets FROM shards"))
    stale = {shard for shard, targets in before.items() if targets == STALE or targets < size}
    found = []
    for shard in sorted(waiting | stale | set(_unpublished(db, size))):
        first = shard * size
        count = _ended(db, first, first + size - 1)
        wanted = size if total is None else min(size, total - first)
        if count >= wanted > 0 and (shard in waiting or before.get(shard) != count):
            found.append(shard)
    return found


def _adopt(
    db: sqlite3.Connection,
    shards: Iterable[tuple[int, Mapping[str, Any], Iterable[Settled]]],
    settings: Mapping[str, Any],
) -> int:
    """Returns the last position that is known now."""
    last = -1
    with transaction(db):
        for shard, before, rows in shards:
            _check(settings, before)
            count = 0
            for one in rows:
                db.execute(INSERT, row_of(one))
                count, last = count + 1, max(last, one.index)
            db.execute("INSERT OR REPLACE INTO shards VALUES (?, ?)", (shard, count))
    return last


def _check(settings: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    changed = differences(settings, before)
    if changed:
        raise SettingsChanged(
            f"its shards were made with other settings: {'; '.join(changed)}. Use the same settings, or another output"
        )
