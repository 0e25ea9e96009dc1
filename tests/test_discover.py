"""What is found in a page: every rule, the best of several versions, texts, links, and what is left alone."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.discover import css, finds, media
from crawler.discover.address import Addresses
from crawler.discover.charset import codec_of, decoded
from crawler.discover.html import base_of
from crawler.discover.page import discover, read
from crawler.discover.rules import RULES, How, Rule
from crawler.discover.scope import domain_of, identity, trap_of
from crawler.discover.srcset import Candidate, best_first, parse
from crawler.discover_settings import DiscoverSettings
from crawler.errors import SettingsError
from crawler.found import CUTS, Kind, Page, PageOrder
from crawler.model import Target
from crawler.picture_settings import FORMATS
from crawler.urls import BadURL, host_key, page_fingerprint, without_session
from crawler.urls import parse as url_of
from tests.conftest import third_party

PAGE = "https://example.org/g/page.html"
PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def urls(html: str | bytes, page: str = PAGE, **flags: Any) -> list[str]:
    """The addresses of the pictures of a page, those of its own site without it."""
    return [target.url.removeprefix("https://example.org/") for target in discover(html, page, **flags)]


def page_of(
    body: str | bytes,
    kind: Kind = "page",
    depth: int = 0,
    url: str = PAGE,
    directives: tuple[str, ...] = (),
    **flags: Any,
) -> Page:
    """Everything in a body, as a worker finds it."""
    given = body if isinstance(body, bytes) else body.encode()
    roots = ("https://example.org/g/",)
    order = PageOrder(url, "", kind, depth, roots, directives, "crawler", FORMATS, DiscoverSettings(**flags))
    return read(given, order)


def links(body: str | bytes, **given: Any) -> list[str]:
    return [link.url.removeprefix("https://example.org/") for link in page_of(body, **{"follow": True} | given).links]


# Every rule -------------------------------------------------------------------------------------------------------------


def element(rule: Rule) -> str:
    """An element that fulfils a rule, and names x.jpg."""
    value = {How.URL: "x.jpg", How.SET: "x.jpg 2x", How.CSS: "background:url(x.jpg)", How.NAMED: "x.jpg"}[rule.how]
    only = "" if rule.only is None else f' {rule.only[0]}="{min(rule.only[1])}"'
    own = f'{rule.attribute}="{value}"{only}'
    if rule.tag == "source":
        return f"<picture><source {own}><img></picture>"
    if rule.tag in ("image", "feimage"):
        return f"<svg><{rule.tag} {own}/></svg>"
    if rule.tag in ("td", "th"):
        return f"<table><tr><{rule.tag} {own}></table>"
    return f"<{rule.tag or 'section'} {own}>"


@pytest.mark.parametrize(
    "rule", RULES, ids=lambda rule: f"{rule.tag}-{rule.attribute}-{rule.only and min(rule.only[1])}"
)
def test_every_rule_finds_its_picture(rule: Rule) -> None:
    assert urls(element(rule)) == ["g/x.jpg"]


@pytest.mark.parametrize(
    "html",
    [
        '<a href="x.jpg">large</a>',
        '<map><area href="x.jpg"></map>',
        "<style>p { background: url('x.jpg') }</style>",
        '<noscript><img src="x.jpg"></noscript>',
        '<head><noscript><img src="x.jpg"></noscript></head>',
        '<script type="application/ld+json">{"@type": "Article", "image": "x.jpg"}</script>',
        '<script type="application/ld+json">[{"@graph": [{"a": {"@type": "ImageObject", "contentUrl": "x.jpg"}}]}]</script>',
        '<script type="APPLICATION/LD+JSON"><!-- {"image": {"url": "x.jpg", "caption": "c"}} --></script>',
        '<script type="application/ld+json">{"@type": "VideoObject", "contentUrl": "v.mp4", "thumbnailUrl": ["x.jpg"]}</script>',
        '<IMG SRC=x.jpg>',
        '<img src=" \n\tx.jpg\x0c ">',
        '<img src="x.j\npg">',
        '<img src="&#120;.jp&#103;">',
        '<img src="x.jpg#part">',
        '<p><b><img src="x.jpg"</b><i>',
        '<table><img src="x.jpg"></table>',
        '<svg><image xlink:href="x.jpg"></svg>',
    ],
)  # fmt: skip
def test_a_picture_is_found_wherever_a_browser_would(html: str) -> None:
    assert urls(html) == ["g/x.jpg"]


@pytest.mark.parametrize(
    "html",
    [
        "<!-- <img src=x.jpg> -->",
        "<script>var a = '<img src=x.jpg>'</script>",
        "<template><img src=x.jpg></template>",
        "<textarea><img src=x.jpg></textarea>",
        "<img src=''>",
        "<img src=#top>",
        "<img src='javascript:void(0)'>",
        "<img src='about:blank'>",
        "<style>@font-face { src: url(x.woff) } p { fill: url(#gradient) }</style>",
        "<video src=x.mp4></video>",
        "<link rel=stylesheet href=x.css>",
        '<script type="application/ld+json">{"image": </script>',
        '<script type="application/ld+json">{"image": 5, "logo": [null, {"url": 7}]}</script>',
        "<meta property=og:title content=x.jpg>",
        "<a href=mailto:x.jpg>",
    ],
)
def test_what_no_browser_shows_is_not_found(html: str) -> None:
    assert urls(html) == []


def test_every_rule_stands_in_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs" / "pages.md").read_text()
    assert [rule.attribute for rule in RULES if f"`{rule.attribute}`" not in text] == []
    named = {name for rule in RULES if rule.only is not None and rule.tag == "meta" for name in rule.only[1]}
    assert [
        name for name in named if f"`{name}`" not in text and name not in ("image", "thumbnailurl", "contenturl")
    ] == []
    assert [one for one in CUTS if one.startswith("max_") and f"--{one.replace('_', '-')}" not in text] == []


# The best version -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "best", "others"),
    [
        ('<img src="a.jpg" srcset="b.jpg 320w, c.jpg 1280w, d.jpg 640w">', "c", "dba"),
        ('<img src="a.jpg" srcset="b.jpg 1.5x, c.jpg 3x">', "c", "ba"),
        ('<img src="a.jpg" srcset="b.jpg 0.5x">', "a", "b"),
        ('<img src="a.jpg"  data-src="b.jpg" srcset="c.jpg 100w" data-srcset="d.jpg 900w">', "d", "cb"),
        ('<img src="a.jpg" data-orig-file="b.jpg" srcset="c.jpg 900w">', "b", "ca"),
        ('<a href="b.jpg"><img src="a.jpg" srcset="c.jpg 2x"></a>', "b", "ca"),
        ('<a href="b.jpg"><span><b><img src="a.jpg"></b></span></a>', "b", "a"),
        ('<picture><source srcset="b.webp 2x" type="image/webp"><source srcset="c.jpg"><img src="a.jpg"></picture>', "b", "ca"),
        ('<picture><source srcset="b.svg" type="image/svg+xml"><source srcset="c.jpg"><img src="a.jpg"></picture>', "c", "a"),
        (
            '<picture><source media="(max-width: 600px)" srcset="b.jpg 4000w"><source media="(min-width: 601px)" srcset="c.jpg">'
            '<img src="a.jpg"></picture>', "c", "ab",
        ),
        ('<picture><source media="print" srcset="b.jpg"><img src="a.jpg"></picture>', "a", "b"),
        ('<script type="application/ld+json">{"contentUrl":"a.jpg","thumbnailUrl":"b.jpg"}</script>', "a", "b"),
    ],
)  # fmt: skip
def test_the_best_version_is_taken_and_the_others_are_tried_if_it_fails(html: str, best: str, others: str) -> None:
    (target,) = discover(html, PAGE)
    assert target.found is not None
    names = [url.rpartition("/")[2].partition(".")[0] for url in (target.url, *target.found.fallbacks)]
    assert names == [best, *others]


SET = '<a href="l.jpg"><img src="s.jpg" srcset="a.jpg 320w, b.jpg 640w, c.jpg 1280w" width="300"></a>'


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [("best", "l"), ("600", "b"), ("640", "b"), ("641", "c"), ("9999", "c"), ("1", "a"), ("all", "lcbas")],
)
def test_versions_are_chosen_as_asked(srcset: str, expected: str) -> None:
    assert [one[2] for one in urls(SET, srcset=srcset)] == list(expected)


def test_a_thumbnail_is_kept_beside_the_large_picture_if_that_is_wanted() -> None:
    html = '<a href="large.jpg"><img src="small.jpg"></a>'
    assert urls(html) == ["g/large.jpg"]
    assert urls(html, thumbnails=True) == ["g/large.jpg", "g/small.jpg"]


def test_a_link_to_a_page_around_a_picture_leaves_the_picture() -> None:
    assert urls('<a href="photo.html"><img src="a.jpg"></a><a href="/wiki/File:Name.jpg"><img src="b.jpg"></a>') == [
        "g/a.jpg", "g/b.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("src", ["blank.gif", "data:image/gif;base64,R0lGODlhAQABAAAAACw="])
def test_what_stands_there_until_a_script_has_run_is_no_version(src: str) -> None:
    page = page_of(f'<img src="{src}" data-src="a.jpg">')
    assert [(one.url, one.fallbacks) for one in page.pictures] == [("https://example.org/g/a.jpg", ())]
    assert [one.why for one in page.passed_over] == ["placeholder"]


def test_a_picture_that_stands_in_a_page_twice_is_one() -> None:
    (target,) = discover('<img src="a.jpg"><figure><img src="a.jpg" alt="A"><figcaption>F</figcaption></figure>', PAGE)
    assert (target.columns["alt"], target.columns["figcaption"]) == ("A", "F")


def test_the_position_and_the_texts_of_a_picture_are_told() -> None:
    html = """
        <img src=0.jpg>
        <figure><a href=p.html title=T2>The  <i>link</i></a><a href=q.html>Look <img src=1.jpg alt="Alt &amp;
        more" title=T></a><figcaption> A
        caption</figcaption></figure>"""
    target = discover(html, PAGE)[1]
    assert dict(target.columns) == {
        "page": PAGE, "alt": "Alt & more", "title": "T", "figcaption": "A caption", "link": "Look", "depth": 0, "position": 1,
    }  # fmt: skip
    assert discover(html, PAGE, caption="figcaption")[1].extra.caption == "A caption"


# Pictures in the page itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "data:image/gif;base64," + base64.b64encode(PIXEL).decode(),
        "DATA:image/gif;charset=x;base64," + base64.b64encode(PIXEL).decode().rstrip("="),
        "data:image/gif," + "".join(f"%{byte:02x}" for byte in PIXEL),
        " data:image/gif;base64,\n" + base64.b64encode(PIXEL).decode() + "#x",
    ],
)
def test_a_picture_in_the_page_is_decoded_in_place(address: str) -> None:
    (target,) = discover(f'<img src="{address}">', PAGE)
    assert target.found is not None
    assert target.found.data == PIXEL
    assert target.url.startswith("data:image/gif;sha256,")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("data:image/gif;base64," + "A" * 4000, "data_url"),
        ("data:image/gif," + "a" * 4000, "data_url"),
        ("data:text/html,<b>", "data_url"),
        ("data:image/svg+xml,<svg/>", "format"),
        ("data:", "data_url"),
    ],
)
def test_what_is_too_large_or_no_picture_in_a_page_is_told(address: str, why: str) -> None:
    page = page_of(f'<img src="{address}">', max_data_url=1000)
    assert not page.pictures
    assert list(page.cuts) == [why]


# Addresses --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "reference", "expected"),
    [
        ("/other/", "a.jpg", "other/a.jpg"),
        ("http://cdn.example/x/y", "a.jpg", "http://cdn.example/x/a.jpg"),
        ("//cdn.example", "a.jpg", "https://cdn.example/a.jpg"),
        ("javascript:x", "a.jpg", "g/a.jpg"),
        (" /b/ ", "?q=1", "b/?q=1"),
    ],
)
def test_references_are_relative_to_the_base_of_the_page(base: str, reference: str, expected: str) -> None:
    assert urls(f'<base href="{base}"><base href="/second/"><img src="{reference}">') == [expected]


def test_a_query_is_encoded_as_its_page_is_and_a_path_never() -> None:
    html = '<meta charset="windows-1251"><img src="/кот.jpg?q=кот">'.encode("cp1251")
    assert urls(html) == ["%D0%BA%D0%BE%D1%82.jpg?q=%EA%EE%F2"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a.jpg", "https://example.org/a.jpg"),
        ("?a/b", "https://example.org/?a/b"),
        ("//h.example", "https://h.example"),
    ],
)
def test_a_page_without_a_path_has_references_too(reference: str, expected: str) -> None:
    assert Addresses("https://example.org").of(reference) == expected


# Character sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type", "charset"),
    [
        ("\ufeffä".encode(), "text/html; charset=latin1", "utf-8"),
        ("\ufeffä".encode("utf-16-le"), "", "utf-16-le"),
        ("\ufeffä".encode("utf-16-be"), "", "utf-16-be"),
        ("ä".encode("cp1252"), "text/html; charset=ISO-8859-1", "cp1252"),
        ("ж".encode("cp1251"), 'text/html; Charset = "windows-1251"', "cp1251"),
        ("<meta charset=koi8-r>ж".encode("koi8-r"), "text/html", "koi8-r"),
        ('<META http-equiv="Content-Type" content="text/html; charset=shift_jis">猫'.encode("cp932"), "", "cp932"),
        ('<!-- <meta charset="koi8-r"> --><meta charset="utf-8">ж'.encode(), "", "utf-8"),
        (b'<meta charset="utf-16">x', "", "utf-8"),
        (b'<meta charset="nonsense"><meta charset="windows-1250">x', "", "cp1250"),
        ('<?xml version="1.0" encoding="gb2312"?>猫'.encode("gb18030"), "", "gb18030"),
        ("naïve ж".encode(), "", "utf-8"),
        ("naïve".encode("cp1252"), "", "cp1252"),
        ("naïve".encode("cp1252"), "text/html; charset=nonsense", "cp1252"),
        ((" " * 2000).encode() + "<meta charset=koi8-r>ж".encode("koi8-r"), "", "cp1252"),
    ],
)  # fmt: skip
def test_the_charset_of_a_page_is_what_html_says_it_is(body: bytes, content_type: str, charset: str) -> None:
    text, found = decoded(body, content_type)
    assert found == charset
    assert not text.startswith("\ufeff")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("latin1", "cp1252"), ("ISO-8859-9", "cp1254"), (" gb2312\n", "gb18030"), ("ks_c_5601-1987", "cp949"),
        ("x-sjis", "cp932"), ("unicode", "utf-16-le"), ("tis-620", "cp874"), ("hex", ""), ("base64", ""), ("idna", ""),
        ("", ""), ("zip\0", ""),
    ],
)  # fmt: skip
def test_labels_mean_what_browsers_mean_by_them(label: str, codec: str) -> None:
    assert codec_of(label) == codec


# Links ------------------------------------------------------------------------------------------------------------------


def test_links_are_followed_only_when_that_is_asked_for() -> None:
    html = '<a href="a.html">a</a><iframe src="frame.html"></iframe><link rel=next href="?page=2"><a href="a.jpg">picture</a>'
    assert links(html) == ["g/a.html", "g/frame.html", "g/page.html?page=2"]
    assert links(html, follow=False) == ["g/frame.html"]


@pytest.mark.parametrize(
    ("scope", "followed"),
    [
        ("page", ["g/?q=1"]),
        ("path", ["g/a.html", "g/b/c.html", "g/?q=1"]),
        ("host", ["g/a.html", "g/b/c.html", "g/?q=1", "other/"]),
        ("domain", ["g/a.html", "g/b/c.html", "g/?q=1", "other/", "https://img.example.org/x"]),
        ("any", ["g/a.html", "g/b/c.html", "g/?q=1", "other/", "https://img.example.org/x", "https://example.com/y"]),
    ],
)
def test_links_are_followed_as_far_as_the_scope_goes(scope: str, followed: list[str]) -> None:
    names = ("a.html", "b/c.html", "/g/?q=1", "/other/", "//img.example.org/x", "//example.com/y")
    html = "".join(f'<a href="{name}">x</a>' for name in names)
    page = page_of(html, follow=True, scope=scope)
    assert [link.url.removeprefix("https://example.org/") for link in page.links] == followed
    assert page.cuts.get("scope", (0, ""))[0] == len(names) - len(followed)


def test_a_page_given_that_led_elsewhere_has_two_hosts() -> None:
    order = PageOrder(
        "https://www.example.org/", "", "page", 0, ("https://example.org/", "https://www.example.org/"), (), "crawler",
        FORMATS, DiscoverSettings(follow=True),
    )  # fmt: skip
    assert len(read(b'<a href="/a">a</a><a href="https://example.org/b">b</a>', order).links) == 2


@pytest.mark.parametrize(
    ("flags", "followed"),
    [
        ({"include": ("/photo/",)}, ["g/photo/1"]),
        ({"exclude": ("photo", "about$")}, ["g/list?sort=up"]),
        ({"include": ("photo", "list"), "exclude": (r"\?",)}, ["g/photo/1"]),
    ],
)
def test_links_are_chosen_by_their_addresses(flags: Mapping[str, Any], followed: list[str]) -> None:
    assert links('<a href="photo/1">1</a><a href="list?sort=up">l</a><a href="about">a</a>', **flags) == followed


def test_pictures_are_chosen_by_their_addresses_and_hosts() -> None:
    html = '<img src="a.jpg"><img src="thumb/b.jpg"><img src="//cdn.example.org/c.jpg"><img src="//ads.example/d.jpg">'
    assert urls(html, exclude_images=("thumb",), images_scope="domain") == ["g/a.jpg", "https://cdn.example.org/c.jpg"]
    assert urls(html, include_images=(r"/[bd]\.jpg$",)) == ["g/thumb/b.jpg", "https://ads.example/d.jpg"]


def test_another_version_is_taken_where_the_best_is_not_wanted() -> None:
    assert urls('<img src="a.jpg" srcset="big/b.jpg 2x">', exclude_images=("/big/",)) == ["g/a.jpg"]
    assert urls('<img src="a.jpg" srcset="b.svg 2x">') == ["g/a.jpg"]


@pytest.mark.parametrize("url", ["a.pdf", "a.ZIP", "x/b.mp4", "style.css?v=2"])
def test_what_is_no_page_by_its_name_is_not_visited(url: str) -> None:
    page = page_of(f'<a href="{url}">x</a>', follow=True)
    assert (page.links, list(page.cuts)) == ((), ["no_page"])


@pytest.mark.parametrize(
    ("html", "directives", "pictures", "followed"),
    [
        ('<meta name="robots" content="nofollow">', (), 1, 0),
        ('<meta name="ROBOTS" content="NoIndex, follow">', (), 0, 1),
        ('<meta name="robots" content="noimageindex">', (), 0, 1),
        ('<meta name="robots" content="max-snippet:5,noai">', (), 0, 1),
        ('<meta name="robots" content="none">', (), 0, 0),
        ('<meta name="crawler" content="noindex">', (), 0, 1),
        ('<meta name="otherbot" content="noindex">', (), 1, 1),
        ('<meta name="tdm-reservation" content="1">', (), 0, 1),
        ("", ("noindex",), 0, 1),
        ("", ("nofollow", "noimageai"), 0, 0),
        ("", ("all",), 1, 1),
    ],
)
def test_what_a_page_asks_for_is_kept_to_unless_told_otherwise(
    html: str, directives: tuple[str, ...], pictures: int, followed: int
) -> None:
    body = f'<head>{html}</head><img src="a.jpg"><a href="b.html">b</a>'
    page = page_of(body, directives=directives, follow=True)
    assert (len(page.pictures), len(page.links)) == (pictures, followed)
    assert sum(count for count, _ in page.cuts.values()) == 2 - pictures - followed
    told_otherwise = page_of(body, directives=directives, follow=True, ignore_meta_robots=True)
    assert (len(told_otherwise.pictures), len(told_otherwise.links)) == (1, 1)


def test_a_link_that_says_nofollow_is_not_followed() -> None:
    html = '<a href="a.html" rel="external NOFOLLOW">a</a><a href="b.html" rel="me">b</a>'
    assert links(html) == ["g/b.html"]
    assert links(html, ignore_meta_robots=True) == ["g/a.html", "g/b.html"]


def test_the_links_of_a_copy_are_left_to_its_original() -> None:
    html = '<link rel="canonical" href="original.html"><img src="a.jpg"><a href="b.html">b</a>'
    page = page_of(html, follow=True)
    assert [link.url for link in page.links] == ["https://example.org/g/original.html"]
    assert len(page.pictures) == 1
    assert page.cuts["canonical"][0] == 1
    assert links(html, ignore_canonical=True) == ["g/b.html"]
    assert links(html.replace("original.html", "page.html?utm_source=x")) == ["g/b.html"]


def test_links_are_followed_as_deep_as_told() -> None:
    order = PageOrder(PAGE, "", "page", 2, (PAGE,), (), "crawler", FORMATS, DiscoverSettings(follow=True, depth=2))
    page = read(b'<a href="a.html">a</a>', order)
    assert (page.links, list(page.cuts)) == ((), ["depth"])
    page = read(b'<a href="a.html">a</a>', order._replace(depth=1))
    assert [link.depth for link in page.links] == [2]


# Traps ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.org/" + "a" * 2000, "long_address"),
        ("https://example.org/" + "/".join("abcdefghijklmnopqrstu"), "deep_path"),
        ("https://example.org/a/b/a/b/a/b/a", "repeated_segments"),
        ("https://example.org/a/b/a/b/a/b", ""),
        ("https://example.org/2024/2024/2024", ""),
    ],
)
def test_an_address_that_feeds_on_itself_is_cut(url: str, why: str) -> None:
    path = url.removeprefix("https://example.org")
    assert trap_of(url, path) == why
    assert list(page_of(f'<a href="{path}">x</a>', follow=True).cuts) == ([why] if why else [])


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://e.org/a;jsessionid=1F?b=1", "https://e.org/a?b=1"),
        ("https://e.org/a?PHPSESSID=1&b=1", "https://e.org/a?b=1"),
        ("https://e.org/a?b=1&utm_source=x&utm_medium=y", "https://e.org/a?b=1"),
        ("https://e.org/a?sid=7", "https://e.org/a"),
        ("https://e.org/a?side=7", "https://e.org/a?side=7"),
        ("https://e.org/a?b=1&", "https://e.org/a?b=1&"),
    ],
)
def test_sessions_and_campaigns_do_not_make_another_page(url: str, same: str) -> None:
    assert without_session(url) == same
    assert identity(url).address == identity(same).address


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(
        [
            "https://example.org",
            "http://e.org:8080",
            "http://127.0.0.1:99",
            "https://a.b-c.org",
            "http://xn--bcher-kva.org",
        ]
    ),
    st.text("ab1./?&=;:@,+~-_*!$()", max_size=9),
)
def test_what_is_told_quickly_of_an_address_is_what_the_url_standard_tells(origin: str, rest: str) -> None:
    url = str(url_of(f"{origin}/{rest}"))
    verdict, parsed = identity(url), url_of(url)
    assert verdict.address == page_fingerprint(url)
    assert verdict.host == host_key(parsed)
    assert verdict.pattern == identity(f"{url}{'&' if '?' in url else ''}#x").pattern


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("https://e.org/cal/2024/05", "https://e.org/cal/2031/12", True),
        ("https://e.org/s?color=red", "https://e.org/s?size=4&color=blue", True),
        ("https://e.org/p/deadbeef01", "https://e.org/p/0123456789abcdef", True),
        ("https://e.org/p/cat", "https://e.org/p/dog", False),
        ("https://e.org/s", "https://e.org/s?q=1", False),
        ("https://e.org/p/1", "https://f.org/p/1", False),
    ],
)
def test_pages_that_differ_in_numbers_and_queries_are_of_one_pattern(one: str, other: str, alike: bool) -> None:
    assert (identity(one).pattern == identity(other).pattern) is alike


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("img.shop.example.co.uk", "example.co.uk"), ("example.org", "example.org"), ("user.github.io", "user.github.io"),
        ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("localhost", "localhost"), ("co.uk", "co.uk"),
    ],
)  # fmt: skip
def test_the_domain_of_a_host_is_what_somebody_registered(host: str, domain: str) -> None:
    assert domain_of(host) == domain


# Sitemaps and feeds -----------------------------------------------------------------------------------------------------

SITEMAP = """<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
<url><loc> https://example.org/old </loc><lastmod>2020-01-01</lastmod>
<image:image><image:loc>/o.jpg</image:loc></image:image></url>
<url><loc>https://example.org/new?a=1&amp;b=2</loc><lastmod>2026-05-01T10:00:00+02:00</lastmod>
<image:image><image:loc>https://cdn.example/n.jpg</image:loc><image:title>New</image:title><image:caption>Fresh</image:caption>
</image:image></url>
<url><loc>https://example.org/undated</loc></url>
</urlset>"""


def test_a_sitemap_gives_its_pages_and_pictures() -> None:
    page = page_of(SITEMAP, "sitemap")
    assert [link.url for link in page.links] == [
        "https://example.org/old", "https://example.org/new?a=1&b=2", "https://example.org/undated",
    ]  # fmt: skip
    assert [(one.url, one.title, one.figcaption, one.rule) for one in page.pictures] == [
        ("https://example.org/o.jpg", "", "", "image:image"), ("https://cdn.example/n.jpg", "New", "Fresh", "image:image"),
    ]  # fmt: skip
    assert {link.depth for link in page.links} == {0}


def test_what_is_older_than_wanted_is_left_out_of_a_sitemap() -> None:
    page = page_of(SITEMAP, "sitemap", since="2026-01-01")
    assert [link.url for link in page.links] == ["https://example.org/new?a=1&b=2", "https://example.org/undated"]
    assert page.cuts["since"] == (1, "https://example.org/old")


def test_a_sitemap_index_gives_sitemaps() -> None:
    text = """<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
        <sitemap><loc>https://example.org/a.xml.gz</loc></sitemap><sitemap><loc>/b.xml</loc></sitemap></sitemapindex>"""
    for body in (text.encode(), gzip.compress(text.encode()), text.encode("utf-16")):
        assert [(link.url, link.kind) for link in page_of(body, "sitemap").links] == [
            ("https://example.org/a.xml.gz", "sitemap"), ("https://example.org/b.xml", "sitemap"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("User-agent: *\nSitemap: https://example.org/one.xml\nsitemap:/two.xml # second\n", ["one.xml", "two.xml"]),
        ("User-agent: *\nDisallow:", ["sitemap.xml"]),
    ],
)
def test_a_robots_txt_names_the_sitemaps(text: str, expected: list[str]) -> None:
    page = page_of(text, "robots", url="https://example.org/robots.txt")
    assert [link.url.removeprefix("https://example.org/") for link in page.links] == expected


def test_a_feed_gives_its_enclosures_and_the_pictures_of_its_entries() -> None:
    rss = """<rss xmlns:media="http://search.yahoo.com/mrss/"><channel><image><url>/logo.png</url></image>
        <item><title>One</title><link>/one</link><enclosure url="/a.jpg" type="image/jpeg"/><enclosure url="/s.mp3"
        type="audio/mpeg"/><media:content url="/b.jpg" medium="image"/>
        <description>&lt;img src="c.jpg" alt="C"&gt;</description></item></channel></rss>"""
    page = page_of(rss, follow=True)
    assert [one.url.removeprefix("https://example.org/") for one in page.pictures] == [
        "logo.png", "g/c.jpg", "a.jpg", "b.jpg",
    ]  # fmt: skip
    assert [link.url for link in page.links] == ["https://example.org/one"]
    atom = """<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>E</title><link href="/e"/>
        <link rel="enclosure" type="image/png" href="/e.png"/></entry></feed>"""
    page = page_of(atom, follow=True)
    assert [(one.url, one.title) for one in page.pictures] == [("https://example.org/e.png", "E")]
    assert [link.url for link in page.links] == ["https://example.org/e"]


BILLION = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"{BILLION}<urlset><url><loc>/&b;</loc></url></urlset>", "refused_xml"),
        (
            '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><urlset><url><loc>/&a;</loc></url></urlset>',
            "refused_xml",
        ),
        ("<urlset>" + "<a>" * 1000 + "</urlset>", "refused_xml"),
        ("<urlset><url><loc>/whole</loc></url><url><loc>/half", "broken_xml"),
        (b"\x1f\x8b\x08" + b"no gzip" * 9, "broken_gzip"),
        (gzip.compress(b"<urlset>" + b" " * 60_000_000), "large_sitemap"),
        ("just words", "no_sitemap"),
    ],
    ids=["billion", "outside", "deep", "cut off", "damaged", "bomb", "text"],
)
def test_a_sitemap_that_means_harm_is_read_as_far_as_it_is_harmless(body: str | bytes, why: str) -> None:
    page = page_of(body, "sitemap")
    assert why in page.cuts
    assert page.notes
    assert [link.url for link in page.links] == (["https://example.org/whole"] if why == "broken_xml" else [])


# Bad input --------------------------------------------------------------------------------------------------------------


def test_a_page_nested_beyond_reason_is_read_up_to_there() -> None:
    page = page_of('<img src="a.jpg">' + "<div>" * 100_000 + '<img src="b.jpg">')
    assert [one.url for one in page.pictures] == ["https://example.org/g/a.jpg"]
    assert list(page.cuts) == ["nested"]


def test_more_links_than_anybody_needs_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finds, "MOST_LINKS", 500)
    page = page_of("".join(f'<a href="{n}">x</a><img src="{n}.jpg">' for n in range(600)), follow=True)
    assert (len(page.links), len(page.pictures)) == (500, 500)
    assert (page.cuts["many_links"][0], page.cuts["many_pictures"][0]) == (100, 100)


@pytest.mark.parametrize(
    "body", [b"", b"\0" * 5000, bytes(range(256)) * 40, b"<" * 50_000, b"<a href='" * 5000, b"\xff\xfe"]
)
def test_what_is_hardly_a_page_gives_nothing_and_breaks_nothing(body: bytes) -> None:
    assert page_of(body).pictures == ()


def test_every_cut_has_words() -> None:
    page = page_of(
        '<a href="a.pdf">a</a><a href="//other.example/">o</a><img src="a.svg"><img src="data:x">', follow=True
    )
    assert set(page.cuts) == {"no_page", "scope", "format", "data_url"}
    assert set(page.cuts) <= set(CUTS)


# Pieces -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "true"),
    [
        ("", True), ("screen", True), ("print", False), ("not print", True), ("(min-width: 800px)", True),
        ("(max-width: 50em)", False), ("screen and (min-width: 10px) and (orientation: landscape)", True),
        ("print, (min-width: 1px)", True), ("(width >= 600px)", True), ("(400px < width <= 700px)", False),
        ("(prefers-color-scheme: dark)", False), ("(min-resolution: 2dppx)", False), ("(nonsense)", False),
        ("only screen and (max-width: 1e)", False), ("(hover)", True),
    ],
)  # fmt: skip
def test_media_queries_are_those_of_a_large_screen(query: str, true: bool) -> None:
    assert media.holds(query) is true


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a { background: url(a.png), url( 'b c.png' ) }", ["a.png", "b c.png"]),
        ("/* url(no.png) */ a{b:URL(\"yes.png\")}", ["yes.png"]),
        ("a{b:image-set('a.png' 1x, \"b.png\" 2x)}", ["a.png", "b.png"]),
        (r"a{b:url(a\(1\)\26 .png)}", ["a(1)&.png"]),
        ("@import url(x.css); @font-face{src:url(f.woff2)} a{b:url(#id)}", []),
        ("a{b:url(", []),
    ],
)  # fmt: skip
def test_a_style_sheet_names_its_pictures(text: str, expected: list[str]) -> None:
    assert list(css.pictures(text)) == expected


def test_a_style_sheet_gives_pictures_and_further_style_sheets() -> None:
    page = page_of("@import 'b.css'; @import url(\"c.css\") screen; p{background:url(a.png)}", "stylesheet")
    assert [one.url for one in page.pictures] == ["https://example.org/g/a.png"]
    assert [(link.url.rpartition("/")[2], link.kind) for link in page.links] == [
        ("b.css", "stylesheet"),
        ("c.css", "stylesheet"),
    ]
    assert [link.kind for link in page_of("<link rel=stylesheet href=a.css>", stylesheets=True).links] == ["stylesheet"]
    assert not page_of("<link rel=stylesheet href=a.css>").links


def test_only_a_part_of_a_page_is_searched_and_links_are_taken_from_all_of_it() -> None:
    html = """<nav><img src=n.jpg><a href=n.html>n</a></nav><main id=m><p><img src=a.jpg></p><a href=a.html>a</a></main>
        <main><a href=b.jpg><img src=s.jpg></a></main><script type="application/ld+json">{"image":"x.jpg"}</script>"""
    page = page_of(html, selector="main", follow=True)
    assert [one.url.rpartition("/")[2] for one in page.pictures] == ["a.jpg", "b.jpg"]
    assert [one.url.rpartition("/")[2] for one in page.links] == ["n.html", "a.html"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"scope": "world"}, "scope"), ({"srcset": "0"}, "srcset"), ({"include": ("(",)}, "include"),
        ({"since": "yesterday"}, "since"), ({"depth": -1}, "depth"), ({"selector": "p["}, "selector"),
        ({"extractor": "nonsense"}, "extractor"), ({"caption": "words"}, "caption"), ({"max_page_bytes": 0}, "max_page_bytes"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_with_its_name(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("_", "-")):
        DiscoverSettings(**flags)


def test_the_function_for_programs_takes_text_and_bytes_and_says_what_is_wrong() -> None:
    html = '<img src="ä.jpg">'
    found = discover(html, PAGE)
    assert found == discover(html.encode(), PAGE)
    assert all(isinstance(target, Target) for target in found)
    with pytest.raises(BadURL):
        discover(html, "page.html")
    with pytest.raises(TypeError, match="unexpected"):
        discover(html, PAGE, nonsense=1)


# Third-party cases ------------------------------------------------------------------------------------------------------


def cases(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((third_party("html") / "html_vectors.json").read_text())[kind]
    return found


UNLIKE = {"data:,a 2x, data:,b 1w": "for `data:,a 1w, data:,b 2x` the same list wants the version of one pixel a pixel"}


def test_srcsets_of_the_web_platform_tests() -> None:
    wrong = []
    for case in cases("srcset"):
        found = parse(case["srcset"])
        told = [{"url": one.url, "w": one.width, "x": one.density} for one in found]
        wanted = [{"url": one["url"], "w": one.get("w"), "x": one.get("x")} for one in case["candidates"]]
        best = best_first(found, 1)
        selected = best[0].url if best else ""
        expected = case["selected"] if case["selected"] is not None else selected
        if told != wanted or (selected != expected and case["srcset"] not in UNLIKE):
            wrong.append(case["srcset"])
    assert not wrong
    assert len(cases("srcset")) == 253


def test_bases_of_w3lib() -> None:
    wrong = []
    for case in cases("base"):
        page = case["page"] or PAGE
        if url_of(base_of(case["html"], page)) != url_of(case["base"] or page):  # %a3 is %A3
            wrong.append(case["html"])
    assert not wrong
    assert len(cases("base")) == 20


def test_odd_real_pages_are_read() -> None:
    found = {path.name: len(discover(path.read_bytes(), PAGE)) for path in (third_party("html") / "pages").iterdir()}
    assert len(found) >= 8
    assert found["wpull__xkcd_1.html"] >= 3


def test_a_candidate_is_told_by_width_or_density() -> None:
    assert parse("a.jpg, b.jpg 2x, c.jpg 3w") == [
        Candidate("a.jpg"), Candidate("b.jpg", None, 2.0), Candidate("c.jpg", 3),
    ]  # fmt: skip
