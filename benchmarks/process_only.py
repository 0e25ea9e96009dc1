"""Processing alone: bodies already in memory through the worker pool, against the same work without any crawler.

The floor is one plain process a core that calls the worker's function on the same bytes, without pickling or a parent.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time

import uvloop

from benchmarks import corpus
from benchmarks.measure import Cost, measured
from crawler.model import Fetched, Miss, Target
from crawler.process import worker
from crawler.process.pool import WorkerPool
from crawler.settings import ProcessSettings

SETTINGS = ProcessSettings(size=256, fit="outside", quality=95)


def bodies(count: int, different: int) -> list[bytes]:
    """`count` pictures of the mixed corpus, in a fixed mixed order."""
    paths = corpus.pictures(corpus.mixed(different))
    paths = [paths[(n * 7919) % len(paths)] for n in range(count)]
    return [path.read_bytes() for path in paths]


def through_pool(given: list[bytes]) -> Cost:
    """All bodies through a `WorkerPool`; its start is not counted."""

    async def run() -> Cost:
        async with WorkerPool(SETTINGS) as pool:
            await asyncio.gather(*(pool.process(_fetched(n, given[0])) for n in range(pool.size)))
            with measured() as cost:
                results = await asyncio.gather(*(pool.process(_fetched(n, body)) for n, body in enumerate(given)))
            assert not any(isinstance(result, Miss) for result in results)
            return cost

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def floor(given: list[bytes], processes: int) -> float:
    """Pictures a second of bare processes, one share of the bodies each, after all have loaded what they need."""
    context = multiprocessing.get_context("fork")  # the bodies are inherited: nothing crosses
    barrier, shares = context.Barrier(processes + 1), [given[n::processes] for n in range(processes)]
    workers = [context.Process(target=_bare, args=(share, barrier)) for share in shares]
    for process in workers:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    for process in workers:
        process.join()
    return len(given) / (time.perf_counter() - began)


def _bare(share: list[bytes], barrier: object) -> None:
    worker.use(SETTINGS)
    worker.work(share[:2])
    barrier.wait()  # type: ignore[attr-defined]
    worker.work(share)


def _fetched(index: int, body: bytes) -> Fetched:
    return Fetched(Target(index, "http://bench.invalid/"), body, "", 200, "", 0.0, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--corpus", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    given = bodies(arguments.count, arguments.corpus)
    cores = multiprocessing.cpu_count()
    ratios = []
    for _ in range(arguments.repeat):
        bare = floor(given, cores)
        cost = through_pool(given)
        ratios.append(len(given) / cost.wall / bare)
        print(f"floor {bare:7.1f} /s   pool {cost.each(len(given))}   ratio {ratios[-1]:.3f}", flush=True)
    print(f"pool to floor: {statistics.median(ratios):.3f} (median of {len(ratios)})")


if __name__ == "__main__":
    main()
