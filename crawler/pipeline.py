"""The loop: every target goes through fetch, process and store, and ends in the journal, whatever happens.

Each stage is bounded, so that a slow one holds the ones before it back: a fetch slot is only free again when the body
it brought has found room before the workers. Knows only ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from crawler import urls
from crawler.clock import Clock
from crawler.errors import InputChanged, InputError
from crawler.found import PAGES
from crawler.model import (
    NO_PAST,
    Answer,
    Fetched,
    Miss,
    Moved,
    Outcome,
    Past,
    Picture,
    Postponed,
    Reason,
    Receipt,
    Target,
    Twin,
    Unchanged,
    Visit,
)
from crawler.ports import Fetcher, Frontier, Journal, Observer, Processor, Source, Store
from crawler.search import Search
from crawler.stages import Stopwatch

_NO_OTHER = frozenset({
    Reason.DUPLICATE, Reason.OPTED_OUT, Reason.TOO_SMALL, Reason.TOO_BIG, Reason.WRONG_ASPECT, Reason.TOO_FEW_BYTES,
    Reason.WRONG_HASH, Reason.DROPPED, Reason.TRANSFORM_FAILED,
})  # fmt: skip
"""What is said of the picture itself, and not of one version of it."""

_LOOK_AGAIN = 0.1
"""Seconds between two looks at a store that has no room."""

Deliver = Callable[[Outcome], Awaitable[None]]
Retry = Callable[[Miss, Visit], float | None]


class Pipeline:
    """One run over one source.

    Args:
        concurrency: fetches under way at once.
        backlog: bodies that may wait for the workers or be in them.
        retry: seconds before a failed visit is tried again, None for never.
        deliver: is awaited with every outcome; a slow taker slows the run.
        stopwatch: is told how long the store takes.
        search: what is done with pages; without it there are none.
    """

    def __init__(
        self,
        source: Source,
        frontier: Frontier,
        fetcher: Fetcher,
        processor: Processor,
        store: Store,
        journal: Journal,
        observer: Observer,
        clock: Clock,
        *,
        concurrency: int,
        backlog: int,
        retry: Retry,
        deliver: Deliver | None = None,
        stopwatch: Stopwatch | None = None,
        search: Search | None = None,
    ) -> None:
        self._source = source
        self._frontier = frontier
        self._fetcher = fetcher
        self._processor = processor
        self._store = store
        self._journal = journal
        self._observer = observer
        self._clock = clock
        self._retry = retry
        self._deliver = deliver
        self._stopwatch = stopwatch or Stopwatch()
        self._slots = asyncio.Semaphore(concurrency)
        self._room = asyncio.Semaphore(backlog)
        self._fetches: dict[Visit, asyncio.Task[None]] = {}
        self._search = search
        self._feeders: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._fed = 0
        self._stopping = False
        self._failure: InputError | None = None
        self.skipped = 0
        self.pages = 0
        self.fetching = 0
        self.processing = 0
        self.storing = 0

    async def run(self) -> None:
        """Run until the source is empty and every target has ended, or until stopped and drained.

        Raises:
            CrawlerError: the run cannot go on; what was settled is in the journal.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                feeds = [self._feed()] if self._search is None else [self._feed(), *self._feeds_of(self._search)]
                for feed in feeds:
                    self._feeders.add(group.create_task(self._until_fed(feed), name="crawler-feeder"))
                if self._stopping:
                    self._stop_feeding()
                await self._dispatch(group)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            self._frontier.stop()
        if self._failure is not None:
            raise self._failure

    def stop(self, drop_fetches: bool = False) -> None:
        """Fetch nothing more; what has been fetched is processed and stored. `drop_fetches` gives up what is under way."""
        self._stopping = True
        self._frontier.stop()
        self._store.stop()
        self._stop_feeding()
        if drop_fetches:
            for task in self._fetches.values():
                task.cancel()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def _stop_feeding(self) -> None:
        for feeder in self._feeders:
            feeder.cancel()

    async def _until_fed(self, feed: Coroutine[Any, Any, None]) -> None:
        """Feed, and close the frontier when there is nobody else who does."""
        try:
            await feed
        finally:
            self._fed += 1
        if self._fed == len(self._feeders):
            self._frontier.close()

    async def _feed(self) -> None:
        """Source to frontier, past what an earlier run has settled.

        A list that cannot be read to its end ends the run when all that could be read of it has ended.
        """
        try:
            async with aclosing(self._source.batches()) as batches:  # what it has open is closed when this is cancelled
                async for targets in batches:
                    if self._search is not None:
                        targets = await self._without_pages(self._search, targets)
                    await self._feed_batch(targets)
        except InputChanged:
            raise
        except InputError as error:
            self._failure = error
        if self._search is not None:
            await self._search.given(None if self._failure else self._source.total)

    async def _feed_batch(self, targets: Sequence[Target]) -> None:
        if not targets:
            return
        while not self._store.has_room(targets[0].index, self._under_way()) and (
            self._under_way() or self._store.publishing
        ):
            await self._clock.sleep(_LOOK_AGAIN)
        settled = {target.index for target in await self._journal.settled(targets)}
        self.skipped += len(settled)
        fresh = [target for target in targets if target.index not in settled] if settled else targets
        past = await self._journal.past(fresh) if fresh else {}
        for target in fresh:
            await self._admit(target, past.get(target.index, NO_PAST))

    # What is found.

    def _feeds_of(self, search: Search) -> Sequence[Coroutine[Any, Any, None]]:
        return self._feed_pictures(search), self._feed_pages(search)

    async def _without_pages(self, search: Search, targets: Sequence[Target]) -> Sequence[Target]:
        """What is given as pages goes to the pages, the rest is for the frontier."""
        rest, missed = await search.give(targets)
        for miss in missed:
            self._observer.note(Outcome(miss.target, miss=miss))
            if self._deliver is not None:
                await self._deliver(Outcome(miss.target, miss=miss))
        return rest

    async def _feed_pictures(self, search: Search) -> None:
        async with aclosing(search.findings.pictures()) as found:
            async for targets in found:
                if search.listing is not None:
                    for target in targets:
                        await search.listing(target)
                else:
                    await self._feed_batch(search.known(targets))

    async def _feed_pages(self, search: Search) -> None:
        async with aclosing(search.findings.pages()) as found:
            async for targets in found:
                for target in search.known(targets):
                    await self._admit(target, NO_PAST)
                search.close_if_done()

    def _under_way(self) -> int:
        """Targets that have not ended: what the store waits for can still come."""
        return self._frontier.waiting() + self.fetching + self.processing + self.storing

    async def _admit(self, target: Target, past: Past) -> None:
        at = f"{target.origin}: " if target.origin and target.index < PAGES else ""
        if self._search is not None:
            self._search.began(target)
        if target.found is not None and target.found.data is not None and self._search is not None:
            await self._keep_inline(self._search.inline(target), Visit(target, past=past))
            return
        if target.flaw:
            miss = Miss(target, Reason.BAD_ROW, f"{at}{target.flaw}", asked=False)
            await self._finish(Outcome(target, miss=miss))
            return
        try:
            url = urls.parse(target.url)
        except urls.BadURL as error:
            await self._finish(Outcome(target, miss=Miss(target, Reason.BAD_URL, f"{at}{error}", asked=False)))
            return
        if past.same_as is not None:
            detail = f"{at}the same address as position {past.same_as} of the input"
            await self._finish(Outcome(target, miss=Miss(target, Reason.DUPLICATE, detail, asked=False)))
            return
        visit = Visit(target, target.url, urls.host_key(url), past=past)
        self._fetcher.expect(visit)
        await self._frontier.add(visit)

    async def _keep_inline(self, fetched: Fetched, visit: Visit) -> None:
        """A picture that came with its page goes to the workers as it is."""
        await self._room.acquire()
        self.processing += 1
        visit.began = self._clock.monotonic()
        assert self._group is not None
        self._group.create_task(self._keep(fetched, visit))

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._slots.acquire()
            visit = await self._frontier.take()
            if visit is None:
                return
            self._fetches[visit] = group.create_task(self._carry(visit))

    async def _carry(self, visit: Visit) -> None:
        """One request of one target. Its slot is free as soon as its body has room before the workers."""
        try:
            answer = await self._fetch(visit)
            if isinstance(answer, Fetched):
                if returns := visit.target.found is not None and visit.has_other_version:
                    self._frontier.hold_open()
                await self._make_room(answer, visit)
            else:
                await self._follow_up(visit, answer)
        finally:
            self._fetches.pop(visit, None)
            self._slots.release()
        if isinstance(answer, Fetched):
            try:
                await self._keep(answer, visit)
            finally:
                if returns:
                    self._frontier.let_go()

    async def _fetch(self, visit: Visit) -> Answer:
        visit.began = visit.began or self._clock.monotonic()
        self.fetching += 1
        answer = None
        try:
            answer = visit.refused or await self._fetcher.fetch(visit, self._frontier.sent)
            return answer
        finally:
            self.fetching -= 1
            self._frontier.release(visit, answer)

    async def _follow_up(self, visit: Visit, answer: Answer) -> None:
        """What comes after an answer that is no body."""
        if isinstance(answer, Moved):
            if self._search is None or not await self._search.led_away(visit, answer.url):
                visit.url, visit.host = answer.url, answer.host
                self._frontier.retry(visit)
        elif isinstance(answer, Postponed):
            self._frontier.retry(visit)
        elif isinstance(answer, Unchanged):
            self.skipped += 1
            if self._search is not None:
                self._search.finished(visit.target)
        elif isinstance(answer, Miss):
            visit.attempts += answer.asked or visit.redirects > 0
            if not self._again(visit, answer) and not self._other_version(visit, answer):
                await self._finish(self._ended(visit, answer), visit.past)

    async def _make_room(self, fetched: Fetched, visit: Visit) -> None:
        # From here on it is not given up by stop(): the bytes are here, and what is left is our own work.
        self._fetches.pop(visit, None)
        self.processing += 1
        try:
            await self._room.acquire()
        except BaseException:
            self.processing -= 1
            self._fetcher.done(fetched)
            raise

    def _again(self, visit: Visit, miss: Miss) -> bool:
        delay = self._retry(miss, visit) if miss.asked else None
        if self._stopping and delay is not None:
            return True  # stopped in the middle of its tries: not settled, the next run gives it all of them
        if delay is None:
            return False
        self._start_over(visit, delay)
        return True

    def _other_version(self, visit: Visit, miss: Miss) -> bool:
        """Try the next version of a picture that could not be had, if there is one."""
        if not visit.has_other_version or miss.reason in _NO_OTHER or self._stopping:
            return False
        visit.version += 1
        visit.failures = 0
        self._start_over(visit, 0.0)
        return True

    def _start_over(self, visit: Visit, delay: float) -> None:
        visit.start_over()
        visit.host = urls.host_key(urls.parse(visit.url))
        self._frontier.retry(visit, delay)

    async def _keep(self, fetched: Fetched, visit: Visit) -> None:
        """Body to settled outcome. Its room and its bytes are held to the end, so that a slow disk or journal holds
        fetching back and nothing piles up behind it.
        """
        visit.attempts += 1
        try:
            outcome = await self._outcome(fetched, visit)
            if outcome is None:
                self.skipped += 1
                if self._search is not None:
                    self._search.finished(visit.target)
            elif outcome.miss is None or not self._other_version(visit, outcome.miss):
                await self._finish(outcome, visit.past)
        finally:
            self._fetcher.done(fetched)
            self._room.release()

    async def _outcome(self, fetched: Fetched, visit: Visit) -> Outcome | None:
        """How the target of a body ends; None if it is what an earlier run stored."""
        size, past = len(fetched.body), visit.past
        if self._search is not None and visit.target.readable:
            read = await self._read(self._search, fetched, visit)
            if not isinstance(read, Fetched):
                return read
            fetched = read
        result = await self._process(fetched)
        if isinstance(result, Miss):
            return self._ended(visit, result, size)
        if past.file_name:
            if past.sha256 == result.sha256:
                return None
            await self._store.retire(visit.target.index, past.files, partial(self._journal.forget, visit.target))
        if (twin := await self._journal.twin(result)) is not None:
            return self._ended(visit, _same(result, twin), size)
        receipt = await self._put(result, past.file_name)
        return Outcome(visit.target, result, receipt, None, visit.attempts, self._clock.monotonic() - visit.began, size)

    async def _read(self, search: Search, fetched: Fetched, visit: Visit) -> Fetched | Outcome | None:
        """What a body that may be a page comes to; the body again, under the name of its picture, if it is none."""
        try:
            found = await search.read(fetched, visit)
        except BaseException:
            self.processing -= 1
            raise
        if isinstance(found, Fetched):
            return found
        self.processing -= 1
        if isinstance(found, Miss):
            return self._ended(visit, found, len(fetched.body))
        if found is None:
            return None
        seconds = self._clock.monotonic() - visit.began
        return Outcome(visit.target, None, None, None, visit.attempts, seconds, len(fetched.body), found)

    async def _process(self, fetched: Fetched) -> Picture | Miss:
        try:
            return await self._processor.process(fetched)
        finally:
            self.processing -= 1

    async def _put(self, picture: Picture, instead_of: str) -> Receipt:
        self.storing += 1
        began = self._clock.monotonic()
        try:
            return await self._store.put(picture, instead_of)
        finally:
            self.storing -= 1
            self._stopwatch.store.add(self._clock.monotonic() - began)

    def _ended(self, visit: Visit, miss: Miss, size: int = 0) -> Outcome:
        seconds = self._clock.monotonic() - visit.began
        return Outcome(visit.target, None, None, miss, visit.attempts, seconds, size)

    async def _finish(self, outcome: Outcome, past: Past = NO_PAST) -> None:
        target, miss, search = outcome.target, outcome.miss, self._search
        same = miss is not None and miss.reason is Reason.DUPLICATE
        if search is not None and target.index >= PAGES:
            if miss is not None:
                await search.findings.miss(miss, outcome.attempts)
        elif miss is None or same or not past.file_name:  # what is stored stays so when it cannot be had again
            await self._journal.settle(outcome)
        if search is not None:
            search.finished(target)
        if outcome.pictures is not None:
            self.pages += target.index < PAGES
            return
        self._observer.note(outcome)
        if self._deliver is not None:
            await self._deliver(outcome)


def _same(picture: Picture, twin: Twin) -> Miss:
    detail = f"{twin.likeness} as position {twin.index} of the input, {twin.url}"
    return Miss(picture.target, Reason.DUPLICATE, detail, picture.fetched.status, same_as=twin.index)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error behind a group: the tasks after it fail only because it ended the group."""
    error: BaseException = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
