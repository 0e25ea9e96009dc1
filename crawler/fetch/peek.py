"""A look at the first bytes of a body: what cannot be a picture, or is not wanted, is not fetched to its end."""

from __future__ import annotations

from collections.abc import Callable

from crawler.dimensions import ENOUGH, dimensions
from crawler.found import Kind
from crawler.model import Reason
from crawler.page_kind import ENOUGH as ENOUGH_OF_PAGE
from crawler.page_kind import is_page, is_picture
from crawler.signatures import sniff

Unwanted = Callable[[int, int], tuple[Reason, str] | None]

_NO_PICTURE = (
    "text/",
    "application/json",
    "application/xhtml",
    "application/javascript",
    "application/pdf",
    "audio/",
    "video/",
)
_LEAST = 16
"""Bytes that tell every format apart."""
_MOST_TEXT = 1024
"""Bytes of a text in which a picture may still begin."""


def _doubtful(content_type: str) -> str:
    """A Content-Type that is of no picture; empty for any other."""
    return content_type if content_type.strip().lower().startswith(_NO_PICTURE) else ""


class Peek:
    """Looks at the head of one body, as more and more of it comes.

    Args:
        doubtful: the Content-Type, if it is of no picture; empty otherwise.
        unwanted: why a picture of some width and height is not taken.
    """

    __slots__ = ("_doubtful", "_unwanted", "needs")

    def __init__(self, doubtful: str, unwanted: Unwanted | None) -> None:
        self._doubtful = doubtful
        self._unwanted = unwanted
        self.needs = _LEAST
        """Bytes from which on another look is worth it: each costs as much as there is to see."""

    @classmethod
    def wanted(cls, content_type: str, unwanted: Unwanted | None) -> Peek | None:
        """A peek, where there is something to find out; None where the body is simply read."""
        doubtful = _doubtful(content_type)
        return cls(doubtful, unwanted) if doubtful or unwanted is not None else None

    def look(self, head: bytes) -> tuple[Reason, str] | bool:
        """Why the rest is not fetched; True if it is, False if more has to be seen to tell."""
        self.needs = 2 * len(head)
        known = bool(sniff(head))
        if not known and len(head) < _MOST_TEXT and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<!--")):
            return False  # a picture may be described behind that
        if self._doubtful and not known:
            return Reason.NOT_IMAGE, f"{self._doubtful[:60]}, and it does not begin like a picture"
        if self._unwanted is None:
            return True
        size = dimensions(head)
        if size is None:
            return len(head) >= ENOUGH or not known
        # A picture may be shown on its side, which only a decoder knows: refused is what both ways round would be.
        refused, turned = self._unwanted(*size), self._unwanted(*size[::-1])
        return refused if refused and turned and refused[0] is turned[0] else True


class PagePeek:
    """Looks at the head of a body that may be a page, or a picture after all.

    Args:
        kind: what the target is expected to be; `either` is taken for a picture where it shows to be no page.
        unwanted: why a picture of some width and height is not taken.
    """

    __slots__ = ("_content_type", "_kind", "_picture", "needs")

    def __init__(self, kind: Kind, content_type: str, unwanted: Unwanted | None) -> None:
        self._kind = kind
        self._content_type = content_type
        self._picture = Peek(_doubtful(content_type), unwanted)
        self.needs = _LEAST

    def look(self, head: bytes) -> tuple[Reason, str] | bool:
        """As `Peek.look`."""
        self.needs = 2 * len(head)
        if is_page(head, self._content_type, self._kind):
            return True
        if len(head) < ENOUGH_OF_PAGE and not sniff(head):
            return False
        if self._kind == "either" or is_picture(head):
            return self._picture.look(head)
        return Reason.NOT_PAGE, f"{self._content_type[:60] or 'no Content-Type'}, and it does not begin like a page"


Look = Peek | PagePeek
