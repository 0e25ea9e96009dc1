"""Settings to a run: builds the parts, hands them to the pipeline, and closes them in the right order.

Leaves the process alone: no signal handler, no logging set-up, no event loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from crawler import workshop
from crawler.clock import Clock, SystemClock
from crawler.errors import CrawlerError, InputError, SettingsError, StoreStopped
from crawler.fetch.budget import ByteBudget
from crawler.fetch.client import Client
from crawler.fetch.robots import product
from crawler.found import PageOrder
from crawler.frontier.backoff import Backoff
from crawler.frontier.host import Rules
from crawler.frontier.hosts import HostFrontier
from crawler.inputs.mailbox import Mailbox
from crawler.inputs.targets import Targets
from crawler.model import Fetched, Miss, Outcome, Target
from crawler.outbox import Outbox
from crawler.outputs import check_output, open_output
from crawler.pipeline import Deliver, Pipeline
from crawler.ports import Frontier, Source
from crawler.process.pool import WorkerPool
from crawler.progress import Progress, Summary
from crawler.report.bottleneck import bottleneck
from crawler.report.counters import Counters
from crawler.search import Listing, Search, Seen
from crawler.settings import DiscoverSettings, ProcessSettings, Settings
from crawler.stages import Stopwatch
from crawler.state.findings import TableFindings
from crawler.state.found_tables import Tally
from crawler.state.home import home_for

if TYPE_CHECKING:
    from crawler.process.header_check import HeaderCheck
    from crawler.state.run_table import RunTable

logger = logging.getLogger(__name__)

_BACKLOG_PER_WORKER = 128
_FEW = 8
_OUTCOMES_AHEAD = 64

ProgressCallback = Callable[[Progress], None]


class Crawler:
    """A run, to be used as a context manager on the loop that is running::

        async with Crawler(Settings.of(urls, output="pictures")) as run:
            async for outcome in run:
                ...

    Leaving the block at any time ends the run: what has been fetched is stored, the journal agrees, the workers
    are gone. Several runs can go on at once.

    Args:
        settings: what to do.
        listing: awaited with every picture that is found in a page, which is then not fetched.
        seen: called with every page that has been read, and what was found in it.
        progress: called with the state every `progress_every` seconds (default: as the settings say) and once at the
            end, on the loop.

    Raises:
        SettingsError: the output is missing, here; or cannot be used, on entering.
        InputMissing: a list is not there, on entering. InputError: one cannot be read to its end, while running.
        RunLocked, SettingsChanged, JournalError: the folder cannot be used, on entering.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        progress: ProgressCallback | None = None,
        progress_every: float | None = None,
        clock: Clock | None = None,
        listing: Listing | None = None,
        seen: Seen | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._progress = progress
        self._progress_every = progress_every or self.settings.report.progress_every
        self._source = _source(self.settings)
        self._counters = Counters()
        self._stopwatch = Stopwatch()
        self._budget = ByteBudget(self.settings.fetch.memory)
        self._mailbox: Mailbox | None = None
        self._listing, self._seen = listing, seen
        self._findings: TableFindings | None = None
        self._cuts: Mapping[str, tuple[int, str]] = {}
        self._outcomes = Outbox(_OUTCOMES_AHEAD)
        self._run: asyncio.Task[None] | None = None
        self._pipeline: Pipeline | None = None
        self._ended: _Spent | None = None
        if self.settings.store.format != "none" and not self.settings.store.output:
            raise SettingsError("output", "is missing: name the folder for the pictures, for example -o pictures")

    async def __aenter__(self) -> Crawler:
        await asyncio.to_thread(self._check)
        async with AsyncExitStack() as stack:
            # Closed in the opposite order: the journal last, when everything that is stored has been told to it.
            self._journal, self._store, self._spill = await open_output(self.settings, self._source, self._clock, stack)
            process = self.settings.process
            self._pool: WorkerPool | HeaderCheck
            if process.check == "header":
                from crawler.process.header_check import HeaderCheck

                check = HeaderCheck(process, self._stopwatch, partial(self._workers, replace(process, workers=1)))
                self._pool = await stack.enter_async_context(check)
            else:
                self._pool = await stack.enter_async_context(self._workers(process))
            client = Client(
                self.settings.fetch, self._budget, self._clock, self._journal,
                unwanted=process.unwanted if process.picky else None,
                robots_tries=self.settings.frontier.retries + 1,
                gap=self.settings.frontier.gap,
                stopwatch=self._stopwatch,
                max_page_bytes=self.settings.discover.max_page_bytes,
            )  # fmt: skip
            self._client = await stack.enter_async_context(client)
            await self._open_findings()
            self._stack = stack.pop_all()
        return self

    def _workers(self, process: ProcessSettings) -> WorkerPool:
        return WorkerPool(process, workshop.work, self._stopwatch, workshop.read_page)

    async def _open_findings(self) -> None:
        """Pages are looked for where some are given, or where an address that was given may be one."""
        discover = self.settings.discover
        if discover.explicit or self._source.by_hand:
            ahead = 2 * self.settings.frontier.concurrency
            self._findings = await self._journal.findings(discover, discover.explicit, ahead)
            if discover.extractor:
                await self._find_extractor()

    async def _find_extractor(self) -> None:
        """Let a worker find the user's function, or fail: before anything is fetched."""
        url = "http://localhost/robots.txt"
        order = PageOrder(url, "", "robots", 0, (url,), (), "", (), self.settings.discover)
        found = await self._pool.read(Fetched(Target(0, ""), b"", "", 0, "", 0.0, 0.0), order)
        if isinstance(found, Miss):
            raise SettingsError("extractor", found.detail)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        first = error
        try:
            if self._run is not None:
                await self._leave(quietly=error is not None)
        except BaseException as its:
            first = its
            raise
        finally:
            try:
                await self._stack.aclose()
            except CrawlerError as later:
                if first is None:
                    raise
                logger.info("%s", later)  # what comes after the first error is mostly its consequence

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Outcome]:
        run = self._start(self._source, self._outcomes.put)
        while (outcome := await self._outcomes.take()) is not None:
            yield outcome
        await run

    async def finish(self) -> Summary:
        """Run to the end without looking at the outcomes."""
        await self._start(self._source, None)
        return self.summary

    async def get(self, url: str, columns: Mapping[str, Any] | None = None) -> Outcome:
        """Fetch and process one URL, now; any number of calls at once share the workers, the limits and the connections.

        Args:
            columns: what `--verify-hash` and the transform function may look at.

        For services. Needs `format="none"` and no sources: the picture is in `outcome.picture`.

        Raises:
            SettingsError: the settings name sources or a folder.
        """
        if self._mailbox is None:
            if self.settings.store.format != "none" or self.settings.input.sources:
                raise SettingsError("format", 'get() needs format="none" and no sources')
            self._mailbox = Mailbox()
            self._start(self._mailbox, self._mailbox.deliver)
        assert self._run is not None
        return await self._mailbox.ask(url, columns, self._run)

    def stop(self, drop_fetches: bool = False) -> None:
        """Fetch nothing more and end when what is under way is stored; `drop_fetches` does not wait for the network."""
        if self._pipeline is not None:
            self._pipeline.stop(drop_fetches)

    def abort(self) -> None:
        """End now: what has not been settled is left for the next run."""
        if self._run is not None:
            self.stop(drop_fetches=True)
            self._run.cancel()

    @property
    def notes(self) -> Sequence[str]:
        """What was decided without being told, for people: which column holds the addresses, where the journal is."""
        store = self.settings.store
        home = [f"the journal is in {home_for(store.output, self.settings.state.state)}"] if store.remote else []
        return [*home, *self._source.notes]

    @property
    def progress(self) -> Progress:
        """The state of the run now."""
        counters, pipeline = self._counters, self._pipeline
        skipped = pipeline.skipped if pipeline else 0
        spent = self._spent()
        tally = self._findings.tally if self._findings is not None else Tally()
        return Progress(
            total=self._total(tally),
            done=counters.stored + counters.missed + skipped,
            stored=counters.stored,
            skipped=skipped,
            missed=counters.missed,
            waiting=self._frontier.waiting() if pipeline else 0,
            fetching=pipeline.fetching if pipeline else 0,
            processing=pipeline.processing if pipeline else 0,
            storing=pipeline.storing if pipeline else 0,
            publishing=self._store.publishing if pipeline else 0,
            bytes_fetched=counters.bytes_fetched,
            bytes_stored=counters.bytes_stored,
            reasons=counters.reasons,
            seconds=spent.seconds,
            workers=self._pool.size if pipeline else 0,
            slots=self.settings.frontier.concurrency,
            busy_seconds=spent.busy,
            loop_seconds=spent.loop,
            stages=self._stopwatch.times(),
            pages=tally.visited,
            pages_waiting=tally.waiting,
            found=tally.found,
        )

    def _total(self, tally: Tally) -> int | None:
        """Targets as far as they are known."""
        if self._findings is None or not (tally.visited or tally.waiting or self.settings.discover.explicit):
            return self._source.total
        pages = self._pipeline.pages if self._pipeline else 0
        return None if self._findings.base is None else self._findings.base + tally.found - pages

    @property
    def summary(self) -> Summary:
        """How the run went, so far or in the end."""
        state, counters = self.progress, self._counters
        stopped = self._pipeline is not None and self._pipeline.stopping
        return Summary(
            targets=state.done,
            stored=state.stored,
            skipped=state.skipped,
            missed=state.missed,
            reasons={reason.value: count for reason, count in counters.reasons.most_common()},
            examples={reason.value: example for reason, example in counters.examples.items()},
            seconds=state.seconds,
            bytes_fetched=state.bytes_fetched,
            bytes_stored=state.bytes_stored,
            output=self.settings.store.output,
            ended="stopped" if stopped else "finished",
            peak_body_bytes=self._budget.peak,
            parent_cpu_seconds=self._spent().cpu,
            workers_busy=state.busy_seconds / max(state.seconds, 1e-9) / max(state.workers, 1),
            stages=state.stages,
            bottleneck=bottleneck(state),
            pages=state.pages,
            pages_waiting=state.pages_waiting,
            cuts=dict(self._cuts),
            metadata=f"metadata.{self.settings.store.metadata}" if self.settings.store.format == "files" else "",
        )

    def _check(self) -> None:
        """Everything that can be wrong with files and folders, before anything is made."""
        self._source.check()
        if self.settings.store.format != "none":
            check_output(self.settings)

    def _start(self, source: Source, deliver: Deliver | None) -> asyncio.Task[None]:
        if self._run is not None:
            raise RuntimeError("this run has been started already; a Crawler is used once")
        settings = self.settings.frontier
        rules = Rules(
            per_host=min(settings.per_host or settings.concurrency, settings.concurrency),
            gap=settings.gap,
            max_wait=settings.max_wait,
            adapt=settings.adapt,
            scout=self.settings.fetch.robots,
        )
        self._frontier: Frontier = HostFrontier(rules, self._clock, self._spill, enough=self._enough)
        self._pipeline = Pipeline(
            source, self._frontier, self._client, self._pool, self._store, self._journal, self._counters, self._clock,
            concurrency=settings.concurrency,
            backlog=_BACKLOG_PER_WORKER * self._pool.size,
            retry=Backoff(settings.retries, settings.max_wait),
            deliver=deliver,
            stopwatch=self._stopwatch,
            search=self._search(),
        )  # fmt: skip
        self._began = _Spent(self._clock.monotonic(), self._pool.busy_seconds, time.thread_time(), time.process_time())
        self._run = asyncio.create_task(self._watched(self._pipeline), name="crawler-run")
        return self._run

    def _search(self) -> Search | None:
        if self._findings is None:
            return None
        fetch = self.settings.fetch
        return Search(
            self._findings, self._pool, self.settings.discover, self._clock,
            agent=product(fetch.agent),
            formats=self.settings.process.formats,
            judge=_judge,
            ignore_x_robots=fetch.ignore_x_robots,
            listing=self._listing,
            seen=self._seen,
        )  # fmt: skip

    def _enough(self) -> int:
        """Pictures that should wait for their turn; with fewer of them pages come first. While workers starve, what is there
        comes first, down to what keeps one host busy.
        """
        settings = self.settings.frontier
        starving = self._pipeline is not None and self._pipeline.processing < self._pool.size
        return min(2 * (settings.per_host or _FEW), settings.concurrency) if starving else settings.concurrency

    async def _watched(self, pipeline: Pipeline) -> None:
        """Run the pipeline, tell its progress, and wake whoever waits for the next outcome when it ends."""
        ticker = asyncio.create_task(self._tick(), name="crawler-progress") if self._progress else None
        try:
            try:
                await pipeline.run()
            except InputError:
                await self._end()
                raise
            await self._end()
        except StoreStopped:
            pass  # what it did not get is not in the journal, or still in the spool
        finally:
            self._ended = self._spent()
            if ticker is not None:
                ticker.cancel()
            if self._progress is not None:
                self._progress(self.progress)
            self._outcomes.close()

    async def _end(self) -> None:
        """Everything that will end in this run has ended: what is complete is published."""
        await self._journal.flush()
        findings = self._findings
        total = self._source.total if self._source.complete else None
        if findings is not None:
            self._cuts = await findings.cuts()
            if findings.base is not None and total is not None:
                total = findings.base + findings.count if findings.idle else None
        await self._store.finish(total)

    async def _tick(self) -> None:
        while self._progress is not None:
            self._progress(self.progress)
            await self._clock.sleep(self._progress_every)

    async def _leave(self, quietly: bool) -> None:
        """End the run of a block that was left. An error of its own is raised unless the block has one."""
        assert self._run is not None and self._pipeline is not None
        if not self._run.done():
            self.stop(drop_fetches=True)
            self._outcomes.close()
            await asyncio.wait({self._run})
        if self._mailbox is not None:
            self._mailbox.close()
        error = None if self._run.cancelled() else self._run.exception()
        if error is not None and not quietly:
            raise error

    def _spent(self) -> _Spent:
        """What the run has taken so far, or took in the end. Called on the loop's thread, whose CPU time it tells."""
        if self._ended is not None or self._pipeline is None:
            return self._ended or _Spent(0.0, 0.0, 0.0, 0.0)
        began = self._began
        return _Spent(
            self._clock.monotonic() - began.seconds,
            self._pool.busy_seconds - began.busy,
            time.thread_time() - began.loop,
            time.process_time() - began.cpu,
        )


class _Spent(NamedTuple):
    """Seconds: of the clock, of busy workers, of CPU in the loop's thread, of CPU in this process."""

    seconds: float
    busy: float
    loop: float
    cpu: float


async def crawl(settings: Settings, *, progress: ProgressCallback | None = None) -> Summary:
    """Run to the end and say how it went. Raises what `Crawler` raises."""
    async with Crawler(settings, progress=progress) as run:
        return await run.finish()


def _source(settings: Settings) -> Targets:
    process = settings.process
    hashed = {"verify_hash": process.verify_hash} if process.verify_hash else {}
    return Targets(
        settings.input,
        None if process.transform else tuple(hashed.values()),
        hashed,
        _open_run,
        [output.label for output in process.outputs if output.label],
    )


# Imported when they are needed: one picture alone should not wait for them.


def _judge(settings: DiscoverSettings, roots: tuple[str, ...], url: str) -> str:
    from crawler.discover.scope import why_not_visited

    return why_not_visited(settings, roots, url)


def _open_run(folder: str, take: str) -> RunTable:
    from crawler.state.run_table import RunTable

    return RunTable(folder, take)


__all__ = ["Crawler", "CrawlerError", "crawl"]
