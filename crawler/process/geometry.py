"""How a picture of one size meets a box: CSS object-fit and sharp's names. Sizes only, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from crawler.picture_settings import Fit

Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

ANCHORS: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5), "north": (0.5, 0.0), "northeast": (1.0, 0.0), "east": (1.0, 0.5), "southeast": (1.0, 1.0),
    "south": (0.5, 1.0), "southwest": (0.0, 1.0), "west": (0.0, 0.5), "northwest": (0.0, 0.0),
}  # fmt: skip
"""Share of what `cover` cuts off that lies left of and above what it keeps."""

_T = Image.Transpose


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the upright picture.

    Attributes:
        crop: part of the source that is used; None for all of it.
        size: of that part after scaling.
        canvas: size of the result where it is larger than `size` (contain); None if they are the same.
    """

    size: Size
    crop: Box | None = None
    canvas: Size | None = None


def plan(source: Size, box: Size, fit: Fit, upscale: bool, anchor: tuple[float, float] = ANCHORS["center"]) -> Plan:
    """The plan for an upright picture of size `source`. Without `upscale` no side of the picture ever grows."""
    width, height = source
    if fit == "none":
        return Plan(source)
    if fit == "fill":
        return Plan(box if upscale else (min(box[0], width), min(box[1], height)))
    ratios = box[0] / width, box[1] / height
    scale = max(ratios) if fit in ("outside", "cover") else min(ratios)
    if not upscale:
        scale = min(scale, 1.0)
    scaled = max(1, round(width * scale)), max(1, round(height * scale))
    if fit == "cover":
        return _cover(source, scaled, box, scale, anchor)
    return Plan(scaled, canvas=box) if fit == "contain" and scaled != box else Plan(scaled)


def _cover(source: Size, scaled: Size, box: Size, scale: float, anchor: tuple[float, float]) -> Plan:
    """A part of the picture that is as large as the box."""
    size = min(box[0], scaled[0]), min(box[1], scaled[1])
    if size == scaled:
        return Plan(scaled)
    wide, high = min(size[0] / scale, source[0]), min(size[1] / scale, source[1])
    left, top = (source[0] - wide) * anchor[0], (source[1] - high) * anchor[1]
    return Plan(size, crop=(left, top, left + wide, top + high))


def swaps_sides(turn: Image.Transpose | None) -> bool:
    return turn in (_T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90)


def lying(size: Size, turn: Image.Transpose | None) -> Size:
    """A size of the upright picture as it lies in the file, or the other way round."""
    return size[::-1] if swaps_sides(turn) else size


def lying_box(box: Box, upright: Size, turn: Image.Transpose | None) -> Box:
    """A part of the upright picture as it lies in the file, before `turn`."""
    left, top, right, bottom = box
    width, height = upright
    if turn in (_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.TRANSVERSE, _T.ROTATE_270):
        left, right = width - right, width - left
    if turn in (_T.FLIP_TOP_BOTTOM, _T.ROTATE_180, _T.TRANSVERSE, _T.ROTATE_90):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if swaps_sides(turn) else (left, top, right, bottom)
