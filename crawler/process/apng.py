"""Frames of an animated PNG, each composed on the canvas as PNG (3rd edition, 11.3.6) says: dispose, then blend.

Every frame is made a PNG of its own and decoded as such. Pillow's own frames are not used: it lays half-transparent pixels
over each other as if what is below were opaque, and begins with a default image that is no part of the animation.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, ImageFile

from crawler.model import Reason
from crawler.process.decode import Refused, decoded_part

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHARED = (b"PLTE", b"tRNS")
_BACKGROUND, _PREVIOUS = 1, 2
_OVER = 1


@dataclass(slots=True)
class _Part:
    """One fcTL with the image data that follows it."""

    width: int
    height: int
    left: int
    top: int
    milliseconds: int
    dispose: int
    blend: int
    data: list[bytes] = field(default_factory=list)


def composed(data: bytes, size: tuple[int, int], count: int, most_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """The first `count` frames as a viewer shows them, in RGBA, and for how many milliseconds.

    Raises:
        Refused: a frame is missing, broken, or lies outside the canvas.
    """
    head, shared, parts = _parts(data, count)
    canvas = Image.new("RGBA", size)
    for number in range(count):
        if number >= len(parts) or not parts[number].data:
            if number and ImageFile.LOAD_TRUNCATED_IMAGES:
                return  # what there is will do
            raise Refused(Reason.TRUNCATED, f"frame {number + 1} of {count} is missing")
        part = parts[number]
        place = part.left, part.top
        box = (*place, part.left + part.width, part.top + part.height)
        if not part.width or not part.height or box[2] > size[0] or box[3] > size[1]:
            raise Refused(Reason.DECODE, f"frame {number + 1} lies outside the picture")
        before = canvas.crop(box)
        frame = _decoded(head, shared, part, most_pixels)
        canvas.paste(Image.alpha_composite(before, frame) if part.blend == _OVER else frame, place)
        yield canvas.copy(), part.milliseconds
        if part.dispose == _BACKGROUND or (part.dispose == _PREVIOUS and number == 0):
            canvas.paste((0, 0, 0, 0), box)
        elif part.dispose == _PREVIOUS:
            canvas.paste(before, place)


def _parts(data: bytes, count: int) -> tuple[bytes, bytes, list[_Part]]:
    """The IHDR, the chunks that hold for every frame (palette, transparency...), and the frames."""
    head, shared, parts = b"", [], list[_Part]()
    at, numbered = len(_SIGNATURE), -1
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            head = body
        elif kind == b"fcTL" and len(body) >= 26:
            if len(parts) > count:
                break
            order, width, height, left, top, above, below, dispose, blend = struct.unpack_from(">IIIIIHHBB", body)
            numbered = _in_order(order, numbered)
            parts.append(_Part(width, height, left, top, round(1000 * above / (below or 100)), dispose, blend))
        elif kind == b"IDAT" and parts:
            parts[-1].data.append(body)
        elif kind == b"fdAT" and parts and length >= 4:
            numbered = _in_order(int.from_bytes(body[:4], "big"), numbered)
            parts[-1].data.append(body[4:])
        elif kind in _SHARED:
            shared.append(_chunk(kind, body))
        at += 12 + length
    return head, b"".join(shared), parts


def _in_order(number: int, before: int) -> int:
    if number != before + 1:
        raise Refused(Reason.DECODE, "the chunks of its animation are out of order")
    return number


def _decoded(head: bytes, shared: bytes, part: _Part, most_pixels: int) -> Image.Image:
    size = struct.pack(">II", part.width, part.height)
    data = _chunk(b"IDAT", b"".join(part.data))
    whole = _SIGNATURE + _chunk(b"IHDR", size + head[8:]) + shared + data + _chunk(b"IEND", b"")
    return decoded_part(whole, "PNG", most_pixels)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
