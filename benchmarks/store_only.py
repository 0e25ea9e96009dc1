"""Storing alone: ready pictures through each store and the journal, against plain writes of the same bytes."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.measure import Cost, measured
from crawler.bench.measures import some_picture
from crawler.clock import SystemClock
from crawler.model import Outcome
from crawler.settings import DEFAULT_NAME
from crawler.state.journal import FolderJournal
from crawler.store.files import FileStore
from crawler.store.metadata import MetadataLedger
from crawler.store.places import LocalPlace
from crawler.store.shard import Plan
from crawler.store.shards import ShardLedger, ShardStore

SHARD_COUNT = 2000


FORMS = ("files", "webdataset", "parquet")


async def ours(form: str, folder: Path, count: int, size: int) -> Cost:
    """`count` pictures of `size` bytes to a store and the journal; what closing costs is in it."""
    room = asyncio.Semaphore(64)
    journal, store = _opened(form, folder)

    async def one(index: int) -> None:
        async with room:
            picture = some_picture(index, size)
            await journal.settle(Outcome(picture.target, picture, await store.put(picture), None, 1, 0.1, size))

    with measured() as cost:
        async with journal, store:
            async with asyncio.TaskGroup() as group:
                for index in range(count):
                    group.create_task(one(index))
            await journal.flush()
            await store.finish(count)
    return cost


def _opened(form: str, folder: Path) -> tuple[FolderJournal, Any]:
    if form == "files":
        files = FileStore(folder, DEFAULT_NAME)
        return FolderJournal(folder, {}, MetadataLedger(folder, files, False), SystemClock()), files
    ledger = ShardLedger()
    journal = FolderJournal(folder, {}, ledger, SystemClock())
    plan = Plan(SHARD_COUNT, False, {}, ["jpg"], "image", 100)
    home = folder / ".crawler"
    ledger.store = ShardStore(
        "webdataset" if form == "webdataset" else "parquet", LocalPlace(folder), home, journal.shelf(), plan
    )
    return journal, ledger.store


def plain(folder: Path, count: int, size: int) -> Cost:
    """The same bytes by open, write, close and rename, one after the other."""
    folder.mkdir()
    with measured() as cost:
        for index in range(count):
            data = some_picture(index, size).data
            with open(folder / "part", "wb", buffering=0) as file:
                file.write(data)
            os.replace(folder / "part", folder / f"{index:08d}.jpg")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=None)
    arguments = parser.parse_args()
    ratios: dict[str, list[float]] = {form: [] for form in FORMS}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(arguments.repeat):
            for form in FORMS:
                with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
                    bare = plain(Path(scratch) / "plain", arguments.count, arguments.bytes)
                    mine = runner.run(ours(form, Path(scratch) / "ours", arguments.count, arguments.bytes))
                    ratios[form].append(bare.wall / mine.wall)
                    speed = arguments.count * arguments.bytes / 1e6
                    print(
                        f"{form:10}  plain {speed / bare.wall:6.0f} MB/s   ours {speed / mine.wall:6.0f} MB/s, "
                        f"{speed / mine.parent:6.0f} MB a second of CPU   {mine.each(arguments.count)}   "
                        f"ratio {ratios[form][-1]:.3f}",
                        flush=True,
                    )
    for form, found in ratios.items():
        print(f"{form} to plain writes: {statistics.median(found):.3f} (median of {len(found)})")


if __name__ == "__main__":
    main()
