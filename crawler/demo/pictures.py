"""Turns a seed into a catalogue of pictures in the formats, modes and sizes that a crawl of the web meets.

One rule: the same seed gives the same bytes, so a rerun of the demo can be compared with the run before.
"""

import colorsys
import io
import math
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial, reduce

from PIL import Image, ImageDraw, ImageOps

Size = tuple[int, int]
Colour = tuple[int, int, int]

ORIENTATION = 0x0112  # the EXIF tag
SEED = 1

_SIDE = 1536  # pixels along a base texture
_DRAWN = 1_500_000  # pixels at most while drawing; a larger picture is scaled up at the end, much cheaper


@dataclass(frozen=True, slots=True)
class Specimen:
    """One row of the catalogue. Width and height are those of the upright picture, after the EXIF turn."""

    path: str
    content_type: str
    body: bytes = field(repr=False)
    shows: str
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a picture is written."""

    format: str
    mode: str
    suffix: str
    options: dict[str, int | bool]


@dataclass(frozen=True, slots=True)
class _Order:
    """A picture still to be made."""

    kind: str
    size: Size
    orientation: int = 1


# PNG level 1 and WebP method 1: the demo should start quickly, and nobody pays for its bytes.
_KINDS = {
    "photo": _Kind("JPEG", "RGB", "jpg", {"quality": 88}),
    "progressive": _Kind("JPEG", "RGB", "jpg", {"quality": 85, "progressive": True}),
    "grey": _Kind("JPEG", "L", "jpg", {"quality": 88}),
    "cmyk": _Kind("JPEG", "CMYK", "jpg", {"quality": 85}),
    "lossless": _Kind("PNG", "RGB", "png", {"compress_level": 1}),
    "cutout": _Kind("PNG", "RGBA", "png", {"compress_level": 1}),
    "palette": _Kind("PNG", "P", "png", {"compress_level": 1}),
    "webp": _Kind("WEBP", "RGB", "webp", {"quality": 82, "method": 1}),
    "gif": _Kind("GIF", "P", "gif", {}),
}

_PHOTO_SIZES: tuple[Size, ...] = (
    (640, 480), (800, 600), (1280, 853), (480, 640), (64, 64), (1024, 768), (1200, 800),
    (600, 900), (1600, 1200), (256, 256), (1080, 1080), (960, 540), (1440, 960),
)  # fmt: skip

# kind, how many, the sizes taken in turn
_PLAN: tuple[tuple[str, int, tuple[Size, ...]], ...] = (
    ("photo", 41, _PHOTO_SIZES),
    ("progressive", 2, ((2000, 3000),)),
    ("progressive", 6, ((1280, 853), (800, 600), (900, 1350))),
    ("grey", 1, ((1024, 768),)),
    ("cmyk", 1, ((1200, 800),)),
    ("lossless", 4, ((640, 480), (320, 320))),
    ("cutout", 3, ((512, 512), (640, 480), (64, 64))),
    ("palette", 3, ((640, 480), (400, 300), (128, 128))),
    ("webp", 8, ((800, 600), (1024, 768), (480, 640), (320, 240))),
    ("gif", 4, ((480, 360), (320, 240), (64, 64), (200, 300))),
)

_TURNED: tuple[int, ...] = (2, 3, 4, 5, 6, 6, 7, 8)

# What makes an upright picture need the given orientation. 6 and 8 undo each other, the rest themselves.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def catalogue(seed: int = SEED) -> tuple[Specimen, ...]:
    """Make the 81 good pictures, in a fixed mixed order."""
    orders = list(_orders())
    random.Random(seed).shuffle(orders)
    _textures()  # once here, not once in every thread
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return tuple(pool.map(_make, orders, range(1, len(orders) + 1), [seed] * len(orders)))


def photo(name: int | str, width: int, height: int) -> bytes:
    """JPEG bytes of exactly width x height pixels; every number or name gives another picture."""
    picture = scene(f"photo {name}", width, height)
    # The comment keeps the bytes different where a picture is too small to differ, say one grey pixel.
    return _encoded(picture, _KINDS["photo"], comment=f"picture {name}".encode())


def truncated(whole: Specimen, path: str) -> Specimen:
    """The same file under another path, cut at 60% of its bytes."""
    body = whole.body[: len(whole.body) * 6 // 10]
    return replace(whole, path=path, body=body, shows=f"{whole.shows}, cut at 60%")


def scene(seed: str, width: int, height: int) -> Image.Image:
    """Draw an upright RGB landscape, light at the top, of exactly this size."""
    rng = random.Random(seed)
    shrink = min(1.0, math.sqrt(_DRAWN / (width * height)))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    picture = _sky(rng, size)
    hue = rng.random()
    for horizon, light in ((0.45, 0.75), (0.65, 0.5)):
        picture.paste(_ground(rng, size, hue, light), mask=_hills(rng, size, horizon))
    _scatter(rng, picture)
    return picture if size == (width, height) else picture.resize((width, height), Image.Resampling.BICUBIC)


def _orders() -> Iterator[_Order]:
    for kind, count, sizes in _PLAN:
        for i in range(count):
            yield _Order(kind, sizes[i % len(sizes)])
    for orientation in _TURNED:
        yield _Order("photo", (800, 600), orientation)


def _make(order: _Order, number: int, seed: int) -> Specimen:
    kind = _KINDS[order.kind]
    width, height = order.size
    picture = _in_mode(scene(f"{seed} {number}", width, height), kind.mode)
    return Specimen(
        path=f"/pictures/{number:02}-{order.kind}.{kind.suffix}",
        content_type=f"image/{kind.format.lower()}",
        body=_turned(picture, order.orientation, kind),
        shows=_caption(order, kind),
        width=width,
        height=height,
        format=kind.format,
        mode=kind.mode,
        orientation=order.orientation,
    )


def _caption(order: _Order, kind: _Kind) -> str:
    width, height = order.size
    turn = f", turned by EXIF {order.orientation}" if order.orientation > 1 else ""
    return f"{order.kind}: {kind.format} {kind.mode} {width}x{height}{turn}"


def _turned(picture: Image.Image, orientation: int, kind: _Kind) -> bytes:
    if orientation == 1:
        return _encoded(picture, kind)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return _encoded(picture.transpose(_TURNS[orientation]), kind, exif=exif.tobytes())


def _encoded(picture: Image.Image, kind: _Kind, **extra: bytes) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind.format, **kind.options, **extra)
    return out.getvalue()


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if mode == "RGBA":
        # clear in the corners, solid in the middle, every step between
        picture.putalpha(ImageOps.invert(Image.radial_gradient("L")).resize(picture.size))
        return picture
    if mode == "P":
        return picture.quantize(128, Image.Quantize.FASTOCTREE)
    return picture if mode == "RGB" else picture.convert(mode)


@cache
def _textures() -> tuple[Image.Image, Image.Image, Image.Image]:
    """Clouds, meadow and rock: every picture is cropped from these and coloured, as noise is slow to make."""
    rng = random.Random(SEED)
    return _noise(rng, (48, 12, 5)), _noise(rng, (768, 192, 32, 6)), _noise(rng, (1536, 384, 96, 12))


def _noise(rng: random.Random, grid: tuple[int, ...]) -> Image.Image:
    """Random values on several grids, fine to coarse, blended so that the coarser weigh more, as outdoors."""
    layers = [Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells)) for cells in grid]
    scaled = [layer.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for layer in layers]
    return ImageOps.autocontrast(reduce(partial(Image.blend, alpha=0.55), scaled), cutoff=1)


def _patch(rng: random.Random, texture: Image.Image, size: Size) -> Image.Image:
    """A random part of a texture in the wanted size: cropped where it fits, else scaled up."""
    shrink = min(1.0, _SIDE / max(size))
    width, height = (max(1, int(side * shrink)) for side in size)
    left, top = rng.randint(0, _SIDE - width), rng.randint(0, _SIDE - height)
    return texture.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _sky(rng: random.Random, size: Size) -> Image.Image:
    clouds = _patch(rng, _textures()[0], size)
    fade = ImageOps.flip(Image.linear_gradient("L")).resize(size)
    hue = rng.random()
    dark, middle = _colour(hue, 0.6, 0.6), _colour(hue + 0.04, 0.35, 0.9)
    return ImageOps.colorize(Image.blend(clouds, fade, 0.45), dark, _colour(hue + 0.1, 0.06, 1), middle)


def _ground(rng: random.Random, size: Size, hue: float, light: float) -> Image.Image:
    grain = _patch(rng, _textures()[rng.choice((1, 2))], size)
    hue += rng.uniform(-0.08, 0.08)
    dark, middle = _colour(hue, 0.7, 0.08), _colour(hue, 0.55, light / 2)
    return ImageOps.colorize(grain, dark, _colour(hue + 0.06, 0.4, light), middle)


def _hills(rng: random.Random, size: Size, horizon: float) -> Image.Image:
    """A mask: everything below a wavering line."""
    width, height = size
    steps = 24
    line: list[tuple[float, float]] = []
    level = horizon
    for i in range(steps + 1):
        line.append((i * width / steps, level * height))
        level = min(0.9, max(horizon - 0.15, level + rng.uniform(-0.04, 0.04)))
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(0, height), *line, (width, height)], fill=255)
    return mask


def _scatter(rng: random.Random, picture: Image.Image) -> None:
    """A sun in the sky, stones and huts on the ground: hard edges, which noise has none of."""
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    sun = rng.uniform(0.1, 0.9) * width, 0.15 * height
    _blob(draw, *sun, 0.06 * min(width, height), _colour(0.13, 0.2, 1))
    for _ in range(rng.randint(4, 12)):
        x, y = rng.uniform(0, width), rng.uniform(0.65, 0.98) * height
        reach = rng.uniform(0.01, 0.05) * min(width, height)
        colour = _colour(rng.random(), 0.5, rng.uniform(0.1, 0.6))
        if rng.random() < 0.5:
            _blob(draw, x, y, reach, colour)
        else:
            draw.polygon([(x - reach, y), (x, y - 2 * reach), (x + reach, y)], fill=colour)


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float, reach: float, colour: Colour) -> None:
    draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
