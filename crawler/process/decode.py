"""Bytes to an open picture, and the header checked before the pixels cost anything. Pillow's errors end here."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import PIL
from PIL import (  # the plugins are named so that a worker loads these and not all forty
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from crawler.errors import words
from crawler.model import Reason
from crawler.process.colour import simple
from crawler.signatures import sniff

PLUGINS = (
    AvifImagePlugin, BmpImagePlugin, GifImagePlugin, IcoImagePlugin, Jpeg2KImagePlugin,
    JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip
_NAMES = {
    "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "ico": "ICO", "tiff": "TIFF", "avif": "AVIF",
    "jpeg2000": "JPEG2000", "heif": "HEIF",
}  # fmt: skip
"""Our names of the formats, and Pillow's."""
_OURS = {theirs: ours for ours, theirs in _NAMES.items()} | {"MPO": "jpeg", "HEIC": "heif", "HEIF": "heif"}
_PARTS = {"webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000"}
SIMD = ".post" in PIL.__version__
"""True for pillow-simd, which numbers its versions so: all channels together are what it scales quickly, not one alone."""
MISSING = frozenset(name for name, part in _PARTS.items() if not features.check(part))
"""Formats that this Pillow can neither read nor write: one built from source goes without a library that is not there."""

_LONGEST_TEXT = 8 * 1024 * 1024
"""Bytes of a text or profile in a PNG, unpacked. Some editors write a history of some megabytes."""
_LEAST_BLOCK = 64 * 1024
ORIENTATION = 0x0112
_TURN: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BROKEN = (
    OSError, SyntaxError, ValueError, RuntimeError, IndexError, KeyError, TypeError, AttributeError,
    ArithmeticError, EOFError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on bad files, by its own test files and by fuzzing: far more than OSError."""


class Refused(Exception):
    """The picture cannot be used: a reason and the words for it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def allow(formats: tuple[str, ...], max_pixels: int) -> tuple[str, ...]:
    """Prepare this process for some formats; returns Pillow's names of those that it has. Pillow also looks at the size of a
    picture inside another one, such as in an ICO, before it is decoded.
    """
    Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # an error from twice that on
    PngImagePlugin.MAX_TEXT_CHUNK = _LONGEST_TEXT
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the other cores have workers of their own
    if "heif" in formats:
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.register_heif_opener(thumbnails=False)
    return tuple(_NAMES[name] for name in formats if name not in MISSING)


def open_picture(data: bytes, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    """Open a picture without decoding it.

    Args:
        formats: Pillow's names of those that are taken.

    Raises:
        Refused: not a picture, a format that is not on the list, more than `max_pixels`, or a broken header.
    """
    try:
        picture: Image.Image = Image.open(BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise _unidentified(data, formats) from None
    except BROKEN as error:
        raise refused(error) from None
    check_size(*picture.size, max_pixels)
    _mend_clear(picture, data)
    # All of it is in memory: fed in pieces, as from a disk, it would be copied again and again.
    picture.decodermaxblock = max(len(data), _LEAST_BLOCK)  # type: ignore[attr-defined]
    return picture


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises Refused if a picture of this size has more than `max_pixels`."""
    if width * height > max_pixels:
        raise Refused(Reason.TOO_MANY_PIXELS, f"{width}x{height} is {width * height} pixels, {max_pixels} allowed")


def check_sum(frames: int, pixels: int, max_pixels: int) -> None:
    """Raises Refused if so many frames have more than `max_pixels` together."""
    if pixels > max_pixels:
        raise Refused(Reason.TOO_MANY_PIXELS, f"{frames} frames are {pixels} pixels, {max_pixels} allowed")


def decoded_part(data: bytes, format: str, max_pixels: int) -> Image.Image:
    """A frame of an animation that was made a file of its own, in RGBA.

    Raises:
        Refused: it is broken.
    """
    with open_picture(data, (format,), max_pixels) as picture:
        load(picture)
        try:
            return simple(picture, []).convert("RGBA")
        except BROKEN as error:
            raise refused(error) from None


def _mend_clear(picture: Image.Image, data: bytes) -> None:
    """Bring the clear colour of a PNG (tRNS) to the 8 bits to which Pillow brings the pixels, but not that colour."""
    clear = picture.info.get("transparency")
    if picture.format != "PNG" or clear is None or data[12:16] != b"IHDR":
        return
    depth, kind = data[24], data[25]  # PNG 3rd edition, 11.2.1
    if kind == 0 and depth in (2, 4) and isinstance(clear, int):
        picture.info["transparency"] = clear * 255 // ((1 << depth) - 1)
    elif kind == 2 and depth == 16 and isinstance(clear, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in clear)


def load(picture: Image.Image) -> None:
    """Decode the pixels.

    Raises:
        Refused: the data is cut off or broken.
        MemoryError: it needs more memory than the worker may take.
    """
    try:
        picture.load()
    except BROKEN as error:
        raise refused(error) from None


@contextmanager
def load_rest() -> Iterator[None]:
    """Within, what there is of a picture that is cut off is decoded, and the rest is blank."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def refused(error: Exception) -> Refused:
    """What an error of Pillow means."""
    if isinstance(error, Image.DecompressionBombError):
        told = re.search(r"\((\d+) pixels\)", str(error))
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return Refused(Reason.TOO_MANY_PIXELS, f"{told[1] if told else 'too many'} pixels, {most} allowed")
    return Refused(Reason.TRUNCATED if _cut_off(error) else Reason.DECODE, words(error))


def shrink_on_load(picture: Image.Image, size: tuple[int, int] | None, in_ycbcr: bool = False) -> None:
    """Let a JPEG be decoded at the smallest scale (1, 1/2, 1/4, 1/8) that still covers `size`; None for all of it.

    Args:
        in_ycbcr: leave its pixels as they are stored.
    """
    if picture.format in ("JPEG", "MPO"):
        picture.draft("YCbCr" if in_ycbcr else picture.mode, size)


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """How the picture must be turned to stand upright (EXIF orientation 2 to 8), None if it stands. What XMP says of it is
    not looked at, as in browsers.
    """
    try:
        if picture.format == "TIFF":
            return None  # Pillow turns these itself
        block = picture.info.get("exif")
        if not block:
            return None
        exif = Image.Exif()
        exif.load(block)
        return _TURN.get(exif.get(ORIENTATION, 1))
    except BROKEN:
        return None  # a broken EXIF block spoils no picture


def format_name(picture: Image.Image) -> str:
    """Our name of an opened picture's format. A JPEG that carries more pictures (MPO) is a JPEG."""
    theirs = picture.format or ""
    return _OURS.get(theirs) or theirs.lower()


def _unidentified(data: bytes, formats: tuple[str, ...]) -> Refused:
    known = sniff(data)
    ours = _OURS.get(known)
    if ours and _NAMES[ours] in formats:
        return Refused(Reason.DECODE, f"starts like {known}, but cannot be opened")
    if ours in MISSING:
        return Refused(Reason.UNSUPPORTED_FORMAT, f"{known} cannot be read: this Pillow is built without it")
    if known:
        taken = ", ".join(_OURS[name] for name in formats) or "none"
        return Refused(Reason.UNSUPPORTED_FORMAT, f"{known} is not among the formats that are taken: {taken}")
    return Refused(Reason.NOT_IMAGE, f"starts with {data[:24]!r}")


def _cut_off(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, EOFError) or "truncated" in text or "unexpected end" in text
