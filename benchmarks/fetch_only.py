"""Fetching: our client, and a whole run that keeps the bytes as they came and writes nothing, against a bare aiohttp loop that
reads the same addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import corpus, server
from benchmarks.measure import measured
from crawler import Settings, crawl
from crawler.bench import measures
from crawler.bench.measures import Result
from crawler.cli.run import prepare


async def whole(listed: Path, check: str, concurrency: int) -> Result:
    """`--encode original --format none`: frontier, limits, what is looked at of a picture; no disk."""
    settings = Settings.of(
        str(listed), encode="original", format="none", check=check, concurrency=concurrency, per_host=0,
        allow_private=True, robots=False,
    )  # fmt: skip
    with measured() as cost:
        summary = await crawl(settings)
    assert summary.stored == summary.targets, summary.reasons
    return Result(summary.stored, cost.wall, cost.parent, size=summary.bytes_fetched)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    prepare()  # as the command does
    pictures = corpus.mixed(2000)
    with server.serve(pictures) as bases, tempfile.TemporaryDirectory() as scratch:
        listed = server.write_list(Path(scratch) / "urls.txt", pictures, bases, arguments.count)
        urls = listed.read_text().split()
        ratios: dict[str, list[float]] = {}
        for _ in range(arguments.repeat):
            bare = _run(measures.bare_fetch(urls, arguments.concurrency))
            print(f"bare            {_told(bare)}", flush=True)
            others = {
                "client": measures.fetch(urls, arguments.concurrency),
                "--check header": whole(listed, "header", arguments.concurrency),
                "--check pixels": whole(listed, "pixels", arguments.concurrency),
            }
            for name, work in others.items():
                found = _run(work)
                ratios.setdefault(name, []).append(found.rate / bare.rate)
                print(f"{name:15} {_told(found)}   ratio {ratios[name][-1]:.3f}", flush=True)
    for name, those in ratios.items():
        print(f"{name} to bare loop: {statistics.median(those):.3f} (median of {len(those)})")


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _told(found: Result) -> str:
    return f"{found.rate:8.1f} /s   {found.megabytes:6.0f} MB/s   parent {1000 * found.cpu / found.count:6.3f} ms"


if __name__ == "__main__":
    main()
