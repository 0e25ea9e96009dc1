"""A run as its journal tells it: counts, reasons, hosts, rates, records. Reads only, also while the run goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.errors import NotARun
from crawler.found import PAGES
from crawler.model import PAGE, Reason, Record, Settled
from crawler.state.findings import BASE
from crawler.state.found_tables import NO_PAGES
from crawler.state.home import FILE, FOLDER, find_home
from crawler.state.lock import holder
from crawler.state.rows import RECORD_COLUMNS, SETTLED_COLUMNS, record_of, settled_of
from crawler.state.schema import connect_to_read, damaged

_HOST = "substr(url, instr(url, '//') + 2, instr(substr(url, instr(url, '//') + 2) || '/', '/') - 1)"
_MOST_HOSTS = 10
_SPANS = 20


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Misses of one reason, with one of them as an example."""

    reason: str
    later: bool
    count: int
    url: str
    detail: str


@dataclass(frozen=True, slots=True)
class Depth:
    """Pages and pictures so many links away from what was given. `waiting` are known and not done."""

    depth: int
    pages: int
    pages_missed: int
    pages_waiting: int
    pictures: int
    missed: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What was found and left out on purpose."""

    why: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Status:
    """A run as far as it has come.

    Attributes:
        running: who runs it now, None if nobody does.
        hosts: host, misses, targets; most misses first.
        rates: start (seconds since the epoch), seconds, targets ended in that span.
    """

    folder: str
    running: str | None
    stored: int
    missed: int
    later: int
    bytes_stored: int
    first: float | None
    last: float | None
    reasons: list[ReasonCount]
    hosts: list[tuple[str, int, int]]
    rates: list[tuple[float, float, int]]
    depths: list[Depth]
    cuts: list[Cut]


@dataclass(frozen=True, slots=True)
class MissRow:
    """A missed target. `index` is None for a page."""

    index: int | None
    url: str
    reason: str
    later: bool
    attempts: int
    status: int | None
    detail: str
    final_url: str
    origin: str


class RunReader:
    """The journal of a run.

    Args:
        folder: its output, or the folder of the journal itself.

    Raises:
        NotARun: there is none. JournalError: it cannot be read.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = folder
        self.home = find_home(folder)
        self._path = self.home / FILE
        if not self._path.is_file():
            where = f"{FOLDER}/{FILE} in it" if "://" not in str(folder) else str(self._path)
            raise NotARun(
                f"{folder}: is not the folder of a run (there is no {where}); if --state named a folder, give that"
            )

    def status(self) -> Status:
        """Counts over the whole journal."""
        with self._reading() as db:
            stored, size, first, last = db.execute(
                "SELECT count(*) FILTER (WHERE reason IS NULL), total(bytes), min(ended_at), max(ended_at) FROM targets"
            ).fetchone()
            reasons = _reasons(db)
            return Status(
                folder=str(self._folder),
                running=holder(self.home / "lock"),
                stored=stored,
                missed=sum(reason.count for reason in reasons),
                later=sum(reason.count for reason in reasons if reason.later),
                bytes_stored=int(size),
                first=first,
                last=last,
                reasons=reasons,
                hosts=_worst_hosts(db) if reasons else [],
                rates=_rates(db, first, last),
                depths=_depths(db),
                cuts=[Cut(*row) for row in db.execute("SELECT why, count, example FROM cuts ORDER BY count DESC, why")],
            )

    def misses(self, reason: str | None = None) -> Iterator[MissRow]:
        """Missed targets in order of their position, all or of one reason."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, url, reason, attempts, status, coalesce(detail, ''), coalesce(final_url, ''), coalesce(origin, '') "
                "FROM targets WHERE reason IS NOT NULL AND reason != ?2 AND (?1 IS NULL OR reason = ?1) "
                "UNION ALL "
                "SELECT id + ?3, url, reason, attempts, status, coalesce(detail, ''), coalesce(final_url, ''), "
                "coalesce(origin, '') FROM pages WHERE reason IS NOT NULL AND (?1 IS NULL OR reason = ?1) ORDER BY 1",
                (reason, PAGE, PAGES),
            )
            for index, url, why, *rest in rows:
                yield MissRow(index if index < PAGES else None, url, why, _is_later(why), *rest)

    def records(self) -> Iterator[Record]:
        """Stored pictures in order of their position."""
        with self._reading() as db:
            for values in db.execute(f"SELECT {RECORD_COLUMNS} FROM targets WHERE reason IS NULL ORDER BY id"):
                yield record_of(values)

    def settled(self) -> Iterator[Settled]:
        """All that have ended, in order of their position."""
        with self._reading() as db:
            yield from map(settled_of, db.execute(f"SELECT {SETTLED_COLUMNS} FROM targets ORDER BY id"))

    def fact(self, name: str) -> Any:
        """What the journal notes of the run itself: `settings`, `mark`."""
        with self._reading() as db:
            found = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return found and found[0]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect_to_read(self._path)) as db:
                yield db
        except sqlite3.DatabaseError as error:
            raise damaged(self._path, error) from error


def _reasons(db: sqlite3.Connection) -> list[ReasonCount]:
    # With a bare min(id) SQLite takes the other bare columns from that row: the first example of each reason.
    rows = db.execute(
        "SELECT reason, count(*), min(id), url, coalesce(detail, '') FROM ("
        "SELECT id, url, reason, detail FROM targets WHERE reason IS NOT NULL AND reason != ?1 "
        "UNION ALL SELECT id + ?2, url, reason, detail FROM pages WHERE reason IS NOT NULL) "
        "GROUP BY reason ORDER BY 2 DESC, 1", (PAGE, PAGES),
    )  # fmt: skip
    return [ReasonCount(reason, _is_later(reason), count, url, detail) for reason, count, _, url, detail in rows]


def _depths(db: sqlite3.Connection) -> list[Depth]:
    """Pages, and the pictures found in them, by their distance from what was given."""
    base = db.execute("SELECT value FROM facts WHERE name = ?", (BASE,)).fetchone()
    rows = db.execute(
        "SELECT depth, count(*) FILTER (WHERE ended_at IS NOT NULL AND reason IS NULL), "
        "count(*) FILTER (WHERE reason IS NOT NULL), count(*) FILTER (WHERE ended_at IS NULL) "
        f"FROM pages WHERE kind NOT IN {NO_PAGES} GROUP BY depth ORDER BY depth"
    ).fetchall()
    pictures = {
        depth: counts
        for depth, *counts in db.execute(
            "SELECT pages.depth, count(*) FILTER (WHERE targets.id IS NOT NULL AND targets.reason IS NULL), "
            "count(*) FILTER (WHERE targets.reason IS NOT NULL), count(*) FILTER (WHERE targets.id IS NULL) "
            "FROM found JOIN pages ON pages.id = found.page LEFT JOIN targets ON targets.id = found.id - 1 + ? "
            "GROUP BY pages.depth",
            (base[0] if base else 0,),
        )
    }
    return [Depth(depth, *counts, *pictures.get(depth, (0, 0, 0))) for depth, *counts in rows]


def _worst_hosts(db: sqlite3.Connection) -> list[tuple[str, int, int]]:
    missed = db.execute(
        f"SELECT {_HOST}, count(*) FROM targets WHERE reason IS NOT NULL AND reason != '{PAGE}' "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_HOSTS}"
    ).fetchall()
    marks = ", ".join("?" * len(missed))
    total = dict(
        db.execute(
            f"SELECT {_HOST}, count(*) FROM targets WHERE {_HOST} IN ({marks}) GROUP BY 1", [host for host, _ in missed]
        )
    )
    return [(host, count, total[host]) for host, count in missed]


def _rates(db: sqlite3.Connection, first: float | None, last: float | None) -> list[tuple[float, float, int]]:
    """Targets ended in each of some equal spans of the run."""
    if first is None or last is None or last <= first:
        return []
    span = (last - first) / _SPANS
    rows = dict(
        db.execute(
            "SELECT min(cast((ended_at - ?) / ? AS INTEGER), ?), count(*) FROM targets GROUP BY 1",
            (first, span, _SPANS - 1),
        )
    )
    return [(first + n * span, span, rows.get(n, 0)) for n in range(_SPANS)]


def _is_later(reason: str) -> bool:
    return any(known.value == reason and known.later for known in Reason)
