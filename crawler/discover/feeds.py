"""Sitemaps and feeds (sitemaps.org, RSS 2.0, Atom RFC 4287), read as a stream. A document with entities of its own is refused:
nothing in it is ever expanded, and nothing outside is ever read.
"""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from xml.parsers import expat

from crawler.discover import html
from crawler.discover.address import Addresses
from crawler.discover.finds import Finds, Version

MOST_EXPANDED = 50_000_000
"""Bytes of a packed sitemap after unpacking (sitemaps.org allows 50 MiB)."""
_DEEPEST = 64
_LONGEST = 200_000
_ENTRIES = frozenset({"url", "sitemap", "item", "entry"})
_MARKUP = ("encoded", "description", "summary", "content")
"""Elements of a feed whose text is a piece of HTML."""
_SITEMAP_LINE = re.compile(r"^\s*sitemap\s*:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_ROOTS = frozenset({"urlset", "sitemapindex", "rss", "feed", "RDF"})
_HEAD = re.compile(
    r"\s*(?:<!--.*?-->\s*|<\?[^>]*>\s*|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>\s*)*<(?:[\w.-]+:)?([\w.-]+)", re.DOTALL
)


class Refused(Exception):
    """A document that is not read on; the text says why."""


def root_of(body: bytes) -> str:
    """The name of the first element of what looks like XML, without its prefix; empty for anything else."""
    head = body[:4096]
    for mark, name in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            head = head[2:].decode(name, "replace").encode()
    found = _HEAD.match(head.removeprefix(b"\xef\xbb\xbf").decode("latin-1"))
    return found[1] if found is not None and found[1] in _ROOTS else ""


def unpacked(body: bytes) -> tuple[bytes, bool]:
    """What a gzip file holds, at most `MOST_EXPANDED` bytes of it, and whether that is all.

    Raises:
        Refused: it is damaged.
    """
    parts, size = [], 0
    rest = body
    try:
        while rest and size < MOST_EXPANDED:
            stream = zlib.decompressobj(31)
            part = stream.decompress(rest, MOST_EXPANDED - size)
            parts.append(part)
            size += len(part)
            if not stream.eof:
                return b"".join(parts), not stream.unconsumed_tail
            rest = stream.unused_data
            if not rest.startswith(b"\x1f\x8b"):
                break
    except zlib.error as error:
        raise Refused(f"is no gzip file: {error}") from None
    return b"".join(parts), size < MOST_EXPANDED


def read_robots(text: str, page: str, finds: Finds) -> None:
    """The sitemaps that a robots.txt names, or the usual one."""
    named = list(dict.fromkeys(_SITEMAP_LINE.findall(text)))
    addresses = Addresses(page)
    for reference in named or ["/sitemap.xml"]:
        if (address := addresses.of(reference)) is not None:
            finds.link(address, "robots.txt sitemap" if named else "/sitemap.xml", "sitemap")


def read_xml(body: bytes, page: str, finds: Finds) -> None:
    """Put everything that a sitemap or a feed lists into `finds`; of one that is broken what stands before that."""
    reader = _Reader(page, finds)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = reader.entity
    parser.buffer_text = True
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        finds.notes.append(f"is read up to line {error.lineno}: {expat.errors.messages.get(error.code, error)}")
        finds.cut("broken_xml", page)
    except Refused as error:
        finds.notes.append(str(error))
        finds.cut("refused_xml", page)


class _Reader:
    """Gathers one entry at a time."""

    def __init__(self, page: str, finds: Finds) -> None:
        self._addresses = Addresses(page)
        self._finds = finds
        self._path: list[str] = []
        self._words: list[str] = []
        self._size = 0
        self._entry: dict[str, str] = {}
        self._pictures: list[tuple[str, str, str, str]] = []
        self._picture: dict[str, str] = {}

    def entity(self, name: str, *_: object) -> None:
        raise Refused(f"declares an entity ({name[:40]}), which no sitemap or feed needs")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise Refused(f"has more than {_DEEPEST} elements within one another")
        self._words, self._size = [], 0
        if name in _ENTRIES and (name != "url" or self._path[-2:-1] == ["urlset"]):
            self._flush()
        if name == "img" and attributes.get("src"):  # in a piece of XHTML (RFC 4287 3.1.1.3)
            self._pictures.append((attributes["src"], "img src", attributes.get("alt", ""), ""))
        elif name in ("enclosure", "content", "thumbnail"):
            self._enclosure(name, attributes)
        elif name == "link" and attributes.get("href"):
            relation = attributes.get("rel", "alternate")
            if relation == "enclosure":
                self._enclosure("link enclosure", {"url": attributes["href"], "type": attributes.get("type", "")})
            elif relation == "alternate":
                self._entry.setdefault("loc", attributes["href"])

    def text(self, text: str) -> None:
        self._size += len(text)
        if self._size <= _LONGEST:
            self._words.append(text)

    def end(self, name: str) -> None:
        name = name.rpartition(" ")[2]
        self._path.pop()
        words, self._words = "".join(self._words).strip(), []
        parent = self._path[-1] if self._path else ""
        if name == "loc" and parent == "image":
            self._picture["loc"] = words
        elif name in ("title", "caption") and parent == "image":
            self._picture[name] = words
        elif name == "image" and self._picture.get("loc"):
            told = self._picture
            self._pictures.append((told["loc"], "image:image", told.get("title", ""), told.get("caption", "")))
            self._picture = {}
        elif name in ("loc", "lastmod", "link", "title", "pubDate", "updated", "modified") and words:
            self._entry.setdefault(name, words)
        elif name in ("url", "sitemap", "item", "entry"):
            if name == "url" and parent == "image":  # RSS: the picture of a channel
                self._pictures.append((words, "image url", "", ""))
            else:
                self._take(name)
        elif name in _MARKUP and "<" in words:
            html.read(words, str(self._addresses.base), "utf-8", self._finds)
        elif name == "url" and words:
            self._pictures.append((words, "image url", "", ""))

    def _enclosure(self, name: str, attributes: dict[str, str]) -> None:
        kind, url = attributes.get("type", ""), attributes.get("url") or attributes.get("src", "")
        medium = attributes.get("medium", "")
        if url and (kind.startswith("image/") or medium == "image" or name == "thumbnail"):
            self._pictures.append((url, name if name.startswith("link") else f"{name} url", "", ""))

    def _flush(self) -> None:
        """What stands before the first entry is of the feed itself: its pictures count, its address and date are no entry's."""
        self._hand_over(self._pictures, "")
        self._entry, self._pictures = {}, []

    def _hand_over(self, pictures: list[tuple[str, str, str, str]], title: str) -> None:
        for url, rule, own_title, caption in pictures:
            address = self._addresses.of(url)
            if address is None:
                self._finds.pass_over(url[:200], rule, "no_address", "is no address of http or https")
            else:
                self._finds.picture([Version(address, rule)], "", own_title or title, caption)

    def _take(self, name: str) -> None:
        """An entry is complete."""
        entry, pictures = self._entry, self._pictures
        self._entry, self._pictures = {}, []
        where = entry.get("loc") or entry.get("link") or ""
        changed = entry.get("lastmod") or entry.get("updated") or entry.get("modified") or ""
        earliest = self._finds.settings.earliest
        if earliest is not None and (when := moment(changed)) is not None and when < earliest:
            self._finds.cut("since", where)
            return
        self._hand_over(pictures, entry.get("title", "") if name in ("item", "entry") else "")
        address = self._addresses.of(where) if where else None
        if address is not None:
            if name == "sitemap":
                self._finds.link(address, "sitemap loc", "sitemap")
            else:
                self._finds.link(address, f"{name} loc" if name == "url" else f"{name} link", given=name == "url")


def moment(text: str) -> datetime | None:
    """The point in time that a date of a sitemap means (W3C datetime), in UTC; None if it is none."""
    try:
        if re.fullmatch(r"\d{4}(-\d\d)?", text):
            text = f"{text}-01-01"[:10] if len(text) == 4 else f"{text}-01"
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
