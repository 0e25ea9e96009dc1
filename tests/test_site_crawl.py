"""A whole site, crawled: what is expected is stored once, what is forbidden is not asked for, and no trap is without an end."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import ProxyHandler, build_opener

import pytest

from crawler.discover.page import discover
from tests.cli import Ended, check_agreement, crawler, inside, metadata, pictures
from tests.servers.dns import Answer, running_dns
from tests.servers.gallery import (
    HOPS,
    MOVED_PICTURE,
    OTHER_HOST,
    SESSIONS,
    TRAP_PICTURES,
    TRAPS,
    Gallery,
    catalogue,
    running_gallery,
    spelled,
)

FALLEN_INTO: Final = 600
"""Pages of one trap: 200 in a row that give nothing are documented, and what is under way then is not lost."""
IN_CIRCLES: Final = frozenset({"/same/self", "/same/loop-a", "/same/loop-b"})
MOVED_TO: Final = frozenset({"/same/new.html", "/same/old", "/rules/img.html"})
_opener: Final = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Crawl:
    """A crawl that has ended: what it said, what it stored (by the bytes of the files), what it asked for."""

    ended: Ended
    folder: Path
    stored: Counter[str]
    asked: Counter[str]

    @property
    def cuts(self) -> dict[str, int]:
        return {why: cut["count"] for why, cut in self.ended.summary["cuts"].items()}


@pytest.fixture(scope="module")
def running() -> Iterator[Gallery]:
    with running_gallery() as gallery:
        yield gallery


@pytest.fixture
def gallery(running: Gallery) -> Gallery:
    """The site with an empty ledger."""
    running.reset()
    return running


@pytest.fixture(scope="module")
def whole(running: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    """All of the site by the command line, traps too, as deep as it goes."""
    folder = tmp_path_factory.mktemp("whole")
    running.reset()
    flags = ("--follow", "--depth", 1000, "--encode", "original", "--allow-private", "--json", "--quiet")
    return crawled(running, folder, crawler("run", running.url("/"), "-o", folder, *flags))


def crawled(gallery: Gallery, folder: Path, ended: Ended) -> Crawl:
    names = gallery.names_of_files()
    files = (hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in pictures(folder))
    return Crawl(ended, folder, Counter(names.get(digest, digest) for digest in files), gallery.asked())


def run(gallery: Gallery, folder: Path, path: str, *flags: object, host: str = "127.0.0.1") -> Crawl:
    """A run from one page, in this process."""
    ended = inside(
        "run", gallery.url(path, host), "-o", folder, "--encode", "original", "--allow-private", "--json", "--quiet", *flags
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return crawled(gallery, folder, ended)


def found(gallery: Gallery, path: str, *flags: object) -> list[dict[str, Any]]:
    """What `find` says of a page, and of the pages that belong to it."""
    ended = inside("find", gallery.url(path), "--allow-private", "--json", *flags)
    assert ended.code == 0, ended.err
    pages: list[dict[str, Any]] = json.loads(ended.out)
    return pages


def found_names(gallery: Gallery, path: str, *flags: object) -> set[str]:
    return {gallery.name(one["url"]) for page in found(gallery, path, *flags) for one in page["pictures"]}


def listed(gallery: Gallery, path: str, *flags: object) -> tuple[list[str], set[str]]:
    """The names that `urls` prints, and what it asked for."""
    ended = inside("urls", gallery.url(path), "--allow-private", *flags)
    assert ended.code == 0, ended.err
    return [gallery.name(line) for line in ended.out.splitlines()], set(gallery.asked()) - {"/robots.txt"}


def pages_of(gallery: Gallery, asked: set[str]) -> set[str]:
    return {name for name in asked if name in gallery.site.pages}


# The whole site.


def test_the_crawl_ends_and_nothing_is_left_to_visit(whole: Crawl) -> None:
    assert whole.ended.code == 0, whole.ended.err
    summary = whole.ended.summary
    assert (summary["ended"], summary["pages_waiting"]) == ("finished", 0)
    assert summary["stored"] == sum(whole.stored.values())
    check_agreement(whole.folder)


def _pages_with_pictures() -> list[str]:
    pages = catalogue().pages.items()
    return [name for name, page in pages if page.want == "visit" and "+" in page.pictures and "/albums/" not in name]


@pytest.mark.parametrize("page", _pages_with_pictures())
def test_every_picture_of_a_page_is_stored(whole: Crawl, running: Gallery, page: str) -> None:
    assert [name for name in running.site.pages[page].pictures["+"] if name not in whole.stored] == []


def test_every_picture_of_the_albums_is_stored(whole: Crawl, running: Gallery) -> None:
    wanted = {name for name in running.wanted_pictures if name.startswith("/albums/")}
    assert len(wanted) == 192
    assert wanted - set(whole.stored) == set()


def test_a_picture_that_stands_in_its_page_is_stored(whole: Crawl) -> None:
    assert whole.stored["inline"] == 1


def test_a_link_that_is_moved_to_a_picture_gives_it(whole: Crawl) -> None:
    assert whole.stored[MOVED_PICTURE] == 1


def test_nothing_is_stored_twice(whole: Crawl) -> None:
    assert {name: count for name, count in whole.stored.items() if count > 1} == {}


def test_nothing_is_stored_that_nobody_expects(whole: Crawl, running: Gallery) -> None:
    allowed = running.wanted_pictures | running.site.marked("?") | TRAP_PICTURES | {"inline"}
    assert set(whole.stored) - allowed - {"//127.0.0.2/p/landing.jpg"} == set()


@pytest.mark.parametrize(
    "section", ["albums", "rules", "text", "polite", "same", "files", "wiki", "feeds", "far", "scope"]
)
def test_every_page_of_a_section_is_visited(whole: Crawl, running: Gallery, section: str) -> None:
    wanted = {
        name for name in running.wanted_pages if name.startswith((f"/{section}/", "/elsewhere/", "/private/open/"))
    }
    assert wanted
    assert wanted - set(whole.asked) == set()


def test_a_page_that_is_called_like_a_picture_is_visited(whole: Crawl) -> None:
    assert whole.asked["/viewer/sunset.jpg"] == 1


def test_nothing_forbidden_is_asked_for(whole: Crawl, running: Gallery) -> None:
    assert running.forbidden & set(whole.asked) - {"//127.0.0.2/away/landing.html"} == set()


def test_a_redirect_does_not_lead_out_of_the_scope(whole: Crawl) -> None:
    assert whole.asked["/same/away"] == 1
    assert "//127.0.0.2/away/landing.html" not in whole.asked
    assert "//127.0.0.2/p/landing.jpg" not in whole.stored


def test_each_address_is_asked_for_once(whole: Crawl) -> None:
    often = {name: count for name, count in whole.asked.items() if count > 1}
    assert set(often) - IN_CIRCLES - MOVED_TO == set()


def test_a_page_that_is_known_is_not_asked_for_again_because_a_redirect_leads_there(whole: Crawl) -> None:
    assert {name: whole.asked[name] for name in MOVED_TO} == dict.fromkeys(MOVED_TO, 1)


def test_redirects_in_a_circle_are_given_up(whole: Crawl) -> None:
    assert all(1 <= whole.asked[name] <= 6 for name in IN_CIRCLES)
    assert 1 <= sum(count for name, count in whole.asked.items() if name.startswith("/hop/")) <= 6
    assert whole.asked[HOPS] == 1
    assert whole.ended.summary["reasons"]["redirect"] == 4


def test_a_page_under_other_addresses_is_visited_once(whole: Crawl) -> None:
    assert [name for name in whole.asked if name.startswith("/same/page.html")] == ["/same/page.html"]
    assert [name for name in whole.asked if name.startswith("/session/")] == [SESSIONS]


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_left(whole: Crawl, trap: str) -> None:
    fallen = sum(count for name, count in whole.asked.items() if name.startswith(f"/{trap}/"))
    assert 1 <= fallen <= FALLEN_INTO
    assert set(TRAPS[trap][2]) <= set(whole.cuts)


def test_what_is_left_out_is_counted_by_why(whole: Crawl) -> None:
    cuts = whole.cuts
    exact = {"nofollow": 5, "noindex": 2, "noimageindex": 1, "noai": 1, "none": 1, "no_page": 7, "moved": 2}
    assert {why: cuts.get(why) for why in exact} == exact
    assert cuts["scope"] >= 1
    assert cuts["canonical"] >= 1
    assert cuts["data_url"] == 2


def test_what_was_missed_has_its_reason(whole: Crawl) -> None:
    rows = crawler("misses", whole.folder, "--format", "jsonl")
    reasons: dict[str, set[str]] = {}
    for line in rows.out.splitlines():
        row = json.loads(line)
        reasons.setdefault(row["reason"], set()).add("/" + row["url"].split("/", 3)[3])
    assert reasons["not_found"] >= {"/p/fall/nothing.jpg", "/files/gone.html"}
    assert reasons["forbidden"] == {"/files/forbidden.html"}
    assert reasons["robots"] >= {"/private/page.html", "/private/picture.jpg"}
    assert reasons["not_page"] == {"/files/binary.html", "/files/paper", "/files/text"}
    assert reasons["opted_out"] == {"/p/polite/x-noindex.jpg"}


def test_the_status_tells_of_pages_by_depth(whole: Crawl) -> None:
    status = json.loads(crawler("status", whole.folder, "--json").out)
    assert status["cuts"]
    by_depth = {one["depth"]: one for one in status["depths"]}
    assert by_depth[0]["pages"] == 1
    assert by_depth[1]["pages"] >= 12
    assert sum(one["pages"] for one in by_depth.values()) == whole.ended.summary["pages"]


def test_metadata_tells_the_page_the_texts_the_depth_and_the_position(whole: Crawl, running: Gallery) -> None:
    rows = {running.name(row["final_url"]): row for row in metadata(whole.folder)}
    album = rows["/albums/03/5.jpg"]
    told = {name: album.get(name) for name in ("alt", "title", "figcaption", "depth", "position")}
    page = running.name(album["page"])
    assert page == "/albums/03/photo-5.html"
    assert told == {
        "alt": "Photo 5 of 3", "title": "Number 5", "figcaption": "In album 3, number 5", "depth": 3, "position": 0,
    }  # fmt: skip
    assert rows["/p/img/in-link.png"]["link"] == "Albums"
    assert rows["/p/meta/body.jpg"]["position"] > 5
    assert rows["/p/home.jpg"]["depth"] == 0


def test_a_second_run_asks_for_no_picture_again(gallery: Gallery, tmp_path: Path) -> None:
    flags = ("--follow", "--scope", "path", "--depth", 1)
    first = run(gallery, tmp_path, "/albums/00/", *flags)
    assert first.ended.summary["stored"] == 16
    gallery.reset()
    second = run(gallery, tmp_path, "/albums/00/", *flags)
    assert second.ended.summary["stored"] == 0
    assert {name for name in second.asked if name.endswith(".jpg")} == set()
    assert second.stored == first.stored


# How far.

ROOM: Final = "/scope/room/start.html"


@pytest.mark.parametrize(
    ("scope", "beyond"),
    [
        ("page", {f"{ROOM}?view=2"}),
        ("path", {f"{ROOM}?view=2", "/scope/room/beside.html", "/scope/room/below/page.html"}),
        ("host", {f"{ROOM}?view=2", "/scope/room/beside.html", "/scope/room/below/page.html", "/scope/up.html",
                  "/scope/roomy/page.html"}),
        ("domain", {f"{ROOM}?view=2", "/scope/room/beside.html", "/scope/room/below/page.html", "/scope/up.html",
                    "/scope/roomy/page.html"}),
        ("any", {f"{ROOM}?view=2", "/scope/room/beside.html", "/scope/room/below/page.html", "/scope/up.html",
                 "/scope/roomy/page.html", "//127.0.0.2/away/"}),
    ],
)  # fmt: skip
def test_a_scope_says_how_far_links_are_followed(gallery: Gallery, scope: str, beyond: set[str]) -> None:
    _, asked = listed(gallery, ROOM, "--follow", "--depth", 1, "--scope", scope)
    assert pages_of(gallery, asked) == {ROOM} | beyond


def test_the_domain_is_that_of_the_public_suffix_list(gallery: Gallery) -> None:
    names = (
        "www.gallery.test",
        "shop.gallery.test",
        "gallery.test",
        "www.elsewhere.test",
        "gallery.test.elsewhere.test",
    )
    with running_dns({name: [Answer(("127.0.0.1",))] for name in names}) as dns:
        ended = inside(
            "urls", gallery.url("/", "www.gallery.test"), "--follow", "--scope", "domain", "--allow-private",
            "--resolver", "aiodns", "--name-server", dns.address, "--proxy", "none",
        )  # fmt: skip
    assert ended.code == 0, ended.err
    visited = {name.split("/")[2] for name in gallery.asked() if name.endswith("/")}
    assert visited == {"www.gallery.test", "shop.gallery.test", "gallery.test"}


@pytest.mark.parametrize(("depth", "count"), [(0, 1), (1, 14), (2, 14 + 96)])
def test_links_are_followed_so_deep(gallery: Gallery, depth: int, count: int) -> None:
    _, asked = listed(gallery, "/albums/", "--follow", "--depth", depth, "--exclude", r":\d+/(?!albums)[a-z]")
    assert len(pages_of(gallery, asked)) == count


def test_without_follow_only_the_page_itself_is_visited(gallery: Gallery) -> None:
    names, asked = listed(gallery, "/albums/00/")
    assert pages_of(gallery, asked) == {"/albums/00/"}
    assert names == [f"/albums/00/t{n}.jpg" for n in range(8)]


def test_include_and_exclude_choose_the_links(gallery: Gallery) -> None:
    flags = (
        "--follow",
        "--depth",
        2,
        "--include",
        "/albums/0[0-3]/",
        "--exclude",
        "photo-[2-9]",
        "--exclude",
        "albums/03",
    )
    _, asked = listed(gallery, "/albums/", *flags)
    photos = {f"/albums/{album}/photo-{n}.html" for album in ("00", "01", "02") for n in (0, 1)}
    assert pages_of(gallery, asked) == {"/albums/", "/albums/00/", "/albums/01/", "/albums/02/"} | photos


def test_pages_are_no_more_than_asked_for(gallery: Gallery, tmp_path: Path) -> None:
    crawl = run(gallery, tmp_path, "/albums/", "--follow", "--max-pages", 7)
    assert crawl.ended.summary["pages"] == 7
    assert crawl.cuts["max_pages"] >= 1


# Which pictures.


def test_a_selector_chooses_where_pictures_are_looked_for_and_not_where_links_are(gallery: Gallery) -> None:
    flags = ("--selector", "main", "--follow", "--depth", 1)
    names, asked = listed(gallery, "/rules/select.html", *flags)
    assert names == ["/p/select/main.jpg", "/p/select/large.jpg", "/p/select/beyond.jpg"]
    assert "/rules/select-beyond.html" in asked


def test_pictures_are_chosen_by_their_address_and_their_host(gallery: Gallery) -> None:
    assert found_names(gallery, "/far/") == {"//127.0.0.2/p/far.jpg", "/p/near.jpg"}
    assert found_names(gallery, "/far/", "--images-scope", "host") == {"/p/near.jpg"}
    assert found_names(gallery, "/rules/img.html", "--include-images", r"\.(webp|gif)$") == {
        "/p/img/webp.webp",
        "/p/img/gif.gif",
    }
    some = found_names(gallery, "/rules/img.html", "--exclude-images", "plain", "--exclude-images", r"\.gif$")
    assert "/p/img/plain.jpg" not in some
    assert "/p/img/gif.gif" not in some
    assert "/p/img/upper.jpg" in some


def test_linked_style_sheets_are_looked_into_if_that_is_wanted(gallery: Gallery, tmp_path: Path) -> None:
    sheets = gallery.site.marked("s", ("any",))
    assert len(sheets) == 4
    crawl = run(gallery, tmp_path, "/rules/sheets.html", "--stylesheets")
    assert set(crawl.stored) == sheets | {"/p/css/beside-import.jpg"}
    assert crawl.asked["/css/main.css"] == 1


def test_style_sheets_are_not_asked_for_otherwise(whole: Crawl) -> None:
    assert [name for name in whole.asked if name.startswith("/css/") or name.startswith("/fonts/")] == []


def test_a_thumbnail_and_the_picture_behind_it_are_both_taken_if_that_is_wanted(
    gallery: Gallery, tmp_path: Path
) -> None:
    crawl = run(gallery, tmp_path / "both", "/rules/links.html", "--thumbnails")
    assert {"/p/links/large.jpg", "/p/links/thumb.jpg"} <= set(crawl.stored)
    one = run(gallery, tmp_path / "one", "/rules/links.html")
    assert set(crawl.stored) - set(one.stored) == {"/p/links/thumb.jpg"}


def test_no_picture_of_a_link_with_two_is_forgotten(gallery: Gallery) -> None:
    (page,) = found(gallery, "/rules/two-in-a-link.html")
    told = {gallery.name(url) for one in page["pictures"] for url in (one["url"], *one["fallbacks"])}
    told |= {gallery.name(one["url"]) for one in page["passed_over"]}
    assert told >= {"/p/two/large.jpg", "/p/two/thumb.jpg", "/p/two/badge.png"}
    assert told >= {"/p/two/shared.jpg", "/p/two/shared-a.jpg", "/p/two/shared-b.jpg"}


def test_every_version_is_taken_if_that_is_wanted(gallery: Gallery) -> None:
    page = gallery.site.pages["/rules/srcset.html"].pictures
    everything = set(page["+"]) | set(page["-"]) - {"/p/set/wrong.jpg"}
    assert found_names(gallery, "/rules/srcset.html", "--srcset", "all") == everything


@pytest.mark.parametrize(
    ("width", "version"),
    [(100, "w-320"), (640, "w-640"), (641, "w-960"), (1000, "w-1280"), (5000, "w-1280")],
)
def test_the_smallest_version_that_is_wide_enough_is_taken(gallery: Gallery, width: int, version: str) -> None:
    (page,) = found(gallery, "/rules/srcset.html", "--srcset", width)
    first = page["pictures"][0]
    if width == 100:  # `src` has no width, so the smallest that tells one is as good
        assert gallery.name(first["url"]) in ("/p/set/w-320.jpg", "/p/set/w-640.jpg")
    else:
        assert gallery.name(first["url"]) == f"/p/set/{version}.jpg"


def test_the_next_version_is_taken_where_the_best_one_fails(gallery: Gallery, tmp_path: Path) -> None:
    crawl = run(gallery, tmp_path, "/rules/fallback.html")
    assert set(crawl.stored) == set(gallery.site.pages["/rules/fallback.html"].pictures["+"])
    assert crawl.asked["/p/fall/missing-800.jpg"] == 1
    assert crawl.asked["/p/fall/there-200.jpg"] == 0
    assert crawl.ended.summary["reasons"] == {"not_found": 1}
    rows = {gallery.name(row["final_url"]): row for row in metadata(tmp_path)}
    assert rows["/p/fall/there-400.jpg"]["alt"] == "Falls"


def test_what_a_page_says_of_a_picture_is_its_caption(gallery: Gallery, tmp_path: Path) -> None:
    crawl = run(gallery, tmp_path, "/rules/texts.html", "--caption", "alt", "--sidecar", "txt")
    (row,) = metadata(tmp_path)
    assert Counter({"/p/texts/large.jpg": 1}) == Counter({n: c for n, c in crawl.stored.items() if n.endswith(".jpg")})
    assert row["caption"] == "The alt & more"
    assert (row["alt"], row["title"], row["figcaption"]) == ("The alt & more", "The title", "The caption of it")
    assert row["link"] == "The link's text"
    assert (row["page"], row["depth"], row["position"]) == (gallery.url("/rules/texts.html"), 0, 0)
    (text,) = tmp_path.rglob("*.txt")
    assert text.read_text(encoding="utf-8").strip() == "The alt & more"
    assert text.with_suffix(".jpg").is_file()


@pytest.mark.parametrize(
    ("caption", "text"), [("title", "The title"), ("figcaption", "The caption of it"), ("link", "The link's text")]
)
def test_other_texts_can_be_the_caption(gallery: Gallery, tmp_path: Path, caption: str, text: str) -> None:
    run(gallery, tmp_path, "/rules/texts.html", "--caption", caption)
    assert [row["caption"] for row in metadata(tmp_path)] == [text]


def test_what_the_page_asks_for_can_be_ignored(gallery: Gallery) -> None:
    flags = ("--follow", "--depth", 1, "--ignore-meta-robots", "--scope", "page")
    for name in ("noindex", "noimageindex", "noai", "none", "header-noindex"):
        names, _ = listed(gallery, f"/polite/{name}.html", *flags)
        assert names == [f"/p/polite/{name}.jpg"]


def test_other_encodings_are_told(gallery: Gallery) -> None:
    charsets = {path: found(gallery, f"/text/{path}.html")[0]["charset"] for path in ("bom", "sjis", "cp1251", "latin")}
    assert charsets == {"bom": "utf-8", "sjis": "cp932", "cp1251": "cp1251", "latin": "cp1252"}
    (page,) = found(gallery, "/text/sjis.html")
    assert page["pictures"][0]["alt"] == "表示"


# Sitemaps.


def test_a_sitemap_gives_pages_and_pictures_and_no_links_are_followed(gallery: Gallery, tmp_path: Path) -> None:
    crawl = run(gallery, tmp_path, "/scope/", "--sitemap")
    listed_pages = {f"/hidden/{name}.html" for name in ("new", "aged", "undated", "pictures", "ancient")}
    sitemaps = {f"/sitemaps/{name}" for name in ("index.xml", "pages.xml.gz", "pictures.xml", "old.xml")}
    assert pages_of(gallery, set(crawl.asked)) == {"/robots.txt", "/scope/"} | sitemaps | listed_pages
    own = {f"/p/map/of-{name}.jpg" for name in ("new", "aged", "undated", "pictures", "ancient")}
    assert set(crawl.stored) == own | {"/p/map/one.jpg", "/p/map/two.jpg?a=1&b=2"}
    rows = {gallery.name(row["url"]): row for row in metadata(tmp_path)}
    assert rows["/p/map/one.jpg"]["figcaption"] == "One & only"
    assert rows["/p/map/two.jpg?a=1&b=2"]["title"] == "Two"


def test_what_a_sitemap_says_is_older_is_left_out(gallery: Gallery) -> None:
    names, asked = listed(gallery, "/scope/", "--sitemap", "--since", "2026-01-01")
    assert {one for one in asked if one.startswith("/hidden/")} == {
        "/hidden/new.html",
        "/hidden/undated.html",
        "/hidden/pictures.html",
    }
    assert "/sitemaps/old.xml" not in asked
    assert "/p/map/of-aged.jpg" not in names


def test_the_links_of_pages_of_a_sitemap_are_followed_as_well_if_that_is_wanted(gallery: Gallery) -> None:
    names, asked = listed(gallery, "/scope/", "--sitemap", "--follow", "--depth", 1)
    assert "/hidden/deeper.html" in asked
    assert "/p/map/deeper.jpg" in names


# What is said without a picture being fetched.


def test_urls_prints_every_picture_once_and_asks_for_none(gallery: Gallery) -> None:
    names, asked = listed(gallery, "/", "--follow", "--depth", 20, "--exclude", "/traps/")
    assert len(names) == len(set(names))
    assert (
        asked
        & (
            set(gallery.site.pictures)
            - {"/download/17", "/download/show?id=18&size=full", "/p/frame/direct.jpg", MOVED_PICTURE}
        )
        == set()
    )
    good = {name for name in gallery.wanted_pictures if not name.startswith(("/p/fall/", "/p/same/moved", "/private/"))}
    known = {"/p/svg/beyond-xlink.jpg", "/p/frame/srcdoc.jpg"}  # told by the crawl of the whole site
    known |= {
        name for name in good if name.startswith(("/p/feed/", "/p/media/untyped", "/p/viewer/", "/p/text/unknown"))
    }
    assert good - known - set(names) == set()


def test_urls_prints_a_picture_that_was_taken_for_a_page(gallery: Gallery) -> None:
    names, _ = listed(gallery, "/rules/unnamed.html", "--follow", "--depth", 1)
    assert sorted(names) == ["/download/17", "/download/show?id=18&size=full"]  # at once: whoever answers first


def test_a_picture_without_an_ending_tells_the_page_that_links_to_it(gallery: Gallery, tmp_path: Path) -> None:
    crawl = run(gallery, tmp_path, "/rules/unnamed.html", "--follow", "--depth", 1)
    assert set(crawl.stored) == {"/download/17", "/download/show?id=18&size=full"}
    assert {row["page"] for row in metadata(tmp_path)} == {gallery.url("/rules/unnamed.html")}


def test_urls_tells_more_in_lines_of_json(gallery: Gallery) -> None:
    ended = crawler("urls", gallery.url("/rules/texts.html"), "--allow-private", "--format", "jsonl")
    (row,) = map(json.loads, ended.out.splitlines())
    assert ended.code == 0
    assert (gallery.name(row["url"]), row["rule"]) == ("/p/texts/large.jpg", "a href")
    assert [gallery.name(one) for one in row["fallbacks"]] == ["/p/texts/small.jpg"]
    assert (row["alt"], row["figcaption"], row["link"]) == ("The alt & more", "The caption of it", "The link's text")
    assert row["page"] == gallery.url("/rules/texts.html")


def test_find_tells_pictures_links_what_was_passed_over_and_why(gallery: Gallery) -> None:
    ended = crawler("find", gallery.url("/rules/lazy.html"), "--allow-private", "--json", "--follow")
    assert ended.code == 0, ended.err
    (page,) = json.loads(ended.out)
    assert page["page"] == gallery.url("/rules/lazy.html")
    real = next(one for one in page["pictures"] if gallery.name(one["url"]) == "/p/lazy/real.jpg")
    assert (real["rule"], real["alt"]) == ("img data-src", "Real")
    passed = {gallery.name(one["url"]): one["why"] for one in page["passed_over"] if one["url"].startswith("http")}
    assert passed == {"/p/lazy/blank.gif": "placeholder"}
    assert set(gallery.asked()) == {"/robots.txt", "/rules/lazy.html"}


def test_find_lists_the_links_that_would_be_followed(gallery: Gallery) -> None:
    page = found(gallery, "/polite/", "--follow", "--depth", 1)[0]
    assert page["page"] == gallery.url("/polite/")
    links = {gallery.name(one["url"]) for one in page["links"]}
    assert "/polite/sponsored.html" in links
    assert "/polite/nofollow-link.html" not in links
    assert page["cuts"]["nofollow"]["count"] == 2


@pytest.mark.parametrize("name", ["img", "srcset", "picture", "meta", "json-ld", "css", "lazy", "odd", "broken"])
def test_the_function_finds_what_the_command_finds(gallery: Gallery, name: str) -> None:
    url = gallery.url(f"/rules/{name}.html")
    with _opener.open(url, timeout=10) as answer:
        body = answer.read()
    (page,) = found(gallery, f"/rules/{name}.html")
    assert [target.url for target in discover(body, url)] == [one["url"] for one in page["pictures"]]


def test_a_page_of_another_host_is_a_page_like_others(gallery: Gallery, tmp_path: Path) -> None:
    crawl = run(gallery, tmp_path, "/away/", "--follow", "--depth", 3, host=OTHER_HOST)
    assert set(crawl.stored) == {"//127.0.0.2/p/away.jpg", "//127.0.0.2/p/more.jpg"}
    assert crawl.cuts["scope"] == 1
    assert "/" not in crawl.asked


def test_the_names_of_addresses_are_compared_in_one_spelling() -> None:
    assert spelled("/a%7eb c?q='%2f%26") == "/a~b%20c?q=%27%2F%26"
    assert spelled("/%e7%8c%AB") == spelled("/猫")
