"""The loop: every target goes through fetch, process and store, and ends in the journal, whatever happens.

Each stage is bounded, so that a slow one holds the ones before it back: a fetch slot is only free again when the body
it brought has found room before the workers. Knows only ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from crawler import urls
from crawler.clock import Clock
from crawler.errors import InputChanged, InputError
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
from crawler.stages import Stopwatch

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
        self._feeder: asyncio.Task[None] | None = None
        self._stopping = False
        self._failure: InputError | None = None
        self.skipped = 0
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
                self._feeder = group.create_task(self._feed(), name="crawler-feeder")
                if self._stopping:
                    self._feeder.cancel()
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
        if self._feeder is not None:
            self._feeder.cancel()
        if drop_fetches:
            for task in self._fetches.values():
                task.cancel()

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def _feed(self) -> None:
        """Source to frontier, past what an earlier run has settled.

        A list that cannot be read to its end ends the run when all that could be read of it has ended.
        """
        try:
            await self._feed_all()
        except InputChanged:
            raise
        except InputError as error:
            self._failure = error
        self._frontier.close()

    async def _feed_all(self) -> None:
        async for targets in self._source.batches():
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

    def _under_way(self) -> int:
        """Targets that have not ended: what the store waits for can still come."""
        return self._frontier.waiting() + self.fetching + self.processing + self.storing

    async def _admit(self, target: Target, past: Past) -> None:
        at = f"{target.origin}: " if target.origin else ""
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
                await self._make_room(answer, visit)
            else:
                await self._follow_up(visit, answer)
        finally:
            self._fetches.pop(visit, None)
            self._slots.release()
        if isinstance(answer, Fetched):
            await self._keep(answer, visit)

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
            visit.url, visit.host = answer.url, answer.host
            self._frontier.retry(visit)
        elif isinstance(answer, Postponed):
            self._frontier.retry(visit)
        elif isinstance(answer, Unchanged):
            self.skipped += 1
        elif isinstance(answer, Miss):
            visit.attempts += answer.asked or visit.redirects > 0
            if not self._again(visit, answer):
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
        visit.start_over()
        visit.host = urls.host_key(urls.parse(visit.url))
        self._frontier.retry(visit, delay)
        return True

    async def _keep(self, fetched: Fetched, visit: Visit) -> None:
        """Body to settled outcome. Its room and its bytes are held to the end, so that a slow disk or journal holds
        fetching back and nothing piles up behind it.
        """
        visit.attempts += 1
        try:
            outcome = await self._outcome(fetched, visit)
            if outcome is None:
                self.skipped += 1
            else:
                await self._finish(outcome, visit.past)
        finally:
            self._fetcher.done(fetched)
            self._room.release()

    async def _outcome(self, fetched: Fetched, visit: Visit) -> Outcome | None:
        """How the target of a body ends; None if it is what an earlier run stored."""
        size, past = len(fetched.body), visit.past
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
        same = outcome.miss is not None and outcome.miss.reason is Reason.DUPLICATE
        if outcome.stored or same or not past.file_name:  # what is stored stays so when it cannot be had again
            await self._journal.settle(outcome)
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
