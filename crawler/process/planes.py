"""JPEG to JPEG without leaving YCbCr: the luma is scaled with a good filter, the colours only to the size at which the
output holds them. That is closer to a full-size LANCZOS than scaling red, green and blue with a cheap one, at the same cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageFile

from crawler.picture_settings import Output, ProcessSettings, Subsampling
from crawler.process.colour import profile_of
from crawler.process.decode import SIMD
from crawler.process.geometry import Box, Plan, Size

MARGIN = 1.5
"""How much larger than its target the source is decoded at least: libjpeg's own scaling aliases where the result is near
its size. 1.5 with BICUBIC is as close to a full-size LANCZOS as a full-size box filter (benchmarks/README.md)."""
_LUMA, _COLOURS = Image.Resampling.BICUBIC, Image.Resampling.BOX
_GAP = 3.0
_RGB = [ord(letter) for letter in "RGB"]
_HALVED: dict[Subsampling, tuple[int, int]] = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}


def suits(picture: Image.Image, settings: ProcessSettings) -> bool:
    """True if what is made of an opened picture by these settings can be made in YCbCr, as far as the source goes."""
    return (
        not SIMD
        and not ImageFile.LOAD_TRUNCATED_IMAGES  # what is missing would be green
        and picture.format in ("JPEG", "MPO")
        and picture.mode == "RGB"
        and settings.filter == "auto"
        and settings.gravity != "entropy"
        and profile_of(picture) is None
        and _is_ycbcr(picture)
    )


def fits(outputs: Sequence[Output], plans: Sequence[Plan], upright: Size) -> bool:
    """The same, as far as the outputs go: JPEGs that are not larger than their part of the source, with nothing around."""
    return all(
        output.encode == "jpeg" and todo.canvas is None and not _grows(todo, upright)
        for output, todo in zip(outputs, plans, strict=True)
    )


def scaled(picture: Image.Image, size: Size, box: Box | None, subsampling: Subsampling) -> Image.Image:
    """A decoded YCbCr picture, or the part of it in `box`, at another size."""
    if box is None and picture.size == size:
        return picture
    luma = picture.getchannel("Y").resize(size, _LUMA, box, reducing_gap=_GAP)
    # Where a side is odd, its last pixel would stand half a colour off: there colours keep all of it.
    small = tuple(side // by if side % by == 0 else side for side, by in zip(size, _HALVED[subsampling], strict=True))
    colours = picture.resize((small[0], small[1]), _COLOURS, box, reducing_gap=1.0)
    blue, red = (colours.getchannel(name).resize(size, Image.Resampling.NEAREST) for name in ("Cb", "Cr"))
    return Image.merge("YCbCr", (luma, blue, red))


def _is_ycbcr(picture: Image.Image) -> bool:
    """What libjpeg takes three components for (its default_decompress_parms): JFIF says so, else Adobe's marker tells,
    else their names.
    """
    info = picture.info
    if "jfif" in info:
        return True
    if "adobe" in info:
        return info.get("adobe_transform") != 0
    return [layer[0] for layer in getattr(picture, "layer", ())] != _RGB


def _grows(todo: Plan, upright: Size) -> bool:
    left, top, right, bottom = todo.crop or (0, 0, *upright)
    return todo.size[0] > right - left or todo.size[1] > bottom - top
