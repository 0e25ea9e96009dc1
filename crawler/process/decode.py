"""Bytes to an open picture, and the header checked before the pixels cost anything. Pillow's errors end here."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import (  # the plugins are named so that a worker loads these and not all forty
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from crawler.model import Reason
from crawler.signatures import sniff

PLUGINS = (
    AvifImagePlugin, BmpImagePlugin, GifImagePlugin, IcoImagePlugin, Jpeg2KImagePlugin,
    JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "ICO", "TIFF", "AVIF", "JPEG2000")
"""What is opened at all. An allow-list: Pillow knows forty formats, and one of them starts Ghostscript."""

_ORIENTATION = 0x0112
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BROKEN = (
    OSError, SyntaxError, ValueError, RuntimeError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, EOFError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on bad files, by its own test files and by fuzzing: far more than OSError."""


class Refused(Exception):
    """The picture cannot be used: a reason and the words for it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def open_picture(data: bytes, max_pixels: int) -> Image.Image:
    """Open a picture without decoding it.

    Raises:
        Refused: not a picture, a format that is not on the list, more than `max_pixels`, or a broken header.
    """
    try:
        picture = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except _BROKEN as error:
        raise Refused(Reason.DECODE, words(error)) from None
    width, height = picture.size
    if width * height > max_pixels:
        raise Refused(Reason.TOO_MANY_PIXELS, f"{width}x{height} is {width * height} pixels, {max_pixels} allowed")
    return picture


def load(picture: Image.Image) -> None:
    """Decode the pixels.

    Raises:
        Refused: the data is cut off or broken.
        MemoryError: it needs more memory than the worker may take.
    """
    try:
        picture.load()
    except _BROKEN as error:
        raise Refused(Reason.TRUNCATED if _cut_off(error) else Reason.DECODE, words(error)) from None


def shrink_on_load(picture: Image.Image, size: tuple[int, int]) -> None:
    """Let a JPEG be decoded at the smallest scale (1, 1/2, 1/4, 1/8) that still covers `size`."""
    if picture.format in ("JPEG", "MPO"):
        picture.draft(picture.mode, size)


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """How the picture must be turned to stand upright (EXIF orientation 2 to 8), None if it stands."""
    if picture.format != "TIFF" and not ("exif" in picture.info or "xmp" in picture.info):
        return None  # reading the tags costs more than all else here, and most pictures have none
    try:
        return _TURN.get(picture.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        return None  # a broken EXIF block spoils no picture


def swaps_sides(turn: Image.Transpose | None) -> bool:
    return turn in (_TURN[5], _TURN[6], _TURN[7], _TURN[8])


def format_name(picture: Image.Image) -> str:
    """Format of an opened picture in lower case. A JPEG that carries more pictures (MPO) is a JPEG."""
    return {"MPO": "jpeg"}.get(picture.format or "", (picture.format or "").lower())


def words(error: BaseException) -> str:
    """One short line."""
    return " ".join((str(error) or type(error).__name__).split())[:200]


def _unidentified(data: bytes) -> Refused:
    known = sniff(data)
    if known in FORMATS:
        return Refused(Reason.DECODE, f"starts like {known}, but cannot be opened")
    if known:
        return Refused(Reason.UNSUPPORTED_FORMAT, f"{known} is not among {', '.join(FORMATS)}")
    return Refused(Reason.NOT_IMAGE, f"starts with {data[:24]!r}")


def _cut_off(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, EOFError) or "truncated" in text or "unexpected end" in text
