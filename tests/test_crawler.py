"""A run as a program embeds it: `Crawler` and `crawl` against real servers, on both loops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

from crawler import Crawler, InputMissing, Progress, Reason, Settings, SettingsError, crawl
from tests.cli import check_agreement
from tests.servers.handle import Faults

Capture: TypeAlias = "pytest.CaptureFixture[str]"


async def test_crawl_stores_pictures_and_explains_misses(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"good.jpg?seed={n}") for n in range(6)] + [faults.url("status/404"), "ftp://example.org/a.jpg"]
    summary = await crawl(Settings.of(urls, output=str(tmp_path / "out"), allow_private=True, workers=1))
    assert (summary.targets, summary.stored, summary.missed) == (8, 6, 2)
    assert summary.reasons == {"not_found": 1, "bad_url": 1}
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*.jpg"))
    assert files == [f"00000/{n:08d}.jpg" for n in range(6)]


async def test_leaving_early_ends_everything(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"tiny/{n}.jpg") for n in range(300)]
    seen = 0
    async with Crawler(Settings.of(urls, output=str(tmp_path / "out"), allow_private=True, workers=1)) as run:
        async for outcome in run:
            assert outcome.stored
            seen += 1
            if seen == 5:
                break
    assert run.summary.ended == "stopped"
    lines = await asyncio.to_thread((tmp_path / "out/metadata.jsonl").read_text)
    names = {json.loads(line)["file_name"] for line in lines.splitlines()}
    assert names == {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*.jpg")}
    assert len(names) >= 5


async def test_get_serves_many_callers_at_once(faults: Faults) -> None:
    async with Crawler(Settings.of(format="none", allow_private=True, workers=1, size=32)) as run:
        good, bad = await asyncio.gather(run.get(faults.url("good.jpg?w=200&h=100")), run.get(faults.url("html")))
    assert good.picture is not None
    assert (good.picture.width, good.picture.height) == (32, 16)
    assert bad.miss is not None
    assert bad.miss.reason is Reason.NOT_IMAGE


async def test_several_runs_live_in_one_program(faults: Faults, tmp_path: Path) -> None:
    def settings(name: str) -> Settings:
        urls = [faults.url(f"tiny/{name}-{n}.jpg") for n in range(20)]
        return Settings.of(urls, output=str(tmp_path / name), allow_private=True, workers=1)

    one, two = await asyncio.gather(crawl(settings("one")), crawl(settings("two")))
    assert (one.stored, two.stored) == (20, 20)


def test_a_run_works_outside_the_main_thread(faults: Faults, tmp_path: Path) -> None:
    settings = Settings.of(faults.url("tiny/1.jpg"), output=str(tmp_path), allow_private=True, workers=1)
    with ThreadPoolExecutor(1) as thread:
        summary = thread.submit(asyncio.run, crawl(settings)).result(60)
    assert summary.stored == 1


async def test_a_cancelled_run_leaves_nothing_half_done(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"tiny/{n}.jpg") for n in range(50)] + [faults.url("slow?delay=30")]
    before = asyncio.all_tasks()
    first = asyncio.Event()
    settings = Settings.of(urls, output=str(tmp_path / "out"), allow_private=True, workers=1)
    running = asyncio.create_task(watch(settings, first))
    await asyncio.wait_for(first.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
    await asyncio.to_thread(check_agreement, tmp_path / "out")


async def watch(settings: Settings, first: asyncio.Event) -> None:
    """Look at outcomes until cancelled."""
    async with Crawler(settings) as run:
        async for _ in run:
            first.set()


async def test_without_a_folder_the_bytes_are_handed_over(faults: Faults, tmp_path: Path) -> None:
    async def urls() -> AsyncIterator[str]:
        for n in range(5):
            yield faults.url(f"good.jpg?seed={n}&w=300&h=200")

    settings = Settings.of(urls(), store="none", encode="png", size=60, allow_private=True, workers=1)
    sizes = []
    async with Crawler(settings) as run:
        async for outcome in run:
            assert outcome.picture is not None
            assert outcome.picture.data.startswith(b"\x89PNG")
            sizes.append((outcome.picture.width, outcome.picture.height))
    assert sizes == [(60, 40)] * 5
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_a_progress_callback_takes_the_place_of_the_terminal(faults: Faults, capsys: Capture) -> None:
    seen: list[Progress] = []
    urls = [faults.url(f"tiny/{n}.jpg") for n in range(10)] + [faults.url("status/404")]
    settings = Settings.of(urls, format="none", allow_private=True, workers=1)
    await crawl(settings, progress=seen.append)
    assert (seen[-1].total, seen[-1].done, seen[-1].stored, seen[-1].missed) == (11, 11, 10, 1)
    assert seen[-1].reasons == {Reason.NOT_FOUND: 1}
    assert capsys.readouterr() == ("", "")


async def test_a_setting_that_is_wrong_shows_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--output"):
        Crawler(Settings.of("http://example.org/a.jpg"))
    with pytest.raises(InputMissing, match="nothing-here"):
        await crawl(Settings.of("nothing-here.txt", output=str(tmp_path / "out")))
    assert not await asyncio.to_thread((tmp_path / "out").exists)


def test_a_store_may_be_named_in_short() -> None:
    assert Settings(store="none").store.format == "none"  # type: ignore[arg-type]
    assert Settings.of(store="none").store.format == "none"
    with pytest.raises(SettingsError, match="--format"):
        Settings(store="everywhere")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="ProcessSettings"):
        Settings(process=3)  # type: ignore[arg-type]
