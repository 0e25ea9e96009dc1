"""Worker processes: what kills one costs its culprit only, and a pool that is closed leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import psutil
import pytest

from crawler.errors import WorkersFailed
from crawler.model import Fetched, Miss, Picture, Reason, Target
from crawler.process.pool import WorkerPool
from crawler.settings import ProcessSettings
from tests import poison
from tests.servers.pictures import blank_png, jpeg

GOOD = jpeg(64, 48)


def fetched(index: int, body: bytes = GOOD) -> Fetched:
    return Fetched(Target(index, f"http://example.org/{index}"), body, "", 200, "", 0.0, 0.0)


async def process_all(pool: WorkerPool, bodies: list[bytes]) -> list[Picture | Miss]:
    return list(await asyncio.gather(*(pool.process(fetched(n, body)) for n, body in enumerate(bodies))))


def reasons(results: list[Picture | Miss]) -> Counter[str]:
    return Counter(result.reason.value if isinstance(result, Miss) else "good" for result in results)


async def test_pictures_come_back_with_what_they_are() -> None:
    async with WorkerPool(ProcessSettings(workers=2, size=32)) as pool:
        results = await process_all(pool, [jpeg(64, 48, seed=n) for n in range(40)])
    assert reasons(results) == {"good": 40}
    first = results[0]
    assert isinstance(first, Picture)
    assert (first.width, first.height, first.original_width, first.original_height) == (32, 24, 64, 48)
    assert first.fetched.body == b"", "whoever holds a picture must not hold its source too"


@pytest.mark.parametrize("poisonous", [b"SEGV", b"EXIT", b"KILL"])
async def test_a_poison_picture_costs_itself_only(poisonous: bytes) -> None:
    bodies = [GOOD] * 20 + [poisonous] + [GOOD] * 20
    async with WorkerPool(ProcessSettings(workers=2), poison.work) as pool:
        results = await process_all(pool, bodies)
    assert reasons(results) == {"good": 40, "worker_crashed": 1}
    assert isinstance(results[20], Miss)


async def test_several_poisons_in_one_batch_are_told_apart() -> None:
    bodies = [b"SEGV", GOOD, b"SEGV 2", GOOD, b"HANG", GOOD]
    async with WorkerPool(ProcessSettings(workers=1, process_timeout=0.3), poison.work) as pool:
        results = await process_all(pool, bodies)
    assert reasons(results) == {"good": 3, "worker_crashed": 2, "too_slow": 1}


async def test_a_picture_that_takes_too_long_is_too_slow() -> None:
    async with WorkerPool(ProcessSettings(workers=1, process_timeout=0.3), poison.work) as pool:
        results = await process_all(pool, [b"HANG", GOOD, GOOD])
    assert reasons(results) == {"too_slow": 1, "good": 2}
    assert isinstance(results[0], Miss)
    assert "0.3 s" in results[0].detail


async def test_a_picture_that_needs_too_much_memory_is_out_of_memory() -> None:
    settings = ProcessSettings(workers=1, worker_memory=400_000_000, max_pixels=10**9, fit="none")
    async with WorkerPool(settings) as pool:
        results = await process_all(pool, [GOOD, blank_png(20_000, 20_000), GOOD])
    assert reasons(results) == {"good": 2, "out_of_memory": 1}


async def test_workers_killed_from_outside_lose_nothing() -> None:
    bodies = [b"SLOW" + GOOD] * 150
    async with WorkerPool(ProcessSettings(workers=2), poison.work) as pool:
        working = asyncio.create_task(process_all(pool, bodies))
        killed = 0
        while not working.done() and killed < 12:
            killed += await asyncio.to_thread(kill_a_worker)
            await asyncio.wait({working}, timeout=0.1)
        results = await working
    assert killed >= 3, "the test must have killed some"
    assert reasons(results) == {"good": 150}


def kill_a_worker() -> int:
    """SIGKILL the youngest worker process, as a person or the kernel would."""
    workers = [child for child in psutil.Process().children(recursive=True) if is_worker(child)]
    if not workers:
        return 0
    try:
        os.kill(max(workers, key=lambda child: child.create_time()).pid, signal.SIGKILL)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return 0
    return 1


def is_worker(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        return parent is not None and parent.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_workers_that_cannot_start_end_the_run_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.process.entry.setup", broken_setup)
    async with WorkerPool(ProcessSettings(workers=1)) as pool:
        with pytest.raises(WorkersFailed, match="as soon as they start"):
            await pool.process(fetched(0))
        with pytest.raises(WorkersFailed):
            await pool.process(fetched(1))


def broken_setup(settings: ProcessSettings) -> None:
    """Stands in for the set-up of a worker on a machine where none can live."""
    os._exit(7)


async def test_a_pool_closed_in_the_middle_leaves_no_process() -> None:
    async with WorkerPool(ProcessSettings(workers=2), poison.work) as pool:
        waiting = [asyncio.create_task(pool.process(fetched(n, b"HANG"))) for n in range(4)]
        await asyncio.wait(waiting, timeout=0.2)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert not [child for child in psutil.Process().children(recursive=True) if is_worker(child)]


async def test_several_pools_live_in_one_process() -> None:
    async with WorkerPool(ProcessSettings(workers=1)) as one, WorkerPool(ProcessSettings(workers=1, size=16)) as two:
        large, small = await asyncio.gather(one.process(fetched(0)), two.process(fetched(0)))
    assert isinstance(large, Picture)
    assert isinstance(small, Picture)
    assert (large.width, small.width) == (64, 16)


async def test_unknown_reasons_are_never_invented() -> None:
    async with WorkerPool(ProcessSettings(workers=1)) as pool:
        result = await pool.process(fetched(0, b"<html>"))
    assert isinstance(result, Miss)
    assert result.reason is Reason.NOT_IMAGE
    assert "<html>" in result.detail
