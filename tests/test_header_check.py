"""`--check header`: bytes are stored as they came after a look at their header, and no worker is started."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from crawler import Crawler, Settings, SettingsError, crawl
from crawler.bench.server import serving
from tests.cli import crawler, pictures
from tests.servers.pictures import gif, jpeg, png, webp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pictures")
    whole = jpeg(320, 240)
    files = {
        "good.jpeg": whole, "turned.jpeg": jpeg(320, 240, exif_orientation=6), "cut.jpeg": whole[: len(whole) // 2],
        "a.png": png(50, 40), "a.gif": gif(60, 50), "a.webp": webp(70, 60), "page.html": b"<!doctype html><p>no",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>', "headless.jpeg": b"\xff\xd8\xff\xe0" + bytes(60),
    }  # fmt: skip
    for name, data in files.items():
        (found / name).write_bytes(data)
    return found


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address


def is_worker(process: psutil.Process) -> bool:
    """A child of the fork server, which may be left of an earlier test."""
    try:
        parent = process.parent()
        return (
            parent is not None
            and "forkserver" in " ".join(parent.cmdline())
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


async def test_the_bytes_are_stored_with_what_their_header_says(base: str, folder: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    settings = Settings.of(
        [f"{base}/{name}" for name in names],
        output=tmp_path, encode="original", check="header", allow_private=True, robots=False,
    )  # fmt: skip
    ended = {}
    async with Crawler(settings) as run:
        async for outcome in run:
            ended[outcome.target.url.rpartition("/")[2]] = outcome
        children = psutil.Process().children(recursive=True)
    assert not [child for child in children if is_worker(child)]
    reasons = {name: outcome.miss.reason.value for name, outcome in ended.items() if outcome.miss}
    assert reasons == {"page.html": "not_image", "drawing.svg": "unsupported_format", "headless.jpeg": "decode"}
    sizes = {name: (one.picture.width, one.picture.height) for name, one in ended.items() if one.picture}
    assert sizes == {
        "good.jpeg": (320, 240), "turned.jpeg": (240, 320), "cut.jpeg": (320, 240), "a.png": (50, 40), "a.gif": (60, 50),
        "a.webp": (70, 60),
    }  # fmt: skip
    stored = sorted(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in pictures(tmp_path))
    assert stored == sorted(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sizes)


async def test_limits_and_wishes_hold_for_the_header(base: str) -> None:
    settings = Settings.of(
        format="none", encode="original", check="header", min_size=45, max_pixels=60_000, allow_private=True, robots=False,
    )  # fmt: skip
    async with Crawler(settings) as run:
        found = {name: await run.get(f"{base}/{name}") for name in ("good.jpeg", "a.png", "a.gif")}
    told = {name: one.miss and one.miss.reason.value for name, one in found.items()}
    assert told == {"good.jpeg": "too_many_pixels", "a.png": "too_small", "a.gif": None}


def test_a_run_from_the_command_line_goes_on_where_it_was(base: str, tmp_path: Path) -> None:
    words = (
        "run", f"{base}/good.jpeg", f"{base}/cut.jpeg", "-o", tmp_path, "--encode", "original", "--check", "header",
        "--allow-private", "--json",
    )  # fmt: skip
    assert crawler(*words).summary["stored"] == 2
    assert crawler(*words).summary["skipped"] == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "--encode original"),
        ({"encode": "original", "dedup": "near"}, "--dedup near"),
        ({"encode": "original", "exif": True}, "--exif"),
    ],
)
def test_what_needs_the_pixels_is_refused_with_it(flags: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.of([], format="none", check="header", **flags)


async def test_a_body_that_is_no_file_of_its_kind_costs_no_other(base: str) -> None:
    urls = [f"{base}/{name}?{n}" for n in range(30) for name in ("good.jpeg", "headless.jpeg")]
    settings = Settings.of(urls, format="none", encode="original", check="header", allow_private=True, robots=False)
    summary = await crawl(settings)
    assert (summary.stored, summary.missed) == (30, 30)
    assert summary.stages["queue"].count == 60
