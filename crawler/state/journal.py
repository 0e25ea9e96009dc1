"""The journal of a folder: one row for each target that has ended. One thread owns the file; records are committed in
batches, the store's ledger in step with them. Only outcomes are written: on a rerun the input is read again and what
the journal holds is skipped.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import zlib
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from crawler import urls
from crawler.batcher import Batcher
from crawler.clock import Clock
from crawler.discover_settings import DiscoverSettings
from crawler.disk import disk_errors
from crawler.errors import InputChanged, JournalError, SettingsChanged
from crawler.model import Outcome, Past, Picture, Reason, Record, Target, Twin
from crawler.ports import Ledger
from crawler.seen import Seen
from crawler.state.findings import BASE, TableFindings, looked_for
from crawler.state.found_tables import FoundTables
from crawler.state.home import FILE, FOLDER
from crawler.state.lock import FolderLock
from crawler.state.rows import (
    FORGET,
    INSERT,
    RECORD_COLUMNS,
    SAME_AS,
    fingerprints,
    names_of,
    record_of,
    row,
)
from crawler.state.schema import connect, damaged, differences
from crawler.state.shelf import JournalShelf
from crawler.state.transaction import transaction
from crawler.state.twins import Claims, Twins

_MOST_PENDING = 2048
BEYOND = 1 << 62
"""A mark beyond the end of any file: the next run writes the metadata anew from the records."""
COMMIT_SECONDS = 0.05
"""Rest between two commits: what a kill can cost, in time, besides what is under way."""
_Entry = tuple[tuple[Any, ...], Record | None]


class FolderJournal:
    """The Journal of the run in `folder`, which is made if it is missing.

    Args:
        output_settings: what decides how pictures look and are called. A later run in the folder must agree.
        ledger: written in step with the journal.
        durable: every commit reaches the disk before it counts (SQLite synchronous=FULL).
        retry_missed: `later`, `all` or the name of a reason: only targets that were missed so are not settled.
        unique: find out which addresses come more than once.
        refresh: what is stored is not settled either.
        dedup: by what pictures count as the same, and how far their looks may be apart.
        assumed: what an older folder was made with, in which a setting is not noted: there was no choice then.
        home: where the journal is; without it `.crawler` in the folder.
        output: what it is the journal of, for those that look at it later; without it the folder.

    Raises, on entering: RunLocked, SettingsChanged, JournalError.
    """

    def __init__(
        self,
        folder: Path,
        output_settings: Mapping[str, Any],
        ledger: Ledger,
        clock: Clock,
        durable: bool = False,
        retry_missed: str = "",
        unique: bool = False,
        refresh: bool = False,
        dedup: tuple[str, int] = ("url", 0),
        assumed: Mapping[str, Any] | None = None,
        home: Path | None = None,
        output: str = "",
    ) -> None:
        self._folder = folder
        self._home = home or folder / FOLDER
        self._output = output or str(folder.absolute())
        self._path = self._home / FILE
        self._settings = dict(output_settings)
        self._ledger = ledger
        self._clock = clock
        self._durable = durable
        self._again = retried_reasons(retry_missed)
        self._unique = unique
        self._refresh = refresh
        self._dedup = dedup
        self._assumed = assumed or {}
        self._twins: Twins | None = None
        self._claims: Claims | None = None
        self._seen: Seen | None = None
        self._forgotten: set[int] = set()
        self._stale = False  # records were taken back: the ledger is written anew in the end
        self._last_known = -1
        self._failure: BaseException | None = None
        self._broken: BaseException | None = None
        self._last: Future[None] | None = None

    async def __aenter__(self) -> FolderJournal:
        self._batcher: Batcher[_Entry, None] = Batcher("crawler-journal", self._commit, _MOST_PENDING, COMMIT_SECONDS)
        try:
            await self._batcher.call(self._open)
            if self._twins is not None:
                self._claims = Claims(self._twins, self._asked)
        except BaseException:
            await self._batcher.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._batcher.close(self._close)

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        if not targets or targets[0].index > self._last_known:
            return [target for target in targets if self._only_again(target)] if self._again else ()
        return await self._batcher.call(lambda: self._known(targets))

    async def past(self, targets: Sequence[Target]) -> Mapping[int, Past]:
        if not self._unique and not self._refresh:
            return {}
        return await self._batcher.call(lambda: self._past(targets))

    async def forget(self, target: Target) -> None:
        await self._batcher.call(lambda: self._forget(target))

    async def recall_robots(self, origin: str) -> tuple[str, float] | None:
        return await self._batcher.call(lambda: self._robots(origin))

    async def keep_robots(self, origin: str, text: str, expires: float) -> None:
        packed = zlib.compress(text.encode("utf-8", "replace"), 1) if text else b""
        await self._batcher.call(
            lambda: self._execute("INSERT OR REPLACE INTO robots VALUES (?, ?, ?)", (origin, expires, packed))
        )

    async def twin(self, picture: Picture) -> Twin | None:
        return None if self._claims is None else await self._claims.claim(picture)

    async def settle(self, outcome: Outcome) -> None:
        if self._failure is not None:
            raise self._failure
        # Made into a row here: what waits for its commit must not hold the picture's bytes.
        record = Record.of(outcome) if outcome.stored else None
        done = self._batcher.do((row(outcome, record, self._clock.wall()), record))
        self._last = done
        if self._claims is not None:
            self._claims.settled(outcome.target.index)
        if self._batcher.pending > _MOST_PENDING:
            await done
        else:
            done.add_done_callback(self._remember_failure)

    async def findings(self, settings: DiscoverSettings, numbered: bool, pages_ahead: int) -> TableFindings:
        """Where pages and what is found in them are kept.

        Args:
            numbered: what is given are pages, so that pictures can be numbered at once.
            pages_ahead: pages that may be under way at once.
        """
        tables, base = await self._batcher.call(lambda: self._found_tables(settings, numbered))
        return TableFindings(self._ask, tables, settings, self._clock, base, pages_ahead)

    def shelf(self) -> JournalShelf:
        """What a store of shards asks."""
        return JournalShelf(self._path, self._ask, self._settings, self._grown)

    def _grown(self, last: int) -> None:
        self._last_known = max(self._last_known, last)

    async def flush(self) -> None:
        """Wait until all that was settled is committed. Raises JournalError if it cannot be."""
        if self._last is not None:
            await asyncio.wait({self._last})
        if self._failure is not None:
            raise self._failure

    async def _ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        """Ask the database, in the journal's thread."""

        def ask() -> Any:
            with self._guarded():
                return question(self._db)

        return await self._batcher.call(ask)

    async def _asked(self, question: Callable[[], Twin | None]) -> Twin | None:
        found: Twin | None = await self._ask(lambda _: question())
        return found

    def _remember_failure(self, done: Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._failure = self._failure or error

    # Below: in the journal's thread.

    def _open(self) -> None:
        with disk_errors(self._home):
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self._home / "lock")
        try:
            self._db = connect(self._path, self._durable)
            with self._guarded():
                self._check_output()
                self._check_settings()
                last = self._db.execute("SELECT max(id) FROM targets").fetchone()[0]
                self._last_known = -1 if last is None else last
                self._db.execute("DELETE FROM robots WHERE expires <= ?", (self._clock.wall(),))
                mark = self._ledger.rewind(int(self._fact("mark") or 0), self._records, self._held)
                told = json.dumps(self._settings, sort_keys=True)
                self._note_facts(mark=mark, settings=told, output=str(self._output))
                if self._dedup[0] != "url":
                    self._twins = Twins(self._db, *self._dedup)
        except BaseException:
            with suppress(AttributeError):  # it has not come so far
                self._db.close()
            self._lock.close()
            raise

    def _close(self) -> None:
        finished = self._failure is None
        with ExitStack() as last:
            last.callback(self._lock.close)
            last.callback(self._db.close)
            if self._seen is not None:
                last.callback(self._seen.close)
            last.callback(lambda: self._ledger.close(finished))
            if finished and (self._stale or self._ledger.dirty):
                with self._guarded():
                    self._note_facts(mark=self._ledger.rebuild(self._records()))
        if self._failure is not None:
            raise self._failure

    def _commit(self, entries: list[_Entry]) -> list[None]:
        """Commit a batch. After one that failed none is: its lines of the metadata would count as recorded."""
        if self._broken is not None:
            raise self._broken
        try:
            return self._committed(entries)
        except BaseException as error:
            self._broken = error
            raise

    def _committed(self, entries: list[_Entry]) -> list[None]:
        given, records = len(entries), [record for _, record in entries if record is not None]
        if self._forgotten:  # what is the same as a picture that is there no more is done again by the next run
            entries = [entry for entry in entries if entry[0][SAME_AS] not in self._forgotten]
        with self._guarded():
            mark = self._ledger.append(records)
            with transaction(self._db):
                self._db.executemany(INSERT, [values for values, _ in entries])
                self._note_facts(mark=BEYOND if self._stale else mark)
            self._ledger.committed([values[0] for values, _ in entries])
            if self._twins is not None:
                for values, _ in entries:
                    self._twins.drop(values[0])
        return [None] * given

    def _only_again(self, target: Target) -> bool:
        """True for a target that is left alone where only some are tried again: not what was found in the meantime."""
        return not self._refresh and (target.found is None or target.readable)

    def _known(self, targets: Sequence[Target]) -> Sequence[Target]:
        with self._guarded():
            rows = self._db.execute(
                "SELECT id, url, reason FROM targets WHERE id BETWEEN ? AND ?", (targets[0].index, targets[-1].index)
            ).fetchall()
        known = {index: url for index, url, _ in rows}
        for target in targets:
            if known.get(target.index, target.url) != target.url:
                raise InputChanged(
                    f"{target.origin or 'the input'}: position {target.index} is {target.url} now and was "
                    f"{known[target.index]} when {self._output} was made; lines may only be added at the end of a list. "
                    "Give the same list, or another output folder"
                )
        again = {index for index, _, reason in rows if reason in self._again or (self._refresh and reason is None)}
        if self._again and not self._refresh:
            return [
                target for target in targets
                if target.index not in again and (target.index in known or self._only_again(target))
            ]  # fmt: skip
        if again:
            return [target for target in targets if target.index in known and target.index not in again]
        return [target for target in targets if target.index in known]

    def _past(self, targets: Sequence[Target]) -> dict[int, Past]:
        with self._guarded():
            found: dict[int, Past] = {}
            if self._refresh:
                span = targets[0].index, targets[-1].index
                rows = self._db.execute(
                    "SELECT id, file_name, sha256, coalesce(etag, ''), coalesce(last_modified, ''), "
                    "coalesce(final_url, url), more FROM targets WHERE id BETWEEN ? AND ? AND reason IS NULL", span,
                )  # fmt: skip
                found = {index: replace(Past(None, *of), companions=names_of(more)) for index, *of, more in rows}
            if self._unique:
                for index, first in self._addresses().first(fingerprints(targets)).items():
                    # What an older version of this program stored twice stays stored.
                    found.setdefault(index, Past(same_as=first))
            return found

    def _addresses(self) -> Seen:
        """What the input has held so far. Made when the first target is not settled: a finished run needs none."""
        if self._seen is None:
            self._seen = Seen()
            if self._last_known >= 0:
                rows = self._db.execute(
                    "SELECT id, address, url FROM targets "
                    "WHERE (reason IS NOT ? OR same_as IS NOT NULL) AND reason IS NOT ? ORDER BY id",
                    (Reason.DUPLICATE.value, Reason.BAD_URL.value),
                )
                found = ((urls.fingerprint(url) if address is None else address, index) for index, address, url in rows)
                self._seen.fill((address, index) for address, index in found if address is not None)
        return self._seen

    def _forget(self, target: Target) -> None:
        self._stale = True
        self._forgotten.add(target.index)
        with self._guarded(), transaction(self._db):
            self._db.executemany(FORGET, [(target.index,)])
            self._note_facts(mark=BEYOND)

    def _found_tables(self, settings: DiscoverSettings, numbered: bool) -> tuple[FoundTables, int | None]:
        with self._guarded():
            before, now = self._fact("discover"), looked_for(settings)
            fresh = self._refresh or (before is not None and before != now)
            tables = FoundTables(self._db, settings, self._again, fresh)
            self._note_facts(discover=now)
            base = self._fact(BASE)
            if base is None and numbered:  # behind what a run without pages has stored
                base = self._last_known + 1
                self._note_facts(**{BASE: base})
            return tables, base

    def _robots(self, origin: str) -> tuple[str, float] | None:
        with self._guarded():
            found = self._db.execute("SELECT packed, expires FROM robots WHERE origin = ?", (origin,)).fetchone()
        return found and (zlib.decompress(found[0]).decode() if found[0] else "", found[1])

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._guarded():
            self._db.execute(statement, values)

    def _check_output(self) -> None:
        before = self._fact("output")
        if (
            before is not None
            and before.rstrip("/") != self._output.rstrip("/")
            and self._home != self._folder / FOLDER
        ):
            raise SettingsChanged(
                f"{self._home}: is the journal of {before}, not of {self._output}; give another --state, or that output"
            )

    def _check_settings(self) -> None:
        before = json.loads(self._fact("settings") or "{}")
        if before:
            before = dict(self._assumed) | before
        changed = differences(self._settings, before)
        if changed and self._db.execute("SELECT 1 FROM targets LIMIT 1").fetchone():
            raise SettingsChanged(
                f"{self._output}: was made with other settings: {'; '.join(changed)}. "
                "Use the same settings, or another output folder"
            )

    def _records(self) -> Iterator[Record]:
        rows = self._db.execute(f"SELECT {RECORD_COLUMNS} FROM targets WHERE reason IS NULL ORDER BY id")
        return map(record_of, rows)

    def _held(self, names: Iterable[str]) -> set[str]:
        self._db.execute("CREATE TEMP TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((name,) for name in names))
        found = self._db.execute(
            "SELECT file_name FROM targets JOIN names ON name = file_name UNION "
            "SELECT name FROM targets, json_each(more, '$.files') AS file JOIN names ON name = file.value ->> 'file_name' "
            "WHERE more IS NOT NULL"
        ).fetchall()
        self._db.execute("DROP TABLE names")
        return {name for (name,) in found}

    def _fact(self, name: str) -> Any:
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return found and found[0]

    def _note_facts(self, **facts: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what SQLite says into an error of ours that says what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise JournalError(
                f"{self._path}: cannot be written ({error}); mend the cause, free space or permissions, "
                "and run the same command again, it goes on where it was"
            ) from error
        except sqlite3.DatabaseError as error:
            raise damaged(self._path, error) from error


def retried_reasons(choice: str) -> frozenset[str]:
    """The names of reasons behind `later`, `all` or one name; none for an empty choice."""
    if choice in ("later", "all"):
        return frozenset(reason.value for reason in Reason if choice == "all" or reason.later)
    return frozenset((choice,)) if choice else frozenset()
