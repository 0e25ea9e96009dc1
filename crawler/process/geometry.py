"""How a picture of one size meets a box: CSS object-fit and sharp's names. Sizes only, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from crawler.settings import Fit

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the upright picture.

    Attributes:
        crop: left, top, right, bottom in pixels of the source; None for all of it.
        size: of that part after scaling.
        canvas: size of the result where it is larger than `size` (contain); None if they are the same.
    """

    size: Size
    crop: tuple[float, float, float, float] | None = None
    canvas: Size | None = None


def plan(source: Size, box: Size, fit: Fit, upscale: bool) -> Plan:
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
        return _cover(source, scaled, box, scale)
    return Plan(scaled, canvas=box) if fit == "contain" and scaled != box else Plan(scaled)


def _cover(source: Size, scaled: Size, box: Size, scale: float) -> Plan:
    """The middle of the picture, as large as the box."""
    size = min(box[0], scaled[0]), min(box[1], scaled[1])
    if size == scaled:
        return Plan(scaled)
    wide, high = min(size[0] / scale, source[0]), min(size[1] / scale, source[1])
    left, top = (source[0] - wide) / 2, (source[1] - high) / 2
    return Plan(size, crop=(left, top, left + wide, top + high))
