"""Fetching alone: our client against a bare aiohttp loop that reads the same addresses. No frontier, no workers, no disk."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop

from benchmarks import corpus, server
from benchmarks.measure import Cost, measured
from crawler.clock import SystemClock
from crawler.fetch.budget import ByteBudget
from crawler.fetch.client import Client
from crawler.model import Fetched, Target, Visit
from crawler.settings import FetchSettings
from crawler.state.none import NullJournal


async def ours(urls: list[str], concurrency: int) -> Cost:
    """Through `Client`, with every limit of it on but the refusal of loopback."""
    settings = FetchSettings(allow_private=True, robots=False)
    async with Client(settings, ByteBudget(settings.memory), SystemClock(), NullJournal()) as client:

        async def one(index: int, url: str) -> None:
            fetched = await client.fetch(Visit(Target(index, url)), lambda _: None)
            assert isinstance(fetched, Fetched), fetched
            client.done(fetched)

        return await _spread(one, urls, concurrency)


async def bare(urls: list[str], concurrency: int) -> Cost:
    """`session.get` and `read`, nothing else."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(_: int, url: str) -> None:
            async with session.get(url) as response:
                assert response.status == 200
                await response.read()

        return await _spread(one, urls, concurrency)


async def _spread(one: Callable[[int, str], Awaitable[None]], urls: list[str], concurrency: int) -> Cost:
    left = iter(enumerate(urls))

    async def worker() -> None:
        for index, url in left:
            await one(index, url)

    with measured() as cost:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    pictures = corpus.mixed(2000)
    with server.serve(pictures) as bases, tempfile.TemporaryDirectory() as scratch:
        listed = server.write_list(Path(scratch) / "urls.txt", pictures, bases, arguments.count)
        urls = listed.read_text().split()
        ratios = []
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for _ in range(arguments.repeat):
                theirs, mine = (runner.run(run(urls, arguments.concurrency)) for run in (bare, ours))
                ratios.append(theirs.wall / mine.wall)
                print(
                    f"bare {theirs.each(len(urls))}\nours {mine.each(len(urls))}   ratio {ratios[-1]:.3f}", flush=True
                )
    print(f"client to bare loop: {statistics.median(ratios):.3f} (median of {len(ratios)})")


if __name__ == "__main__":
    main()
