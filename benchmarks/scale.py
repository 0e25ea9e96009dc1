"""Growth: the same run with 10 thousand, 100 thousand and 1 million targets must cost the same time and memory a target.

The list, the frontier, the pipeline and the journal are the real ones; fetching, workers and disk are stand-ins that
answer at once, so that what is seen is our own bookkeeping. Every run is a process of its own, for its memory to be its own.
With `--real` tiny pictures come from nginx through the real stages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from benchmarks import server
from crawler import Settings, crawl
from crawler.clock import SystemClock
from crawler.frontier.backoff import Backoff
from crawler.frontier.host import Rules
from crawler.frontier.hosts import HostFrontier
from crawler.inputs.targets import Targets
from crawler.model import Answer, Fetched, Miss, Picture, Receipt, Visit
from crawler.pipeline import Pipeline
from crawler.report.counters import Counters
from crawler.settings import InputSettings
from crawler.state.journal import FolderJournal
from crawler.state.spill import TargetSpill
from crawler.store.none import NullStore


class NullFetcher:
    """Answers at once with eight bytes."""

    def expect(self, visit: Visit) -> None:
        return None

    async def fetch(self, visit: Visit, sent: Callable[[Visit], None]) -> Answer:
        target = visit.target
        return Fetched(target, b"8 bytes.", target.url, 200, "image/jpeg", 1.7e9, 0.0)

    def done(self, fetched: Fetched) -> None:
        return None


class NullProcessor:
    """Calls any eight bytes a picture."""

    async def process(self, fetched: Fetched) -> Picture | Miss:
        return Picture(fetched, fetched.body, "jpeg", "jpg", 8, 8, 8, 8, "jpeg", b"\0" * 32)


class NamingStore(NullStore):
    """Says that every picture is where it belongs."""

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        index = picture.target.index
        return Receipt(f"{index // 10_000:05d}/{index:08d}.jpg", 8, b"\0" * 32)


class NullLedger:
    """Keeps no metadata."""

    dirty = False

    def rewind(self, mark: int, recorded: object, has: object) -> int:
        return 0

    def append(self, records: object) -> int:
        return 0

    def committed(self, indexes: object) -> None:
        return None

    def rebuild(self, recorded: object) -> int:
        return 0

    def close(self, finished: bool) -> None:
        return None


async def bookkeeping(urls: Path, folder: Path) -> int:
    """One run on stand-ins. Returns how many targets were skipped."""
    clock = SystemClock()
    source = Targets(InputSettings(sources=(str(urls),)))
    async with (
        FolderJournal(folder, {}, NullLedger(), clock, unique=True) as journal,
        TargetSpill(folder / ".crawler") as spill,
    ):
        pipeline = Pipeline(
            source, HostFrontier(Rules(per_host=128), clock, spill), NullFetcher(), NullProcessor(), NamingStore(),
            journal, Counters(), clock,
            concurrency=128, backlog=64, retry=Backoff(2),
        )  # fmt: skip
        await pipeline.run()
    return pipeline.skipped


async def real(urls: Path, folder: Path) -> int:
    """One run of the whole program."""
    settings = Settings.of(str(urls), output=str(folder), size=64, allow_private=True, per_host=0, robots=False)
    return (await crawl(settings)).skipped


def child(kind: str, urls: str, folder: str) -> None:
    """Run once and print seconds, skipped and the peak of resident memory in MiB."""
    began = time.perf_counter()
    work = real if kind == "real" else bookkeeping
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        skipped = runner.run(work(Path(urls), Path(folder)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - began, "skipped": skipped, "peak": peak}))


def in_child(kind: str, urls: Path, folder: Path) -> dict[str, float]:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--child", kind, str(urls), str(folder)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600).stdout
    result: dict[str, float] = json.loads(told)
    return result


def report(kind: str, count: int, urls: Path, scratch: Path) -> None:
    """One line for a run of `count` targets and its rerun."""
    folder = scratch / f"run-{count}"
    first, again = in_child(kind, urls, folder), in_child(kind, urls, folder)
    assert again["skipped"] == count, again
    size = (folder / ".crawler/journal.sqlite").stat().st_size
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "crawler", "status", str(folder), "--json"],
        check=False,
        capture_output=True,
        timeout=600,
    )
    status = time.perf_counter() - began
    print(
        f"{count:>9,} targets   {first['seconds'] / count * 1e6:7.1f} us each   peak {first['peak']:6.1f} MiB   "
        f"resume {again['seconds']:6.2f} s, peak {again['peak']:6.1f} MiB   status {status:5.2f} s   "
        f"journal {size / count:5.1f} bytes a row",
        flush=True,
    )


def write_lists(counts: list[int], scratch: Path) -> dict[int, Path]:
    """Lists of addresses that nobody asks for."""
    lists = {count: scratch / f"urls-{count}.txt" for count in counts}
    for count, path in lists.items():
        with path.open("w") as file:
            file.writelines(f"http://host{n % 997}.bench.invalid/pictures/{n:08d}.jpg\n" for n in range(count))
    return lists


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--real", action="store_true", help="tiny pictures from nginx through the real stages")
    parser.add_argument("--scratch", type=Path, default=None)
    parser.add_argument("--child", nargs=3, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as home:
        scratch = Path(home)
        if arguments.real:
            _real(arguments.counts, scratch)
            return
        for count, urls in write_lists(arguments.counts, scratch).items():
            report("bookkeeping", count, urls, scratch)


def _real(counts: list[int], scratch: Path) -> None:
    pictures = scratch / "pictures"
    pictures.mkdir()
    _tiny_pictures(pictures)
    with server.serve(pictures) as bases:
        for count in counts:
            urls = server.write_list(scratch / f"urls-{count}.txt", pictures, bases, count)
            report("real", count, urls, scratch)


def _tiny_pictures(folder: Path) -> None:
    from PIL import Image

    for n in range(100):
        Image.effect_noise((96, 96), 30 + n).save(folder / f"{n:03d}.jpg")


if __name__ == "__main__":
    main()
