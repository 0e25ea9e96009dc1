"""A run as a program embeds it: `Crawler` and `crawl` against real servers, on both loops."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from crawler import Crawler, Reason, Settings, crawl
from tests.servers.handle import Faults


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
