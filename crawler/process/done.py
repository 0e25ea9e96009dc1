"""What crosses back from a worker. The process that fetches reads it, and has no need of Pillow for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from crawler.found import Page, PageOrder
from crawler.model import Companion, Likeness, Sample


class More(NamedTuple):
    """What most pictures do not have. Fields as in `Picture`."""

    frames: int
    notes: tuple[str, ...]
    companions: tuple[Companion, ...]
    likeness: Likeness
    exif: dict[str, Any] | None
    values: dict[str, Any]


class Done(NamedTuple):
    """A picture as it crosses back to the parent. Fields as in `Picture`; `data` is None for the bytes as they came; `spent`
    are the seconds it took to decode, to scale and to encode.
    """

    data: bytes | None
    format: str
    extension: str
    width: int
    height: int
    original_width: int
    original_height: int
    original_format: str
    sha256: bytes
    spent: tuple[float, float, float]
    more: More | None = None


Failed = tuple[str, str]
"""Name of a Reason and the words."""

Results = list[Done | Page | Failed]
"""One for each body of a batch."""

Told = Sample | PageOrder | None
"""What is known of a body beside its bytes; an order makes it a page."""

ReadPage = Callable[[bytes, PageOrder], "Page | Failed"]
"""What finds the pictures and links of a page."""
