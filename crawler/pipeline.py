"""The loop: every target goes through fetch, process and store, and ends in the journal, whatever happens.

Each stage is bounded, so that a slow one holds the ones before it back: a fetch slot is only free again when the body
it brought has found room before the workers. Knows only ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from crawler import urls
from crawler.clock import Clock
from crawler.model import Fetched, Miss, Outcome, Picture, Reason, Receipt, Target
from crawler.ports import Fetcher, Frontier, Journal, Observer, Processor, Source, Store

Deliver = Callable[[Outcome], Awaitable[None]]
Retry = Callable[[Miss, int], float | None]


class Pipeline:
    """One run over one source.

    Args:
        concurrency: fetches under way at once.
        backlog: bodies that may wait for the workers or be in them.
        retry: seconds before a failed fetch is tried again after so many attempts, None for never.
        deliver: is awaited with every outcome; a slow taker slows the run.
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
        self._slots = asyncio.Semaphore(concurrency)
        self._room = asyncio.Semaphore(backlog)
        self._tries: dict[int, tuple[int, float]] = {}
        self._fetches: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._stopping = False
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

    def stop(self, drop_fetches: bool = False) -> None:
        """Fetch nothing more; what has been fetched is processed and stored. `drop_fetches` gives up what is under way."""
        self._stopping = True
        self._frontier.stop()
        if self._feeder is not None:
            self._feeder.cancel()
        if drop_fetches:
            for task in self._fetches:
                task.cancel()

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def _feed(self) -> None:
        """Source to frontier, past what an earlier run has settled."""
        async for targets in self._source.batches():
            settled = {target.index for target in await self._journal.settled(targets)}
            self.skipped += len(settled)
            for target in targets:
                if target.index not in settled:
                    await self._admit(target)
        self._frontier.close()

    async def _admit(self, target: Target) -> None:
        try:
            urls.parse(target.url)
        except urls.BadURL as error:
            at = f"{target.origin}: " if target.origin else ""
            await self._finish(Outcome(target, miss=Miss(target, Reason.BAD_URL, f"{at}{error}")))
        else:
            await self._frontier.add(target)

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._slots.acquire()
            target = await self._frontier.take()
            if target is None:
                return
            task = group.create_task(self._carry(target))
            self._fetches.add(task)
            task.add_done_callback(self._fetches.discard)

    async def _carry(self, target: Target) -> None:
        """One target, once through. Its slot is free as soon as its body has room before the workers."""
        attempts, began = self._tries.pop(target.index, (0, self._clock.monotonic()))
        attempts += 1
        try:
            fetched = await self._fetch(target)
            if isinstance(fetched, Miss) and not self._again(fetched, attempts, began):
                await self._finish(self._ended(target, attempts, began, fetched))
            elif isinstance(fetched, Fetched):
                await self._make_room(fetched)
        finally:
            self._slots.release()
        if isinstance(fetched, Fetched):
            await self._keep(fetched, attempts, began)

    async def _fetch(self, target: Target) -> Fetched | Miss:
        self.fetching += 1
        try:
            return await self._fetcher.fetch(target)
        finally:
            self.fetching -= 1
            self._frontier.release(target)

    async def _make_room(self, fetched: Fetched) -> None:
        # From here on it is not given up by stop(): the bytes are here, and what is left is our own work.
        if (task := asyncio.current_task()) is not None:
            self._fetches.discard(task)
        self.processing += 1
        try:
            await self._room.acquire()
        except BaseException:
            self.processing -= 1
            self._fetcher.done(fetched)
            raise

    def _again(self, miss: Miss, attempts: int, began: float) -> bool:
        delay = None if self._stopping else self._retry(miss, attempts)
        if delay is None:
            # Stopped in the middle of its tries: not settled, so that the next run gives it all of them.
            return self._stopping and self._retry(miss, attempts) is not None
        self._tries[miss.target.index] = attempts, began
        self._frontier.retry(miss.target, delay)
        return True

    async def _keep(self, fetched: Fetched, attempts: int, began: float) -> None:
        """Body to settled outcome. Its room and its bytes are held to the end, so that a slow disk or journal holds
        fetching back and nothing piles up behind it.
        """
        try:
            await self._finish(await self._outcome(fetched, attempts, began))
        finally:
            self._fetcher.done(fetched)
            self._room.release()

    async def _outcome(self, fetched: Fetched, attempts: int, began: float) -> Outcome:
        target, size = fetched.target, len(fetched.body)
        result = await self._process(fetched)
        if isinstance(result, Miss):
            return self._ended(target, attempts, began, result, size)
        receipt = await self._put(result)
        return Outcome(target, result, receipt, None, attempts, self._clock.monotonic() - began, size)

    async def _process(self, fetched: Fetched) -> Picture | Miss:
        try:
            return await self._processor.process(fetched)
        finally:
            self.processing -= 1

    async def _put(self, picture: Picture) -> Receipt:
        self.storing += 1
        try:
            return await self._store.put(picture)
        finally:
            self.storing -= 1

    def _ended(self, target: Target, attempts: int, began: float, miss: Miss, size: int = 0) -> Outcome:
        return Outcome(target, None, None, miss, attempts, self._clock.monotonic() - began, size)

    async def _finish(self, outcome: Outcome) -> None:
        await self._journal.settle(outcome)
        self._observer.note(outcome)
        if self._deliver is not None:
            await self._deliver(outcome)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error behind a group: the tasks after it fail only because it ended the group."""
    error: BaseException = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
