"""What the header of a file promises, held against the limits before a decoder is let at it."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from struct import unpack_from

from PIL import Image, TiffImagePlugin

from crawler.dimensions import box, dimensions
from crawler.model import Reason
from crawler.process.decode import Refused, check_size

_MOST_PARTS = 1024
"""Tiles of a JPEG 2000, items of an AVIF: far more than encoders make, and decoders take long over many."""
_SIZ = re.compile(b"\xff\x4f\xff\x51")
_TILE_WIDTH, _TILE_LENGTH, _STRIP_OFFSETS, _SAMPLES = 322, 323, 273, 277  # TIFF 6.0


def check_head(data: bytes, max_pixels: int) -> None:
    """Look at a file before it is opened.

    Raises:
        Refused: opening it alone would take too much.
    """
    if data[4:8] == b"ftyp":
        size = dimensions(data)
        if size is not None:
            check_size(*size, max_pixels)
        _check_parts("items", _items(data))
    elif data.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        _check_parts("tiles", _tiles(data))


def check_tiff(picture: Image.Image, max_pixels: int) -> None:
    """Look at an opened TIFF before it is decoded: it is decoded by whole tiles, and strip by strip.

    Raises:
        Refused: a tile is larger than a picture may be, or there are more strips than rows.
    """
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    tags = picture.tag_v2
    wide, high = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    if isinstance(wide, int) and isinstance(high, int) and wide * high > max_pixels:
        raise Refused(Reason.TOO_MANY_PIXELS, f"a tile of {wide}x{high} pixels, {max_pixels} allowed")
    strips, samples = tags.get(_STRIP_OFFSETS, ()), tags.get(_SAMPLES, 1)
    if isinstance(strips, tuple) and isinstance(samples, int) and len(strips) > max(picture.size) * max(1, samples):
        raise Refused(Reason.DECODE, f"{len(strips)} strips for a picture of {picture.width}x{picture.height}")


def _check_parts(name: str, count: int) -> None:
    if count > _MOST_PARTS:
        raise Refused(Reason.DECODE, f"{count} {name}, at most {_MOST_PARTS} are taken")


def _tiles(data: bytes) -> int:
    """ISO/IEC 15444-1 A.5.1: tiles on the reference grid, from the SIZ segment; 0 if there is none."""
    most = 0
    for found in _SIZ.finditer(data):  # there may be decoys
        with suppress(struct.error, ZeroDivisionError):
            wide, high, _, _, tile_wide, tile_high, left, top = unpack_from(">8I", data, found.end() + 4)
            most = max(most, -(-(wide - left) // tile_wide) * -(-(high - top) // tile_high))
    return most


def _items(data: bytes) -> int:
    """ISO/IEC 14496-12 8.11.6: how many items the iinf box lists; 0 if there is none."""
    try:
        meta = box(data, b"meta", 0, len(data))
        info = box(data, b"iinf", meta[0] + 4, meta[1]) if meta is not None else None
        if info is None:
            return 0
        found = unpack_from(">I" if data[info[0]] else ">H", data, info[0] + 4)
        return int(found[0])
    except (struct.error, IndexError):
        return 0
