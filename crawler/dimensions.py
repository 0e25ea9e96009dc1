"""Width and height of a picture from its first bytes, so that the rest need not be fetched to know that it is not wanted.

Only reads numbers that stand in the header, of JPEG, PNG, GIF, WebP, BMP and AVIF. Whether the file is whole is for a
worker to find out, and orientation too: a picture may be shown on its side.
"""

from __future__ import annotations

import struct
from struct import unpack_from

ENOUGH = 256 * 1024
"""Bytes after which a header that has not told its size is left to the workers."""

_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def dimensions(head: bytes) -> tuple[int, int] | None:
    """Width and height as they stand in the header, in pixels; None if they are not told (yet)."""
    try:
        for signature, offset, read in _READERS:
            if head.startswith(signature, offset):
                return read(head)
    except (struct.error, IndexError):
        pass
    return None


def _png(head: bytes) -> tuple[int, int] | None:
    """PNG 11.2.1: IHDR comes first."""
    return unpack_from(">II", head, 16) if head[12:16] == b"IHDR" else None


def _gif(head: bytes) -> tuple[int, int] | None:
    """GIF89a 18 and 20: the logical screen, or what the first picture needs where that is more."""
    width, height, flags = unpack_from("<HHB", head, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while head[at] == 0x21:  # extensions, each of blocks that tell their length
        at += 2
        while head[at]:
            at += 1 + head[at]
        at += 1
    if head[at] == 0x2C:
        left, top, wide, high = unpack_from("<HHHH", head, at + 1)
        return max(width, left + wide), max(height, top + high)
    return None


def _bmp(head: bytes) -> tuple[int, int] | None:
    size = unpack_from("<I", head, 14)[0]
    if size == 12:
        return unpack_from("<HH", head, 18)
    width, height = unpack_from("<ii", head, 18)
    return (abs(width), abs(height)) if size >= 40 else None


def _webp(head: bytes) -> tuple[int, int] | None:
    """RFC 9649 2: a lossy, a lossless or an extended file."""
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(_slice(head, 24, 27), "little"), 1 + int.from_bytes(_slice(head, 27, 30), "little")
    if kind == b"VP8L" and head[20:21] == b"\x2f":
        bits = unpack_from("<I", head, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """ITU T.81 B.2.2: the first start-of-frame segment."""
    at = 2
    while True:
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker in _SOF:
            height, width = unpack_from(">HH", head, at + 5)
            return (width, height) if height else None  # a height of 0 is told later (DNL)
        elif marker in (0xD9, 0xDA):
            return None
        else:
            at += 2 + unpack_from(">H", head, at + 2)[0]


def _avif(head: bytes) -> tuple[int, int] | None:
    """ISO/IEC 23008-12 6.5.3 and 9.3: the spatial extents that belong to the primary item. There may be others, larger too:
    of tiles, thumbnails and gain maps.
    """
    meta = box(head, b"meta", 0, len(head))
    if meta is None:
        return None
    inside = meta[0] + 4, meta[1]
    pitm, iprp = box(head, b"pitm", *inside), box(head, b"iprp", *inside)
    if pitm is None or iprp is None:
        return None
    ipco, ipma = box(head, b"ipco", *iprp), box(head, b"ipma", *iprp)
    if ipco is None or ipma is None:
        return None
    primary = unpack_from(">I" if head[pitm[0]] else ">H", head, pitm[0] + 4)[0]
    wanted = _properties_of(head, primary, *ipma)
    at, number = ipco[0], 0
    while at < ipco[1]:
        size, kind = unpack_from(">I4s", head, at)
        number += 1
        if kind == b"ispe" and number in wanted:
            return unpack_from(">II", head, at + 12)
        if size < 8:
            return None
        at += size
    return None


def _properties_of(head: bytes, item: int, at: int, end: int) -> frozenset[int]:
    """Numbers of the properties that an ipma box associates with an item."""
    wide_item, wide_number = head[at] > 0, head[at + 3] & 1
    entries = unpack_from(">I", head, at + 4)[0]
    at += 8
    for _ in range(entries):
        if at >= end:
            break
        found = unpack_from(">I" if wide_item else ">H", head, at)[0]
        at += 4 if wide_item else 2
        count = head[at]
        step = 2 if wide_number else 1
        if found == item:
            numbers = unpack_from(f">{count}{'H' if wide_number else 'B'}", head, at + 1)
            return frozenset(number & (0x7FFF if wide_number else 0x7F) for number in numbers)
        at += 1 + count * step
    return frozenset()


def box(head: bytes, kind: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Begin and end of the contents of the first box of that kind; None if there is none, or not all of it is here."""
    while at < end:
        size, found = unpack_from(">I4s", head, at)
        begin = at + 8
        if size == 1:
            size = unpack_from(">Q", head, begin)[0]
            begin += 8
        stop = at + size if size else end
        if stop < begin:
            return None
        if found == kind:
            return (begin, stop) if stop <= len(head) else None
        at = stop
    return None


def _slice(head: bytes, begin: int, end: int) -> bytes:
    if len(head) < end:
        raise IndexError(end)
    return head[begin:end]


_READERS = (
    (b"\xff\xd8\xff", 0, _jpeg),
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"GIF8", 0, _gif),
    (b"WEBP", 8, _webp),
    (b"BM", 0, _bmp),
    (b"ftypavi", 4, _avif),
)
