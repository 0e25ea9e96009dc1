"""Frames of an animated GIF, each composed on the canvas as browsers do (GIF89a 23 and what came of it).

Every frame is made a GIF of its own and decoded as such. Pillow's own frames are not used: it fills what is disposed of with
the background colour where browsers leave it clear, and lets a frame inherit the disposal of the one before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageFile

from crawler.model import Reason
from crawler.process.decode import Refused, check_sum, decoded_part

_EXTENSION, _DESCRIPTOR, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_CLEARED, _RESTORED = 2, 3


@dataclass(slots=True)
class _Part:
    """One image of the file with the control block before it."""

    left: int
    top: int
    width: int
    height: int
    control: bytes
    data: bytes

    @property
    def dispose(self) -> int:
        return self.control[0] >> 2 & 7 if self.control else 0

    @property
    def milliseconds(self) -> int:
        return 10 * int(struct.unpack_from("<H", self.control, 1)[0]) if len(self.control) >= 3 else 0


def composed(data: bytes, size: tuple[int, int], count: int, most_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """The first `count` frames as a viewer shows them, in RGBA, and for how many milliseconds.

    Raises:
        Refused: a frame is missing or broken, or all together have more than `most_pixels`.
    """
    canvas = Image.new("RGBA", size)
    at = 13 + _table(data[10])
    parts = _parts(data, at)
    colours, pixels = data[13:at], 0
    for number in range(count):
        part = next(parts, None)
        if part is None:
            if number and ImageFile.LOAD_TRUNCATED_IMAGES:
                return  # what there is will do
            raise Refused(Reason.TRUNCATED, f"frame {number + 1} of {count} is missing")
        pixels += part.width * part.height
        check_sum(number + 1, pixels, most_pixels)
        # What lies outside the canvas is not seen.
        box = part.left, part.top, min(size[0], part.left + part.width), min(size[1], part.top + part.height)
        box = min(box[0], box[2]), min(box[1], box[3]), box[2], box[3]
        before = canvas.crop(box)
        frame = _decoded(data[:6], colours, part, most_pixels).crop((0, 0, *before.size))
        canvas.paste(frame, box[:2], frame)
        yield canvas.copy(), part.milliseconds
        if part.dispose == _CLEARED:
            canvas.paste((0, 0, 0, 0), box)
        elif part.dispose == _RESTORED:
            canvas.paste(before, box[:2])


def _parts(data: bytes, at: int) -> Iterator[_Part]:
    """The images one after the other. Bytes between blocks that mean nothing are passed over; the end may be missing."""
    control = b""
    while at < len(data) and data[at] != _TRAILER:
        if data[at] == _EXTENSION and at + 2 < len(data):
            if data[at + 1] == _CONTROL:
                control = data[at + 3 : at + 3 + data[at + 2]]
            at = _after_blocks(data, at + 2)
        elif data[at] == _DESCRIPTOR and at + 10 <= len(data):
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            pixels = at + 10 + _table(flags)
            end = _after_blocks(data, pixels + 1)
            yield _Part(left, top, width, height, control, data[at + 9 : end])
            at, control = end, b""
        else:
            at += 1


def _table(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _decoded(signature: bytes, colours: bytes, part: _Part, most_pixels: int) -> Image.Image:
    """The picture of one part.

    Args:
        colours: the global colour table, for a part that has none of its own.
    """
    if part.data[0] & 0x80:
        colours = b""
    screen = bytes((0x80 | (len(colours) // 3).bit_length() - 2 if colours else 0, 0, 0)) + colours
    size = struct.pack("<HH", part.width, part.height)
    control = b"\x21\xf9\x04" + part.control[:4] + b"\0" if len(part.control) >= 4 else b""
    whole = signature + size + screen + control + b"\x2c\0\0\0\0" + size + part.data + b"\x3b"
    return decoded_part(whole, "GIF", most_pixels)
