"""`--executor thread`: the same pictures as with processes, in this one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from crawler import Crawler, Settings, SettingsError, crawl
from crawler.bench.server import serving
from crawler.model import Fetched, Miss, Picture, Target
from crawler.process.pool import WorkerPool
from crawler.settings import ProcessSettings
from tests.servers.pictures import gif, jpeg, png, webp

BODIES = [
    jpeg(640, 480, 1),
    jpeg(300, 500, 2, mode="L"),
    png(200, 150, mode="RGBA"),
    webp(300, 200),
    gif(90, 80, frames=3),
]
BODIES += [BODIES[0][:3000], b"no picture at all"]


async def results(executor: str) -> list[Picture | Miss]:
    settings = ProcessSettings(size=100, executor=executor, workers=2)  # type: ignore[arg-type]
    async with WorkerPool(settings) as pool:
        assert bool(pool.pids) == (executor == "process") or not pool.pids
        bodies = [
            Fetched(Target(n, f"http://example.org/{n}"), body, "", 200, "", 0.0, 0.0) for n, body in enumerate(BODIES)
        ]
        return list(await asyncio.gather(*map(pool.process, bodies)))


async def test_threads_and_processes_make_the_same_of_every_body() -> None:
    by_threads, by_processes = await results("thread"), await results("process")
    assert by_threads == by_processes
    assert [isinstance(one, Miss) for one in by_threads] == [False] * 5 + [True] * 2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "a.jpeg").write_bytes(jpeg(320, 240))
    with serving(folder) as address:
        yield address


async def test_a_run_with_threads_starts_no_process_and_leaves_none_behind(base: str, tmp_path: Path) -> None:
    urls = [f"{base}/a.jpeg?{number}" for number in range(40)]
    settings = Settings.of(urls, output=tmp_path / "out", executor="thread", allow_private=True, robots=False)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    summary = await crawl(settings)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert (summary.stored, summary.missed) == (40, 0)


async def test_leaving_in_the_middle_ends_the_threads() -> None:
    async with WorkerPool(ProcessSettings(size=100, executor="thread", workers=1)) as pool:
        body = jpeg(2000, 1500)
        waiting = [
            asyncio.create_task(pool.process(Fetched(Target(n, "http://example.org/"), body, "", 200, "", 0.0, 0.0)))
            for n in range(50)
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_function_that_cannot_be_found_is_told_before_anything_is_fetched() -> None:
    settings = Settings.of(format="none", executor="thread", transform="nowhere.at_all:function", allow_private=True)
    with pytest.raises(SettingsError, match="nowhere"):
        async with Crawler(settings):
            pass


def test_keeping_what_is_cut_off_needs_processes() -> None:
    with pytest.raises(SettingsError, match="--truncated keep"):
        ProcessSettings(executor="thread", truncated="keep")
