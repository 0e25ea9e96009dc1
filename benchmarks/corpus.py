"""Sample photographs shipped with scikit-image and scikit-learn -> a folder of varied pictures.

Nothing is downloaded, and the same seed on the same library versions gives the same bytes.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import math
import multiprocessing
import os
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# Raised whenever a change below alters the bytes, so that a cached folder is built again.
RECIPE = 1
MANIFEST = "manifest.json"
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}

# One block of the corpus: 80% JPEG; PNG is rare because each weighs as much as three JPEGs.
BLOCK = ("JPEG",) * 16 + ("WEBP",) * 2 + ("PNG", "GIF")
SHAPES = ((4, 3), (4, 3), (3, 2), (3, 2), (16, 9), (1, 1), (3, 4), (2, 3))
SMALLEST_SIDE, SMALLEST_AREA, LARGEST_AREA = 480, 640 * 480, 2000 * 3000
LONGEST_SIDE = 3000
# Areas are spread between the two bounds with most near the lower; this exponent sets the mean bytes.
SMALL_BIAS = 3.0
PHOTOGRAPH_SIZE = (2000, 3000)
PHOTOGRAPH_BYTES = (700_000, 1_000_000)

# Where the photographs lie inside each installed package. Drawings and masks are left out.
SOURCES = {
    "skimage": (
        "data",
        """
        astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png
        hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png motorcycle_right.png retina.jpg
        rocket.jpg
        """,
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}


@dataclass(frozen=True, slots=True)
class Made:
    """One file of a corpus folder."""

    name: str
    format: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker needs to make one file: `spread` in [0, 1) places its area between the bounds."""

    folder: str
    seed: int
    index: int
    format: str
    spread: float


def default_root() -> Path:
    """`$CRAWLER_BENCH`, or `bench-data` in the current folder."""
    return Path(os.environ.get("CRAWLER_BENCH") or "bench-data")


def mixed(count: int = 2000, root: Path | None = None, seed: int = 1) -> Path:
    """Folder of `count` unlike pictures of mean size near 160 KB, built on the first call."""
    folder = (root or default_root()) / "mixed"
    return _cached(folder, count, seed, make_mixed, lambda: _mixed_orders(folder, count, seed))


def photographs(count: int = 200, root: Path | None = None, seed: int = 1) -> Path:
    """Folder of `count` JPEG photographs of 2000x3000 and 700 KB to 1 MB, built on the first call."""
    folder = (root or default_root()) / "photographs"
    orders = (Order(str(folder), seed, index, "JPEG", 1.0) for index in range(count))
    return _cached(folder, count, seed, make_photograph, lambda: orders)


def pictures(folder: Path) -> list[Path]:
    """The corpus files of `folder` in order of name."""
    endings = {f".{suffix}" for suffix in SUFFIXES.values()}
    return sorted(path for path in folder.iterdir() if path.suffix in endings)


def table(folder: Path) -> str:
    """What a built folder holds: count, share and mean bytes of each format."""
    made = [Made(**row) for row in json.loads((folder / MANIFEST).read_text())["files"]]
    lines = [f"{'format':8}{'files':>8}{'share':>8}{'mean bytes':>12}{'mean Mpx':>10}"]
    for name in (*SUFFIXES, "all"):
        group = [one for one in made if name in (one.format, "all")]
        if group:
            size = sum(one.bytes for one in group) / len(group)
            area = sum(one.width * one.height for one in group) / len(group) / 1e6
            lines.append(f"{name:8}{len(group):8}{len(group) / len(made):8.1%}{size:12,.0f}{area:10.2f}")
    return "\n".join(lines)


def make_mixed(order: Order) -> Made:
    """Make one file of the mixed corpus."""
    rng = _rng(order)
    size = _mixed_size(rng, order)
    # Few PNG and GIF pictures on the web carry camera grain, and in a lossless file it is most of the bytes.
    grain = rng.uniform(0.5, 3.5) if order.format in ("JPEG", "WEBP") else 0.0
    image = _grained(_scene(rng, size), grain, rng.getrandbits(32))
    return _write(order, image, _encode(image, order.format, rng))


def make_photograph(order: Order) -> Made:
    """Make one large photograph, its quality chosen so that the size falls within `PHOTOGRAPH_BYTES`."""
    rng = _rng(order)
    image = _grained(_scene(rng, PHOTOGRAPH_SIZE), rng.uniform(1.5, 2.5), rng.getrandbits(32))
    low, high, data = 50, 95, b""
    while low <= high:
        quality = (low + high) // 2
        data = _jpeg(image, quality, progressive=False)
        if len(data) < PHOTOGRAPH_BYTES[0]:
            low = quality + 1
        elif len(data) > PHOTOGRAPH_BYTES[1]:
            high = quality - 1
        else:
            break
    return _write(order, image, data)


def _cached(
    folder: Path, count: int, seed: int, make: Callable[[Order], Made], orders: Callable[[], Iterable[Order]]
) -> Path:
    recipe = {"recipe": RECIPE, "count": count, "seed": seed}
    if _recipe_of(folder) == recipe:
        return folder
    _clear(folder)
    files = sorted(_build(make, orders()), key=lambda one: one.name)
    _check_unique(folder)
    # Written last and by rename: a folder with a manifest is a whole one.
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps({**recipe, "files": [asdict(one) for one in files]}))
    partial.replace(folder / MANIFEST)
    return folder


def _recipe_of(folder: Path) -> dict[str, int] | None:
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    return {key: found[key] for key in ("recipe", "count", "seed")}


def _clear(folder: Path) -> None:
    """Remove only names this module writes: the folder may be one the user also keeps other things in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in pictures(folder):
        if path.stem.isdigit() and len(path.stem) == 6:
            path.unlink()


def _build(make: Callable[[Order], Made], orders: Iterable[Order]) -> Iterator[Made]:
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(make, orders, chunksize=8)


def _check_unique(folder: Path) -> None:
    files = pictures(folder)
    if len({path.read_bytes() for path in files}) != len(files):
        raise RuntimeError(f"two pictures in {folder} have the same bytes; try another --seed")


def _mixed_orders(folder: Path, count: int, seed: int) -> Iterator[Order]:
    """Formats in shuffled blocks, so that any run of neighbours holds the whole mix."""
    rng = random.Random(seed)
    seen = dict.fromkeys(SUFFIXES, 0)
    block: list[str] = []
    for index in range(count):
        block = block or rng.sample(BLOCK, len(BLOCK))
        kind = block.pop()
        seen[kind] += 1
        # Multiples of the golden ratio cover [0, 1) evenly, so the mean size hardly depends on the count.
        yield Order(str(folder), seed, index, kind, seen[kind] * (math.sqrt(5) - 1) / 2 % 1)


def _rng(order: Order) -> random.Random:
    return random.Random(f"{order.seed}:{order.index}")


def _mixed_size(rng: random.Random, order: Order) -> tuple[int, int]:
    bias = SMALL_BIAS if order.format in ("JPEG", "WEBP") else 2 * SMALL_BIAS
    top = LARGEST_AREA if order.format in ("JPEG", "WEBP") else 4 * SMALLEST_AREA
    area = SMALLEST_AREA * (top / SMALLEST_AREA) ** (order.spread**bias)
    wide, tall = rng.choice(SHAPES)
    scale = max(math.sqrt(area / (wide * tall)), SMALLEST_SIDE / min(wide, tall))
    scale = min(scale, LONGEST_SIDE / max(wide, tall))
    return round(wide * scale), round(tall * scale)


def _scene(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A part of one photograph, turned, stretched to `size`, with its colours moved."""
    image = _source(rng.choice(_source_paths()))
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if (size[0] < size[1]) != (image.width < image.height) and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.ROTATE_90)
    image = image.resize(size, Image.Resampling.BICUBIC, box=_crop(rng, image.size, size))
    for enhance in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        image = enhance(image).enhance(rng.uniform(0.8, 1.25))
    tint = [rng.uniform(0.9, 1.1) for _ in range(3)]
    return image.point([min(255, round(value * gain)) for gain in tint for value in range(256)])


def _crop(rng: random.Random, source: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box of the shape of `size`, 60% to 100% of the largest that fits into `source`."""
    scale = min(source[0] / size[0], source[1] / size[1]) * rng.uniform(0.6, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, source[0] - width), rng.uniform(0, source[1] - height)
    return left, top, left + width, top + height


def _grained(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    """Add luminance noise: an enlarged picture is smoother than what a camera gives, and decodes faster."""
    if not sigma:
        return image
    pixels = np.asarray(image, dtype=np.int16)
    noise = np.random.default_rng(seed).standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    noise = np.rint(noise * sigma).astype(np.int16)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _encode(image: Image.Image, kind: str, rng: random.Random) -> bytes:
    if kind == "JPEG":
        return _jpeg(image, rng.randint(75, 92), progressive=rng.random() < 0.25)
    out = BytesIO()
    if kind == "WEBP":
        image.save(out, kind, quality=rng.randint(75, 90), method=2)
    elif kind == "GIF":
        image.quantize(rng.choice((64, 128, 256))).save(out, kind)
    else:
        image.save(out, kind)
    return out.getvalue()


def _jpeg(image: Image.Image, quality: int, *, progressive: bool) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality, progressive=progressive)
    return out.getvalue()


def _write(order: Order, image: Image.Image, data: bytes) -> Made:
    name = f"{order.index:06}.{SUFFIXES[order.format]}"
    (Path(order.folder) / name).write_bytes(data)
    return Made(name, order.format, image.width, image.height, len(data))


@functools.cache
def _source_paths() -> tuple[Path, ...]:
    return tuple(path for package in SOURCES for path in _installed(package))


def _installed(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"{package} is not installed; the corpus is cut from photographs it ships")
    inside, names = SOURCES[package]
    paths = [Path(spec.submodule_search_locations[0]) / inside / name for name in names.split()]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        # Going on with fewer would quietly give a different corpus for the same seed.
        raise RuntimeError(f"{package} is installed without {', '.join(missing)}")
    return paths


@functools.cache
def _source(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--folder", type=Path, default=default_root(), help="default $CRAWLER_BENCH or bench-data")
    parser.add_argument("--count", type=int, default=2000, help="pictures of the mixed corpus")
    parser.add_argument("--photographs", type=int, default=0, metavar="N", help="also make N of 2000x3000")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folders = [mixed(args.count, args.folder, args.seed)]
    if args.photographs:
        folders.append(photographs(args.photographs, args.folder, args.seed))
    for folder in folders:
        print(f"{folder}\n{table(folder)}")


if __name__ == "__main__":
    main()
