"""Frames of an animation, and pages of a TIFF: how many there are, and each as a viewer shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import calcsize, unpack_from
from struct import error as StructError  # noqa: N812

from PIL import GifImagePlugin, Image, ImageFile

from crawler.process import apng, gif
from crawler.process.decode import BROKEN, Refused, check_sum, load, refused
from crawler.process.headers import check_tiff

_TIMED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames follow each other in time. Of the others only a TIFF has pages that are pictures of their own: the
pictures of an ICO or MPO are sizes and views of one.
"""
_MOST_PAGES = 65_536
_MOST_PLAYS = 65_535  # as many as a WebP can be told


@dataclass(frozen=True, slots=True)
class Timing:
    """How an animation plays: milliseconds for each frame, and how often (0: for ever)."""

    durations: list[int]
    plays: int


def count_frames(picture: Image.Image, body: bytes) -> int:
    """How many frames a viewer shows; 1 for a still picture, and for one whose later frames cannot be found."""
    if picture.format == "TIFF":
        return _count_pages(body)
    if picture.format not in _TIMED:
        return 1
    try:
        if not getattr(picture, "is_animated", False):
            return 1
        # The default image of an APNG may be no part of its animation (PNG 3rd edition, 4.9).
        return max(1, getattr(picture, "n_frames", 1) - bool(getattr(picture, "default_image", False)))
    except BROKEN:
        _seek(picture, 0)
        return 1


def is_timed(picture: Image.Image) -> bool:
    return picture.format in _TIMED


def frames_of(
    picture: Image.Image, body: bytes, count: int, most_pixels: int, animated: bool
) -> Iterator[tuple[Image.Image, int]]:
    """The first `count` frames one after the other, decoded, each with the milliseconds it is shown. A frame is whole, and
    gone when the next one comes.

    Args:
        animated: more than one would be taken; of a PNG with one frame and a default image that is the frame.

    Raises:
        Refused: one of them is broken, or all together have more than `most_pixels`.
    """
    compose = apng.composed if picture.format == "PNG" else gif.composed
    aside = animated and bool(getattr(picture, "default_image", False))
    if (picture.format in ("PNG", "GIF") and count > 1) or aside or _leaves_some_clear(picture):
        for frame, milliseconds in compose(body, picture.size, count, most_pixels):
            yield _without_alpha(frame), milliseconds
        return
    pixels = 0
    for number in range(count):
        if number:
            try:
                _seek(picture, number)
            except Refused:
                if ImageFile.LOAD_TRUNCATED_IMAGES:
                    return
                raise
            check_tiff(picture, most_pixels)
        pixels += picture.width * picture.height
        check_sum(number + 1, pixels, most_pixels)
        load(picture)
        yield picture, _duration(picture)


def plays_of(picture: Image.Image) -> int:
    """How often the animation is played; 0 is for ever."""
    told = picture.info.get("loop")
    if picture.format == "GIF":  # the extension counts the repeats; without it there are none
        return 1 if told is None else 0 if told == 0 else told + 1
    return min(told, _MOST_PLAYS) if isinstance(told, int) else 0


def _count_pages(body: bytes) -> int:
    """TIFF 6.0, 2: each directory tells where the next one is. Pillow takes longer with each page."""
    order = "<" if body[:2] == b"II" else ">"
    big = unpack_from(f"{order}H", body, 2)[0] == 43  # BigTIFF
    count_form, entry, offset_form = (f"{order}Q", 20, f"{order}Q") if big else (f"{order}H", 12, f"{order}I")
    seen: set[int] = set()
    try:
        at = unpack_from(offset_form, body, 8 if big else 4)[0]
        while 0 < at < len(body) and at not in seen and len(seen) < _MOST_PAGES:
            (count,) = unpack_from(count_form, body, at)
            after = at + calcsize(count_form) + count * entry
            if after > len(body):
                break
            (following,) = unpack_from(offset_form, body, after)
            seen.add(at)
            at = following
    except StructError:
        pass  # what is cut off is not counted
    return max(1, len(seen))


def _leaves_some_clear(picture: Image.Image) -> bool:
    """True for a GIF whose first frame is smaller than its canvas. Once it is decoded that cannot be told."""
    if not isinstance(picture, GifImagePlugin.GifImageFile) or not picture.tile:
        return False
    return picture.tile[0].extents not in (None, (0, 0, *picture.size))


def _without_alpha(frame: Image.Image) -> Image.Image:
    return frame.convert("RGB") if frame.getchannel("A").getextrema() == (255, 255) else frame


def _seek(picture: Image.Image, number: int) -> None:
    try:
        picture.seek(number)
    except BROKEN as error:
        raise refused(error) from None


def _duration(picture: Image.Image) -> int:
    told = picture.info.get("duration") or 0
    return max(0, round(told)) if isinstance(told, int | float) else 0
