"""The pages of a crawl, visited or not, and the pictures found in them, in the journal's database: the frontier that a kill
leaves behind. Every page is written with all that it gave, in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from crawler import urls
from crawler.discover_settings import BARREN_AFTER, DiscoverSettings
from crawler.found import PAGES, FoundPicture, Kind, Link, Origin, Page
from crawler.model import Miss, Target, found_target
from crawler.state.transaction import transaction

NO_PAGES = "('alias', 'picture', 'cut')"
"""Kinds of rows that are no pages that have been visited, for SQL."""
_MOST_DATA = 4_000_000
"""Bytes of pictures that stood in pages, handed out at a time."""
_UNTRIED = 20
"""Pages of a pattern that are visited before it is told whether it leads to pictures."""

TABLES = """
-- pages, visited (ended_at) or not. Of kind `alias` is an address that led to another page, `picture` one that was a picture
-- after all, `cut` one that was left when its pattern gave nothing any more
CREATE TABLE pages (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    address INTEGER NOT NULL UNIQUE,  -- fingerprint, sessions left out
    pattern INTEGER,                  -- what its address has in common with others
    depth INTEGER NOT NULL,
    root INTEGER NOT NULL,            -- the page given from which it was reached
    kind TEXT NOT NULL,
    rule TEXT NOT NULL,
    origin TEXT,                      -- of one that was given: file and line; else the page it was found on
    fallbacks TEXT,
    alias_of INTEGER,                 -- of an alias: the page that led to it
    ended_at REAL, reason TEXT, status INTEGER, attempts INTEGER, detail TEXT, final_url TEXT,
    pictures INTEGER, links INTEGER   -- new ones that it gave
);
CREATE INDEX waiting_pages ON pages (id) WHERE ended_at IS NULL;
-- pictures found, in the order of their numbers; those that have ended are in targets too
CREATE TABLE found (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    address INTEGER NOT NULL UNIQUE,
    page INTEGER NOT NULL,
    position INTEGER NOT NULL,
    told TEXT,                        -- JSON: rule, fallbacks, texts
    data BLOB                         -- of one that stood in the page itself
);
-- of each host and pattern: pages known, visited, new pictures they gave, and how many visited in a row gave nothing new
CREATE TABLE budgets (
    id INTEGER PRIMARY KEY, pages INTEGER NOT NULL, visited INTEGER NOT NULL, pictures INTEGER NOT NULL, barren INTEGER NOT NULL
);
CREATE TABLE cuts (why TEXT PRIMARY KEY, count INTEGER NOT NULL, example TEXT NOT NULL) WITHOUT ROWID;
"""

_PICTURES = (
    "SELECT found.id, found.url, coalesce(pages.final_url, pages.url), pages.depth, found.position, found.told, found.data "
    "FROM found JOIN pages ON pages.id = found.page WHERE found.id > ? ORDER BY found.id LIMIT ?"
)
_WAITING = (
    "SELECT one.id, one.url, one.depth, one.kind, one.rule, coalesce(one.origin, ''), one.fallbacks, root.url, root.final_url, "
    "coalesce(budgets.barren, 0) FROM pages AS one JOIN pages AS root ON root.id = one.root "
    "LEFT JOIN budgets ON budgets.id = one.pattern WHERE one.id > ? AND one.ended_at IS NULL ORDER BY one.id LIMIT ?"
)
_NEW_PAGE = (
    "INSERT OR IGNORE INTO pages (url, address, pattern, depth, root, kind, rule, origin, fallbacks) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Given(NamedTuple):
    """A page that was given. `miss`: why it cannot be visited at all."""

    target: Target
    link: Link
    fallbacks: tuple[str, ...] = ()
    miss: Miss | None = None


@dataclass(slots=True)
class Tally:
    """How many there are: pages that wait, pages visited, pictures found."""

    waiting: int = 0
    visited: int = 0
    found: int = 0


class _Budget(NamedTuple):
    pages: int
    visited: int
    pictures: int
    barren: int

    @property
    def promises(self) -> bool:
        """Pages of this pattern have led to pictures, or too few were visited to tell."""
        return self.visited < _UNTRIED or self.pictures > 0


_NOTHING = _Budget(0, 0, 0, 0)
BARREN = "barren_pattern"


class FoundTables:
    """Reads and writes the tables of pages and of what was found. All calls from the database's thread.

    Args:
        db: a connection without a transaction.
        fresh: visit all pages again, with nothing cut so far.
    """

    def __init__(
        self, db: sqlite3.Connection, settings: DiscoverSettings, again: Iterable[str] = (), fresh: bool = False
    ) -> None:
        self._db = db
        self._settings = settings
        if fresh:
            db.execute("UPDATE pages SET kind = 'page' WHERE kind IN ('cut', 'picture')")
            db.execute("UPDATE pages SET ended_at = NULL, reason = NULL WHERE kind NOT IN ('alias', 'given')")
            db.execute("UPDATE budgets SET barren = 0")
            db.execute("DELETE FROM cuts")
            db.execute("DELETE FROM targets WHERE reason = 'page'")
        for reason in again:
            db.execute("UPDATE pages SET ended_at = NULL, reason = NULL WHERE reason = ?", (reason,))
        self.tally = Tally(*db.execute(
            "SELECT count(*) FILTER (WHERE ended_at IS NULL), count(*) FILTER (WHERE ended_at IS NOT NULL AND reason IS NULL "
            f"AND kind NOT IN {NO_PAGES}), (SELECT count(*) FROM found) FROM pages"
        ).fetchone())  # fmt: skip
        self._pages = db.execute("SELECT count(*) FROM pages WHERE kind != 'alias'").fetchone()[0]

    def give(self, pages: Sequence[Given], now: float) -> list[Miss]:
        """Add pages that were given. Returns the misses among them that are new."""
        missed = []
        with transaction(self._db):
            for target, link, fallbacks, miss in pages:
                if not self._insert(link, 0, target.origin, fallbacks):
                    continue
                if miss is None:
                    self.tally.waiting += 1
                    continue
                self._db.execute(
                    "UPDATE pages SET ended_at = ?, reason = ?, attempts = 0, detail = ? WHERE address = ?",
                    (now, miss.reason.value, miss.detail[:300], link.address),
                )
                missed.append(miss)
        return missed

    def record(self, target: Target, page: Page, final_url: str, status: int, attempts: int, now: float) -> int:
        """A page has been read: add what it gave, and say that it has ended. Returns how many pictures are new."""
        with transaction(self._db):
            number, root, pattern = self._own(target)
            if final_url != target.url and self._is_copy(number, final_url, root, now):
                page = Page(page.kind, cuts={"moved": (1, target.url)})
            new = self._add_pictures(page.pictures, number)
            cuts = dict(page.cuts)
            links, elsewhere = self._add_links(page.links, target, root, pattern, cuts)
            self._end(number, final_url if final_url != target.url else None, status, attempts, new, links, now)
            if pattern is not None:
                self._judge(target, pattern, new, bool(new or elsewhere))
            self._add_cuts(cuts)
        self.tally.visited += 1
        self.tally.found += new
        return new

    def miss(self, miss: Miss, attempts: int, now: float) -> None:
        """A page could not be read."""
        self._db.execute(
            "UPDATE pages SET ended_at = ?, reason = ?, status = ?, attempts = ?, detail = ?, final_url = ? WHERE id = ?",
            (now, miss.reason.value, miss.status or None, attempts, miss.detail[:300], miss.final_url or None,
             miss.target.index - PAGES),
        )  # fmt: skip
        self.tally.waiting -= 1

    def as_picture(self, target: Target, now: float) -> int | None:
        """What was given as a page is a picture. Returns its place among those found; None if it is there already."""
        with transaction(self._db):
            number = target.index - PAGES
            rule = target.found.rule if target.found is not None else "given"
            from_page = self._db.execute(
                "SELECT id FROM pages WHERE address = ?", (urls.page_fingerprint(target.origin),)
            ).fetchone()
            new = self._add_pictures((FoundPicture(target.url, rule),), from_page[0] if from_page else number)
            self._end(number, None, 200, 1, new, 0, now)
            self._db.execute("UPDATE pages SET kind = 'picture' WHERE id = ?", (number,))
        self.tally.found += new
        return self._db.execute("SELECT max(id) FROM found").fetchone()[0] if new else None

    def pictures(self, after: int, most: int, base: int, caption: str) -> tuple[list[Target], int]:
        """Pictures found, and the last of their places."""
        found: list[Target] = []
        held = 0
        cursor = self._db.execute(_PICTURES, (after, most))
        for row in cursor:
            found.append(_picture(row, base, caption))
            after = row[0]
            held += len(row[-1] or b"")
            if held > _MOST_DATA:
                break
        cursor.close()
        return found, after

    def pages(self, after: int, most: int) -> tuple[list[Target], int]:
        """Pages that wait, and the last of their places."""
        found: list[Target] = []
        while not found:  # those of a pattern that has given nothing for long are left
            rows = self._db.execute(_WAITING, (after, most)).fetchall()
            if not rows:
                break
            after = rows[-1][0]
            left = [row for row in rows if row[-1] >= BARREN_AFTER]
            if left:
                self._leave(left)
            found = [_page(row) for row in rows if row not in left]
        return found, after

    def _leave(self, rows: Sequence[Sequence[Any]]) -> None:
        with transaction(self._db):
            self._db.executemany(
                "UPDATE pages SET kind = 'cut', ended_at = 0 WHERE id = ?", [(row[0],) for row in rows]
            )
            self._add_cuts({BARREN: (len(rows), rows[0][1])})
        self.tally.waiting -= len(rows)

    def claims(self, target: Target, url: str, now: float) -> bool:
        """Take an address to which a page has led, so that nobody else visits it. False if it is known as another page."""
        number = target.index - PAGES
        with transaction(self._db):
            (root,) = self._db.execute("SELECT root FROM pages WHERE id = ?", (number,)).fetchone()
            return not self._is_copy(number, url, root, now)

    def cuts(self) -> dict[str, tuple[int, str]]:
        return {
            why: (count, example) for why, count, example in self._db.execute("SELECT * FROM cuts ORDER BY count DESC")
        }

    # Pieces of a transaction.

    def _own(self, target: Target) -> tuple[int, int, int | None]:
        """Number, root and pattern of a page; one that was given among pictures gets its row now."""
        if target.index >= PAGES:
            number = target.index - PAGES
            root, pattern = self._db.execute("SELECT root, pattern FROM pages WHERE id = ?", (number,)).fetchone()
            return number, root, pattern
        parsed = urls.parse(target.url)
        link = Link(target.url, urls.page_fingerprint(target.url), 0, urls.host_key(parsed), 0, "page", "given")
        self._insert(link, 0, target.origin, ())
        number = self._db.execute("SELECT id FROM pages WHERE address = ?", (link.address,)).fetchone()[0]
        self._db.execute("UPDATE pages SET kind = 'given' WHERE id = ?", (number,))
        self.tally.waiting += 1
        return number, number, None

    def _judge(self, target: Target, pattern: int, new: int, fruitful: bool) -> None:
        """Note what a page has given, for its pattern and for that of the page that led to it."""
        self._db.execute(
            "UPDATE budgets SET visited = visited + 1, pictures = pictures + ?, "
            f"barren = {'0' if fruitful else 'barren + 1'} WHERE id = ?", (new, pattern),
        )  # fmt: skip
        if new:
            self._db.execute(
                "UPDATE budgets SET barren = 0 WHERE id = (SELECT pattern FROM pages WHERE address = ?)",
                (urls.page_fingerprint(target.origin),),
            )

    def _is_copy(self, number: int, final_url: str, root: int, now: float) -> bool:
        """True if the address that a page led to is a page of its own; else it is taken, so that it is not visited too."""
        address = urls.page_fingerprint(final_url)
        known = self._db.execute("SELECT id, reason, alias_of FROM pages WHERE address = ?", (address,)).fetchone()
        if known is None:
            self._db.execute(
                "INSERT INTO pages (url, address, depth, root, kind, rule, ended_at, alias_of) "
                "VALUES (?, ?, 0, ?, 'alias', 'redirect', ?, ?)", (final_url, address, root, now, number),
            )  # fmt: skip
            return False
        return number not in (known[0], known[2]) and known[1] is None

    def _add_pictures(self, pictures: Sequence[FoundPicture], page: int) -> int:
        rows = (
            (one.url, picture_address(one.url), page, position, _told(one), one.data)
            for position, one in enumerate(pictures)
        )
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO found (url, address, page, position, told, data) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
        return self._db.total_changes - before

    def _add_links(
        self, links: Sequence[Link], target: Target, root: int, pattern: int | None, cuts: dict[str, tuple[int, str]]
    ) -> tuple[int, bool]:
        """Add the links that are new and within the budgets. Returns how many, and whether one is of another pattern."""
        new, elsewhere = 0, False
        for link in links:
            if self._db.execute("SELECT 1 FROM pages WHERE address = ?", (link.address,)).fetchone():
                continue
            before = self._budget(link.pattern)
            why = self._over_budget(link, before)
            if why:
                count, example = cuts.get(why, (0, link.url))
                cuts[why] = count + 1, example
            elif self._insert(link, root, target.url, ()):
                new += 1
                elsewhere |= link.pattern != pattern and before.promises
        self.tally.waiting += new
        return new, elsewhere

    def _over_budget(self, link: Link, of_pattern: _Budget) -> str:
        """The budget that a new page would go beyond, empty if there is none."""
        settings = self._settings
        if settings.max_pages and self._pages >= settings.max_pages:
            return "max_pages"
        if settings.max_pages_per_host and self._budget(_host_number(link.host)).pages >= settings.max_pages_per_host:
            return "max_pages_per_host"
        if settings.max_pages_per_pattern and of_pattern.pages >= settings.max_pages_per_pattern:
            return "max_pages_per_pattern"
        return BARREN if of_pattern.barren >= BARREN_AFTER else ""

    def _budget(self, number: int) -> _Budget:
        found = self._db.execute(
            "SELECT pages, visited, pictures, barren FROM budgets WHERE id = ?", (number,)
        ).fetchone()
        return _Budget(*found) if found else _NOTHING

    def _insert(self, link: Link, root: int, origin: str, fallbacks: tuple[str, ...]) -> bool:
        cursor = self._db.execute(
            _NEW_PAGE,
            (link.url, link.address, link.pattern, link.depth, root, link.kind, link.rule, origin,
             json.dumps(fallbacks) if fallbacks else None),
        )  # fmt: skip
        if not cursor.rowcount:
            return False
        if not root:
            self._db.execute("UPDATE pages SET root = id WHERE id = ?", (cursor.lastrowid,))
        self._pages += 1
        for number in (_host_number(link.host), link.pattern):
            self._db.execute(
                "INSERT INTO budgets VALUES (?, 1, 0, 0, 0) ON CONFLICT (id) DO UPDATE SET pages = pages + 1", (number,)
            )
        return True

    def _end(
        self, number: int, final_url: str | None, status: int, attempts: int, pictures: int, links: int, now: float
    ) -> None:
        self._db.execute(
            "UPDATE pages SET ended_at = ?, reason = NULL, status = ?, attempts = ?, final_url = ?, pictures = ?, links = ? "
            "WHERE id = ?", (now, status, attempts, final_url, pictures, links, number),
        )  # fmt: skip
        self.tally.waiting -= 1

    def _add_cuts(self, cuts: Mapping[str, tuple[int, str]]) -> None:
        self._db.executemany(
            "INSERT INTO cuts VALUES (?, ?, ?) ON CONFLICT (why) DO UPDATE SET count = count + excluded.count",
            ((why, count, example) for why, (count, example) in cuts.items()),
        )


def picture_address(url: str) -> int:
    """The fingerprint by which a picture is found once; also of one that stands in its page."""
    found = urls.fingerprint(url)
    return found if found is not None else urls.hash64(url)


def _host_number(host: str) -> int:
    return urls.hash64(f"host {host}")


def _told(picture: FoundPicture) -> str:
    told = {"rule": picture.rule, "fallbacks": picture.fallbacks, "alt": picture.alt, "title": picture.title,
            "figcaption": picture.figcaption, "link": picture.link}  # fmt: skip
    return json.dumps({name: value for name, value in told.items() if value})


def _picture(row: Sequence[Any], base: int, caption: str) -> Target:
    number, url, page, depth, position, told, data = row
    page = "" if page == url else page  # it was given itself
    texts = json.loads(told)
    fallbacks = tuple(texts.pop("fallbacks", ()))
    picture = FoundPicture(url, texts.pop("rule"), fallbacks, data=data, **texts)
    return found_target(base + number - 1, picture, page, depth, position, caption, "")


def _page(row: Sequence[Any]) -> Target:
    number, url, depth, kind, rule, origin, fallbacks, root, root_final, _ = row
    known: Kind = kind
    roots = root if root_final is None else f"{root} {root_final}"
    others = tuple(json.loads(fallbacks)) if fallbacks else ()
    return Target(
        PAGES + number, url, origin, found=Origin(known, "" if rule == "given" else origin, rule, depth, roots, others)
    )
