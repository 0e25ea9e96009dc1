"""The parent's side of the workers: single pictures in, batches across, and a crash that costs its culprit alone.

A worker that dies takes down the batch that was in it: those pictures are tried again one by one, and one that kills
again while it is alone is a miss. What waited behind them goes back to the head of the queue untouched.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from crawler.children import worker_context
from crawler.errors import CrawlerError, SettingsError, WorkersFailed
from crawler.found import Page, PageOrder
from crawler.model import Fetched, Miss, Picture, Reason, Sample
from crawler.picture_settings import ProcessSettings
from crawler.process.done import Done, Failed, ReadPage, Results, Told
from crawler.process.entry import work
from crawler.process.lane import BrokenProcessPool, Lane, Work
from crawler.stages import Stopwatch

BATCH_SECONDS = 0.15
"""What a batch should keep a worker busy: the way there and back, half a millisecond, is then nothing beside it."""
BATCH_ITEMS = 64
BATCH_BYTES = 4 * 1024 * 1024
_FIRST_GUESS = 0.02
_LEARNING = 0.1
"""Weight of one batch in the running mean of what a picture takes."""
DEPTH = 2
"""Batches at a worker: one that runs, one that waits, so that it never idles while the next one is on its way."""

_OWN_FAULT = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGALRM}
"""Signals that the picture itself caused. SIGKILL may come from outside, so that one is given more tries."""
_LONE_TRIES_OUTSIDE = 5
_FAILED_STARTS = 10
_SHORTEST = 1e-4
_WATCH_SECONDS = 1.0
_WATCH_MARGIN = 5.0
"""Seconds that a batch may need beside the time of its pictures: on its way there and back."""


@dataclass(eq=False, slots=True)
class _Job:
    fetched: Fetched
    future: asyncio.Future[Any]
    asked_at: float
    order: PageOrder | None = None
    alone: bool = False
    lone_deaths: int = 0


_Batch = list[_Job]
if TYPE_CHECKING:
    from crawler.process.threads import ThreadLane

AnyLane: TypeAlias = "Lane | ThreadLane"


class WorkerPool:
    """The Processor: `settings.workers` processes (0: one a core). Opened and closed on the loop that uses it.

    Args:
        work: what a worker does with a batch; a function of a module, so that a worker can import it.
        stopwatch: is told how long pictures wait, and what is done to them takes.
        read_page: finds what is in a page, where threads do the work; a worker process has it in `work`.
    """

    def __init__(
        self, settings: ProcessSettings, work: Work = work, stopwatch: Stopwatch | None = None, read_page: ReadPage | None = None,
    ) -> None:  # fmt: skip
        self._lanes = _lanes(settings, work, read_page)
        self._stopwatch = stopwatch or Stopwatch()
        self._each = _FIRST_GUESS
        self._busy = 0.0
        self._settings = settings
        self._queue: deque[_Job] = deque()
        self._at: dict[AnyLane, deque[_Batch]] = {lane: deque() for lane in self._lanes}
        self._began: dict[AnyLane, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeding = False
        self._closing = False
        self._failure: CrawlerError | None = None

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._lanes)

    @property
    def pids(self) -> list[int]:
        """Of the worker processes that are up; none where threads do the work."""
        return [lane.pid for lane in self._lanes if isinstance(lane, Lane) and lane.pid is not None]

    @property
    def busy_seconds(self) -> float:
        """Seconds that workers have had something to do, all together."""
        now = self._loop.time()
        return self._busy + sum(now - began for lane, began in self._began.items() if self._at[lane])

    async def __aenter__(self) -> WorkerPool:
        self._loop = asyncio.get_running_loop()
        self._watch = self._loop.create_task(self._end_overdue(), name="crawler-worker-watch")
        for lane in self._lanes:
            self._spawn(lane)
        if self._settings.transform:
            await self._find_function()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        # A worker that is being started cannot be called off half-way: it is waited for, then ended like the others.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._watch.cancel()
        await asyncio.gather(*(lane.end() for lane in self._lanes), return_exceptions=True)

    async def _find_function(self) -> None:
        """Wait for the first worker, which has the user's function or fails: before anything is fetched."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            await self.__aexit__(None, None, None)
            raise self._failure

    async def process(self, fetched: Fetched) -> Picture | Miss:
        picture: Picture | Miss = await self._done(fetched)
        return picture

    async def read(self, fetched: Fetched, order: PageOrder) -> Page | Miss:
        page: Page | Miss = await self._done(fetched, order)
        return page

    def _done(self, fetched: Fetched, order: PageOrder | None = None) -> asyncio.Future[Any]:
        """Queue a body; the future has what a worker makes of it."""
        if self._failure is not None:
            raise self._failure
        job = _Job(fetched, self._loop.create_future(), self._loop.time(), order)
        self._queue.append(job)
        self._feed_soon()
        return job.future

    async def _end_overdue(self) -> None:
        """Kill a worker whose batch takes longer than all its pictures may. The kernel's timer in the worker comes
        first; this is for what it cannot see, such as a worker that was stopped, and where there is no such timer.
        """
        seen: dict[AnyLane, tuple[_Batch, float]] = {}
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = self._loop.time()
            for lane, batches in self._at.items():
                oldest = batches[0] if batches and lane.ready else None
                if oldest is None or lane not in seen or seen[lane][0] is not oldest:
                    seen[lane] = (oldest or [], now)
                elif now - seen[lane][1] > self._settings.process_timeout * len(oldest) + _WATCH_MARGIN:
                    lane.kill()

    def _feed_soon(self) -> None:
        """Feed after this turn of the loop: what other fetches bring in the same turn then shares a batch."""
        if not self._feeding:
            self._feeding = True
            self._loop.call_soon(self._feed)

    def _feed(self) -> None:
        self._feeding = False
        for depth in range(DEPTH):  # first every worker gets a batch, then every worker gets one to wait
            for lane in self._lanes:
                if self._queue and lane.ready and len(self._at[lane]) == depth and self._has_room(lane):
                    self._submit(lane, self._next_batch())

    def _has_room(self, lane: AnyLane) -> bool:
        """A large body is copied on its way; another does not wait behind it, which would be copied too."""
        return sum(len(job.fetched.body) for batch in self._at[lane] for job in batch) <= BATCH_BYTES

    def _next_batch(self) -> _Batch:
        """As many as keep a worker busy for a while, but not more than its share: with little to do, latency counts."""
        most = max(1, min(BATCH_ITEMS, int(BATCH_SECONDS / self._each), len(self._queue) // len(self._lanes)))
        batch = [self._queue.popleft()]
        size = len(batch[0].fetched.body)
        while self._queue and len(batch) < most and not batch[0].alone and not self._queue[0].alone:
            size += len(self._queue[0].fetched.body)
            if size > BATCH_BYTES:
                break
            batch.append(self._queue.popleft())
        return batch

    def _submit(self, lane: AnyLane, batch: _Batch) -> None:
        generation = lane.generation

        def landed(future: Future[Results]) -> None:
            try:
                self._loop.call_soon_threadsafe(self._landed, lane, generation, batch, future)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        if not self._at[lane]:
            self._began[lane] = self._loop.time()
        self._at[lane].append(batch)
        try:
            lane.submit([job.fetched.body for job in batch], self._samples(batch), landed)
        except BrokenProcessPool:
            self._crashed(lane)

    def _samples(self, batch: _Batch) -> list[Told] | None:
        told = [job.order or sample_of(job.fetched, self._settings) for job in batch]
        return told if any(told) else None

    def _landed(self, lane: AnyLane, generation: int, batch: _Batch, future: Future[Results]) -> None:
        if generation != lane.generation or not lane.ready:
            return  # its pictures have been taken care of when that worker died
        if future.cancelled() or future.exception() is not None:
            self._crashed(lane)
            return
        self._at[lane].remove(batch)
        now = self._loop.time()
        took, self._began[lane] = now - self._began[lane], now
        self._busy += took
        self._each += (max(took, _SHORTEST) / len(batch) - self._each) * _LEARNING
        for job, result in zip(batch, future.result(), strict=True):
            if isinstance(result, Done):
                self._note(job, result, now)
            self._resolve(job, outcome_of(job.fetched, result))
        self._feed()

    def _note(self, job: _Job, done: Done, now: float) -> None:
        decode, resize, encode = done.spent
        watch = self._stopwatch
        watch.queue.add(now - job.asked_at - decode - resize - encode)
        watch.decode.add(decode)
        if done.data is not None:
            watch.resize.add(resize)
            watch.encode.add(encode)

    def _resolve(self, job: _Job, outcome: Picture | Page | Miss) -> None:
        if isinstance(outcome, Miss) and outcome.reason is Reason.OUT_OF_MEMORY and not job.alone:
            job.alone = True  # its neighbours may have taken the memory
            self._queue.appendleft(job)
            self._feed_soon()
        elif not job.future.done():
            job.future.set_result(outcome)

    def _crashed(self, lane: AnyLane) -> None:
        """The worker of this lane is gone. The oldest batch was in it; the others had not begun."""
        lane.ready = False
        batches = list(self._at[lane])
        self._at[lane].clear()
        suspects = batches[0] if batches else []
        for batch in reversed(batches[1:]):
            self._queue.extendleft(reversed(batch))
        self._spawn(lane, suspects)

    def _spawn(self, lane: AnyLane, suspects: _Batch | None = None) -> None:
        task = self._loop.create_task(self._start(lane, suspects or []), name="crawler-worker-start")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, lane: AnyLane, suspects: _Batch) -> None:
        code = await lane.bury()
        self._judge(suspects, code)
        for _ in range(_FAILED_STARTS):
            if self._closing:
                return
            try:
                await lane.start()
            except SettingsError as error:
                await lane.end()
                self._fail(error)
                return
            except Exception:  # many kinds, by what died when: the worker, its server, the pipe between
                code = await lane.bury()
            else:
                self._feed()
                return
        self._give_up(code)

    def _judge(self, suspects: _Batch, code: int | None) -> None:
        own_fault = code is not None and -code in _OWN_FAULT
        for job in reversed(suspects):
            job.lone_deaths += job.alone
            if job.lone_deaths >= (1 if own_fault else _LONE_TRIES_OUTSIDE):
                self._resolve(job, self._verdict(job.fetched, code))
            else:
                job.alone = True
                self._queue.appendleft(job)

    def _verdict(self, fetched: Fetched, code: int | None) -> Miss:
        if code == -signal.SIGALRM:
            detail = f"not done after {self._settings.process_timeout:g} s in a worker of its own"
            return Miss(fetched.target, Reason.TOO_SLOW, detail, fetched.status)
        ended = _ending(code)
        return Miss(fetched.target, Reason.WORKER_CRASHED, f"its worker ended {ended} twice or more", fetched.status)

    def _give_up(self, code: int | None) -> None:
        """No worker will start: say so to all that wait, rather than let them wait for ever."""
        failure = WorkersFailed(
            f"worker processes end {_ending(code)} as soon as they start. A program that embeds the crawler needs "
            'its start under `if __name__ == "__main__":`; otherwise check --worker-memory and the memory of this machine'
        )
        self._fail(failure)

    def _fail(self, failure: CrawlerError) -> None:
        self._failure = failure
        waiting = [*self._queue, *(job for batches in self._at.values() for batch in batches for job in batch)]
        self._queue.clear()
        for job in waiting:
            if not job.future.done():
                job.future.set_exception(failure)


def sample_of(fetched: Fetched, settings: ProcessSettings) -> Sample | None:
    """What a worker is told of a picture beside its bytes, where the settings need that."""
    if not settings.transform and not settings.verify_hash:
        return None
    return Sample(fetched.target.index, fetched.target.url, fetched.target.columns)


def outcome_of(fetched: Fetched, result: Done | Page | Failed) -> Picture | Page | Miss:
    """What a worker's answer means for the target of a body."""
    if isinstance(result, Page):
        return result
    if not isinstance(result, Done):
        return Miss(fetched.target, Reason(result[0]), result[1], fetched.status)
    data, name, extension, width, height, original_width, original_height, source, sha256, _, more = result
    return Picture(
        fetched.emptied(), fetched.body if data is None else data, name, extension, width, height,
        original_width, original_height, source, sha256, data is None, *(more or ()),
    )  # fmt: skip


def _ending(code: int | None) -> str:
    if code is None:
        return "without a word"
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _lanes(settings: ProcessSettings, work: Work, read_page: ReadPage | None) -> list[AnyLane]:
    count = settings.workers or _cores()
    if settings.executor == "thread":
        from crawler.process.threads import ThreadLane

        return [ThreadLane(settings, read_page) for _ in range(count)]
    context = worker_context()
    return [Lane(settings, context, work) for _ in range(count)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
