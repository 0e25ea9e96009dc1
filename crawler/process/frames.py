"""Frames of an animation, and pages of a TIFF: how many there are, and each as a viewer shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import GifImagePlugin, Image

from crawler.model import Reason
from crawler.process.apng import composed
from crawler.process.decode import BROKEN, Refused, load, refused

_TIMED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames follow each other in time. Of the others only a TIFF has pages that are pictures of their own: the
pictures of an ICO or MPO are sizes and views of one.
"""
_LONGEST = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Timing:
    """How an animation plays: milliseconds for each frame, and how often (0: for ever)."""

    durations: list[int]
    plays: int


def count_frames(picture: Image.Image) -> int:
    """How many frames a viewer shows; 1 for a still picture, and for one whose later frames cannot be found."""
    if picture.format not in _TIMED and picture.format != "TIFF":
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


def frames_of(picture: Image.Image, body: bytes, count: int, most_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """The first `count` frames one after the other, decoded, each with the milliseconds it is shown. A frame is whole, and
    gone when the next one comes.

    Raises:
        Refused: one of them is broken, or all together have more than `most_pixels`.
    """
    if picture.format == "PNG" and count > 1:
        yield from composed(body, picture.size, count)
        return
    pixels = 0
    for number in range(count):
        if number:
            if isinstance(picture, GifImagePlugin.GifImageFile):
                picture.disposal_method = 0  # what a frame does not say is not what the one before it said
            _seek(picture, number)
        pixels += picture.width * picture.height
        if pixels > most_pixels:
            raise Refused(Reason.TOO_MANY_PIXELS, f"{number + 1} frames are {pixels} pixels, {most_pixels} allowed")
        load(picture)
        yield picture, _duration(picture)


def plays_of(picture: Image.Image) -> int:
    """How often the animation is played; 0 is for ever."""
    told = picture.info.get("loop")
    if picture.format == "GIF":  # the extension counts the repeats; without it there are none
        return 1 if told is None else 0 if told == 0 else told + 1
    return told if isinstance(told, int) else 0


def _seek(picture: Image.Image, number: int) -> None:
    try:
        picture.seek(number)
    except BROKEN as error:
        raise refused(error) from None


def _duration(picture: Image.Image) -> int:
    told = picture.info.get("duration") or 0
    return max(0, min(round(told), _LONGEST)) if isinstance(told, int | float) else 0
