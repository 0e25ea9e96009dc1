"""References in a page to addresses. What a page holds hundreds of times is resolved without the whole of the URL standard,
where that cannot make a difference.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from yarl import URL

from crawler import urls

_BLANKS = "".join(map(chr, range(33)))
# No %, no dot segment, no empty segment, no backslash, nothing that would have to be encoded.
_LETTERS = r"[\w.,;@!$&()*+=~-]"
_SEGMENTS = rf"(?:/(?!/|\.\.?(?:[/?]|$))(?:{_LETTERS}|:)*)"
_QUERY = r"(?:\?[\w./,:@!$&()*=~;?-]+)?"
_WHOLE = re.compile(rf"https?://[a-z0-9-]+(?:\.[a-z0-9-]*[a-z][a-z0-9-]*)+{_SEGMENTS}+{_QUERY}", re.ASCII)
# The same with a port, in pieces: `s` of https, host and port, path, query.
PLAIN = re.compile(
    r"http(s)?://((?!xn--)[a-z0-9-]+(?:\.(?!xn--)[a-z0-9-]+)*(?::(?!80/|443/)[1-5]?[1-9][0-9]{0,3})?)"
    rf"({_SEGMENTS}+)({_QUERY})", re.ASCII
)  # fmt: skip
_ROOTED = re.compile(rf"{_SEGMENTS}+{_QUERY}", re.ASCII)
_BESIDE = re.compile(rf"(?!\.){_LETTERS}+{_SEGMENTS}*{_QUERY}", re.ASCII)
_DATA = re.compile(r"data:([^,;]*)((?:;[^,;]*)*?)(;\s*base64)?\s*,", re.IGNORECASE)
_NO_PICTURE = re.compile(
    r"(?:javascript|mailto|tel|about|blob|chrome|file|ftp|sms|callto|whatsapp|skype|magnet):", re.IGNORECASE
)


class Addresses:
    """What references in one page mean.

    Args:
        page: address of the page.
        base: reference of its `base` element, if it has one.
        charset: that the page is written in: what a query that is no ASCII is encoded in (WHATWG URL, 4.4).
    """

    def __init__(self, page: str, base: str = "", charset: str = "utf-8") -> None:
        self.base = _base(page, base)
        self._charset = "" if charset in ("utf-8", "utf-16-le", "utf-16-be", "ascii") else charset
        self.origin = str(self.base.origin())
        self._folder = f"{self.origin}{self.base.raw_path.rpartition('/')[0]}/"
        self._known: dict[str, str | None] = {}

    def of(self, reference: str) -> str | None:
        """The address behind a reference, without its fragment; None if it is none of http or https."""
        known = self._known
        if reference in known:
            return known[reference]
        first = reference[:1]
        if first == "/" and _ROOTED.fullmatch(reference):
            found: str | None = self.origin + reference
        elif first == "h" and _WHOLE.fullmatch(reference):
            found = reference
        elif _BESIDE.fullmatch(reference):
            found = self._folder + reference
        else:
            found = self._resolved(reference.strip(_BLANKS))
        known[reference] = found
        return found

    def _resolved(self, reference: str) -> str | None:
        if not reference:
            return None
        plain = reference.partition("#")[0]
        if not plain or _NO_PICTURE.match(plain):
            return None
        try:
            found = str(urls.parse(urls.join(self.base, self._in_charset(plain))))
            return found if found.startswith("http") else None
        except urls.BadURL:
            return None

    def _in_charset(self, reference: str) -> str:
        path, mark, query = reference.partition("?")
        if not self._charset or query.isascii():
            return reference
        return f"{path}{mark}{''.join(self._coded(letter) for letter in query)}"

    def _coded(self, letter: str) -> str:
        """A letter of a query; what the charset does not have becomes a reference (URL, "percent-encode after encoding")."""
        if letter.isascii():
            return letter
        try:
            return quote_from_bytes(letter.encode(self._charset))
        except UnicodeEncodeError:
            return f"%26%23{ord(letter)}%3B"


def _base(page: str, reference: str) -> URL:
    """The base of a page: what its `base` says, relative to the page's own address."""
    own = URL(page)
    if reference:
        try:
            return urls.parse(urls.join(own, reference))
        except urls.BadURL:
            pass
    return urls.parse(page)


class Inline(NamedTuple):
    """A picture that stands in a page. `url` tells it apart; `data` is None if it is larger than allowed."""

    url: str
    data: bytes | None
    size: int


@lru_cache(maxsize=64)  # the same placeholder stands in a page many times
def inline(reference: str, most: int) -> Inline | None:
    """The picture in a `data:` address (RFC 2397); None if it is no picture or cannot be decoded."""
    found = _DATA.match(reference)
    if found is None or not found[1].strip().lower().startswith("image/"):
        return None
    kind, coded = found[1].strip().lower(), reference[found.end() :].partition("#")[0]
    size = len(coded) * 3 // 4 if found[3] else len(coded)
    if size > most + 2:
        return Inline(f"data:{kind},({size} bytes)", None, size)
    try:
        data = unquote_to_bytes(coded)
        if found[3]:
            data = base64.b64decode(re.sub(rb"[\s=]", b"", data) + b"==")
    except ValueError:
        return None
    if not data or len(data) > most:
        return Inline(f"data:{kind},({len(data)} bytes)", None, len(data)) if data else None
    import hashlib

    return Inline(f"data:{kind};sha256,{hashlib.sha256(data).hexdigest()}", data, len(data))
