"""Storing alone: ready pictures through the file store and the journal, against plain writes of the same bytes."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from pathlib import Path

import uvloop

from benchmarks.measure import Cost, measured
from crawler.clock import SystemClock
from crawler.model import Fetched, Outcome, Picture, Target
from crawler.settings import DEFAULT_NAME
from crawler.state.journal import FolderJournal
from crawler.store.files import FileStore
from crawler.store.metadata import MetadataLedger


async def ours(folder: Path, count: int, size: int) -> Cost:
    """`count` pictures of `size` bytes to files, metadata and journal; what closing costs is in it."""
    store = FileStore(folder, DEFAULT_NAME)
    journal = FolderJournal(folder, {}, MetadataLedger(folder, store, False), SystemClock())
    room = asyncio.Semaphore(64)

    async def one(index: int) -> None:
        async with room:
            picture = _picture(index, size)
            await journal.settle(Outcome(picture.target, picture, await store.put(picture), None, 1, 0.1, size))

    with measured() as cost:
        async with journal, store, asyncio.TaskGroup() as group:
            for index in range(count):
                group.create_task(one(index))
    return cost


def plain(folder: Path, count: int, size: int) -> Cost:
    """The same bytes by open, write, close and rename, one after the other."""
    folder.mkdir()
    with measured() as cost:
        for index in range(count):
            data = _picture(index, size).data
            with open(folder / "part", "wb", buffering=0) as file:
                file.write(data)
            os.replace(folder / "part", folder / f"{index:08d}.jpg")
    return cost


def _picture(index: int, size: int) -> Picture:
    fetched = Fetched(
        Target(index, f"http://bench.invalid/{index}.jpg"),
        b"",
        f"http://bench.invalid/{index}.jpg",
        200,
        "image/jpeg",
        1.7e9,
        0.1,
    )
    data = index.to_bytes(8, "big") * (size // 8)
    return Picture(fetched, data, "jpeg", "jpg", 256, 256, 1024, 1024, "jpeg", b"\0" * 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=None)
    arguments = parser.parse_args()
    ratios = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(arguments.repeat):
            with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
                bare = plain(Path(scratch) / "plain", arguments.count, arguments.bytes)
                mine = runner.run(ours(Path(scratch) / "ours", arguments.count, arguments.bytes))
                ratios.append(bare.wall / mine.wall)
                print(
                    f"plain {bare.each(arguments.count)}\nours  {mine.each(arguments.count)}   ratio {ratios[-1]:.3f}",
                    flush=True,
                )
    print(f"store to plain writes: {statistics.median(ratios):.3f} (median of {len(ratios)})")


if __name__ == "__main__":
    main()
