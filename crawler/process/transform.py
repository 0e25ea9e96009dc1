"""A decoded frame to a picture of the size that is wanted: crop, scale, turn upright, sRGB, background, padding."""

from __future__ import annotations

from PIL import Image, ImageColor

from crawler.model import Reason
from crawler.picture_settings import Output, ProcessSettings
from crawler.process import planes
from crawler.process.colour import flattened, is_grey, to_srgb
from crawler.process.decode import SIMD, Refused
from crawler.process.geometry import ANCHORS, Box, Plan, Size, lying, lying_box, plan

_MARGIN = 2.0
"""How much larger than its target a JPEG is decoded at least. Its own scaling is a box filter that aliases where the
result is near its size: 2.0 with HAMMING is closer to a full-size LANCZOS than 1.0 with LANCZOS, at the same cost
(benchmarks/README.md)."""
_GAP, _GAP_BY_NAME = 2.0, 3.0
"""How much larger than its target any other picture may be before the filter: a cheap box filter does the rest. A filter that
was asked for by name does more of it itself.
"""
_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC, "hamming": Image.Resampling.HAMMING,
    "bilinear": Image.Resampling.BILINEAR, "box": Image.Resampling.BOX, "nearest": Image.Resampling.NEAREST,
}  # fmt: skip
_LONGEST_SIDE = {"webp": 16_383, "jpeg": 65_500, "gif": 65_535, "avif": 65_535}
"""Pixels that the format, or its encoder, can hold."""
_LOOKED_AT = 256
"""Longest side, in pixels, of the picture in which the busiest part is looked for."""
_STEPS = 24


def planned(upright: Size, output: Output, settings: ProcessSettings, frames: int = 1) -> Plan:
    """The plan for an output of some frames.

    Raises:
        Refused: the result would have more pixels than are allowed.
    """
    anchor = ANCHORS.get(settings.gravity, ANCHORS["center"])
    todo = plan(upright, output.box, output.fit, settings.upscale, anchor)
    width, height = todo.canvas or todo.size
    most = _LONGEST_SIDE.get(output.encode, max(width, height))
    if max(width, height) > most:
        raise Refused(Reason.TOO_MANY_PIXELS, f"would be {width}x{height}, {output.encode} has sides up to {most}")
    if width * height * frames > settings.max_pixels:
        told = f"{frames} frames of {width}x{height}" if frames > 1 else f"{width}x{height}"
        raise Refused(Reason.TOO_MANY_PIXELS, f"would be {told}, {settings.max_pixels} pixels allowed")
    return todo


def size_to_decode(
    plans: list[Plan], upright: Size, turn: Image.Transpose | None, margin: float = _MARGIN
) -> Size | None:
    """How large the source must be decoded at least, as it lies, so that the largest output is made from enough pixels;
    None if it must be whole.

    Args:
        margin: how much larger than its target it is decoded at least.
    """
    across = down = 0.0
    for todo in plans:
        left, top, right, bottom = todo.crop or (0, 0, *upright)
        across = max(across, todo.size[0] / (right - left))
        down = max(down, todo.size[1] / (bottom - top))
    if across * margin > 1 or down * margin > 1:
        return None
    return lying((round(upright[0] * across * margin), round(upright[1] * down * margin)), turn)


def rendered(
    picture: Image.Image,
    todo: Plan,
    upright: Size,
    turn: Image.Transpose | None,
    profile: bytes | None,
    output: Output,
    settings: ProcessSettings,
    notes: list[str],
) -> Image.Image:
    """One output of a simple picture (L, LA, RGB, RGBA; YCbCr where `planes` suits), as it lies in the file, perhaps
    decoded smaller than `upright`.

    Args:
        profile: ICC profile of its pixels, None for sRGB or where they stay as they are.
    """
    changed = _scaled(picture, todo, upright, turn, settings)
    if turn is not None:
        changed = changed.transpose(turn)
    if profile is not None:
        changed = to_srgb(changed, profile, notes)
    if changed.mode in ("LA", "RGBA") and output.encode == "jpeg":
        changed = flattened(changed, background_of(settings))
    if settings.mode == "rgb" and changed.mode in ("L", "LA"):
        changed = changed.convert("RGB" if changed.mode == "L" else "RGBA")
    return changed if todo.canvas is None else _padded(changed, todo.canvas, background_of(settings))


def busiest(picture: Image.Image, todo: Plan, upright: Size, turn: Image.Transpose | None) -> Plan:
    """The same plan for the part of the picture in which most is to be seen: whose grey levels have the most entropy."""
    if todo.crop is None:
        return todo
    scale = min(1.0, _LOOKED_AT / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = picture.convert("RGB").convert("L") if picture.mode not in ("L", "RGB") else picture.convert("L")
    small = small.resize(size, Image.Resampling.BOX)
    if turn is not None:
        small = small.transpose(turn)
    left, top, right, bottom = todo.crop
    room = upright[0] - (right - left), upright[1] - (bottom - top)
    across, down = small.width / upright[0], small.height / upright[1]
    best: tuple[float, float, Box] | None = None
    for step in range(_STEPS + 1):
        share = step / _STEPS
        x, y = room[0] * share, room[1] * share
        box = x, y, x + right - left, y + bottom - top
        part = small.crop((round(x * across), round(y * down), round(box[2] * across), round(box[3] * down)))
        found = part.entropy() if part.width and part.height else 0.0, -abs(share - 0.5), box
        if best is None or found[:2] > best[:2]:  # the middle where nothing tells them apart
            best = found
    assert best is not None
    return Plan(todo.size, best[2], todo.canvas)


def _scaled(
    picture: Image.Image, todo: Plan, upright: Size, turn: Image.Transpose | None, settings: ProcessSettings
) -> Image.Image:
    """Scale before turning: there are fewer pixels to turn afterwards. Pillow resizes premultiplied where there is alpha."""
    size, box = lying(todo.size, turn), None
    if todo.crop is not None:
        left, top, right, bottom = lying_box(todo.crop, upright, turn)
        wide, high = lying(upright, turn)
        across, down = picture.width / wide, picture.height / high
        box = left * across, top * down, min(right * across, picture.width), min(bottom * down, picture.height)
    elif picture.size == size:
        return picture
    if picture.mode == "YCbCr":
        return planes.scaled(picture, size, box, settings.subsampling)
    gap = _GAP if settings.filter == "auto" else _GAP_BY_NAME
    return picture.resize(size, _filter(settings.filter, todo, upright), box, reducing_gap=gap)


def _filter(name: str, todo: Plan, upright: Size) -> Image.Resampling:
    if name != "auto":
        return _FILTERS[name]
    left, top, right, bottom = todo.crop or (0, 0, *upright)
    grows = todo.size[0] > right - left or todo.size[1] > bottom - top
    if grows:
        return Image.Resampling.LANCZOS
    return Image.Resampling.BICUBIC if SIMD else Image.Resampling.HAMMING


def background_of(settings: ProcessSettings) -> tuple[int, int, int]:
    """The colour behind everything, as red, green and blue."""
    if settings.background == "white":
        return 255, 255, 255
    return ImageColor.getrgb(settings.background)[:3]


def _padded(picture: Image.Image, canvas: Size, background: tuple[int, int, int]) -> Image.Image:
    if picture.mode == "L" and not is_grey(background):
        picture = picture.convert("RGB")
    clear = picture.mode in ("LA", "RGBA")
    colour = (*background[-len(picture.mode) + 1 :], 0) if clear else background[: len(picture.mode)]
    ground = Image.new(picture.mode, canvas, colour)
    ground.paste(picture, ((canvas[0] - picture.width) // 2, (canvas[1] - picture.height) // 2))
    return ground
