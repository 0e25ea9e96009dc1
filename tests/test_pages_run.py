"""Runs over pages: what a kill leaves, what is bounded, what goes with the pictures, and what people are shown."""

from __future__ import annotations

import gzip
import json
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crawler import Crawler, Settings, SettingsError, crawl
from crawler.found import Page as FoundPage
from crawler.model import Target
from tests.cli import Running, crawler, inside, metadata, pictures, started, wait_until
from tests.servers.validators import NOT_THERE, Page, Validators, running_validators

pytestmark = pytest.mark.anyio


def picture(number: int, form: str = "JPEG") -> bytes:
    body = BytesIO()
    Image.new("RGB", (16, 12), (number % 256, number // 256 % 256, 90)).save(body, form)
    return body.getvalue()


def html(text: str, *headers: str) -> Page:
    return Page(text.encode(), "text/html; charset=utf-8", headers=headers)


class Site(dict[str, Page]):
    """What every path holds: pages by text, pictures by number."""

    def __call__(self, host: str, path: str) -> Page:
        if path in self:
            return self[path]
        name = path.removeprefix("/p/").partition(".")[0]
        return Page(picture(int(name))) if path.startswith("/p/") and name.isdecimal() else NOT_THERE


@pytest.fixture
def site() -> Iterator[Validators]:
    with running_validators(Site(), ("127.0.0.1", "127.0.0.2")) as running:
        yield running


def holds(site: Validators, **pages: str | Page) -> None:
    """Give the site pages; `index` is /."""
    for name, page in pages.items():
        path = "/" if name == "index" else f"/{name.replace('__', '/')}"
        site.holds[path] = html(page) if isinstance(page, str) else page  # type: ignore[index]


def run(site: Validators, output: Path, path: str = "", **flags: Any) -> Any:
    """A crawl from a page of the site. Returns its summary."""
    settings = {"output": output, "allow_private": True, "per_host": 0, "retries": 0, "workers": 1, **flags}
    return _crawled(Settings.of(site.url(path), **settings))


def _crawled(settings: Settings) -> Any:
    import asyncio

    return asyncio.run(crawl(settings))


def names(output: Path) -> list[str]:
    """The paths that pictures came from."""
    return sorted(row["url"].partition("/p/")[2] for row in metadata(output))


# A site that is killed ----------------------------------------------------------------------------------------------------

PAGES, PICTURES = 60, 5


def great(pages: int, each: int) -> dict[str, Page]:
    """Pages in a tree of three branches, each with pictures of its own, one that all have, and a way back."""
    found = {}
    for number in range(pages):
        links = "".join(
            f'<a href="/{child}.html">{child}</a>' for child in range(3 * number + 1, min(3 * number + 4, pages))
        )
        images = "".join(f'<img src="/p/{number * each + one}.jpg" alt="{number}-{one}">' for one in range(each))
        found[f"/{number}.html"] = html(f'<a href="/0.html">home</a>{links}{images}<img src="/p/1000000.jpg">')
    return found


def words(site: Validators, output: Path, *more: str) -> list[object]:
    return [
        "run", site.url("0.html"), "-o", output, "--follow", "--depth", "9", "--allow-private", "--per-host", "4", "--workers",
        "1", "--encode", "original", "--quiet", *more,
    ]  # fmt: skip


def _has_come_so_far(site: Validators, least: int, running: Running) -> bool:
    """It has come so far, or has ended before."""
    return len(site.log()) > least or running.process.poll() is not None


def survive(site: Validators, output: Path, draw: random.Random, kills: int, pages: int, each: int) -> None:
    """Kill a crawl of a site again and again, finish it, and look whether everything is there once."""
    for _ in range(kills):
        least = len(site.log()) + draw.randrange(5, max(6, pages * (each + 1) // (kills + 2)))
        with started(*words(site, output)) as running:
            wait_until(partial(_has_come_so_far, site, least, running), "work")
            running.signal(signal.SIGKILL)
    assert crawler(*words(site, output)).code == 0
    rows = metadata(output)
    assert Counter(row["url"] for row in rows).most_common(1)[0][1] == 1
    assert len(rows) == pages * each + 1
    assert sorted(row["index"] for row in rows) == list(range(len(rows)))
    assert len(pictures(output)) == len(rows)
    told = json.loads(inside("status", output, "--json").out)
    assert sum(one["pages"] for one in told["depths"]) == pages
    assert sum(one["pages_waiting"] + one["waiting"] for one in told["depths"]) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_crawl_goes_on_where_it_was_and_loses_nothing(site: Validators, tmp_path: Path, seed: int) -> None:
    site.holds.update(great(PAGES, PICTURES))  # type: ignore[attr-defined]
    survive(site, tmp_path / "out", random.Random(seed), 2, PAGES, PICTURES)
    before = len(site.log())
    assert crawler(*words(site, tmp_path / "out")).code == 0
    assert len(site.log()) == before, "a crawl that is done asks for nothing"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_a_crawl_killed_many_times_loses_nothing(site: Validators, tmp_path: Path, seed: int) -> None:
    site.holds.update(great(300, 5))  # type: ignore[attr-defined]
    survive(site, tmp_path / "out", random.Random(seed), 5, 300, 5)


def test_a_run_that_is_left_alone_asks_for_every_page_and_picture_once(site: Validators, tmp_path: Path) -> None:
    site.holds.update(great(PAGES, PICTURES))  # type: ignore[attr-defined]
    summary = run(site, tmp_path / "out", "0.html", follow=True, depth=9, encode="original")
    assert (summary.pages, summary.stored, summary.missed) == (PAGES, PAGES * PICTURES + 1, 0)
    assert set(Counter(site.paths()).values()) == {1}


def test_a_stopped_crawl_shows_its_frontier_by_depth(site: Validators, tmp_path: Path) -> None:
    site.holds.update(great(40, 1))  # type: ignore[attr-defined]
    site.holds["/5.html"] = Page(site.holds["/5.html"].body, "text/html", wait=4.0)  # type: ignore[index]
    output = tmp_path / "out"
    with started(*words(site, output, "--concurrency", "1")) as running:
        wait_until(lambda: "/5.html" in site.paths(), "the slow page")
        running.signal(signal.SIGINT)
        running.signal(signal.SIGINT)
        assert running.ended().code == 130
    told = json.loads(inside("status", output, "--json").out)
    by_depth = {one["depth"]: one for one in told["depths"]}
    assert by_depth[0]["pages"] == 1
    assert sum(one["pages_waiting"] for one in by_depth.values()) > 0
    assert "to visit" in inside("status", output).out
    site.holds["/5.html"] = Page(site.holds["/5.html"].body, "text/html")  # type: ignore[index]
    assert crawler(*words(site, output)).code == 0
    assert len(metadata(output)) == 41


# One page -----------------------------------------------------------------------------------------------------------------


def test_a_url_given_by_hand_that_is_a_page_is_searched_and_nothing_else_is_visited(
    site: Validators, tmp_path: Path
) -> None:
    holds(
        site,
        index='<img src="p/1.jpg"><img src="p/2.jpg"><a href="more.html">more</a>',
        more__html="<img src='/p/3.jpg'>",
    )
    summary = run(site, tmp_path / "out")
    assert (summary.stored, summary.missed, summary.pages) == (2, 0, 1)
    assert names(tmp_path / "out") == ["1.jpg", "2.jpg"]
    again = run(site, tmp_path / "out")
    assert (again.stored, again.missed, again.skipped) == (0, 0, 3)


def test_a_page_given_by_hand_without_a_picture_is_missed_with_the_reason(site: Validators, tmp_path: Path) -> None:
    holds(site, index="<p>words", hidden='<meta name=robots content=noindex><img src="p/1.jpg">')
    assert run(site, tmp_path / "a").reasons == {"not_image": 1}
    summary = run(site, tmp_path / "b", "hidden")
    assert "say noindex" in summary.examples["not_image"].detail


def test_pages_and_pictures_may_be_given_together(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<img src="p/1.jpg"><img src="p/9.jpg">')
    settings = Settings.of(
        (site.url("p/8.jpg"), site.url(""), site.url("p/9.jpg")), output=tmp_path / "out", allow_private=True, retries=0
    )
    summary = _crawled(settings)
    rows = {row["index"]: row["url"].rpartition("/")[2] for row in metadata(tmp_path / "out")}
    assert rows == {0: "8.jpg", 2: "9.jpg", 3: "1.jpg"}
    assert summary.reasons == {"duplicate": 1}


def test_an_address_added_later_takes_no_number_of_a_picture_that_was_found(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<img src="p/1.jpg"><img src="p/2.jpg">', other='<img src="p/3.jpg">')
    output = tmp_path / "out"
    run(site, output)
    more = (site.url(""), site.url("p/8.jpg"), site.url("other"))
    summary = _crawled(Settings.of(more, output=output, allow_private=True, retries=0))
    assert (summary.stored, summary.missed) == (2, 0)
    assert names(output) == ["1.jpg", "2.jpg", "3.jpg", "8.jpg"]
    assert sorted(row["index"] for row in metadata(output)) == [1, 2, 3, 4]


def test_a_list_of_pages_is_searched_when_told_so(site: Validators, tmp_path: Path) -> None:
    holds(site, a='<img src="/p/1.jpg">', b='<img src="/p/2.jpg"><img src="/p/1.jpg">')
    urls = tmp_path / "urls.txt"
    urls.write_text(
        f"{site.url('a')}\n{site.url('b')}\n{site.url('p/7.jpg')}\nnonsense\n{site.url('a')}\n{site.url('gone')}\n"
    )
    flags: dict[str, Any] = {"output": tmp_path / "out", "allow_private": True, "retries": 0}
    summary = _crawled(Settings.of(str(urls), pages=True, **flags))
    assert names(tmp_path / "out") == ["1.jpg", "2.jpg", "7.jpg"]
    assert summary.reasons == {"bad_url": 1, "not_found": 1}
    told = inside("misses", tmp_path / "out", "--format", "jsonl").out.splitlines()
    assert {json.loads(line)["reason"] for line in told} == {"bad_url", "not_found"}
    without = _crawled(Settings.of(str(urls), **(flags | {"output": tmp_path / "other"})))
    assert without.reasons["not_image"] == 2


def test_a_page_that_could_not_be_had_is_visited_again_when_told_so(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<a href="sub">sub</a>', sub=Page(b"", status=503))
    output = tmp_path / "out"
    assert run(site, output, follow=True).reasons == {"server_error": 1}
    holds(site, sub='<img src="/p/1.jpg">')
    assert run(site, output, follow=True).stored == 0
    assert run(site, output, follow=True, retry_missed="later").stored == 1


def test_a_refresh_finds_what_is_new_on_the_pages(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<img src="p/1.jpg">')
    run(site, tmp_path / "out")
    run(site, tmp_path / "site", follow=True)
    holds(site, index='<img src="p/1.jpg"><img src="p/2.jpg">')
    shapes: dict[str, dict[str, Any]] = {"out": {}, "site": {"follow": True}}
    for name, flags in shapes.items():
        assert run(site, tmp_path / name, **flags).stored == 0
        assert run(site, tmp_path / name, refresh=True, **flags).missed == 0
        assert names(tmp_path / name) == ["1.jpg", "2.jpg"]


def test_pages_are_visited_again_when_more_is_looked_for(site: Validators, tmp_path: Path) -> None:
    holds(
        site,
        index='<img src="p/1.jpg"><a href="a">a</a>',
        a='<img src="/p/2.jpg"><a href="b">b</a>',
        b='<img src="/p/3.jpg">',
    )
    output = tmp_path / "out"
    run(site, output, follow=True, depth=1)
    assert names(output) == ["1.jpg", "2.jpg"]
    run(site, output, follow=True, depth=2)
    assert names(output) == ["1.jpg", "2.jpg", "3.jpg"]


# What goes with a picture ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["files", "webdataset", "parquet"])
def test_a_site_becomes_a_dataset_of_pictures_and_texts(site: Validators, tmp_path: Path, form: str) -> None:
    holds(
        site,
        index='<a href="sub">sub</a><img src="p/1.jpg" alt="one">',
        sub='<figure><img src="/p/2.jpg" alt="two &amp; more"><figcaption>F</figcaption></figure>',
    )
    output = tmp_path / "out"
    flags: dict[str, Any] = {"sidecar": ("txt",)} if form == "files" else {}
    assert run(site, output, follow=True, caption="alt", format=form, **flags).stored == 2
    if form == "files":
        rows = metadata(output)
        texts = {path.read_text() for path in output.rglob("*.txt")}
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(output / "00000.parquet")
        rows, texts = table.to_pylist(), set(table.column("caption").to_pylist())
    assert texts == {"one", "two & more"}
    second = next(row for row in rows if row["url"].endswith("2.jpg"))
    assert (second["page"], second["depth"], second["position"]) == (site.url("sub"), 1, 0)
    assert (second["alt"], second["figcaption"], second.get("title")) == ("two & more", "F", None)


def test_pictures_that_stand_in_the_page_are_stored_with_the_others(site: Validators, tmp_path: Path) -> None:
    import base64

    data = base64.b64encode(picture(7, "PNG")).decode()
    holds(site, index=f'<img src="data:image/png;base64,{data}" alt="inline"><img src="p/1.jpg">')
    assert run(site, tmp_path / "out").stored == 2
    row = next(row for row in metadata(tmp_path / "out") if row["url"].startswith("data:"))
    assert (row["final_url"], row["alt"], row["original_width"]) == (site.url(""), "inline", 16)


def test_the_next_version_is_taken_when_the_best_fails_in_whatever_way(site: Validators, tmp_path: Path) -> None:
    holds(
        site,
        index='<img src="p/1.jpg" srcset="gone.jpg 2x, /broken.jpg 3x"><img srcset="/gone2.jpg 2x, /gone3.jpg 1x">',
    )
    site.holds["/broken.jpg"] = Page(b"\xff\xd8\xff\xe0 no picture at all" * 9)  # type: ignore[index]
    summary = run(site, tmp_path / "out")
    assert (summary.stored, summary.reasons) == (1, {"not_found": 1})
    (row,) = metadata(tmp_path / "out")
    assert (row["url"], row["final_url"]) == (site.url("broken.jpg"), site.url("p/1.jpg"))
    assert Counter(site.paths())["/gone3.jpg"] == 1


def test_the_page_is_the_referer_of_its_pictures_if_that_is_wanted(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<img src="p/1.jpg">')
    run(site, tmp_path / "out", referer="auto")
    told = {one.path: one.headers.get("referer") for one in site.log()}
    assert told["/p/1.jpg"] == site.url("")


def test_a_password_is_used_for_all_of_its_site_and_kept_nowhere(site: Validators, tmp_path: Path) -> None:
    holds(
        site, index='<a href="sub">sub</a><img src="p/1.jpg">', sub=f'<img src="http://127.0.0.2:{site.port}/p/2.jpg">'
    )
    address = site.url("").replace("//", "//ann:secret@")
    _crawled(Settings.of(address, output=tmp_path / "out", allow_private=True, follow=True, per_host=0))
    told = {one.path: one.headers.get("authorization") for one in site.log()}
    assert told["/"] == told["/sub"] == told["/p/1.jpg"] != None  # noqa: E711
    assert told["/p/2.jpg"] is None
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


# Harm -----------------------------------------------------------------------------------------------------------------------


def test_what_pages_can_be_made_of_is_bounded_and_named_and_the_run_goes_on(site: Validators, tmp_path: Path) -> None:
    big = b"<p>" + b"x" * 2_000_000
    holds(
        site,
        index="".join(
            f'<a href="/{name}">x</a>' for name in ("big", "bomb", "binary", "round", "deep", "map.xml", "good", "mp4")
        ),
        big=Page(big, "text/html"),
        bomb=Page(gzip.compress(b"<p>" + b" " * 50_000_000), "text/html", headers=("Content-Encoding: gzip",)),
        binary=Page(bytes(range(256)) * 100, "text/html"),
        round=Page(b"", status=302, headers=("Location: /round2",)),
        round2=Page(b"", status=302, headers=("Location: /round",)),
        deep="<div>" * 100_000,
        good='<img src="/p/1.jpg">',
        mp4=Page(b"\0\0\0\x18ftypmp42" + b"\0" * 5000, "video/mp4"),
    )
    listed = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>/map.xml</loc></url></urlset>'
    site.holds["/map.xml"] = Page(listed.encode(), "application/xml")  # type: ignore[index]
    summary = run(site, tmp_path / "out", follow=True, max_page_bytes=1_000_000)
    assert summary.reasons == {"too_large": 2, "redirect": 1, "not_page": 2}
    assert summary.stored == 1
    assert summary.cuts["nested"][0] == 1
    assert Counter(site.paths())["/map.xml"] == 1


def test_a_sitemap_that_lists_itself_and_a_bomb_among_sitemaps_end(site: Validators, tmp_path: Path) -> None:
    index = "<sitemapindex>" + "".join(
        f"<sitemap><loc>/{name}</loc></sitemap>" for name in ("s.xml", "b.xml.gz", "l.xml")
    )
    holds(site, good='<img src="/p/1.jpg">')
    site.holds["/s.xml"] = Page(f"{index}</sitemapindex>".encode(), "application/xml")  # type: ignore[index]
    site.holds["/b.xml.gz"] = Page(gzip.compress(b"<urlset>" + b" " * 60_000_000), "application/gzip")  # type: ignore[index]
    entries = "".join(f"<url><loc>/{name}</loc></url>" for name in ("good", "good#x", "gone"))
    site.holds["/l.xml"] = Page(f"<urlset>{entries}</urlset>".encode(), "text/xml")  # type: ignore[index]
    summary = run(site, tmp_path / "out", "s.xml")
    assert (summary.stored, summary.reasons) == (1, {"not_found": 1})
    assert summary.cuts["large_sitemap"][0] == 1
    assert set(Counter(site.paths()).values()) == {1}


def test_a_chain_of_sitemaps_without_end_ends(tmp_path: Path) -> None:
    def chain(host: str, path: str) -> Page:
        number = int(path.rpartition("/")[2].partition(".")[0] or 0) if path.endswith(".xml") else 0
        if number > 50:
            return NOT_THERE
        body = f"<sitemapindex><sitemap><loc>/{number + 1}.xml</loc></sitemap></sitemapindex>"
        return Page(body.encode(), "text/xml") if path.endswith(".xml") else Site()(host, path)

    with running_validators(chain) as site:
        summary = run(site, tmp_path / "out", "1.xml", pages=True)
        assert len(site.paths()) < 10
    assert summary.cuts["nested_sitemaps"][0] == 1


def test_the_sitemaps_of_a_site_are_used_when_told_so(site: Validators, tmp_path: Path) -> None:
    entry = "<url><loc>/far</loc><image:image><image:loc>/p/2.jpg</image:loc></image:image></url>"
    site.holds["/sitemap.xml"] = Page(  # type: ignore[index]
        f'<urlset xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">{entry}</urlset>'.encode(), "text/xml"
    )
    holds(site, index="<p>nothing here", far='<img src="/p/1.jpg"><a href="deep">deep</a>', deep='<img src="/p/3.jpg">')
    assert run(site, tmp_path / "out", sitemap=True).stored == 2
    assert run(site, tmp_path / "deep", sitemap=True, follow=True).stored == 3


def test_one_page_that_kills_its_worker_costs_nothing_else(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<a href="bad">b</a><a href="good">g</a>', bad="BAD", good='<img src="/p/1.jpg">')
    summary = run(site, tmp_path / "out", follow=True, extractor="tests.test_pages_run:deadly")
    assert (summary.stored, summary.reasons) == (1, {"worker_crashed": 1})


def deadly(text: str, url: str) -> None:
    """An extractor that ends its worker at some pages."""
    if text == "BAD":
        import os

        os.kill(os.getpid(), signal.SIGSEGV)


# A rule of one's own -----------------------------------------------------------------------------------------------------------


def own(text: str, url: str) -> list[Any] | None:
    """An extractor for tests: what stands in square brackets."""
    if text.startswith("RULES"):
        return None
    if text.startswith("WRONG"):
        return [5]
    return [
        {"url": word.strip("[]"), "alt": "mine", "fallbacks": ["/p/9.jpg"]}
        for word in text.split()
        if word.startswith("[")
    ]


def test_a_function_of_ones_own_finds_the_pictures(site: Validators, tmp_path: Path) -> None:
    holds(
        site,
        index='[/p/1.jpg] <img src="/p/2.jpg"> [gone] <a href="/b">b</a><a href="/c">c</a>',
        b='RULES <img src="/p/3.jpg">',
        c="WRONG",
    )
    summary = run(site, tmp_path / "out", follow=True, extractor=own)
    assert {row["final_url"].rpartition("/")[2] for row in metadata(tmp_path / "out")} == {"1.jpg", "3.jpg", "9.jpg"}
    assert {row["alt"] for row in metadata(tmp_path / "out") if "alt" in row} == {"mine"}
    assert summary.reasons == {"extractor_failed": 1}


def test_a_function_that_is_not_there_is_said_at_once(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<img src="/p/1.jpg">')
    with pytest.raises(SettingsError, match=r"extractor.*nonsense"):
        run(site, tmp_path / "out", extractor="tests.nonsense:function")
    assert site.paths() == []


# Together with others ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [{"executor": "thread"}, {"encode": "original", "check": "header"}])
def test_pages_are_read_however_pictures_are_worked_on(site: Validators, tmp_path: Path, flags: dict[str, Any]) -> None:
    holds(site, index='<img src="p/1.jpg"><a href="a">a</a>', a='<img src="/p/2.jpg">')
    assert run(site, tmp_path / "out", follow=True, **flags).stored == 2


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"caption_column": "c"}, "caption-column"), ({"keep_columns": ("c",)}, "keep-columns"),
        ({"key_column": "c"}, "key-column"), ({"repeat": 2}, "repeat"),
    ],
)  # fmt: skip
def test_what_is_of_rows_cannot_be_asked_of_pages(flags: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.of("https://example.org/", output="out", follow=True, **flags)


async def test_a_program_sees_pages_and_pictures_as_they_come(tmp_path: Path) -> None:
    import asyncio

    def start() -> Any:
        return running_validators(Site({"/": html('<img src="p/1.jpg"><img src="p/2.jpg">')}))

    manager = start()
    site = await asyncio.to_thread(manager.__enter__)
    try:
        seen: list[tuple[Target, FoundPage]] = []
        settings = Settings.of(site.url(""), format="none", allow_private=True)
        async with Crawler(settings, seen=lambda target, page: seen.append((target, page))) as crawl_:
            outcomes = [outcome async for outcome in crawl_]
        assert sorted(outcome.target.url.rpartition("/")[2] for outcome in outcomes) == ["1.jpg", "2.jpg"]
        assert all(outcome.picture is not None for outcome in outcomes)
        assert [len(page.pictures) for _, page in seen] == [2]
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


# Budgets ----------------------------------------------------------------------------------------------------------------------


def endless(host: str, path: str) -> Page:
    """A calendar that goes on for ever, and a few real pages."""
    if path.startswith("/calendar/"):
        month = int(path.rpartition("/")[2])
        return html(
            f'<a href="/calendar/{month + 1}">next</a><a href="/calendar/{month + 2}">further</a><a href="/">home</a>'
        )
    if path == "/":
        return html('<a href="/calendar/1">calendar</a><a href="/real">real</a>')
    return html('<img src="/p/1.jpg">') if path == "/real" else Site()(host, path)


@pytest.mark.parametrize(
    ("flags", "why", "most"),
    [
        ({"max_pages": 20}, "max_pages", 20), ({"max_pages_per_host": 20}, "max_pages_per_host", 20),
        ({"max_pages_per_pattern": 20}, "max_pages_per_pattern", 24), ({}, "barren_pattern", 260),
    ],
)  # fmt: skip
def test_a_calendar_without_end_ends(tmp_path: Path, flags: dict[str, Any], why: str, most: int) -> None:
    with running_validators(endless) as site:
        summary = run(site, tmp_path / "out", follow=True, depth=1000, **flags)
        assert summary.pages <= most
        assert len(site.paths()) <= most + 2
    assert summary.stored == 1
    assert summary.cuts[why][0] >= 1
    assert list(summary.as_json()["cuts"]) == list(summary.cuts)


def test_what_was_cut_is_shown_with_its_reason(site: Validators, tmp_path: Path) -> None:
    holds(site, index='<a href="//other.example/">o</a><a href="a" rel=nofollow>a</a><img src="p/1.jpg">')
    done = inside("run", site.url(""), "-o", tmp_path / "out", "--follow", "--allow-private")
    assert "outside of --scope: http://other.example" in done.err
    assert "the page says nofollow" in done.err
    assert "outside of --scope" in inside("status", tmp_path / "out").out


def test_a_journal_of_an_older_version_gets_the_tables_of_pages(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    holds(site, index='<img src="p/1.jpg">')
    _crawled(Settings.of(site.url("p/5.jpg"), output=output, allow_private=True))
    with sqlite3.connect(output / ".crawler" / "journal.sqlite") as db:
        for table in ("pages", "found", "budgets", "cuts"):
            db.execute(f"DROP TABLE {table}")
        db.execute("DELETE FROM facts WHERE name IN ('discover', 'found_base')")
        db.execute("PRAGMA user_version = 4")
    db.close()
    summary = _crawled(Settings.of((site.url("p/5.jpg"), site.url("")), output=output, allow_private=True))
    assert (summary.stored, summary.skipped) == (1, 1)
