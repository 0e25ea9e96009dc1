"""A picture site that is hard to crawl: HTTP on loopback with some hundred linked pages and everything a page can do.

One rule: the pages say themselves what is expected of who reads them. An address in a page is written as a mark,
`[[+/p/a.jpg]]`, and stands there without it when it is served:

    +  a picture that has to be stored by a crawl of the whole site
    -  a picture that is there and must not be asked for: a worse version, or one that is forbidden
    s  a picture that is found only in linked style sheets
    ?  a picture that is there, no more is said
    x  an address that must never be asked for, and where nothing is

Where the address is written otherwise than it is asked for: `[[+/p/a.jpg|../p/a.jpg]]`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Final, Literal, TypeAlias

from PIL import Image, ImageDraw

from tests.servers.dns import LIMIT, Listener, serving
from tests.servers.faults import bind

HOST: Final = "127.0.0.1"
OTHER_HOST: Final = "127.0.0.2"
ALBUMS: Final = 12
PHOTOS: Final = 8
PATIENCE: Final = 1200
"""Requests after which a trap lets go, so that who fell into it comes to an end and can be told."""
MOVED_PICTURE: Final = "/p/same/moved-to.jpg"
"""Where a link leads that does not look like one to a picture."""
LAST_MODIFIED: Final = "Sat, 03 Jan 2026 10:00:00 GMT"

Want: TypeAlias = Literal["visit", "never", "any"]
_MARK: Final = re.compile(r"\[\[([+s?x-])([^\]|]+)(?:\|([^\]]*))?\]\]")
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})|(.)", re.DOTALL)
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@!$(),*")
_DELIMITERS: Final = frozenset(b"/?#&=+%;")
_KINDS: Final = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}


def spelled(target: bytes | str) -> str:
    """The one spelling of path and query: escaped is what has to be, and nothing else."""
    found = bytearray()
    raw = target.encode() if isinstance(target, str) else target
    for escape, byte in _ESCAPED.findall(raw):
        number = int(escape, 16) if escape else byte[0]
        if number in _PLAIN or (not escape and number in _DELIMITERS):
            found.append(number)
        else:
            found += b"%%%02X" % number
    return found.decode("ascii")


def addressed(text: str, charset: str = "utf-8") -> str:
    """What is asked for by who finds this in a page: the path in UTF-8, the query as the page is written (WHATWG URL, 4.4)."""
    path, mark, query = text.partition("?")
    return spelled(path.encode() + mark.encode() + query.encode(charset))


@dataclass(frozen=True)
class Page:
    """What is said at one address.

    Attributes:
        headers: whole lines.
        want: whether a crawl of the whole site must come here.
        pictures: marked in it, by mark.
    """

    body: bytes
    kind: str = "text/html"
    status: int = 200
    headers: tuple[str, ...] = ()
    want: Want = "visit"
    pictures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request: the name of what was asked for (`name_of`), how it was answered, and the page that led there."""

    name: str
    status: int
    kind: str
    referer: str


def name_of(host: str, target: str) -> str:
    """A path of the gallery itself; the host in front of it for any other."""
    return target if host in (HOST, "") else f"//{host}{target}"


class Catalogue:
    """Every page and every picture, by name."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.pictures: dict[str, str] = {}
        self.nowhere: set[str] = set()

    def add(
        self,
        path: str,
        text: str | bytes,
        kind: str = "text/html; charset=utf-8",
        *,
        charset: str = "utf-8",
        mark: bytes = b"",
        status: int = 200,
        headers: Iterable[str] = (),
        want: Want = "visit",
    ) -> None:
        """A page. `mark` stands before its first byte."""
        found: dict[str, list[str]] = {}

        def take(match: re.Match[str]) -> str:
            name = self._named(match[2], charset)
            found.setdefault(match[1], []).append(name)
            if match[1] == "x":
                self.nowhere.add(name)
            else:
                self.picture(name)
            return match[3] if match[3] is not None else match[2]

        name = self._named(path, charset)
        assert name not in self.pages, f"{name} is there twice"
        if isinstance(text, str):
            text = mark + _MARK.sub(take, text).encode(charset)
        pictures = {one: tuple(names) for one, names in found.items()}
        self.pages[name] = Page(text, kind, status, tuple(headers), want, pictures)

    def picture(self, name: str) -> None:
        path = name.partition("?")[0]
        self.pictures.setdefault(name, _KINDS.get(path.rpartition(".")[2], "JPEG"))

    def moved(self, path: str, to: str, status: int = 302, want: Want = "any") -> None:
        self.add(path, b"", status=status, headers=(f"Location: {to}",), want=want)

    def marked(self, marks: str, want: Iterable[Want] = ("visit",)) -> set[str]:
        """The pictures with one of these marks, of all pages that are wanted so."""
        wanted = tuple(want)
        pages = (page for page in self.pages.values() if page.want in wanted)
        return {name for page in pages for mark in marks for name in page.pictures.get(mark, ())}

    @staticmethod
    def _named(text: str, charset: str) -> str:
        host, _, path = text.removeprefix("OTHER").partition("/") if text.startswith("OTHER") else ("", "", "")
        if text.startswith("OTHER"):
            return name_of(host or OTHER_HOST, addressed(f"/{path}", charset))
        return addressed(text, charset)


def html(title: str, body: str, head: str = "") -> str:
    return f"<!DOCTYPE html>\n<html><head><title>{title}</title>{head}</head>\n<body><h1>{title}</h1>\n{body}\n</body></html>"


def links(*paths: str) -> str:
    return " ".join(f'<a href="{path}">{path}</a>' for path in paths)


@cache
def picture_bytes(name: str, kind: str) -> bytes:
    """A small picture whose colour nobody else has."""
    number = int.from_bytes(name.encode()[-3:], "big") ^ (hash_of(name) & 0xFFFFFF)
    colour = (number >> 16 & 255, number >> 8 & 255, number & 255)
    picture = Image.new("RGB", (40, 30), colour)
    ImageDraw.Draw(picture).text((1, 1), name[-6:], fill=tuple(255 - one for one in colour))
    for bit in range(24):  # its name in dots, so that no two are the same
        if hash_of(name) >> bit & 1:
            picture.paste((255, 255, 255), (bit, 20, bit + 1, 28))
    out = BytesIO()
    picture.save(out, kind, **({"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


def hash_of(name: str) -> int:
    """The same in every process."""
    found = 2166136261
    for byte in name.encode():
        found = (found ^ byte) * 16777619 & 0xFFFFFFFF
    return found


INLINE: Final = picture_bytes("inline", "PNG")
BLANK: Final = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

SECTIONS: Final = (
    *(
        "/albums/",
        "/rules/",
        "/text/",
        "/polite/",
        "/same/",
        "/files/",
        "/wiki/",
        "/feeds/",
        "/far/",
        "/scope/",
        "/traps/",
    ),
)


def catalogue() -> Catalogue:
    """The whole site, but for the traps."""
    site = Catalogue()
    site.add("/", html(
        "Gallery", links(*SECTIONS, "/", "#top", "/index.html") + '<img src="[[+/p/home.jpg]]" alt="Home">',
        '<link rel="alternate" type="application/rss+xml" href="/feeds/rss.xml">'
        '<link rel="alternate" type="application/atom+xml" href="/feeds/atom.xml">',
    ))  # fmt: skip
    site.add("/index.html", html("Gallery", links("/albums/"), '<link rel="canonical" href="/">'))
    starts = links(*(start for _, start, _ in TRAPS.values()), SESSIONS, HOPS)
    site.add("/traps/", html("Traps", starts))
    for add in (_albums, _rules, _texts, _polite, _same, _files, _wiki, _feeds, _far, _scopes, _sitemaps):
        add(site)
    return site


def _albums(site: Catalogue) -> None:
    """Pages that link to each other in circles."""
    site.add("/albums/", html("Albums", links(*(f"{number:02d}/" for number in range(ALBUMS)), "../")))
    for album in range(ALBUMS):
        here = f"/albums/{album:02d}"
        thumbs = "".join(
            f'<a href="photo-{n}.html"><img src="[[+{here}/t{n}.jpg|t{n}.jpg]]" alt="Thumb {n}"></a>'
            for n in range(PHOTOS)
        )
        around = links(f"/albums/{(album + 1) % ALBUMS:02d}/", f"../{(album - 1) % ALBUMS:02d}/", "/albums/", "./", "?")
        site.add(f"{here}/", html(f"Album {album}", thumbs + around))
        for n in range(PHOTOS):
            body = (
                f'<figure><img src="[[+{here}/{n}.jpg|{n}.jpg]]" alt="Photo {n} of {album}" title="Number {n}">'
                f"<figcaption>In album {album}, \n  number {n}</figcaption></figure>"
            )
            beside = links(f"photo-{(n + 1) % PHOTOS}.html", f"photo-{(n - 1) % PHOTOS}.html", "./", "/")
            site.add(f"{here}/photo-{n}.html", html(f"Photo {n}", body + beside))


RULES: Final = {
    "img": """
        <img src="[[+/p/img/plain.jpg]]" alt="Plain" title="A title">
        <IMG SRC='[[+/p/img/upper.jpg]]'>
        <img src=[[+/p/img/unquoted.jpg]]>
        <img src="[[+/p/img/first.jpg]]" src="[[-/p/img/second.jpg]]">
        <a href="/albums/" title="To the albums"><img src="[[+/p/img/in-link.png]]" alt=""> Albums</a>
        <!-- <img src="[[x/p/img/comment.jpg]]"> -->
        <script>document.write('<img src="[[x/p/img/script.jpg]]">')</script>
        <textarea><img src="[[x/p/img/textarea.jpg]]"></textarea>
        <img src="[[+/p/img/webp.webp]]"><img src="[[+/p/img/gif.gif]]"><img src=""><img>
        <img src="[[+/p/img/plain.jpg]]" alt="Once more">""",
    "srcset": """
        <img src="[[-/p/set/w-320.jpg]]" sizes="(max-width: 600px) 100vw, 50vw" alt="By width"
             srcset="[[-/p/set/w-640.jpg]] 640w, [[+/p/set/w-1280.jpg]] 1280w,[[-/p/set/w-960.jpg]] 960w">
        <img src="[[-/p/set/x-1.jpg]]" srcset="[[-/p/set/x-2.jpg]] 2x, [[+/p/set/x-3.jpg]] 3x, [[-/p/set/x-1.5.jpg]] 1.5x">
        <img srcset="[[+/p/set/w_9,h_9/commas.jpg]] 900w, [[-/p/set/w_1,h_1/commas.jpg]] 100w">
        <img srcset="[[+/p/set/only.jpg]]">
        <img src="[[-/p/set/ok-1.jpg]]" srcset="[[-/p/set/wrong.jpg]] 900q, , [[+/p/set/ok-2.jpg]]  2x  ,">
        <img srcset="[[-/p/set/h-1.jpg]] 100w 50h, [[+/p/set/h-2.jpg]] 200w 100h">
        <img src="[[-/p/set/lines-1.jpg]]" srcset="
             [[-/p/set/lines-2.jpg]]  400w,
             [[+/p/set/lines-3.jpg]]\t800w
             ">""",
    "picture": """
        <picture><source type="image/webp" srcset="[[+/p/picture/best.webp]]">
          <source type="image/jpeg" srcset="[[-/p/picture/good.jpg]]"><img src="[[-/p/picture/plain.jpg]]" alt="Types"></picture>
        <picture><source type="image/jxl" srcset="[[-/p/picture/strange.jxl]]"><img src="[[+/p/picture/known.jpg]]"></picture>
        <picture><source media="(max-width: 300px)" srcset="[[-/p/picture/narrow.jpg]]">
          <source media="(min-width: 301px)" srcset="[[-/p/picture/wide-1.jpg]] 500w, [[+/p/picture/wide-2.jpg]] 1000w">
          <img src="[[-/p/picture/any.jpg]]"></picture>
        <picture><img src="[[+/p/picture/before.jpg]]"><source srcset="[[-/p/picture/after.jpg]]"></picture>
        <video><source src="/film.mp4" type="video/mp4"></video>""",
    "meta": '<p>All in the head.</p><img src="[[+/p/meta/body.jpg]]">',
    "json-ld": "<p>Linked data.</p>",
    "media": """
        <video poster="[[+/p/media/poster.jpg]]" src="[[x/film.mp4]]"></video>
        <form><input type="image" src="[[+/p/media/button.png]]" alt="Go"><input type="IMAGE" src="[[+/p/media/button-2.png]]">
        <input type="text" src="[[x/p/media/no-button.png]]"></form>
        <object type="image/png" data="[[+/p/media/object.png]]"></object>
        <embed type="image/jpeg" src="[[+/p/media/embed.jpg]]">
        <table background="[[+/p/media/table.jpg]]"><tr><td background="[[+/p/media/cell.jpg]]">x</td></tr></table>
        <audio src="[[x/song.mp3]]"></audio>""",
    "untyped": """
        <object data="[[+/p/media/untyped-object.png]]"></object>
        <embed src="[[+/p/media/untyped-embed.jpg]]">""",
    "svg": """
        <svg width="100" height="100" xmlns:xlink="http://www.w3.org/1999/xlink">
          <image href="[[+/p/svg/href.jpg]]" width="50" height="50"/>
          <image xlink:href="[[+/p/svg/xlink.png]]" width="50" height="50" />
          <filter id="f"><feImage href="[[+/p/svg/filter.png]]"/></filter>
          <rect width="9" height="9" style="fill: url(#f)"/><use href="#f"/>
          <a href="/rules/svg-link.html"><text>on</text></a>
        </svg>
        <svg><a xlink:href="/rules/svg-xlink.html"><text>on</text></a></svg>""",
    "svg-link": '<img src="[[+/p/svg/beyond.jpg]]">',
    "svg-xlink": '<img src="[[+/p/svg/beyond-xlink.jpg]]">',
    "css": """
        <style>
          .a { background: url([[+/p/css/bare.jpg]]) }
          .b { background: url( "[[+/p/css/quoted.jpg]]" ) no-repeat, url('[[+/p/css/two.png]]') }
          .c { background-image: image-set("[[+/p/css/set-1.jpg]]" 1x, url([[+/p/css/set-2.jpg]]) 2x) }
          .d { background: url([[+/p/css/esc(aped).jpg|/p/css/esc\\(aped\\).jpg]]) }
          /* .e { background: url([[x/p/css/comment.jpg]]) } */
          @font-face { font-family: F; src: url([[x/fonts/f.woff2]]) }
          @media (min-width: 1px) { .f { border-image: url([[+/p/css/media.png]]) 30 } }
          .g { --bg: url([[+/p/css/variable.jpg]]) } .h { cursor: url([[+/p/css/cursor.png]]), auto } .i { filter: url(#none) }
        </style>
        <div class="a">a</div><div class="b">b</div><div class="c">c</div><div class="d">d</div><div class="f">f</div>
        <div style="background-image: url([[+/p/css/inline.jpg]])">x</div>
        <div style="background: url(&quot;[[+/p/css/entity.jpg]]&quot;)">x</div>
        <div style="background: URL('[[+/p/css/upper.jpg]]')">x</div>""",
    "sheets": """
        <link rel="stylesheet" href="/css/main.css">
        <style>@import "/css/from-style.css"; .x { background: url([[+/p/css/beside-import.jpg]]) }</style>
        <div class="x">x</div><div class="main">x</div><div class="second">x</div><div class="third">x</div>
        <div class="from-style">x</div>""",
    "lazy": "".join(
        f'<img src="{BLANK}" {name}="[[+/p/lazy/{name}.jpg]]">\n'
        for name in ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-echo", "data-cfsrc")
    )
    + f"""
        <img src="[[-/p/lazy/blank.gif]]" data-src="[[+/p/lazy/real.jpg]]" alt="Real">
        <img src="{BLANK}" data-srcset="[[-/p/lazy/set-400.jpg]] 400w, [[+/p/lazy/set-800.jpg]] 800w" data-sizes="auto">
        <picture><source data-srcset="[[+/p/lazy/source.webp]]" type="image/webp"><img data-src="[[-/p/lazy/img.jpg]]"></picture>
        <div data-bg="[[+/p/lazy/background.jpg]]"></div>
        <div data-background-image="url('[[+/p/lazy/background-2.jpg]]')"></div>
        <img src="[[-/p/lazy/small.jpg]]" data-zoom-image="[[+/p/lazy/zoom.jpg]]">
        <img loading="lazy" src="[[+/p/lazy/native.jpg]]">
        <video data-poster="[[+/p/lazy/poster.jpg]]"></video>""",
    "noscript": f"""
        <img src="{BLANK}" data-src="[[+/p/noscript/same.jpg]]">
        <noscript><img src="[[+/p/noscript/same.jpg]]" alt="Same"></noscript>
        <noscript><img src="[[+/p/noscript/only.jpg]]"><a href="/rules/noscript-link.html">on</a></noscript>""",
    "noscript-link": '<img src="[[+/p/noscript/beyond.jpg]]">',
    "links": """
        <a href="[[+/p/links/ending.jpg]]" title="Ends so">The picture itself</a>
        <a href="[[+/p/links/large.jpg]]"><img src="[[-/p/links/thumb.jpg]]" alt="Wrapped"></a>
        <a href="[[+/p/links/upper.JPG]]">Upper</a> <a href="[[+/p/links/query.png?w=100&h=50]]">Query</a>
        <map><area href="[[+/p/links/area.jpg]]"></map>
        <a href="mailto:a@example.org">m</a> <a href="javascript:void(0)">j</a> <a href="tel:1">t</a>
        <a href="">e</a> <a>n</a>""",
    "two-in-a-link": """
        <a href="[[+/p/two/large.jpg]]"><img src="[[-/p/two/thumb.jpg]]" alt="Thumb">
          <img src="[[?/p/two/badge.png]]" alt="Badge"></a>
        <a href="[[+/p/two/shared.jpg]]"><img src="[[?/p/two/shared-a.jpg]]"></a>
        <a href="[[+/p/two/shared.jpg]]"><img src="[[?/p/two/shared-b.jpg]]"></a>""",
    "unnamed": """
        <a href="[[+/download/17]]">A picture without an ending</a>
        <a href="[[+/download/show?id=18&size=full|/download/show?id=18&amp;size=full]]">One more</a>""",
    "picture-named": '<a href="/viewer/sunset.jpg">A page that is called like a picture</a>',
    "inline": f"""
        <img src="data:image/png;base64,{base64.b64encode(INLINE).decode()}" alt="Inline">
        <img src="data:text/plain,no picture"><img src="data:image/png;base64,!!!!"><img src="[[+/p/inline/beside.jpg]]">""",
    "odd": """
        <img src="
           [[+/p/odd/blanks.jpg]]
        "><img src="[[+/p/odd/line-end.jpg|/p/odd/li
ne-end.jpg]]"><img src="[[+/p/odd/tab.jpg|/p/odd/t\tab.jpg]]">
        <img src="[[+/p/odd/a space.jpg]]"><img src="[[+/p/odd/a%20code.jpg]]">
        <img src="[[+/p/odd/control%01.jpg|/p/odd/control&#1;.jpg]]">
        <img src="[[+/p/odd/entity.jpg?a=1&b=2|/p/odd/entity.jpg?a=1&amp;b=2]]">
        <img src="[[+/p/odd/ampersand.jpg?a=1&copy=2&lt=3]]"><img src="[[+/p/odd/numbers.jpg|/p&#x2F;odd&#47;numbers.jpg]]">
        <img src="[[+/p/odd/backslash.jpg|\\p\\odd\\backslash.jpg]]"><img src="[[+/p/odd/dots.jpg|/p/x/../odd/./dots.jpg]]">
        <img src="[[+/p/odd/coded-dots.jpg|/p/x/%2e%2e/odd/%2E/coded-dots.jpg]]">
        <img src="[[+/p/odd/relative.jpg|../p/odd/relative.jpg]]"><img src="[[+/p/odd/above.jpg|../../../../p/odd/above.jpg]]">
        <img src="[[+/p/odd/fragment.jpg|/p/odd/fragment.jpg#part]]"><img src="[[+/p/odd/whole.jpg|HERE/p/odd/whole.jpg]]">
        <img src="[[+/p/odd/no-scheme.jpg|NOSCHEME/p/odd/no-scheme.jpg]]">
        <img src="[[+/p/odd/upper-scheme.jpg|UPPER/p/odd/upper-scheme.jpg]]">
        <img src="[[+/p/odd/slashes.jpg|SLASHES/p/odd/slashes.jpg]]"><img src="[[+/p/odd/plus.jpg?q=a+b]]">
        <img src="[[+/p/odd/plus.jpg?q=a%2Bb]]"><img src="[[+/p/odd/plus.jpg?q=a%20b]]">
        <img src="[[+/p/odd/100%25.jpg|/p/odd/100%.jpg]]">
        <img src="[[+/p/odd/%5Bbrackets%5D%7C%7B%7D.jpg|/p/odd/&#91;brackets&#93;&#124;{}.jpg]]">
        <img src="[[+/p/odd/quote'.jpg?it's]]"><img src="[[+/p/odd/semi;colon=1,2.jpg]]">
        <img src="[[+/p/odd/q.jpg?a=1;b=2]]"><img src="[[+/p/odd/q.jpg?url=http://example.org/x.jpg]]">
        <img src="[[+/p/odd/double//slash.jpg]]"><img src="[[+/p/odd/%C3%A4.jpg|/p/odd/ä.jpg]]"><img src="[[+/p/odd/%E4.jpg]]">
        <img src="http://[broken/"><img src="https://"><img src="ftp://127.0.0.1/p/x.jpg"><img src="about:blank"><img src="#">""",
    "broken": """
        <div><p><b><img src="[[+/p/broken/nested.jpg]]"<p><table><tr><img src="[[+/p/broken/in-table.jpg]]"><td>
        <a href="/rules/broken-link.html"><div><a href="/albums/">inner</a>
        <img alt="a > b" src="[[+/p/broken/greater.jpg]]" ><img/src="[[+/p/broken/slash.jpg]]"/>
        <img alt='"' src = '[[+/p/broken/spaces.jpg]]'></b></i></span></p>
        <select><option>x</option></select><ul><li><img src="[[+/p/broken/list.jpg]]">
        </body></html><img src="[[+/p/broken/behind.jpg]]"><img src="[[+/p/broken/last.jpg]]\"""",
    "broken-link": '<img src="[[+/p/broken/beyond.jpg]]">',
    "iframe": """<iframe src="/rules/iframe-inner.html"></iframe><iframe src="[[+/p/frame/direct.jpg]]"></iframe>
        <iframe></iframe><iframe src="about:blank"></iframe>""",
    "iframe-inner": '<img src="[[+/p/frame/inner.jpg]]">' + links("iframe-beyond.html"),
    "iframe-beyond": '<img src="[[+/p/frame/beyond.jpg]]">',
    "srcdoc": """<iframe srcdoc="&lt;img src=&quot;[[+/p/frame/srcdoc.jpg]]&quot;&gt;"></iframe>""",
    "frame-left": '<img src="[[+/p/frame/left.jpg]]"><a href="frame-beyond.html" target="right">on</a>',
    "frame-right": '<img src="[[+/p/frame/right.jpg]]">',
    "frame-beyond": '<img src="[[+/p/frame/beyond-2.jpg]]">',
    "fallback": """
        <img srcset="/p/fall/missing-800.jpg 800w, [[+/p/fall/there-400.jpg]] 400w, [[-/p/fall/there-200.jpg]] 200w" alt="Falls">
        <img srcset="/p/fall/page-800.jpg 800w, [[+/p/fall/beside-page-400.jpg]] 400w">
        <picture><source srcset="/p/fall/missing.webp" type="image/webp"><img src="[[+/p/fall/plain.jpg]]"></picture>
        <a href="/p/fall/missing-large.jpg"><img src="[[+/p/fall/thumb.jpg]]"></a>
        <img srcset="[[-/private/large.jpg]] 800w, [[+/p/fall/allowed-400.jpg]] 400w">
        <img src="/p/fall/nothing.jpg">""",
    "select": """<nav><img src="[[+/p/select/nav.png]]"></nav><main><img src="[[+/p/select/main.jpg]]">
        <div class="deep"><a href="[[+/p/select/large.jpg]]"><img src="[[-/p/select/thumb.jpg]]"></a></div></main>
        <footer><a href="/rules/select-beyond.html">on</a></footer>""",
    "select-beyond": '<main><img src="[[+/p/select/beyond.jpg]]"></main>',
    "texts": """
        <figure><a href="[[+/p/texts/large.jpg]]" title="Link title">The link's <b>text</b><img src="[[-/p/texts/small.jpg]]"
          alt="The   alt &amp; more" title="The title"></a><figcaption>The <i>caption</i>
          of it</figcaption></figure>""",
    "refresh": '<img src="[[+/p/refresh/here.jpg]]">',
    "refresh-beyond": '<img src="[[+/p/refresh/beyond.jpg]]">',
}  # fmt: skip
HEADS: Final = {
    "meta": """
        <meta property="og:image" content="[[+/p/meta/og.jpg]]">
        <meta property="og:image:secure_url" content="[[+/p/meta/og-secure.jpg]]">
        <meta name="twitter:image" content="[[+/p/meta/twitter.jpg]]"><meta itemprop="image" content="[[+/p/meta/item.jpg]]">
        <meta property="og:image:width" content="100"><meta property="og:video" content="[[x/film.mp4]]">
        <link rel="icon" href="[[+/p/meta/icon.png]]"><link rel="apple-touch-icon" sizes="180x180" href="[[+/p/meta/touch.png]]">
        <link rel="image_src" href="[[+/p/meta/src.jpg]]"><link rel="SHORTCUT ICON" href="[[+/p/meta/shortcut.png]]">
        <link rel="preload" as="image" href="[[+/p/meta/preload.jpg]]">
        <link rel="preload" as="image" href="[[-/p/meta/set-0.jpg]]"
          imagesrcset="[[-/p/meta/set-1.jpg]] 1x, [[+/p/meta/set-2.jpg]] 2x">
        <link rel="preload" as="font" href="[[x/fonts/g.woff2]]" crossorigin>""",
    "json-ld": """
        <script type="application/ld+json">{"@context": "https://schema.org", "@graph": [
          {"@type": "Article", "url": "[[x/ld/article]]", "image": ["[[+/p/ld/one.jpg]]",
            {"@type": "ImageObject", "url": "[[+/p/ld/two.jpg]]", "caption": "The second"}],
           "publisher": {"@type": "Organization", "logo": {"@type": "ImageObject", "contentUrl": "[[+/p/ld/logo.png]]"}}},
          {"@type": "ImageObject", "contentUrl": "[[+/p/ld/big.jpg]]", "thumbnailUrl": "[[-/p/ld/thumb.jpg]]"},
          {"@type": "VideoObject", "thumbnailUrl": ["[[+/p/ld/film.jpg]]"], "contentUrl": "[[x/film.mp4]]"},
          {"@type": "Product", "offers": {"itemOffered": {"image": {"@id": "#i", "url": "[[+/p/ld/deep.jpg]]"}}}}]}</script>
        <script type="application/ld+json">{broken</script>
        <script type="application/ld+json; charset=utf-8">
          [{"image": "[[+/p/ld/escaped.jpg|\\/p\\/ld\\/escaped.jpg]]"}]</script>""",
    "refresh": '<meta http-equiv="refresh" content="999; url=/rules/refresh-beyond.html">',
}  # fmt: skip
ONLY_LINKED: Final = frozenset({
    "svg-link", "svg-xlink", "noscript-link", "broken-link", "iframe-inner", "iframe-beyond", "frame-left", "frame-right",
    "frame-beyond", "select-beyond", "refresh-beyond",
})  # fmt: skip
"""Pages that are reached only from the page that tests them."""


def _rules(site: Catalogue) -> None:
    named = [f"{name}.html" for name in RULES if name not in ONLY_LINKED]
    site.add(
        "/rules/", html("Rules", links(*named, "frames.html", "base/page.html", "xhtml.xhtml", "packed.html", "bare"))
    )
    for name, body in RULES.items():
        site.add(f"/rules/{name}.html", html(name, body, HEADS.get(name, "")))
    site.add("/rules/frames.html", (
        '<html><head><title>Frames</title></head><frameset cols="50%,50%"><frame src="frame-left.html">'
        '<frame src="frame-right.html"></frameset></html>'
    ))  # fmt: skip
    site.add("/rules/base/page.html", html(
        "Base", '<img src="[[+/elsewhere/deep/a.jpg|a.jpg]]"><img src="[[+/elsewhere/b.jpg|../b.jpg]]">'
        '<img src="[[+/p/base/rooted.jpg]]">' + links("beyond.html"),
        '<base href="/elsewhere/deep/"><base href="/wrong/">',
    ))  # fmt: skip
    site.add("/elsewhere/deep/beyond.html", html("Beyond", '<img src="[[+/elsewhere/deep/c.jpg|c.jpg]]">'))
    site.add("/rules/xhtml.xhtml", (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">\n<html xmlns="http://www.w3.org/1999/xhtml"><head><title>X</title>'
        '</head><body><p><img src="[[+/p/xhtml.jpg]]" alt="x"/></p></body></html>'
    ), "application/xhtml+xml")  # fmt: skip
    site.add(
        "/rules/packed.html", html("Packed", '<img src="[[+/p/packed.jpg]]">'), headers=("Content-Encoding: gzip",)
    )
    site.add("/rules/bare", html("No type", '<img src="[[+/p/bare.jpg]]">'), "")
    site.add("/viewer/sunset.jpg", html("Sunset", '<img src="[[?/p/viewer/sunset.png]]">'), want="any")
    site.add("/css/main.css", (
        '@charset "utf-8"; @import url("sub/second.css") screen; /* url([[x/p/css/c.jpg]]) */\n'
        ".main { background: url([[s/css/img/main.jpg|img/main.jpg]]) }\n@font-face { src: url([[x/fonts/h.woff]]) }"
    ), "text/css", want="any")  # fmt: skip
    site.add("/css/sub/second.css", (
        '@import "../third.css";.second { background-image: url("[[s/css/img/second.png|../img/second.png]]") }'
    ), "text/css", want="any")  # fmt: skip
    site.add(
        "/css/third.css",
        '@import "main.css"; .third { background: url("[[s/p/css/third.jpg]]") }',
        "text/css",
        want="any",
    )
    site.add(
        "/css/from-style.css", '.from-style { background: url("[[s/p/css/from-style.jpg]]") }', "text/css", want="any"
    )
    for name in ("missing-800.jpg", "missing.webp", "missing-large.jpg", "nothing.jpg"):
        site.add(
            f"/p/fall/{name}", html("Not found", '<img src="[[x/p/fall/of-the-error.jpg]]">'), status=404, want="any"
        )
    site.add("/p/fall/page-800.jpg", html("No picture", "at all"), want="any")


def _texts(site: Catalogue) -> None:
    """Pages in several encodings; addresses in them are no ASCII."""
    site.add("/text/", html("Text", links("bom.html", "sjis.html", "cp1251.html", "latin.html")))
    site.add("/text/bom.html", html(
        "猫", '<img src="[[+/p/text/猫 写真.jpg?名=値]]" alt="黒猫"><a href="猫.html?頁=一">次</a>'
    ), "text/html; charset=windows-1252", mark=b"\xef\xbb\xbf")  # fmt: skip
    site.add("/text/猫.html?頁=一", html("一", '<img src="[[+/p/text/beyond-bom.jpg]]">'))
    site.add("/text/sjis.html", html(
        "表示", '<img src="[[+/p/text/表示.jpg?写真=表示]]" alt="表示"><a href="次.html?頁=表">次</a>',
    ), "text/html; charset=Shift_JIS", charset="cp932")  # fmt: skip
    site.add(
        "/text/次.html?頁=表",
        html("次", '<img src="[[+/p/text/beyond-sjis.jpg]]">'),
        "text/html; charset=Shift_JIS",
        charset="cp932",
    )
    site.add("/text/cp1251.html", html(
        "Кот", '<img src="[[+/p/text/кот.jpg?имя=Мурка]]" alt="Кот"><a href="страница.html?раздел=один">дальше</a>'
        '<img src="[[+/p/text/unknown.jpg?q=%26%2326085%3B|/p/text/unknown.jpg?q=&#26085;]]">',
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
    ), "text/html", charset="cp1251")  # fmt: skip
    site.add("/text/страница.html?раздел=один", html(
        "Страница", '<img src="[[+/p/text/beyond-cp1251.jpg]]" alt="Ещё">', '<meta charset="windows-1251">'
    ), "text/html", charset="cp1251")  # fmt: skip
    site.add("/text/latin.html", html("é", '<img src="[[+/p/text/é.jpg?é=1]]" alt="é">'), "text/html", charset="cp1252")


def _polite(site: Catalogue) -> None:
    """What a site asks for."""
    named = (
        "nofollow-meta",
        "noindex",
        "noimageindex",
        "noai",
        "none",
        "header-nofollow",
        "header-noindex",
        "header-other",
    )
    site.add("/robots.txt", (
        "User-agent: *\nAllow: /private/open/\nDisallow: /private/\nDisallow: /*.secret$\n\nUser-agent: other\nDisallow: /\n\n"
        "Sitemap: HERE/sitemaps/index.xml\n"
    ), "text/plain", want="any")  # fmt: skip
    site.add("/polite/", html("Polite", links(*(f"{one}.html" for one in named), "/private/page.html", "/private/open/page.html")
        + '<a rel="nofollow" href="[[x/polite/nofollow-link.html]]">n</a>'
        '<a rel="noopener NoFollow" href="[[x/polite/nofollow-2.html]]">n</a>'
        '<a rel="sponsored" href="sponsored.html">s</a><img src="[[-/private/picture.jpg]]">'
        '<img src="[[+/private/open/picture.jpg]]">'
        '<img src="[[?/p/polite/x-noindex.jpg]]"><a href="[[x/polite/a.secret]]">s</a>'
    ))  # fmt: skip
    site.add("/private/moved.html", html("Private", '<img src="[[x/p/polite/of-moved.jpg]]">'), want="never")
    site.add("/private/page.html", html("Private", '<img src="[[x/p/polite/of-private.jpg]]">'), want="never")
    site.add("/private/open/page.html", html("Open", '<img src="[[+/p/polite/of-open.jpg]]">'))
    site.add("/polite/sponsored.html", html("Sponsored", '<img src="[[+/p/polite/sponsored.jpg]]">'))
    picture, link = '<img src="[[-/p/polite/{0}.jpg]]">', '<a href="beyond-{0}.html">on</a>'
    kept, cut = '<img src="[[+/p/polite/{0}.jpg]]">', '<a href="[[x/polite/beyond-{0}.html]]">on</a>'
    for name, body, head, header in (
        ("nofollow-meta", kept + cut, '<meta name="ROBOTS" content="index, NoFollow">', ""),
        ("noindex", picture + link, '<meta name="robots" content="noindex">', ""),
        ("noimageindex", picture + link, '<meta name="robots" content="noimageindex">', ""),
        ("noai", picture + link, '<meta name="robots" content="noai, noimageai">', ""),
        ("none", picture + cut, '<meta name="robots" content="none">', ""),
        ("header-nofollow", kept + cut, "", "X-Robots-Tag: nofollow"),
        ("header-noindex", picture + link, "", "X-Robots-Tag: noindex"),
        (
            "header-other",
            kept + link,
            '<meta name="googlebot" content="none">',
            "X-Robots-Tag: otherbot: noindex, nofollow",
        ),
    ):
        site.add(f"/polite/{name}.html", html(name, body.format(name), head), headers=(header,) if header else ())
        if link in body:
            site.add(f"/polite/beyond-{name}.html", html("Beyond", f'<img src="[[+/p/polite/beyond-{name}.jpg]]">'))


def _same(site: Catalogue) -> None:
    """The same page under several addresses, and addresses that lead on."""
    again = ("page.html?utm_source=x&utm_medium=y", "page.html?PHPSESSID=0123456789abcdef", "page.html;jsessionid=A1B2",
             "page.html?fbclid=abc", "page.html#part", "./page.html", "PAGE/../page.html")  # fmt: skip
    site.add("/same/", html("Same", links(
        "page.html", *again, "old", "older", "loop-a", "self", "into-private", "away", "to-picture", "print.html", "article.html",
        "moved-only", "empty-location", "/rules/img.html", "to-known",
    )))  # fmt: skip
    body = html("Page", '<img src="[[+/p/same/page.jpg]]"><a href="page.html?sid=42">again</a>')
    site.add("/same/page.html", body)
    for one in again[:4]:
        site.add(f"/same/{one}", body, want="any")
    site.add("/same/page.html?sid=42", body, want="any")
    site.moved("/same/old", "/same/new.html", 301)
    site.moved("/same/older", "/same/old", 308)
    site.add("/same/new.html", html("New", '<img src="[[+/same/in-new.jpg|in-new.jpg]]">'))
    site.moved("/same/moved-only", "target/here.html?a=1")
    site.add(
        "/same/target/here.html?a=1", html("Here", '<img src="[[+/same/target/rel.jpg|rel.jpg]]">' + links("more.html"))
    )
    site.add("/same/target/more.html", html("More", '<img src="[[+/same/target/more.jpg|more.jpg]]">'))
    site.moved("/same/loop-a", "loop-b")
    site.moved("/same/loop-b", "loop-a")
    site.moved("/same/self", "self")
    site.moved("/same/to-known", "/rules/img.html")
    site.moved(
        "/same/into-private", "/private/moved.html"
    )  # that no page leads to: who comes first there would be a matter of time
    site.moved("/same/away", "OTHER/away/landing.html")
    site.moved("/same/to-picture", MOVED_PICTURE)
    site.add("/same/empty-location", b"", status=302, want="any")
    site.picture(MOVED_PICTURE)
    site.add("/same/print.html", html(
        "Article", '<img src="[[+/p/same/print.jpg]]"><a href="[[x/same/only-in-print.html]]">on</a>',
        '<link rel="canonical" href="/same/article.html">',
    ))  # fmt: skip
    site.add("/same/article.html", html(
        "Article", '<img src="[[+/p/same/article.jpg]]">' + links("print.html", "beyond-article.html"),
        '<link rel="canonical" href="HERE/same/article.html?utm_source=canonical">',
    ))  # fmt: skip
    site.add("/same/beyond-article.html", html("Beyond", '<img src="[[+/p/same/beyond.jpg]]">'))


def _files(site: Catalogue) -> None:
    """What is no page."""
    site.add("/files/", html("Files", (
        '<a href="[[x/files/paper.pdf]]">p</a><a href="[[x/files/all.zip]]">z</a><a href="[[x/files/song.mp3?x=1]]">s</a>'
        '<a href="[[x/files/film.mp4]]">f</a><a href="[[x/files/table.xlsx]]">t</a><a href="[[x/files/code.js]]">j</a>'
    ) + links(
        "paper", "binary.html", "gone.html", "forbidden.html", "text", "empty.html", "data.json?x", "after.html"
    )))  # fmt: skip
    site.add("/files/paper", b"%PDF-1.7\n" + bytes(range(256)) * 8, "application/pdf", want="any")
    site.add("/files/binary.html", b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 64, want="any")
    wrong = html("Gone", '<img src="[[x/p/files/of-gone.jpg]]"><a href="[[x/files/from-gone.html]]">on</a>')
    site.add("/files/gone.html", wrong, status=404, want="any")
    site.add("/files/forbidden.html", wrong, status=403, want="any")
    site.add("/files/text", b"no page: /p/files/text.jpg", "text/plain", want="any")
    site.add("/files/empty.html", b"", want="any")
    site.add("/files/data.json?x", b'{"image": "/p/files/json.jpg"}', "application/json", want="any")
    site.add("/files/after.html", html("After", '<img src="[[+/p/files/after.jpg]]">'))


def _wiki(site: Catalogue) -> None:
    """Pages that are called like the pictures they are about."""
    site.add("/wiki/", html("Wiki", (
        '<a href="/wiki/File:Red.jpg"><img src="[[+/w/thumb/Red.jpg/120px-Red.jpg]]"></a>'
        '<a href="/wiki/File%3ABlue.png">Blue</a> <a href="/wiki/Datei:Grün_%C3%A4.jpg">Grün</a>'
    )))  # fmt: skip
    for path, name in (
        ("/wiki/File:Red.jpg", "Red.jpg"),
        ("/wiki/File:Blue.png", "Blue.png"),
        ("/wiki/Datei:Grün_ä.jpg", "Gruen.jpg"),
    ):
        site.add(path, html(name, f'<a href="[[+/w/{name}]]"><img src="[[-/w/thumb/800px-{name}]]" alt="{name}"></a>'))


def _feeds(site: Catalogue) -> None:
    site.add("/feeds/", html("Feeds", links("rss.xml", "atom.xml")))
    site.add("/feeds/rss.xml", """<?xml version="1.0"?>
<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/" xmlns:content="http://purl.org/rss/1.0/modules/content/"
     xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>News</title><link>HERE/feeds/</link>
  <atom:link rel="self" href="HERE/feeds/rss.xml"/><description>All news</description>
  <image><url>[[+/p/feed/channel.png]]</url><title>News</title><link>HERE/</link></image>
  <item><title>First</title><link>HERE/feeds/rss-1.html</link>
    <enclosure url="[[+/p/feed/enclosure.jpg]]" type="image/jpeg" length="1"/></item>
  <item><title>Second</title><link>/feeds/rss-2.html</link><enclosure url="[[x/song.mp3]]" type="audio/mpeg" length="1"/>
    <media:content url="[[+/p/feed/medium.jpg]]" medium="image"/><media:thumbnail url="[[+/p/feed/thumbnail.jpg]]"/></item>
  <item><title>Third</title><link>/feeds/rss-3.html</link><description>&lt;img src="[[+/p/feed/described.jpg]]"&gt;</description>
    <content:encoded><![CDATA[<p><img src="[[+/p/feed/encoded.jpg]]" alt="Encoded"></p>]]></content:encoded></item>
</channel></rss>""", "application/rss+xml")  # fmt: skip
    site.add("/feeds/atom.xml", """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title><link href="HERE/feeds/"/>
  <link rel="self" href="HERE/feeds/atom.xml"/>
  <updated>2026-01-03T00:00:00Z</updated><id>urn:x</id>
  <entry><title>One</title><link href="/feeds/atom-1.html"/>
    <link rel="enclosure" type="image/png" href="[[+/p/feed/atom.png]]"/></entry>
  <entry><title>Two</title><link rel="alternate" href="/feeds/atom-2.html"/>
    <content type="html">&lt;img src="[[+/p/feed/atom-html.jpg]]"&gt;</content></entry>
  <entry><title>Three</title><link href="/feeds/atom-3.html"/><summary type="text">1 &lt; 2</summary>
    <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">
      <p><img src="[[+/p/feed/atom-xhtml.jpg]]" alt="X"/></p></div></content></entry>
  <entry><title>Four</title><link href="/feeds/atom-4.html"/><content type="image/png" src="[[+/p/feed/atom-src.png]]"/></entry>
</feed>""", "application/atom+xml")  # fmt: skip
    for name in ("rss-1", "rss-2", "rss-3", "atom-1", "atom-2", "atom-3", "atom-4"):
        site.add(f"/feeds/{name}.html", html(name, f'<img src="[[+/p/feed/of-{name}.jpg]]">'))


def _far(site: Catalogue) -> None:
    """A page that leads to another host, whose pages lead back."""
    site.add(
        "/far/",
        html(
            "Far",
            '<a href="OTHER/away/">Away</a><img src="[[+OTHER/p/far.jpg|OTHER/p/far.jpg]]"><img src="[[+/p/near.jpg]]">',
        ),
    )
    site.add(
        "OTHER/away/",
        html("Away", f'<img src="[[+OTHER/p/away.jpg|/p/away.jpg]]"><a href="HERE/">Back</a> {links("more.html")}'),
        want="never",
    )
    site.add("OTHER/away/more.html", html("More", '<img src="[[+OTHER/p/more.jpg|/p/more.jpg]]">'), want="never")
    site.add(
        "OTHER/away/landing.html", html("Landing", '<img src="[[+OTHER/p/landing.jpg|/p/landing.jpg]]">'), want="never"
    )


def _scopes(site: Catalogue) -> None:
    """Pages near and far of `/scope/room/start.html`, and a small site of several names."""
    site.add("/scope/", html("Scopes", links("room/start.html")))
    site.add("/scope/room/start.html", html("Start", '<img src="[[+/p/scope/start.jpg]]">' + links(
        "start.html?view=2", "beside.html", "below/page.html", "../up.html", "../roomy/page.html", "OTHER/away/",
    )))  # fmt: skip
    for path in ("room/start.html?view=2", "room/beside.html", "room/below/page.html", "up.html", "roomy/page.html"):
        site.add(f"/scope/{path}", html(path, f'<img src="[[+/p/scope/{hash_of(path)}.jpg]]">'))
    names = (
        "www.gallery.test",
        "shop.gallery.test",
        "gallery.test",
        "www.elsewhere.test",
        "gallery.test.elsewhere.test",
    )
    for name in names:
        body = "".join(f'<a href="http://{one}:PORT/">{one}</a>' for one in names)
        site.add(f"OTHER{name}/", html(name, f'{body}<img src="[[?OTHER{name}/p/of.jpg|/p/of.jpg]]">'), want="never")


def _sitemaps(site: Catalogue) -> None:
    """Pages that only a sitemap names: `want` is said for a crawl that does not look there."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    space = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"'
    site.add(
        "/sitemaps/index.xml",
        f"""{head}<sitemapindex {space}>
<sitemap><loc>HERE/sitemaps/pages.xml.gz</loc><lastmod>2026-02-01</lastmod></sitemap>
<sitemap><loc>HERE/sitemaps/pictures.xml</loc></sitemap>
<sitemap><loc>HERE/sitemaps/old.xml</loc><lastmod>2019-05-01T00:00:00+00:00</lastmod></sitemap></sitemapindex>""",
        "application/xml",
        want="never",
    )
    site.add(
        "/sitemaps/pages.xml.gz",
        f"""{head}<urlset {space}>
<url><loc>HERE/hidden/new.html</loc><lastmod>2026-01-31T23:00:00Z</lastmod></url>
<url><loc>HERE/hidden/aged.html</loc><lastmod>2025-12-31</lastmod></url>
<url><loc>HERE/hidden/undated.html</loc></url>
<url><loc>HERE/private/listed.html</loc></url></urlset>""",
        "application/x-gzip",
        want="never",
    )
    site.add(
        "/sitemaps/pictures.xml",
        f"""{head}<urlset {space}><url><loc>
  HERE/hidden/pictures.html </loc><lastmod>2026-01-15</lastmod>
<image:image><image:loc>HERE[[-/p/map/one.jpg]]</image:loc><image:caption>One &amp; only</image:caption></image:image>
<image:image><image:loc>HERE[[-/p/map/two.jpg?a=1&b=2|/p/map/two.jpg?a=1&amp;b=2]]</image:loc><image:title>Two</image:title></image:image>
</url></urlset>""",
        "text/xml",
        want="never",
    )
    site.add(
        "/sitemaps/old.xml",
        f"{head}<urlset {space}><url><loc>HERE/hidden/ancient.html</loc></url></urlset>",
        "text/xml",
        want="never",
    )
    for name in ("new", "aged", "undated", "pictures", "ancient"):
        site.add(
            f"/hidden/{name}.html",
            html(name, f'<img src="[[-/p/map/of-{name}.jpg]]">' + links("/hidden/deeper.html")),
            want="never",
        )
    site.add("/hidden/deeper.html", html("Deeper", '<img src="[[-/p/map/deeper.jpg]]">'), want="never")
    site.add("/sitemap.xml", f"{head}<urlset {space}></urlset>", "text/xml", want="never")


# Traps: pages without an end.

MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_SHOWN: Final = "".join(f'<img src="/p/trap/{number}.jpg">' for number in range(3))


def _month(year: int, month: int) -> tuple[int, int]:
    return year + (month - 1) // 12, (month - 1) % 12 + 1


def _calendar(path: str, _: str) -> str:
    year, month = map(int, path.split("/")[2:4])
    around = (_month(year, month + step) for step in (-12, -1, 1, 12))
    return _SHOWN + links(*(f"/calendar/{y}/{m:02d}" for y, m in around))


def _diary(path: str, _: str) -> str:
    """Months that lead to days, and days to months."""
    parts = [int(one) for one in path.split("/")[2:]]
    year, month = parts[0], parts[1]
    later, earlier = _month(year, month + 1), _month(year, month - 1)
    if len(parts) > 2:
        return _SHOWN + links(f"/diary/{year}/{month:02d}/{parts[2] % 28 + 1:02d}", f"/diary/{later[0]}/{later[1]:02d}")
    days = (f"/diary/{year}/{month:02d}/{day:02d}" for day in (1, 15))
    return _SHOWN + links(f"/diary/{later[0]}/{later[1]:02d}", f"/diary/{earlier[0]}/{earlier[1]:02d}", *days)


def _almanac(path: str, _: str) -> str:
    """Months by their names."""
    year, month = int(path.split("/")[2]), MONTHS.index(path.split("/")[3]) + 1
    around = (_month(year, month + step) for step in (-12, -1, 1, 12))
    return _SHOWN + links(*(f"/almanac/{y}/{MONTHS[m - 1]}" for y, m in around))


def _maze(path: str, _: str) -> str:
    return _SHOWN + links("north/", "south/")


def _shop(_: str, query: str) -> str:
    """Filters that can be put together in any order."""
    chosen = [one for one in query.split("&") if one]
    kinds = {one.partition("=")[0] for one in chosen}
    offered = [
        f"{name}={value}"
        for name in ("colour", "size", "brand", "sort", "price")
        for value in "abcd"
        if name not in kinds
    ]
    return _SHOWN + links(*("/shop/?" + "&".join((*chosen, one)).replace("&", "&amp;") for one in offered))


def _list(_: str, query: str) -> str:
    number = int(query.partition("=")[2] or 1)
    return (
        _SHOWN
        + f'<a rel="next" href="/list/?page={number + 1}">next</a>'
        + links(*(f"/list/?page={number + n}" for n in range(2, 9)))
    )


def _session(_: str, query: str) -> str:
    return _SHOWN + links(*(f"/session/?sid={hash_of(query + str(n)):x}" for n in range(5)))


def _token(_: str, query: str) -> str:
    return _SHOWN + links(*(f"/token/?t={hash_of(query + str(n)):x}" for n in range(5)))


def _longer(_: str, query: str) -> str:
    return _SHOWN + links("/longer/?" + query + "&amp;".join(["", *(f"word{n}=and-so-on" for n in range(20))]))


TRAPS: Final[Mapping[str, tuple[Callable[[str, str], str], str, tuple[str, ...]]]] = {
    "calendar": (_calendar, "/calendar/2026/01", ("barren_pattern",)),
    "diary": (_diary, "/diary/2026/01", ("barren_pattern",)),
    "almanac": (_almanac, "/almanac/2026/january", ("barren_pattern",)),
    "maze": (_maze, "/maze/", ("repeated_segments",)),
    "shop": (_shop, "/shop/", ("barren_pattern",)),
    "list": (_list, "/list/", ("barren_pattern",)),
    "token": (_token, "/token/?t=0", ("barren_pattern",)),
    "longer": (_longer, "/longer/?word=0", ("long_address",)),
}
"""By name: what it says to a path and a query, where it begins, and why it has to be left."""
TRAP_PICTURES: Final = frozenset(f"/p/trap/{number}.jpg" for number in range(3))
SESSIONS: Final = "/session/?sid=0"
HOPS: Final = "/hop/1"


class Gallery:
    """A running gallery.

    Attributes:
        site: its pages and pictures.
        log: every request so far.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.site = catalogue()
        self.log: list[Request] = []
        self.lock = threading.Lock()
        self.trapped: Counter[str] = Counter()
        for name in TRAP_PICTURES:
            self.site.picture(name)

    def url(self, path: str = "/", host: str = HOST) -> str:
        return f"http://{host}:{self.port}{path}"

    def name(self, url: str) -> str:
        """The name of an address, as in the ledger."""
        host, _, target = url.partition("://")[2].partition("/")
        return name_of(host.partition(":")[0], spelled(f"/{target}"))

    # The ledger.

    def asked(self) -> Counter[str]:
        """How often each name was asked for."""
        with self.lock:
            return Counter(one.name for one in self.log)

    def requests(self) -> list[Request]:
        with self.lock:
            return list(self.log)

    def reset(self) -> None:
        """Forget who asked for what."""
        with self.lock:
            self.log.clear()
            self.trapped.clear()

    # What is expected of a crawl of the whole site.

    @property
    def wanted_pictures(self) -> set[str]:
        """Pictures that must be stored."""
        return self.site.marked("+") | {MOVED_PICTURE}

    @property
    def wanted_pages(self) -> set[str]:
        """Pages that must be visited."""
        return {name for name, page in self.site.pages.items() if page.want == "visit"}

    @property
    def forbidden(self) -> set[str]:
        """What must never be asked for."""
        pages = {name for name, page in self.site.pages.items() if page.want == "never"}
        return (pages | self.site.nowhere | self.site.marked("-", ("visit", "any", "never"))) - self.wanted_pictures

    def names_of_files(self) -> dict[str, str]:
        """SHA-256 of every picture to its name; the one that stands in a page is called `inline`."""
        files = {name: picture_bytes(name, kind) for name, kind in self.site.pictures.items()} | {"inline": INLINE}
        return {hashlib.sha256(data).hexdigest(): name for name, data in files.items()}

    # What is said.

    def answer(self, host: str, raw: str, referer: str) -> Page:
        target = spelled(raw.encode("latin-1")).removesuffix("?")
        name = name_of(host, target)
        page = self._page(name, target)
        with self.lock:
            self.log.append(Request(name, page.status, page.kind, referer))
        return page

    def _page(self, name: str, target: str) -> Page:
        page = self.site.pages.get(name)
        if page is not None:
            return self._filled(page)
        kind = self.site.pictures.get(name)
        if kind is not None:
            said = ("X-Robots-Tag: noindex",) if name.endswith("x-noindex.jpg") else ()
            headers = (f"Last-Modified: {LAST_MODIFIED}", "Cache-Control: max-age=3600", *said)
            return Page(picture_bytes(name, kind), f"image/{kind.lower()}", headers=headers)
        return self._trap(name, target)

    def _trap(self, name: str, target: str) -> Page:
        path, _, query = target.partition("?")
        first = path.split("/")[1]
        with self.lock:
            self.trapped[first] += 1
            tired = self.trapped[first] > PATIENCE
        if name == target and first == "hop" and not tired:
            return Page(b"", status=302, headers=(f"Location: /hop/{int(path.split('/')[2]) + 1}",))
        speak = _session if first == "session" else TRAPS[first][0] if first in TRAPS else None
        if name != target or speak is None:
            return Page(html("Not found", '<img src="/p/files/of-gone.jpg">').encode(), status=404)
        return Page(html(first, "tired" if tired else speak(path, query)).encode())

    def _filled(self, page: Page) -> Page:
        """The same with the addresses that only the running server knows."""
        here, other = f"{HOST}:{self.port}", f"http://{OTHER_HOST}:{self.port}"
        body, headers = page.body, page.headers
        if body[:4] not in (b"%PDF", b"\x7fELF"):
            for word, address in (("NOSCHEME", f"//{here}"), ("UPPER", f"HTTP://{here}"), ("SLASHES", f"http:///{here}"),
                                  ("HERE", f"http://{here}"), ("OTHER", other), (":PORT", f":{self.port}")):  # fmt: skip
                body = body.replace(word.encode(), address.encode())
            headers = tuple(one.replace("OTHER", other) for one in headers)
        if page.kind == "application/x-gzip" or "Content-Encoding: gzip" in headers:
            body = gzip.compress(body, mtime=0)
        return Page(body, page.kind, page.status, headers)


@contextlib.contextmanager
def running_gallery() -> Iterator[Gallery]:
    """The gallery on one free port of both hosts, while the block lasts."""
    servers = [_Server(sock, _Handler) for sock in bind((HOST, OTHER_HOST))]
    gallery = Gallery(servers[0].server_address[1])
    for server in servers:
        server.gallery = gallery
    with serving(*servers):
        yield gallery


class _Server(Listener):
    gallery: Gallery


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        self._answer(whole=False)

    def _answer(self, whole: bool) -> None:
        host = (self.headers.get("Host") or "").partition(":")[0]
        page = self.server.gallery.answer(host, self.path, self.headers.get("Referer") or "")
        lines = [f"HTTP/1.1 {page.status} X", *page.headers, f"Content-Length: {len(page.body)}"]
        lines += [f"Content-Type: {page.kind}"] if page.kind else []
        self.wfile.write("\r\n".join((*lines, "", "")).encode("latin-1") + (page.body if whole else b""))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""
