"""How many workers one front end can feed: the real network, frontier, pipes, files and journal, and workers that do nothing.

Where the system allows it, the front end has a core of its own; the server and the workers share the others.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from benchmarks import corpus, null_work, process_only, server
from benchmarks.measure import Cost, measured
from crawler import Settings, api, crawl
from crawler.bench import measures
from crawler.cli.run import prepare
from crawler.process.done import ReadPage
from crawler.process.lane import Work
from crawler.process.pool import WorkerPool
from crawler.settings import ProcessSettings
from crawler.stages import Stopwatch


class IdlePool(WorkerPool):
    """The pool of a run, with workers that do nothing."""

    def __init__(self, settings: ProcessSettings, _: Work, stopwatch: Stopwatch, __: ReadPage) -> None:
        super().__init__(settings, null_work.work, stopwatch)


@contextmanager
def on_core(cores: set[int]) -> Iterator[None]:
    """This process, and what it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def run(listed: Path, output: Path, others: set[int]) -> Cost:
    """One run. Its workers leave the core of the front end as soon as they are there."""
    settings = Settings.of(
        str(listed), output=str(output), workers=len(others), per_host=0, allow_private=True, robots=False,
    )  # fmt: skip
    pinned = False

    def pin(_: object) -> None:
        nonlocal pinned
        if not pinned:
            pinned = True
            for child in multiprocessing.active_children():
                os.sched_setaffinity(child.pid or 0, others)

    with measured() as cost:
        summary = await crawl(settings, progress=pin)
    assert summary.stored == summary.targets, summary.reasons
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the outputs, such as /dev/shm")
    arguments = parser.parse_args()
    prepare()  # as the command does
    api.WorkerPool = IdlePool  # type: ignore[assignment,attr-defined]
    cores = os.sched_getaffinity(0)
    own = {min(cores)}
    others = cores - own or own
    given, rates, costs, floors = process_only.bodies(600, 2000), [], [], []
    with (
        on_core(others),
        server.serve(corpus.mixed(2000)) as bases,
        tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch,
    ):
        listed = server.write_list(Path(scratch) / "urls.txt", corpus.mixed(2000), bases, arguments.count)
        for turn in range(arguments.repeat):
            floors.append(measures.floor(given, 1).rate)
            with on_core(own), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                cost = runner.run(run(listed, Path(scratch) / f"out-{turn}", others))
            rates.append(arguments.count / cost.wall)
            costs.append(cost.parent / arguments.count * 1000)
            print(
                f"front end {rates[-1]:7.1f} pictures/s, {costs[-1]:.3f} ms of its core each; "
                f"a worker {floors[-1]:6.1f} pictures/s; workers fed: {rates[-1] / floors[-1]:.1f}",
                flush=True,
            )
    print(
        f"one front end: {statistics.median(rates):.0f} pictures/s, {statistics.median(costs):.3f} ms each, "
        f"feeds {statistics.median(rate / floor for rate, floor in zip(rates, floors, strict=True)):.1f} workers (medians)"
    )


if __name__ == "__main__":
    main()
