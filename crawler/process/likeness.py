"""What tells that two pictures are the same: a hash of the pixels, and one of the look."""

from __future__ import annotations

import hashlib
from math import cos, pi
from operator import mul

from PIL import Image

_SIDE = 32
LOOKED_AT = 2 * _SIDE
"""Pixels that a picture should have on each side, to be looked at."""
_LOW = 8
# One row for each of the eight lowest frequencies of a DCT-II over 32 samples.
_WAVES = [[cos(pi * u * (2 * x + 1) / (2 * _SIDE)) for x in range(_SIDE)] for u in range(_LOW)]


def pixel_hash(picture: Image.Image) -> int:
    """64 bits over size, mode and pixels (BLAKE2b), as a signed number. An alpha that hides nothing counts as none,
    and three equal channels as one.
    """
    if picture.mode in ("LA", "RGBA") and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert(picture.mode[:-1])
    if picture.mode == "RGB":
        red, green, blue = picture.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            picture = red
    found = hashlib.blake2b(picture.tobytes(), digest_size=8)
    found.update(f"{picture.mode} {picture.width} {picture.height}".encode())
    return int.from_bytes(found.digest(), "big", signed=True)


def look(picture: Image.Image, turn: Image.Transpose | None) -> int:
    """Perceptual hash of 64 bits: the picture as 32 x 32 grey levels, of their DCT the 8 x 8 lowest frequencies, each a
    bit that says whether it exceeds their median; row by row, the highest bit first. (Zauner, 2010; as `phash` of the
    package imagehash computes it, but for rounding.)
    """
    small = picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if turn is not None:
        small = small.transpose(turn)
    if small.mode in ("LA", "RGBA"):
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small.convert("RGBA"))
    levels = small.convert("L").tobytes()
    return dct_hash([levels[at : at + _SIDE] for at in range(0, _SIDE * _SIDE, _SIDE)])


def dct_hash(rows: list[bytes]) -> int:
    """The hash of 32 rows of 32 grey levels."""
    across = [[sum(map(mul, wave, row)) for wave in _WAVES] for row in rows]
    columns = list(zip(*across, strict=True))
    # Rounded: what is zero but for the last bit must not become a bit of the hash.
    found = [round(sum(map(mul, wave, column)), 3) for wave in _WAVES for column in columns]
    ranked = sorted(found)
    middle = (ranked[31] + ranked[32]) / 2
    bits = 0
    for value in found:
        bits = bits << 1 | (value > middle)
    return bits
