"""Processing alone: bodies already in memory through the worker pool, and through threads in its place, against the same work
without any crawler.

The floor is one plain process a core that calls the worker's function on the same bytes, without pickling or a parent.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics

import uvloop

from benchmarks import corpus
from crawler.bench import measures
from crawler.bench.measures import Result
from crawler.picture_settings import Executor


def bodies(count: int, different: int, photographs: bool = False) -> list[bytes]:
    """`count` pictures of the mixed corpus, or 2000x3000 photographs, in a fixed mixed order."""
    paths = corpus.pictures(corpus.photographs() if photographs else corpus.mixed(different))
    paths = [paths[(n * 7919) % len(paths)] for n in range(count)]
    return [path.read_bytes() for path in paths]


def through_pool(given: list[bytes], executor: Executor = "process") -> Result:
    """All bodies through a `WorkerPool`; its start is not counted."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measures.process(given, executor, multiprocessing.cpu_count()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--corpus", type=int, default=2000)
    parser.add_argument("--photographs", action="store_true", help="2000x3000 pixels instead of the mixed corpus")
    parser.add_argument("--threads", action="store_true", help="threads too")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    given = bodies(arguments.count, arguments.corpus, arguments.photographs)
    kinds: list[Executor] = ["process", "thread"] if arguments.threads else ["process"]
    ratios: dict[Executor, list[float]] = {kind: [] for kind in kinds}
    for _ in range(arguments.repeat):
        bare = measures.floor(given, multiprocessing.cpu_count())
        for kind in kinds:
            found = through_pool(given, kind)
            ratios[kind].append(found.rate / bare.rate)
            print(f"floor {bare.rate:7.1f} /s   {kind} {_told(found)}   ratio {ratios[kind][-1]:.3f}", flush=True)
    for name, those in ratios.items():
        print(f"{name} to floor: {statistics.median(those):.3f} (median of {len(those)})")


def _told(found: Result) -> str:
    each = 1000 / found.count
    workers = "" if found.workers_cpu is None else f"   workers {found.workers_cpu * each:6.2f} ms"
    memory = "" if found.memory is None else f"   {found.memory / 2**20:.0f} MiB"
    return f"{found.rate:7.1f} /s   parent {found.cpu * each:6.3f} ms{workers}{memory}   start {found.start:.2f} s"


if __name__ == "__main__":
    main()
