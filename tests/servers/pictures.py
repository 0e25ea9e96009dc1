"""Sizes and seeds in, encoded pictures out: deterministic, and photo-like enough for resizing.

One rule: width, height and colours are those of the picture shown upright. With an EXIF orientation
the stored pixels are turned, so that a reader who obeys the tag sees the same picture again.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageDraw

# Clockwise from the top left corner: top left, top right, bottom right, bottom left.
QUADRANTS: Final[Mapping[str, tuple[int, int, int]]] = {
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 60, 210),
    "yellow": (240, 220, 40),
}

_ORIENTATION_TAG: Final = 0x0112

# How to turn upright pixels so that the tag's own turn (TIFF 6.0, Orientation) brings them back.
_TURNS: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def jpeg(
    width: int,
    height: int,
    seed: int = 0,
    quality: int = 90,
    exif_orientation: int | None = None,
    mode: str = "RGB",
    progressive: bool = False,
) -> bytes:
    """A JPEG in mode RGB, L or CMYK."""
    picture = scene(width, height, seed).convert(mode)
    return _encoded(picture, "JPEG", exif_orientation, quality=quality, progressive=progressive)


def png(width: int, height: int, seed: int = 0, mode: str = "RGB", exif_orientation: int | None = None) -> bytes:
    """A PNG in mode RGB, RGBA, L, LA, P (its first colour transparent), 1 or I;16."""
    picture = scene(width, height, seed)
    if mode in ("RGBA", "LA"):
        return _encoded(_with_alpha(picture, mode), "PNG", exif_orientation)
    if mode == "P":
        return _encoded(picture.quantize(64), "PNG", exif_orientation, transparency=0)
    if mode == "I;16":
        return _encoded(_sixteen_bits(picture), "PNG", exif_orientation)
    return _encoded(picture.convert(mode), "PNG", exif_orientation)


def webp(
    width: int,
    height: int,
    seed: int = 0,
    quality: int = 80,
    mode: str = "RGB",
    frames: int = 1,
    exif_orientation: int | None = None,
) -> bytes:
    """A WebP in mode RGB or RGBA; more than one frame makes it animated."""
    return _animated("WEBP", _frames(width, height, seed, mode, frames), exif_orientation, quality=quality)


def gif(width: int, height: int, seed: int = 0, frames: int = 1) -> bytes:
    """A GIF; more than one frame makes it animated."""
    return _animated("GIF", _frames(width, height, seed, "RGB", frames), None)


def quadrants(width: int, height: int, exif_orientation: int | None = None, format: str = "JPEG") -> bytes:
    """Four flat colours, one a quarter, placed as `QUADRANTS` lists them; a JPEG keeps them nearly exact."""
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    left, top = width // 2, height // 2
    boxes = ((0, 0, left, top), (left, 0, width, top), (left, top, width, height), (0, top, left, height))
    for box, colour in zip(boxes, QUADRANTS.values(), strict=True):
        draw.rectangle(box, fill=colour)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    return _encoded(picture, format, exif_orientation, **options)


def quadrant_names(picture: bytes | Image.Image) -> tuple[str, ...]:
    """The colour names at the middle of each quarter of the stored pixels, clockwise from the top left."""
    image = Image.open(BytesIO(picture)) if isinstance(picture, bytes) else picture
    rgb = image.convert("RGB")
    quarters = ((1, 1), (3, 1), (3, 3), (1, 3))
    return tuple(_nearest(rgb.getpixel((rgb.width * x // 4, rgb.height * y // 4))) for x, y in quarters)


def stamped(data: bytes, text: str) -> bytes:
    """The same JPEG with `text` in a comment segment: other bytes, same pixels, at no cost."""
    comment = text.encode()
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[2:]


def bomb_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG that claims 1-bit pixels of this size and holds almost none of them."""
    return _bare_png(width, height, zlib.compress(bytes(64)))


def blank_png(width: int, height: int) -> bytes:
    """A whole 1-bit PNG, all black: few bytes, many pixels, decodes without an error."""
    row = bytes(1 + (width + 7) // 8)
    return _bare_png(width, height, zlib.compress(row * height, 9))


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth light, hard edges and a little grain: what makes photographs compress and resize as they do."""
    chance = random.Random(seed)
    light = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3))
    picture = light.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, size = chance.randrange(width), chance.randrange(height), chance.randint(1, max(2, width // 5))
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        draw.ellipse((x, y, x + size, y + size), fill=colour)
        draw.line((x, y, chance.randrange(width), chance.randrange(height)), fill=colour, width=2)
    grain = Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
    return Image.blend(picture, grain, 0.05)


def _frames(width: int, height: int, seed: int, mode: str, count: int) -> list[Image.Image]:
    pictures = [scene(width, height, seed + number) for number in range(count)]
    return [_with_alpha(picture, mode) if mode == "RGBA" else picture for picture in pictures]


def _animated(format: str, frames: list[Image.Image], orientation: int | None, **options: Any) -> bytes:
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": 100, "loop": 0}
    return _encoded(frames[0], format, orientation, **options)


def _with_alpha(picture: Image.Image, mode: str) -> Image.Image:
    """Opaque in the middle, clear at the left and right edges."""
    ramp = [min(255, 1024 * min(x, picture.width - 1 - x) // picture.width) for x in range(picture.width)]
    alpha = Image.frombytes("L", (picture.width, 1), bytes(ramp)).resize(picture.size)
    whole = picture.convert(mode)
    whole.putalpha(alpha)
    return whole


def _sixteen_bits(picture: Image.Image) -> Image.Image:
    # Each grey byte twice is that byte times 257, which maps 0..255 exactly onto 0..65535.
    grey = picture.convert("L")
    return Image.frombytes("I;16", picture.size, Image.merge("LA", (grey, grey)).tobytes())


def _encoded(picture: Image.Image, format: str, orientation: int | None, **options: Any) -> bytes:
    if orientation is not None:
        exif = Image.Exif()
        exif[_ORIENTATION_TAG] = orientation
        options["exif"] = exif.tobytes()
        if orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
    out = BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def _bare_png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = (_png_chunk(b"IHDR", header), _png_chunk(b"IDAT", data), _png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _nearest(pixel: float | tuple[int, ...] | None) -> str:
    assert isinstance(pixel, tuple)
    return min(QUADRANTS, key=lambda name: sum(abs(a - b) for a, b in zip(pixel, QUADRANTS[name], strict=True)))
