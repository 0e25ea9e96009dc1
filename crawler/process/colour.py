"""Decoded pixels to 8 bits a channel in sRGB, which every viewer shows alike: modes, bit depths, ICC profiles, CMYK."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

_LARGEST_PROFILE = 4_000_000
_MOST_TRANSFORMS = 32
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF 6.0

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""ICC.1:2022 7.2.6: colour space of a profile, as Pillow's mode."""

_cache = threading.local()  # a transform of LittleCMS is for one thread at a time

Transform = ImageCms.ImageCmsTransform | None


def simple(picture: Image.Image, notes: list[str]) -> Image.Image:
    """A decoded picture as L, LA, RGB or RGBA with 8 bits a channel. CMYK and the like become sRGB here; the others
    are still in the space of their profile.
    """
    mode = picture.mode
    if mode == "P" and picture.palette is None:
        return Image.frombytes("L", picture.size, picture.tobytes())  # numbers of a table that is not there
    if mode in ("L", "RGB") and "transparency" not in picture.info:
        return picture
    if mode.startswith(("I", "F")):
        return _eight_bits(picture)
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in picture.info:
        return picture.convert("LA" if mode in ("LA", "La", "L", "1") else "RGBA")
    if mode == "CMYK":
        return _from_cmyk(picture, notes)
    return picture.convert("L" if mode == "1" else "RGB")


def to_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """A simple picture from the space of its profile to sRGB (perceptual intent). A profile that cannot be used is
    ignored and noted.
    """
    transform = _transform(profile, "L" if picture.mode[0] == "L" else "RGB", notes) if profile else None
    if transform is None:
        return picture
    if picture.mode in ("L", "RGB"):
        return _applied(transform, picture)
    alpha = picture.getchannel("A")
    changed = _applied(transform, picture.convert(picture.mode[:-1]))
    changed.putalpha(alpha)
    return changed


def profile_of(picture: Image.Image) -> bytes | None:
    """The ICC profile that describes the pixels of `simple(picture)`; None if there is none."""
    profile = picture.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile and picture.mode not in ("CMYK", "LAB") else None


def is_grey(colour: tuple[int, ...]) -> bool:
    return colour[0] == colour[1] == colour[2]


def flattened(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Transparency laid on a colour."""
    mode = "L" if picture.mode == "LA" and is_grey(background) else "RGB"
    ground = Image.new(mode, picture.size, background[0] if mode == "L" else background)
    ground.paste(picture.convert(mode), mask=picture.getchannel("A"))
    return ground


def _applied(transform: ImageCms.ImageCmsTransform, picture: Image.Image) -> Image.Image:
    changed = transform.apply(picture)
    return changed.getchannel("G") if picture.mode == "L" else changed


def _from_cmyk(picture: Image.Image, notes: list[str]) -> Image.Image:
    profile = picture.info.get("icc_profile")
    transform = _transform(profile, "CMYK", notes) if isinstance(profile, bytes) and profile else None
    return picture.convert("RGB") if transform is None else transform.apply(picture)


def _transform(profile: bytes, mode: str, notes: list[str]) -> Transform:
    """The way from a profile to sRGB; None if there is nothing to do or the profile is of no use."""
    if len(profile) > _LARGEST_PROFILE:
        notes.append(f"ICC profile of {len(profile)} bytes ignored")
        return None
    known: OrderedDict[tuple[bytes, str], tuple[Transform, str]] | None = getattr(_cache, "transforms", None)
    if known is None:
        known = _cache.transforms = OrderedDict()
    key = hashlib.blake2b(profile, digest_size=16).digest(), mode
    if key not in known:
        known[key] = _made(profile, mode)
        if len(known) > _MOST_TRANSFORMS:
            known.popitem(last=False)
    known.move_to_end(key)
    transform, trouble = known[key]
    if trouble:
        notes.append(trouble)
    return transform


def _made(profile: bytes, mode: str) -> tuple[Transform, str]:
    """A transform, or why there is none; neither if the profile is sRGB but for rounding."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = _SPACES.get(source.profile.xcolor_space, source.profile.xcolor_space.strip())
        if space != mode:
            return None, f"ICC profile of {space} ignored: the picture is {mode}"
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
        return (None, "") if mode != "CMYK" and _does_nothing(transform, mode) else (transform, "")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return None, f"broken ICC profile ignored: {' '.join(str(error).split())[:100]}"


def _does_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """True if the colours of a coarse grid change by one level at most: most profiles are sRGB under some name."""
    steps = bytes(range(0, 256, 15))
    if mode == "L":
        grid = Image.frombytes("L", (len(steps), 1), steps)
    else:
        colours = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
        grid = Image.frombytes("RGB", (len(steps), len(steps) ** 2), colours)
    changes = ImageChops.difference(transform.apply(grid), grid.convert("RGB")).getextrema()
    return all(most <= 1 for _, most in changes)  # type: ignore[misc]


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits by its full range, so that it is neither clipped nor white; what has no range of its own
    (32 bits, signed, float) by what it holds.
    """
    clear = picture.info.get("transparency")
    if picture.mode == "F":
        return _stretched(picture)
    grey = picture.convert("I")
    low, high = _extrema(grey)
    if low < 0 or high > 0xFFFF:
        return _stretched(grey)
    scale = 255 / ((1 << _depth(picture)) - 1)
    result = grey.point(lambda value: value * scale + 0.5).convert("L")
    if getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white is zero
        result = ImageChops.invert(result)
    if isinstance(clear, int):
        result.putalpha(ImageChops.invert(_equal(grey, clear)))
    return result


def _depth(picture: Image.Image) -> int:
    """Bits of a grey sample: 16 but for a TIFF that says less (12 bits are common)."""
    bits = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    first = bits[0] if isinstance(bits, tuple) and bits else bits
    return first if isinstance(first, int) and 8 < first < 16 else 16


def _stretched(picture: Image.Image) -> Image.Image:
    low, high = _extrema(picture)
    scale = 255.0 / (high - low) if high > low else 0.0
    if picture.mode == "I":
        picture = picture.convert("F")
    return picture.point(lambda value: value * scale - low * scale).convert("L")


def _extrema(picture: Image.Image) -> tuple[float, float]:
    low, high = picture.getextrema()
    return low, high  # type: ignore[return-value]


def _equal(grey: Image.Image, value: int) -> Image.Image:
    """255 where a picture of mode I has this value, 0 elsewhere."""
    near = grey.point(lambda one: one * 1 - value)  # 0 where it is equal
    beyond = ImageChops.lighter(near.convert("L"), near.point(lambda one: one * -1).convert("L"))
    return beyond.point([255] + [0] * 255)
