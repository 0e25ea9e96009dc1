"""Two programs that know nothing of us look at the same site: what they find we find as well.

wget crawls it, Chromium shows pages of it without running scripts. Both talk to loopback only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from crawler import Crawler, Settings, Target
from crawler.found import Page as FoundPage
from tests.cli import inside
from tests.servers.gallery import TRAPS, Gallery, Page, running_gallery

LIMIT: Final = 60.0
TRAP: Final = "/({})/".format("|".join((*TRAPS, "session", "hop")))
IN_CI: Final = "CI" in os.environ

pytestmark = pytest.mark.witness
needs_wget = pytest.mark.skipif(
    shutil.which("wget") is None and not IN_CI, reason="wget is not installed: apt-get install wget"
)
needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None and not IN_CI, reason="chromium is not installed: apt-get install chromium"
)

NOT_OURS: Final = {
    "/p/img/second.jpg": "an attribute that is there twice: HTML knows the first only, wget takes both",
    "/p/set/wrong.jpg": "a version of a srcset with a wrong descriptor: HTML drops it, wget does not look",
    "/p/polite/noindex.jpg": "the page says noindex, of which wget knows nothing but nofollow",
    "/p/polite/noimageindex.jpg": "the page says noimageindex",
    "/p/polite/noai.jpg": "the page says noai",
    "/p/polite/header-noindex.jpg": "the header of the page says noindex",
    "/p/fall/page-800.jpg": "a page in the place of a picture in a srcset: we ask for it as a picture",
    "/p/same/moved-to.jpg": "printed as the address that leads there",
    "/viewer/sunset.jpg": "a page that is called like a picture: what ends so is asked for as a picture",
    "//127.0.0.2/away/landing.html": "a redirect leads to another host, and wget looks at no scope there",
    "/p/viewer/sunset.png": "on a page that is called like a picture: what ends so is asked for as a picture",
    "/private/moved.html": "a redirect leads there, robots.txt forbids it, and wget does not look again",
    "/same/page.html;jsessionid=A1B2": "the same page with a session",
    "/same/page.html?PHPSESSID=0123456789abcdef": "the same page with a session",
    "/same/page.html?sid=42": "the same page with a session",
    "/same/page.html?fbclid=abc": "the same page with where the visitor came from",
    "/same/page.html?utm_source=x&utm_medium=y": "the same page with where the visitor came from",
}
"""What wget asks for and we do not, and why that is right."""

AS_PICTURES: Final = {"/p/fall/page-800.jpg", "/viewer/sunset.jpg"}
"""Pages among these that we ask for too, but do not take for pages."""


@pytest.fixture(scope="module")
def running() -> Iterator[Gallery]:
    with running_gallery() as gallery:
        yield gallery


@pytest.fixture
def gallery(running: Gallery) -> Gallery:
    running.reset()
    return running


def pictures_asked(gallery: Gallery) -> set[str]:
    return {one.name for one in gallery.requests() if one.name in gallery.site.pictures and one.status == 200}


def pages_asked(gallery: Gallery) -> set[str]:
    kinds = ("text/html", "application/xhtml+xml")
    return {one.name for one in gallery.requests() if one.status == 200 and one.kind.startswith(kinds)}


def wget(gallery: Gallery, folder: Path) -> None:
    flags = ("-r", "-l", "20", "-p", "-e", "robots=on", "--no-proxy", "-t", "1", "-T", "5", "--no-verbose")
    subprocess.run(
        ["wget", *flags, "--reject-regex", TRAP, "-P", folder, gallery.url("/")],
        capture_output=True, timeout=LIMIT, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )  # fmt: skip


@dataclass(frozen=True)
class Beside:
    """Pictures and pages that wget has asked for and got, and those that we list and visit."""

    their_pictures: set[str]
    their_pages: set[str]
    our_pictures: set[str]
    our_pages: set[str]


@pytest.fixture(scope="module")
def beside(running: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    running.reset()
    wget(running, tmp_path_factory.mktemp("wget"))
    their_pictures, their_pages = pictures_asked(running), pages_asked(running)
    running.reset()
    flags = ("--follow", "--depth", 1000, "--exclude", TRAP, "--srcset", "all", "--thumbnails", "--stylesheets")
    ended = inside("urls", running.url("/"), "--allow-private", *flags)
    assert ended.code == 0, ended.err
    ours = {running.name(url) for url in ended.out.splitlines()}
    return Beside(their_pictures, their_pages, ours, pages_asked(running))


@needs_wget
def test_wget_has_seen_most_of_the_site(beside: Beside, running: Gallery) -> None:
    """Or what is compared below would say nothing."""
    assert len(beside.their_pictures) > 300
    assert len(beside.their_pages) > 180


@needs_wget
def test_every_picture_that_wget_finds_we_find(beside: Beside) -> None:
    assert sorted(beside.their_pictures - beside.our_pictures - set(NOT_OURS)) == []


@needs_wget
def test_every_page_that_wget_visits_we_visit(beside: Beside) -> None:
    assert sorted(beside.their_pages - beside.our_pages - set(NOT_OURS)) == []


@needs_wget
def test_every_exception_is_one(beside: Beside) -> None:
    """What wget no longer asks for, or we do as well, is none."""
    theirs, ours = beside.their_pictures | beside.their_pages, beside.our_pictures | beside.our_pages
    assert sorted(name for name in NOT_OURS if name not in theirs) == []
    assert sorted(name for name in NOT_OURS if name in ours and name not in AS_PICTURES) == []


# A browser.

TOGETHER: Final = 24
"""Pages that are shown side by side, each in a frame."""


def shown_pages(gallery: Gallery) -> list[str]:
    """Pages that hold pictures: all but most of the albums, which are alike."""
    pages = gallery.site.pages.items()
    return [
        name
        for name, page in pages
        if page.want == "visit"
        and page.kind.startswith(("text/html", "application/xhtml+xml"))
        and {"+", "-", "?"} & set(page.pictures)
        and not name.startswith(("/albums/0", "/albums/1"))
    ] + ["/albums/00/", "/albums/00/photo-0.html"]  # fmt: skip


def chromium(gallery: Gallery, pages: list[str], folder: Path) -> None:
    """Show pages side by side, without scripts (which a sandbox turns off as a setting would), until all of it is loaded."""
    frames = "".join(
        f'<iframe sandbox="allow-same-origin" src="{name}" width="600" height="400"></iframe>' for name in pages
    )
    gallery.site.pages["/frames-of-the-browser.html"] = Page(f"<!DOCTYPE html><body>{frames}".encode(), want="never")
    flags = (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
        "--virtual-time-budget=10000", "--window-size=1280,2000",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE 127.0.0.2", "--no-proxy-server",
        f"--user-data-dir={folder}",
    )  # fmt: skip
    home = {"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    subprocess.run(
        ["chromium", *flags, "--dump-dom", gallery.url("/frames-of-the-browser.html")],
        capture_output=True, timeout=LIMIT, check=True, env=home,
    )  # fmt: skip


@pytest.fixture(scope="module")
def loaded(running: Gallery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The pictures that the browser has loaded, by the page that holds them."""
    pages, found = shown_pages(running), dict[str, set[str]]()
    for number, at in enumerate(range(0, len(pages), TOGETHER)):
        running.reset()
        chromium(running, pages[at : at + TOGETHER], tmp_path_factory.mktemp(f"chromium{number}"))
        for one in running.requests():
            if one.name in running.site.pictures and not one.name.startswith("//"):  # another host is told no path
                found.setdefault(running.name(one.referer), set()).add(one.name)
    return found


@needs_chromium
def test_the_browser_has_shown_most_pages(loaded: dict[str, set[str]], running: Gallery) -> None:
    """Or what is compared below would say nothing."""
    assert len(loaded) > 60
    assert sum(map(len, loaded.values())) > 170


@needs_chromium
def test_every_picture_that_a_browser_loads_is_a_candidate(loaded: dict[str, set[str]], gallery: Gallery) -> None:
    candidates = candidates_of(gallery)
    missing = {}
    for page in sorted(loaded):
        if page not in candidates and not page.endswith(".css"):  # what leads there is not followed: others test that
            candidates |= candidates_of(gallery, page)
        if unknown := loaded[page] - candidates.get(page, set()):
            missing[page] = sorted(unknown)
    assert missing == {}


def candidates_of(gallery: Gallery, page: str = "") -> dict[str, set[str]]:
    """Everything that is found in each page: best versions, others, what was passed over, and frames; of one page, or of all
    that can be reached.
    """
    found: dict[str, set[str]] = {}

    def seen(target: Target, one: FoundPage) -> None:
        found[gallery.name(target.url)] = set(_told(gallery, one))

    async def leave(_: Target) -> None:
        return None

    async def look() -> None:
        far = {} if page else {"follow": True, "depth": 1000, "exclude": (TRAP,), "scope": "any"}
        settings = Settings.of(
            gallery.url(page or "/"),
            format="none",
            allow_private=True,
            ignore_meta_robots=True,
            stylesheets=True,
            **far,
        )
        async with Crawler(settings, listing=leave, seen=seen) as run:
            await run.finish()

    asyncio.run(look())
    return found


def _told(gallery: Gallery, page: FoundPage) -> Iterator[str]:
    for picture in page.pictures:
        yield from map(gallery.name, (picture.url, *picture.fallbacks))
    yield from (gallery.name(one.url) for one in page.passed_over)
    yield from (gallery.name(one.url) for one in page.links if one.kind == "frame")
