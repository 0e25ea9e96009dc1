"""Growth: a list of any length must cost the same time a target, and the same memory. A list that grows would show.

Tiny pictures come from nginx on loopback addresses through the real program, each target an address of its own. With
`--bookkeeping` the list, the frontier, the pipeline and the journal are the real ones; fetching, workers and disk are
stand-ins that answer at once, so that what is seen is our own bookkeeping. Every run is a process of its own, for its memory
to be its own; it is run a second time, which skips everything.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import server
from benchmarks.measure import measured
from crawler import Settings, crawl
from crawler.clock import SystemClock
from crawler.found import Page, PageOrder
from crawler.frontier.backoff import Backoff
from crawler.frontier.host import Rules
from crawler.frontier.hosts import WINDOW, HostFrontier
from crawler.inputs.targets import Targets
from crawler.model import Answer, Fetched, Miss, Picture, Receipt, Visit
from crawler.pipeline import Pipeline
from crawler.report.counters import Counters
from crawler.settings import InputSettings
from crawler.state.journal import FolderJournal
from crawler.state.spill import TargetSpill
from crawler.store.none import NullStore

REAL, BOOKKEEPING = "real", "bookkeeping"
COUNTS = {REAL: [1_000, 10_000, 100_000], BOOKKEEPING: [10_000, 100_000, 1_000_000]}
FLAT = 1.2
"""Largest ratio of two runs that is called flat: on a shared machine the same run differs by a tenth."""
_FIRST_LOOK, _LONGEST_PAUSE = 0.25, 4.0
_PICTURES = 256
_LIMIT = 2 * 3600.0


@dataclass(frozen=True)
class Growth:
    """One run.

    Attributes:
        wall, parent: seconds of the run, and of CPU of its process; the workers are other processes.
        peak: MiB of memory that its process had at most.
        objects: that the garbage collector tracked at most.
        stored, skipped: targets.
    """

    wall: float
    parent: float
    peak: float
    objects: int
    stored: int
    skipped: int


class Watch:
    """Counts objects now and then while a run goes on, more rarely as it goes on. The time that this takes is kept."""

    def __init__(self) -> None:
        self.objects = 0
        self.seconds = 0.0

    def look(self) -> None:
        began = time.thread_time()
        self.objects = max(self.objects, len(gc.get_objects()))
        self.seconds += time.thread_time() - began

    async def keep_looking(self) -> None:
        pause = _FIRST_LOOK
        while True:
            await asyncio.sleep(pause)
            self.look()
            pause = min(2 * pause, _LONGEST_PAUSE)


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

    async def read(self, fetched: Fetched, order: PageOrder) -> Page | Miss:
        raise NotImplementedError("there are no pages here")


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


async def bookkeeping(urls: Path, folder: Path) -> tuple[int, int]:
    """One run on stand-ins. Returns how many targets were stored and skipped."""
    clock = SystemClock()
    source = Targets(InputSettings(sources=(str(urls),)))
    counters = Counters()
    async with (
        FolderJournal(folder, {}, NullLedger(), clock, unique=True) as journal,
        TargetSpill(folder / ".crawler") as spill,
    ):
        pipeline = Pipeline(
            source, HostFrontier(Rules(per_host=128), clock, spill), NullFetcher(), NullProcessor(), NamingStore(),
            journal, counters, clock,
            concurrency=128, backlog=64, retry=Backoff(2),
        )  # fmt: skip
        await pipeline.run()
    return counters.stored, pipeline.skipped


async def real(urls: Path, folder: Path) -> tuple[int, int]:
    """One run of the whole program. It can connect to loopback addresses and to nothing else in a private network."""
    settings = Settings.of(
        str(urls), output=str(folder), size=24, per_host=0, allow_net=("127.0.0.0/8",), proxy="none"
    )  # fmt: skip
    summary = await crawl(settings)
    return summary.stored, summary.skipped


async def watched(kind: str, urls: Path, folder: Path, watch: Watch) -> tuple[int, int]:
    """One run with somebody who looks."""
    looking = asyncio.create_task(watch.keep_looking())
    try:
        return await (real if kind == REAL else bookkeeping)(urls, folder)
    finally:
        looking.cancel()
        watch.look()


def child(kind: str, urls: str, folder: str) -> None:
    """Run once and print how it went."""
    watch = Watch()
    with measured() as cost, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stored, skipped = runner.run(watched(kind, Path(urls), Path(folder), watch))
    wall, parent = cost.wall - watch.seconds, cost.parent - watch.seconds
    print(json.dumps(vars(Growth(wall, parent, _peak(), watch.objects, stored, skipped))))


def _peak() -> float:
    """MiB that this process had at most. Not `ru_maxrss`: that begins with what the process that started it had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def in_child(kind: str, urls: Path, folder: Path) -> Growth:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--child", kind, str(urls), str(folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=_LIMIT).stdout
    return Growth(**json.loads(told))


def report(kind: str, count: int, urls: Path, scratch: Path) -> Growth:
    """One line for a run of `count` targets, its rerun, and `status` on it."""
    folder = scratch / f"run-{count}"
    first, again = in_child(kind, urls, folder), in_child(kind, urls, folder)
    if (first.stored, again.skipped) != (count, count):
        raise SystemExit(f"{first.stored} stored and {again.skipped} skipped by the rerun, of {count}")
    size = (folder / ".crawler/journal.sqlite").stat().st_size
    began = time.perf_counter()
    command = [sys.executable, "-m", "crawler", "status", str(folder), "--json"]
    subprocess.run(command, check=False, capture_output=True, timeout=600)
    status = time.perf_counter() - began
    print(
        f"{count:>9,}{first.wall / count * 1e6:9.1f}{first.parent / count * 1e6:11.1f}{first.peak:10.1f}"
        f"{first.objects:>11,}{again.wall:10.2f}{again.peak:12.1f}{status:10.2f}{size / count:15.1f}",
        flush=True,
    )
    return first


HEAD = "  targets  wall us  parent us  peak MiB    objects   rerun s   rerun MiB  status s  journal bytes"


def verdict(runs: dict[int, Growth]) -> str:
    """Whether runs of different length cost the same; those count that fill the window."""
    counts = sorted(count for count in runs if count > WINDOW)
    if len(counts) < 2:
        return f"flat or not: two counts above {WINDOW:,} are needed, for the window of the frontier to be full"
    few, many = counts[0], counts[-1]
    short, long = runs[few], runs[many]
    ratios = {
        "wall": long.wall / many / (short.wall / few),
        "parent CPU": long.parent / many / (short.parent / few),
        "memory": long.peak / short.peak,
        "objects": long.objects / short.objects,
    }
    grown = [name for name, ratio in ratios.items() if ratio > FLAT]
    more, memory = many - few, (long.peak - short.peak) * 2**20
    return (
        f"{'not flat: ' + ', '.join(grown) if grown else 'flat'}. {many:,} targets against {few:,}: "
        + ", ".join(f"{name} x {ratio:.2f}" for name, ratio in ratios.items())
        + f" (at most {FLAT}); {memory / more:.1f} bytes and {(long.objects - short.objects) / more:.3f} objects a target more"
    )


@contextmanager
def lists(kind: str, scratch: Path) -> Iterator[Callable[[int], Path]]:
    """What writes a list of so many addresses. Those of a real run are answered as long as this is open."""
    if kind == BOOKKEEPING:
        yield lambda count: _nowhere(scratch / f"urls-{count}.txt", count)
        return
    pictures = scratch / "pictures"
    pictures.mkdir()
    _tiny_pictures(pictures)
    with server.serve(pictures) as bases:
        yield lambda count: server.write_list(scratch / f"urls-{count}.txt", pictures, bases, count)


def _nowhere(path: Path, count: int) -> Path:
    """Addresses that nobody asks for."""
    with path.open("w") as file:
        file.writelines(f"http://host{n % 997}.bench.invalid/pictures/{n:08d}.jpg\n" for n in range(count))
    return path


def _tiny_pictures(folder: Path) -> None:
    """JPEGs of 32x32 pixels and about 1 KB."""
    from PIL import Image

    for n in range(_PICTURES):
        bands = [Image.effect_noise((32, 32), 20 + (n + band) % 40) for band in range(3)]
        Image.merge("RGB", bands).save(folder / f"{n:03d}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=None)
    parser.add_argument("--bookkeeping", action="store_true", help="stand-ins for fetching, workers and disk")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for lists and outputs, which are removed")
    parser.add_argument("--child", nargs=3, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    kind = BOOKKEEPING if arguments.bookkeeping else REAL
    counts = arguments.counts or COUNTS[kind]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as home, lists(kind, Path(home)) as listed:
        print(HEAD, flush=True)
        print(verdict({count: report(kind, count, listed(count), Path(home)) for count in counts}))


if __name__ == "__main__":
    main()
