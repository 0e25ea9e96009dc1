"""What is looked for in pages, and how far links are followed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Literal, get_args

from crawler.checks import KB, MB, check_choice, check_function, check_range, check_strings, check_switch
from crawler.errors import SettingsError

Scope = Literal["page", "path", "host", "domain", "any"]
Caption = Literal["", "alt", "title", "figcaption", "link"]
LONGEST_PAGE_URL = 2000
"""Characters of an address that is followed; longer ones are mostly a trap that feeds on itself."""
DEEPEST_PATH = 20
"""Segments of a path that is followed."""
MOST_REPEATS = 3
"""How often one segment may stand in a path that is followed."""
BARREN_AFTER = 200
"""Pages of one pattern in a row that gave no new picture and led to no new page of another pattern: it is left then."""


@dataclass(frozen=True)
class DiscoverSettings:
    """What is looked for in pages, and how far links are followed."""

    pages: bool = False
    """The addresses of lists are pages, to be searched for pictures. A URL given by hand that turns out to be a page is
    searched without this."""
    follow: bool = False
    """Follow the links of pages."""
    depth: int = 3
    """Links followed one after the other, with `--follow`: pages given have depth 0."""
    max_pages: int = 0
    """Pages visited in all; 0 is no limit."""
    max_pages_per_host: int = 100_000
    """Pages visited of one host; 0 is no limit."""
    max_pages_per_pattern: int = 20_000
    """Pages visited whose addresses differ only in numbers, hashes and query, such as a calendar's; 0 is no limit. A pattern
    of which 200 pages in a row give nothing new is left before."""
    scope: Scope = "host"
    """Which links are followed: `page` (the page given, other queries), `path` (the folder of the page given and below), `host`,
    `domain` (other hosts of its registrable domain) or `any`."""
    include: tuple[str, ...] = ()
    """Follow only links that match this regular expression; may be given several times, one has to match."""
    exclude: tuple[str, ...] = ()
    """Follow no link that matches this regular expression; may be given several times."""
    images_scope: Scope = "any"
    """Where pictures may be, as in `--scope`."""
    include_images: tuple[str, ...] = ()
    """Take only pictures whose address matches this regular expression; may be given several times, one has to match."""
    exclude_images: tuple[str, ...] = ()
    """Take no picture whose address matches this regular expression; may be given several times."""
    selector: str = ""
    """Look for pictures only in the parts of a page that this CSS selector names; links are followed from anywhere."""
    sitemap: bool = False
    """Visit the pages and take the pictures that the sitemaps of the sites given list: those their robots.txt names, or else
    `/sitemap.xml`."""
    since: str = ""
    """Of sitemaps take only what was modified on this date or later, such as 2026-01-31; what tells no date is taken."""
    srcset: str = "best"
    """Of several versions of one picture: `best`, `all`, or a width in pixels, for the smallest that is at least so wide. The
    others are tried when that one fails."""
    thumbnails: bool = False
    """Where a small picture links to a large one, take both."""
    stylesheets: bool = False
    """Also look into linked style sheets."""
    max_data_url: int = 1 * MB
    """Largest picture in a page itself (`data:`) that is taken, in bytes; 0 takes none."""
    max_page_bytes: int = 10 * MB
    """Largest page or sitemap that is read, after decompression."""
    ignore_meta_robots: bool = False
    """Also use pages and follow links where the page says noindex, noimageindex, noai or nofollow (meta robots, X-Robots-Tag,
    rel)."""
    ignore_canonical: bool = False
    """Also follow the links of a page that names another address as its own (rel=canonical)."""
    caption: Caption = ""
    """Write what a page says of a picture as its caption: its `alt` text, `title`, `figcaption`, or the text of its `link`."""
    extractor: str = ""
    """A function of yours, `package.module:function`, called with the text and the address of every page: it returns addresses
    of pictures, or mappings that have a `url`, which are taken instead of what the rules find; None leaves it to the rules."""

    def __post_init__(self) -> None:
        for name in (
            "pages",
            "follow",
            "sitemap",
            "thumbnails",
            "stylesheets",
            "ignore_meta_robots",
            "ignore_canonical",
        ):
            check_switch(self, name)
        check_range(self, "depth", 0, 1000)
        for name in ("max_pages", "max_pages_per_host", "max_pages_per_pattern", "max_data_url"):
            check_range(self, name, 0)
        check_range(self, "max_page_bytes", 1 * KB, 1000 * MB)
        for name in ("scope", "images_scope"):
            check_choice(self, name, get_args(Scope))
        check_choice(self, "caption", get_args(Caption))
        for name in ("include", "exclude", "include_images", "exclude_images"):
            check_strings(self, name)
            for given in getattr(self, name):
                check_pattern(name, given)
        if not (self.srcset in ("best", "all") or (self.srcset.isdecimal() and int(self.srcset) > 0)):
            raise SettingsError("srcset", f"{self.srcset!r} given, must be best, all, or a width in pixels")
        if self.since:
            self._check_since()
        if self.selector != "":
            check_selector(self.selector)
        check_function(self, "extractor")

    def _check_since(self) -> None:
        try:
            date.fromisoformat(self.since)
        except (TypeError, ValueError):
            raise SettingsError("since", f"{self.since!r} given, must be a date such as 2026-01-31") from None

    @property
    def explicit(self) -> bool:
        """What is given are pages, and not pictures."""
        return self.pages or self.follow or self.sitemap

    @property
    def width(self) -> int:
        """The width that is wanted, 0 for any."""
        return int(self.srcset) if self.srcset.isdecimal() else 0

    @property
    def deepest(self) -> int:
        """Depth of the last pages that are visited."""
        return self.depth if self.follow else 0

    @cached_property
    def earliest(self) -> datetime | None:
        """When `since` begins, in UTC."""
        return datetime.fromisoformat(self.since).replace(tzinfo=UTC) if self.since else None


def check_selector(given: Any) -> None:
    """A CSS selector that the parser of pages understands."""
    from selectolax.lexbor import LexborHTMLParser

    try:
        LexborHTMLParser("<p>").css(given)
    except Exception as error:  # one kind for each mistake
        words = " ".join(str(error).split())
        raise SettingsError("selector", f"{given!r} given, must be a CSS selector: {words}") from None


def check_pattern(name: str, given: Any) -> None:
    try:
        re.compile(given)
    except re.error as error:
        raise SettingsError(name, f"{given!r} given, is no regular expression: {error}") from None
