"""What is measured, each in a process of its own (`child`): bodies are read before the clock starts, nothing is checked after
it has stopped but that there was a picture each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import aiohttp

from crawler.api import crawl
from crawler.bench.material import bodies
from crawler.bench.usage import Usage, usage_of
from crawler.children import worker_context
from crawler.clock import SystemClock
from crawler.fetch.budget import ByteBudget
from crawler.fetch.client import Client
from crawler.model import Fetched, Miss, Outcome, Picture, Target, Visit
from crawler.picture_settings import Executor, ProcessSettings
from crawler.process import worker
from crawler.process.pool import WorkerPool
from crawler.settings import FetchSettings, Settings
from crawler.state.journal import FolderJournal
from crawler.state.none import NullJournal
from crawler.store.files import FileStore
from crawler.store.metadata import MetadataLedger

SIZE, FIT, QUALITY = 256, "outside", 95
"""What is made of every picture: 256 pixels on its shortest side, JPEG of quality 95."""
PICTURES = ProcessSettings(size=SIZE, fit="outside", quality=QUALITY)
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Result:
    """One measure.

    Attributes:
        count: pictures in `seconds` of the clock.
        cpu: seconds of CPU in the process that leads.
        workers_cpu: the same of all worker processes; None where the system does not tell.
        memory: the most that was resident, workers included, in bytes; None where the system does not tell.
        start: seconds until all workers were there.
        size: bytes that were fetched or written.
        slowest: which stage held a whole run back.
    """

    count: int
    seconds: float
    cpu: float = 0.0
    workers_cpu: float | None = None
    memory: int | None = None
    start: float = 0.0
    size: int = 0
    slowest: str = ""

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.count / self.seconds

    @property
    def megabytes(self) -> float:
        """10^6 bytes a second."""
        return self.size / 1e6 / self.seconds


class _Clock:
    """Seconds, and CPU of this process, of a block."""

    seconds = 0.0
    cpu = 0.0


@contextmanager
def _timed() -> Iterator[_Clock]:
    clock = _Clock()
    began, cpu = time.perf_counter(), time.process_time()
    yield clock
    clock.seconds, clock.cpu = time.perf_counter() - began, time.process_time() - cpu


def floor(given: list[bytes], processes: int, settings: ProcessSettings = PICTURES) -> Result:
    """The codecs alone: a plain process a core that has its share of the bodies and calls what a worker calls."""
    context = worker_context()
    barrier = context.Barrier(processes + 1)
    shares = [given[number::processes] for number in range(processes)]
    workers = [context.Process(target=_bare, args=(share, settings, barrier)) for share in shares]  # type: ignore[attr-defined]
    for process in workers:
        process.start()
    barrier.wait()
    with _timed() as clock:
        for process in workers:
            process.join()
    return Result(len(given), clock.seconds)


def _bare(share: list[bytes], settings: ProcessSettings, barrier: Barrier) -> None:
    worker.setup(settings)
    worker.work(share[:2])
    barrier.wait()
    assert all(len(result) > 2 for result in worker.work(share)), "a picture of the benchmark was refused"


async def process(given: list[bytes], executor: Executor, workers: int) -> Result:
    """Bodies through the pool: batches, pipes and all."""
    began = time.perf_counter()
    settings = ProcessSettings(size=SIZE, fit="outside", quality=QUALITY, executor=executor, workers=workers)
    async with WorkerPool(settings) as pool:
        await asyncio.gather(*(pool.process(fetched(number, given[0])) for number in range(2 * pool.size)))
        start, before = time.perf_counter() - began, usage_of(pool.pids)
        with _timed() as clock:
            results = await asyncio.gather(*(pool.process(fetched(n, body)) for n, body in enumerate(given)))
        used = usage_of(pool.pids)
    assert not any(isinstance(result, Miss) for result in results), "a picture of the benchmark was refused"
    memory = None if used is None else used.memory + (Usage.own().memory if pool.pids else 0)
    spent = None if used is None or before is None else used.cpu - before.cpu
    return Result(len(given), clock.seconds, clock.cpu, spent if pool.pids else 0.0, memory, start)


async def fetch(addresses: list[str], concurrency: int = _AT_ONCE) -> Result:
    """Bodies from a server through our client, with every limit of it on but the refusal of loopback."""
    settings = FetchSettings(allow_private=True, robots=False)
    async with Client(settings, ByteBudget(settings.memory), SystemClock(), NullJournal()) as client:

        async def one(index: int, address: str) -> int:
            found = await client.fetch(Visit(Target(index, address)), lambda _: None)
            assert isinstance(found, Fetched), found
            client.done(found)
            return len(found.body)

        return await _spread(one, addresses, concurrency)


async def bare_fetch(addresses: list[str], concurrency: int = _AT_ONCE) -> Result:
    """The same by aiohttp's `session.get` and `read`, nothing else."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(_: int, address: str) -> int:
            async with session.get(address) as response:
                assert response.status == 200
                return len(await response.read())

        return await _spread(one, addresses, concurrency)


async def _spread(one: Callable[[int, str], Awaitable[int]], addresses: list[str], concurrency: int) -> Result:
    left, total = iter(enumerate(addresses)), 0

    async def run() -> None:
        nonlocal total
        for index, address in left:
            size = await one(index, address)
            total += size

    with _timed() as clock:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(run())
    return Result(len(addresses), clock.seconds, clock.cpu, size=total)


async def store(folder: Path, count: int, size: int) -> Result:
    """`count` pictures of `size` bytes to files and the journal; what closing costs is in it."""
    files, room = FileStore(folder, "{folder}/{index:08}"), asyncio.Semaphore(_AT_ONCE)
    journal = FolderJournal(folder, {}, MetadataLedger(folder, files, False), SystemClock())

    async def one(index: int) -> None:
        async with room:
            picture = some_picture(index, size)
            await journal.settle(Outcome(picture.target, picture, await files.put(picture), None, 1, 0.1, size))

    with _timed() as clock:
        async with journal, files:
            async with asyncio.TaskGroup() as group:
                for index in range(count):
                    group.create_task(one(index))
            await journal.flush()
    return Result(count, clock.seconds, clock.cpu, size=count * size)


async def whole(addresses: list[str], folder: Path) -> Result:
    """A run as the command makes it: addresses to files."""
    settings = Settings.of(
        addresses, output=str(folder), size=SIZE, fit=FIT, quality=QUALITY, per_host=0, allow_private=True, proxy="none",
    )  # fmt: skip
    with _timed() as clock:
        summary = await crawl(settings)
    assert summary.stored == len(addresses), summary.reasons
    size = summary.bytes_fetched
    return Result(summary.stored, summary.seconds, clock.cpu, size=size, slowest=summary.bottleneck)


def fetched(index: int, body: bytes) -> Fetched:
    """A body as if it had been fetched."""
    return Fetched(Target(index, "http://bench.invalid/"), body, "", 200, "", 0.0, 0.0)


def some_picture(index: int, size: int) -> Picture:
    """A picture of so many bytes, which no other has."""
    address = f"http://bench.invalid/{index}.jpg"
    found = Fetched(Target(index, address), b"", address, 200, "image/jpeg", 1.7e9, 0.1)
    return Picture(
        found, index.to_bytes(8, "big") * (size // 8), "jpeg", "jpg", 256, 256, 1024, 1024, "jpeg", b"\0" * 32
    )


def addresses_of(folder: Path, base: str, count: int) -> list[str]:
    """`count` different addresses of a folder's pictures."""
    names = sorted(path.name for path in folder.iterdir())
    return [f"{base}/{names[number % len(names)]}?{number}" for number in range(count)]


__all__ = [
    "PICTURES", "Result", "addresses_of", "bare_fetch", "bodies", "fetch", "fetched", "floor", "process", "some_picture",
    "store", "whole",
]  # fmt: skip
