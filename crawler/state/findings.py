"""Pages and pictures that a crawl finds, as the pipeline needs them: what was found goes in, what waits comes out in order."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from crawler import urls
from crawler.clock import Clock
from crawler.discover_settings import DiscoverSettings
from crawler.found import PAGES, Link, Origin, Page
from crawler.model import Miss, Reason, Target
from crawler.state.found_tables import FoundTables, Given, Tally, picture_address
from crawler.state.shelf import Ask

_BATCH = 256
_PAGES_AT_ONCE = 64
BASE = "found_base"
"""Name of the fact in which the first index of what is found is noted."""


class TableFindings:
    """The Findings of a run.

    Args:
        ask: asks the database in its own thread.
        tables: made there.
        base: index of the first picture found; None while it is not known.
        pages_ahead: pages that may be under way at once.
        keep_base: note where the numbers begin.
    """

    def __init__(
        self, ask: Ask, tables: FoundTables, settings: DiscoverSettings, clock: Clock, base: int | None, pages_ahead: int,
        keep_base: bool = True,
    ) -> None:  # fmt: skip
        self._ask = ask
        self._tables = tables
        self._settings = settings
        self._clock = clock
        self.base = base
        self._pages_ahead = pages_ahead
        self._keep_base = keep_base
        self._under_way = 0
        self._handed: set[int] = set()
        self._closed = False
        self._changed = asyncio.Event()
        self.tally = Tally(tables.tally.waiting, tables.tally.visited, tables.tally.found)

    # What goes in.

    async def give(self, targets: Sequence[Target]) -> Sequence[Miss]:
        """Add pages that were given; returns those that cannot be visited and were not known yet."""
        given = [one for target in targets for one in self._given(target)]
        missed: list[Miss] = await self._ask(lambda _: self._tables.give(given, self._clock.wall()))
        self._news()
        return missed

    async def record(self, target: Target, page: Page, final_url: str, status: int, attempts: int) -> int:
        """A page has been read: what it gave is kept, and it has ended. Returns how many pictures are new."""
        now = self._clock.wall()
        new: int = await self._ask(lambda _: self._tables.record(target, page, final_url, status, attempts, now))
        self._ended(target)
        await self._note_base()
        return new

    async def miss(self, miss: Miss, attempts: int) -> None:
        """A page could not be read."""
        await self._ask(lambda _: self._tables.miss(miss, attempts, self._clock.wall()))
        self._ended(miss.target)

    async def claims(self, target: Target, url: str) -> bool:
        """Take an address to which a page has led, so that nobody else visits it. False if it is known as another page."""
        found: bool = await self._ask(lambda _: self._tables.claims(target, url, self._clock.wall()))
        return found

    async def as_picture(self, target: Target) -> Target | None:
        """What was taken for a page is a picture: its target among the pictures, None if that is there already."""
        place: int | None = await self._ask(lambda _: self._as_picture(target))
        self._ended(target)
        if place is None or self.base is None:
            return None
        found = await self._ask(lambda _: self._tables.pictures(place - 1, 1, self.base or 0, self._settings.caption))
        picture: Target = found[0][0]
        return picture

    async def begin(self, base: int) -> None:
        """All that was given is known: pictures found are numbered from here, unless an earlier run has begun elsewhere."""
        if self.base is None:
            self.base = base
            await self._note_base()
            self._news()

    async def _note_base(self) -> None:
        """Once there is a page, later runs must give the same numbers."""
        if self._keep_base and self.base is not None and self.tally.visited:
            self._keep_base, base = False, self.base
            await self._ask(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (BASE, base)))

    def close(self) -> None:
        """Nothing more will be found: what waits is handed out, and then it ends."""
        self._closed = True
        self._changed.set()

    # What comes out.

    async def pictures(self) -> AsyncGenerator[Sequence[Target], None]:
        """Pictures found, in order of their index; ends when nothing more will be."""
        after = 0
        while True:
            while self.base is None or (self.tally.found <= after and not self._closed):
                if self._closed and self.base is None:
                    return
                await self._wait()
            targets, after = await self._ask(self._pictures_after(after, self.base))
            if targets:
                taken, self._handed = self._handed, set()
                yield [one for one in targets if one.index not in taken] if taken else targets
                self._handed |= {index for index in taken if index > targets[-1].index}
            elif self._closed:
                return

    async def pages(self) -> AsyncGenerator[Sequence[Target], None]:
        """Pages that wait, in the order in which they were found, a few ahead of what is visited; none of them where all that
        were next have been left.
        """
        after = 0
        while True:
            while self._under_way >= self._pages_ahead or self.tally.waiting <= self._under_way:
                if self._closed:
                    return
                await self._wait()
            targets, after = await self._ask(self._pages_after(after))
            self._under_way += len(targets)
            self._news()  # some may have been left
            yield targets

    def _pictures_after(self, after: int, base: int) -> Callable[[sqlite3.Connection], Any]:
        return lambda _: self._tables.pictures(after, _BATCH, base, self._settings.caption)

    def _pages_after(self, after: int) -> Callable[[sqlite3.Connection], Any]:
        most = min(_PAGES_AT_ONCE, self._pages_ahead - self._under_way)
        return lambda _: self._tables.pages(after, most)

    @property
    def idle(self) -> bool:
        """No page waits or is under way."""
        return self.tally.waiting == 0

    @property
    def count(self) -> int:
        """Pictures found."""
        return self.tally.found

    async def cuts(self) -> Mapping[str, tuple[int, str]]:
        """What was cut off so far, by why: how often, and an example."""
        found: Mapping[str, tuple[int, str]] = await self._ask(lambda _: self._tables.cuts())
        return found

    def _ended(self, target: Target) -> None:
        if target.index >= PAGES:
            self._under_way -= 1
        self._news()

    def _news(self) -> None:
        now = self._tables.tally  # a copy, for it changes in the middle of a transaction
        self.tally = Tally(now.waiting, now.visited, now.found)
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _as_picture(self, target: Target) -> int | None:
        place = self._tables.as_picture(target, self._clock.wall())
        if place is not None and self.base is not None:
            self._handed.add(self.base + place - 1)
        return place

    def _given(self, target: Target) -> list[Given]:
        """A page that was given, and the sitemaps of its site where they are wanted."""
        try:
            if target.flaw:
                raise _Flawed(Reason.BAD_ROW, target.flaw)
            url = urls.parse(target.url)
        except (urls.BadURL, _Flawed) as error:
            reason = error.reason if isinstance(error, _Flawed) else Reason.BAD_URL
            at = f"{target.origin}: " if target.origin else ""
            found = Target(target.index, target.url, target.origin, found=Origin("page"))
            miss = Miss(found, reason, f"{at}{error}", asked=False)
            link = Link(target.url, picture_address(f"{target.url} {target.origin}"), 0, "", 0, "page", "given")
            return [Given(found, link, (), miss)]
        host, address = urls.host_key(url), urls.page_fingerprint(target.url)
        given = [Given(target, Link(str(url), address, 0, host, 0, "page", "given"))]
        if self._settings.sitemap:
            origin = str(url.origin())
            robots = f"{origin}/robots.txt"
            link = Link(robots, urls.page_fingerprint(robots), 0, host, 0, "robots", "given")
            given.append(Given(target, link, (f"{origin}/sitemap.xml",)))
        return given


class _Flawed(ValueError):
    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def looked_for(settings: DiscoverSettings) -> str:
    """What decides which pages are visited and what is found in them, to be compared by a later run."""
    others = ("max_pages", "max_pages_per_host", "max_pages_per_pattern", "max_page_bytes", "caption")
    return repr({field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in others})
