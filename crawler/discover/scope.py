"""Which links are followed, and which pictures taken: how far away they may be, what they must look like, and what is a trap."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit

from crawler import urls
from crawler.discover.address import PLAIN
from crawler.discover_settings import DEEPEST_PATH, LONGEST_PAGE_URL, MOST_REPEATS, DiscoverSettings, Scope

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_NO_PAGE = re.compile(
    r"\.(?:7z|aac|apk|avi|bin|bz2|css|csv|deb|dmg|docx?|eot|epub|exe|flac|flv|gz|ics|img|iso|jar|js|json|m4[av]|mid|mkv|mobi|mov|"
    r"mp[34]|mpe?g|msi|og[agv]|otf|pdf|pkg|pptx?|ps|rar|rpm|rtf|swf|tar|tgz|torrent|ttf|txt|wasm|wav|web[am]|wmv|woff2?|xlsx?|"
    r"xpi|xz|zip|zst)$", re.IGNORECASE
)  # fmt: skip
_PICTURE = re.compile(  # File:Name.jpg is the page about a picture
    r"[^?#]*/[^/?#:]*\.(jpe?g|jpe|jfif|a?png|gif|webp|avif|bmp|tiff?|hei[cf]|jxl|jp2|svgz?|ico)(?:[?#]|$)",
    re.IGNORECASE,
)
_FORMATS = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "apng": "png", "tif": "tiff", "heic": "heif", "svgz": "svg"}
_ENDINGS = (*_FORMATS, "jpeg", "png", "gif", "webp", "avif", "bmp", "tiff", "heif", "jxl", "jp2", "svg", "ico")
_NUMBER = re.compile(r"\d+")
_MONTH = re.compile(
    r"\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b", re.IGNORECASE
)  # fmt: skip
_HASH = re.compile(r"\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b", re.IGNORECASE)


class Verdict(NamedTuple):
    """What is known of a link. `why` it is not followed, empty if it is; PICTURE for one that leads to a picture."""

    why: str
    address: int = 0
    pattern: int = 0
    host: str = ""


PICTURE = "picture"


class Rules:
    """The choice of links and pictures under some settings, from some page given.

    Args:
        roots: the page given, and where that led.
    """

    def __init__(self, settings: DiscoverSettings, roots: tuple[str, ...]) -> None:
        self._settings = settings
        self._pages = _Within(settings.scope, roots)
        self._pictures = _Within(settings.images_scope, roots)
        self._include = tuple(map(re.compile, settings.include))
        self._exclude = tuple(map(re.compile, settings.exclude))
        self._include_images = tuple(map(re.compile, settings.include_images))
        self._exclude_images = tuple(map(re.compile, settings.exclude_images))
        self._judged: dict[str, Verdict] = {}
        self.all_pictures = settings.images_scope == "any" and not (settings.include_images or settings.exclude_images)

    def link(self, url: str) -> Verdict:
        """Whether a link is followed. The same links stand on every page of a site, so what is known is kept."""
        found = self._judged.get(url)
        if found is None:
            if len(self._judged) >= _MOST_JUDGED:
                self._judged.clear()
            found = self._judged[url] = self._judge(url)
        return found

    def picture(self, url: str) -> str:
        """Why a picture is not taken; empty if it is."""
        if self._settings.images_scope != "any" and not self._pictures.holds(url, urlsplit(url).netloc):
            return "images_scope"
        if self._include_images and not any(one.search(url) for one in self._include_images):
            return "include_images"
        return "exclude_images" if any(one.search(url) for one in self._exclude_images) else ""

    def _judge(self, url: str) -> Verdict:
        if picture_format(url):
            return Verdict(PICTURE)
        plain = PLAIN.fullmatch(url)
        if plain is not None:
            netloc, path = plain[2], plain[3]
        else:
            parts = urlsplit(url)
            netloc, path = parts.netloc, parts.path
        if _NO_PAGE.search(path):
            return Verdict("no_page")
        if not self._pages.holds(url, netloc):
            return Verdict("scope")
        if self._include and not any(one.search(url) for one in self._include):
            return Verdict("include")
        if any(one.search(url) for one in self._exclude):
            return Verdict("exclude")
        trap = trap_of(url, path)
        return Verdict(trap) if trap else identity(url)


_MOST_JUDGED = 5_000


@lru_cache(maxsize=16)
def rules_of(settings: DiscoverSettings, roots: tuple[str, ...]) -> Rules:
    """The rules of a page given: the same for all that is reached from it."""
    return Rules(settings, roots)


def why_not_visited(settings: DiscoverSettings, roots: tuple[str, ...], url: str) -> str:
    """Why an address to which a page has led is not visited; empty if it is. One that looks like a picture's may be."""
    why = rules_of(settings, roots).link(url).why
    return "" if why == PICTURE else why


def trap_of(url: str, path: str) -> str:
    """The kind of trap that an address looks like, empty if it looks like none."""
    if len(url) > LONGEST_PAGE_URL:
        return "long_address"
    segments = [one for one in path.split("/") if one]
    if len(segments) > DEEPEST_PATH:
        return "deep_path"
    if len(segments) > MOST_REPEATS and max(map(segments.count, set(segments))) > MOST_REPEATS:
        return "repeated_segments"
    return ""


def identity(url: str) -> Verdict:
    """What tells a page apart: sessions and campaigns in its address do not count."""
    plain = PLAIN.fullmatch(url)
    if (
        plain is not None and not plain[4] and ";" not in url
    ):  # written as it is normalised, with nothing in it that does not count
        netloc = plain[2]
        host = netloc if ":" in netloc else f"{netloc}:{443 if plain[1] else 80}"
        return Verdict("", urls.hash64(url), urls.hash64(pattern_of(host, plain[3], False)), host)
    parsed = urls.parse(url)
    host = urls.host_key(parsed)
    return Verdict(
        "",
        urls.page_fingerprint(url),
        urls.hash64(pattern_of(host, parsed.raw_path, bool(parsed.raw_query_string))),
        host,
    )


def pattern_of(host: str, path: str, asked: bool) -> str:
    """What the addresses of a calendar, of the pages of a list or of a search with filters have in common."""
    path = _NUMBER.sub("0", _MONTH.sub("0", _HASH.sub("h", path)))
    return f"{host}{path}{'?' if asked else ''}"


def picture_format(url: str) -> str:
    """The format that the name in an address speaks of, empty if it does not end like that of a picture."""
    found = _PICTURE.match(url)
    if found is None:
        return ""
    ending = found[1].lower()
    return _FORMATS.get(ending, ending)


@lru_cache(maxsize=8)
def refused_names(formats: tuple[str, ...]) -> re.Pattern[str]:
    """What addresses end like whose name speaks of a format that is not taken."""
    endings = sorted(ending for ending in _ENDINGS if _FORMATS.get(ending, ending) not in formats)
    return re.compile(rf"\.({'|'.join(endings) or '(?!)'})(?:[?#]|$)", re.IGNORECASE)


class _Within:
    """What is near the page given."""

    def __init__(self, scope: Scope, roots: tuple[str, ...]) -> None:
        self._scope = scope
        self._roots = [(*_place(urlsplit(root)), urlsplit(root).path) for root in roots]
        self._known: dict[str, bool] = {}

    def holds(self, url: str, netloc: str) -> bool:
        """True for an address within; `netloc` is its host and port as they are written."""
        scope = self._scope
        if scope == "any":
            return True
        if scope in ("host", "domain"):
            known = self._known.get(netloc)
            if known is None:
                known = self._known[netloc] = self._near(urlsplit(url))
            return known
        parts = urlsplit(url)
        place = _place(parts)
        for *root, path in self._roots:
            if place == tuple(root):
                here = parts.path or "/"
                if here == (path or "/") or (scope == "path" and here.startswith(f"{path.rpartition('/')[0]}/")):
                    return True
        return False

    def _near(self, parts: SplitResult) -> bool:
        if len(self._known) > _MOST_JUDGED:
            self._known.clear()
        if self._scope == "host":
            return _place(parts) in {(host, port) for host, port, _ in self._roots}
        own = domain_of(parts.hostname or "")
        return own in {domain_of(host) for host, _, _ in self._roots}


def _place(parts: SplitResult) -> tuple[str, int | None]:
    """Host and port; http and https are one place."""
    port = parts.port
    return (parts.hostname or "").removesuffix("."), None if port in (80, 443) else port


@lru_cache(maxsize=4096)
def domain_of(host: str) -> str:
    """The registrable domain of a host by the public suffix list, which comes with its package; the host itself if it has none.

    >>> domain_of("img.shop.example.co.uk")
    'example.co.uk'
    """
    if ":" in host or host.rpartition(".")[2].isdecimal():  # an IP address
        return host
    return _suffixes().privatesuffix(host) or host


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
