"""One picture through the whole change: turn upright, crop, scale, pad, and the mode that the output can hold."""

from __future__ import annotations

from PIL import Image

from crawler.model import Reason
from crawler.process.decode import Refused, load, shrink_on_load, swaps_sides, turn_of
from crawler.process.geometry import Plan, Size, plan
from crawler.settings import ProcessSettings

_FILTER = Image.Resampling.HAMMING
_MARGIN = 2.0
"""How much larger than its target a JPEG is decoded at least. Its own scaling is a box filter that aliases where the
result is near its size: 2.0 with HAMMING is closer to a full-size LANCZOS than 1.0 with LANCZOS, at the same cost
(benchmarks/README.md)."""
_GAP = 3.0
"""How much larger than its target any other picture may be before the filter: a cheap box filter does the rest."""
_WHITE: dict[str, float | tuple[float, ...]] = {
    "L": 255,
    "RGB": (255, 255, 255),
    "RGBA": (255, 255, 255, 0),
    "LA": (255, 0),
}


def transform(picture: Image.Image, settings: ProcessSettings) -> tuple[Image.Image, Size]:
    """Decode and change an opened picture as the settings say.

    Returns:
        The picture in mode L or RGB (LA or RGBA too where the output keeps transparency), and the upright size of the source.
    """
    turn = turn_of(picture)
    upright = picture.size[::-1] if swaps_sides(turn) else picture.size
    todo = plan(upright, settings.box, settings.fit, settings.upscale)
    width, height = todo.canvas or todo.size
    if width * height > settings.max_pixels:
        raise Refused(Reason.TOO_MANY_PIXELS, f"would be {width}x{height}, {settings.max_pixels} pixels allowed")
    if todo.size != upright:
        shrink_on_load(picture, _lying(_decoded_size(todo, upright), turn))
    load(picture)
    changed = _simple_mode(picture, keeps_alpha=settings.encode != "jpeg")
    changed = _scaled(changed, todo, upright, turn)
    if turn is not None:
        changed = changed.transpose(turn)
    return _padded(changed, todo), upright


def _decoded_size(todo: Plan, upright: Size) -> Size:
    """How large the whole source must be decoded so that the part we keep exceeds its target by the margin."""
    left, top, right, bottom = todo.crop or (0, 0, *upright)
    across, down = todo.size[0] / (right - left), todo.size[1] / (bottom - top)
    return round(upright[0] * across * _MARGIN), round(upright[1] * down * _MARGIN)


def _lying(size: Size, turn: Image.Transpose | None) -> Size:
    """A size of the upright picture as it lies in the file."""
    return size[::-1] if swaps_sides(turn) else size


def _scaled(picture: Image.Image, todo: Plan, upright: Size, turn: Image.Transpose | None) -> Image.Image:
    """Scale before turning: there are fewer pixels to turn afterwards."""
    size = _lying(todo.size, turn)
    if todo.crop is None:
        return picture if picture.size == size else picture.resize(size, _FILTER, reducing_gap=_GAP)
    left, top, right, bottom = todo.crop
    if swaps_sides(turn):  # the crop is in the middle, so turning it is swapping its sides
        left, top, right, bottom = top, left, bottom, right
    across = picture.width / (upright[1] if swaps_sides(turn) else upright[0])
    down = picture.height / (upright[0] if swaps_sides(turn) else upright[1])
    box = left * across, top * down, min(right * across, picture.width), min(bottom * down, picture.height)
    return picture.resize(size, _FILTER, box=box, reducing_gap=_GAP)


def _simple_mode(picture: Image.Image, keeps_alpha: bool) -> Image.Image:
    """The picture as L, RGB, LA or RGBA; transparency laid on white where the output cannot keep it."""
    mode = picture.mode
    if mode in ("L", "RGB") and "transparency" not in picture.info:
        return picture
    if mode.startswith(("I", "F")):
        return _eight_bits(picture)
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in picture.info:
        alpha = picture.convert("LA" if mode in ("LA", "La", "L") else "RGBA")
        return alpha if keeps_alpha else _flattened(alpha)
    return picture.convert("L" if mode in ("1", "L") else "RGB")


def _flattened(picture: Image.Image) -> Image.Image:
    mode = "L" if picture.mode == "LA" else "RGB"
    ground = Image.new(mode, picture.size, _WHITE[mode])
    ground.paste(picture.convert(mode), mask=picture.getchannel("A"))
    return ground


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits by its full range, so that it is neither clipped nor white; float by what it holds."""
    if picture.mode == "F":
        low, high = picture.getextrema()
        scale = 255.0 / (high - low) if high > low else 0.0  # type: ignore[operator]
        return picture.point(lambda value: value * scale - low * scale).convert("L")  # type: ignore[operator]
    return picture.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")


def _padded(picture: Image.Image, todo: Plan) -> Image.Image:
    if todo.canvas is None:
        return picture
    ground = Image.new(picture.mode, todo.canvas, _WHITE[picture.mode])
    ground.paste(picture, ((todo.canvas[0] - picture.width) // 2, (todo.canvas[1] - picture.height) // 2))
    return ground
