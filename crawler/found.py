"""What is found in a page: pictures, links, and what was cut. Crosses from the worker that reads the page to the front end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from crawler.discover_settings import DiscoverSettings

Kind = Literal["picture", "either", "page", "frame", "sitemap", "robots", "stylesheet"]
"""What a target is expected to be: `either` a picture or a page; the others are read for what is in them."""


TDM = "tdm-reservation"
"""In the place of a rule: the header or meta element of the TDM Reservation Protocol is 1."""
NO_PICTURES = ("noindex", "none", "noimageindex", "noai", "noimageai", TDM)
"""What a server or a page says that keeps pictures from being taken."""

PAGES = 1 << 60
"""Indexes of pages begin here: they have numbers of their own, so that pictures are numbered without gaps."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a target came to be known.

    Attributes:
        page: address of the page it was found on, empty if it was given.
        rule: of the rule that found it, its name.
        depth: links between it and what was given.
        root: the page given from which it was reached: what `--scope` speaks of.
        fallbacks: other versions of the same picture, best first.
        data: its bytes, where they stood in the page itself.
    """

    kind: Kind = "picture"
    page: str = ""
    rule: str = "given"
    depth: int = 0
    root: str = ""
    fallbacks: tuple[str, ...] = ()
    data: bytes | None = None

    @property
    def readable(self) -> bool:
        """It may be a page."""
        return self.kind != "picture"


GIVEN = Origin("either")
"""The origin of a URL that was given by hand."""


def opt_out(directives: Iterable[str]) -> str | None:
    """What keeps a picture from being taken, in words; None if nothing does."""
    said = next((one for one in directives if one in NO_PICTURES), None)
    return None if said is None else f"{TDM}: 1" if said == TDM else f"X-Robots-Tag: {said}"


class PageOrder(NamedTuple):
    """What a worker is told of a page beside its bytes.

    Attributes:
        url: where the body came from at last.
        directives: what its X-Robots-Tag says, for us, in lower case.
        agent: our name in robots rules.
        formats: of pictures that are taken.
        roots: the page given from which it was reached, and where that led.
    """

    url: str
    content_type: str
    kind: Kind
    depth: int
    roots: tuple[str, ...]
    directives: tuple[str, ...]
    agent: str
    formats: tuple[str, ...]
    settings: DiscoverSettings


class FoundPicture(NamedTuple):
    """One picture of a page.

    Attributes:
        url: the best version; fallbacks: the others, best first.
        rule: what found it.
        alt, title, figcaption, link: what the page says of it: two attributes, the caption of its figure, the text of the
            link around it.
        data: its bytes, where they stand in the page itself.
    """

    url: str
    rule: str
    fallbacks: tuple[str, ...] = ()
    alt: str = ""
    title: str = ""
    figcaption: str = ""
    link: str = ""
    data: bytes | None = None


class Link(NamedTuple):
    """A page to visit. `pattern` is what pages of its kind have in common; `address` the fingerprint that tells it apart."""

    url: str
    address: int
    pattern: int
    host: str
    depth: int
    kind: Kind = "page"
    rule: str = "a href"


class PassedOver(NamedTuple):
    """What was found and is not taken, and why: a name of one word, and words for people."""

    url: str
    rule: str
    why: str
    detail: str = ""


class Page(NamedTuple):
    """What a worker found in a page.

    Attributes:
        cuts: how often something was cut off, by why; with an address as an example.
        charset: that it was read in, for people.
        notes: what was odd and stopped nothing.
    """

    kind: Kind
    pictures: tuple[FoundPicture, ...] = ()
    links: tuple[Link, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    cuts: Mapping[str, tuple[int, str]] = {}
    charset: str = ""
    notes: tuple[str, ...] = ()


CUTS = {
    "depth": "deeper than --depth",
    "scope": "outside of --scope",
    "include": "does not match --include",
    "exclude": "matches --exclude",
    "images_scope": "picture outside of --images-scope",
    "include_images": "picture that does not match --include-images",
    "exclude_images": "picture that matches --exclude-images",
    "format": "picture of a format that is not among --formats",
    "data_url": "picture in a page that cannot be decoded, or is larger than --max-data-url",
    "no_address": "is no address of http or https",
    "no_page": "its name says that it is no page",
    "nofollow": "the page says nofollow",
    "noindex": "pictures of pages that say noindex",
    "none": "pictures of pages that say none",
    "noimageindex": "pictures of pages that say noimageindex",
    "noai": "pictures of pages that say noai",
    "noimageai": "pictures of pages that say noimageai",
    "tdm-reservation": "pictures of pages that reserve them from text and data mining",
    "canonical": "links of a page that names another address as its own",
    "moved": "leads to a page that is known",
    "long_address": "address of more than 2,000 characters",
    "deep_path": "path of more than 20 segments",
    "repeated_segments": "the same segment more than three times in a path",
    "max_pages": "more than --max-pages",
    "max_pages_per_host": "more than --max-pages-per-host",
    "max_pages_per_pattern": "more than --max-pages-per-pattern",
    "barren_pattern": "200 pages like it in a row gave nothing new",
    "nested_frames": "a frame in a frame",
    "nested_sitemaps": "more than five sitemaps that lead to one another",
    "nested": "elements nested too deeply, the rest of the page is not read",
    "many_links": "more than 50,000 links in one page",
    "many_pictures": "more than 50,000 pictures in one page",
    "since": "older than --since",
    "broken_xml": "XML that is read up to where it is broken",
    "refused_xml": "XML that declares entities or is nested too deeply, read up to there",
    "broken_gzip": "damaged gzip file",
    "large_sitemap": "more than 50 MB after unpacking, the rest is not read",
    "no_sitemap": "is no sitemap",
}
"""What can be left out on purpose, and why, in words."""
