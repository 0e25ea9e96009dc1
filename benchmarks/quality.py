"""How like a reference pictures are, and what they cost; or, for a folder that a run stored, how many are correct.

The reference is the plain way: decode at full size, turn as EXIF says, LANCZOS to the size of the output. Without a folder
the ways to a small picture are compared: our default, others of Pillow, and what OpenCV does (if it is installed).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage.metrics import structural_similarity

from benchmarks.corpus import SUFFIXES, default_root
from crawler.picture_settings import ProcessSettings
from crawler.process import planes
from crawler.process.decode import load, open_picture, shrink_on_load
from crawler.process.transform import planned, rendered, size_to_decode

cv2: Any = None
with suppress(ImportError):
    cv2 = import_module("cv2")

Pair = tuple[Path, Path]


@dataclass(frozen=True, slots=True)
class Verified:
    """Outputs found correct, and for the others how often each thing was wrong."""

    correct: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


def ssim(output: Path, original: Path) -> float:
    """Structural similarity on luma of an output to the reference made from its original; 1.0 is equal."""
    with Image.open(output) as image:
        got = image.convert("L")
    want = _upright(original).resize(got.size, Image.Resampling.LANCZOS).convert("L")
    # skimage ships its types without annotations on this function.
    return float(structural_similarity(_pixels(want), _pixels(got), data_range=255))  # type: ignore[no-untyped-call]


def mean_ssim(pairs: Iterable[Pair]) -> float:
    """Mean of `ssim` over pairs of (output, original)."""
    scores = [ssim(output, original) for output, original in pairs]
    if not scores:
        raise ValueError("no pairs to compare")
    return sum(scores) / len(scores)


def pairs(outputs: Path, originals: Path) -> list[Pair]:
    """Each output with the original it came from, by the `url` in the JSON beside it, else by equal stem."""
    return [(path, found) for path in _pictures(outputs) if (found := _original(path, originals))]


Way = Callable[[bytes, int], Image.Image]


Row = tuple[float, float, float, float, str]


def compare(paths: list[Path], size: int) -> list[Row]:
    """CPU milliseconds with encoding (JPEG, quality 95, 4:2:0), SSIM of the luma before and after it, PSNR of the colours after
    it, and name of each way; cheapest first. Pictures are made `size` pixels on their shortest side.
    """
    ways = _ways()
    least = {name: [math.inf] * len(paths) for name in ways}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for at, path in enumerate(paths):
        body = path.read_bytes()
        want = _full(Image.Resampling.LANCZOS)(body, size).convert("RGB")
        for _ in range(3):  # in turns, because the machine is shared
            for name, way in ways.items():
                began = time.process_time()
                _stored(way(body, size))
                least[name][at] = min(least[name][at], time.process_time() - began)
        for name, way in ways.items():
            made = way(body, size)
            stored = Image.open(BytesIO(_stored(made))).convert("RGB")
            found[name].append((_likeness(want, made), _likeness(want, stored), _colour_error(want, stored)))
    return sorted(_row(name, least[name], found[name]) for name in ways)


def _row(name: str, seconds: list[float], found: list[tuple[float, float, float]]) -> Row:
    before, after, error = (sum(column) / len(found) for column in zip(*found, strict=True))
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    return sum(seconds) / len(seconds) * 1000, before, after, psnr, name


def _stored(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=95, subsampling="4:2:0")
    return out.getvalue()


def _likeness(want: Image.Image, made: Image.Image) -> float:
    luma = (_pixels(one.convert("RGB").convert("L")) for one in (want, made))
    return float(structural_similarity(*luma, data_range=255))  # type: ignore[no-untyped-call]


def _colour_error(want: Image.Image, made: Image.Image) -> float:
    """Mean square of what Cb and Cr are off."""
    one, other = (_pixels(picture.convert("YCbCr"))[..., 1:].astype(float) for picture in (want, made))
    return float(((one - other) ** 2).mean())


def _ways() -> dict[str, Way]:
    filters = Image.Resampling
    ways: dict[str, Way] = {"ours, by default": _ours}
    for margin, filter in product((1.0, 1.5, 2.0), (filters.HAMMING, filters.BICUBIC, filters.LANCZOS)):
        ways[f"decoded at {margin} x or more, {filter.name}"] = _drafted(margin, filter)
    for filter in (filters.BICUBIC, filters.LANCZOS):
        ways[f"full size, {filter.name}"] = _full(filter)
    if cv2 is not None:
        ways["full size, OpenCV AREA"] = _area
    return ways


def _ours(body: bytes, size: int) -> Image.Image:
    settings = ProcessSettings(size=size, fit="outside")
    picture = open_picture(body, ("JPEG",), settings.max_pixels)
    todo = planned(picture.size, settings.outputs[0], settings)
    upright = picture.size
    in_planes = planes.suits(picture, settings) and planes.fits(settings.outputs, [todo], upright)
    least = size_to_decode([todo], upright, None, *((planes.MARGIN,) if in_planes else ()))
    shrink_on_load(picture, least, in_planes)
    load(picture)
    return rendered(picture, todo, upright, None, None, settings.outputs[0], settings, [])


def _drafted(margin: float, filter: Image.Resampling) -> Way:
    def way(body: bytes, size: int) -> Image.Image:
        picture = Image.open(BytesIO(body))
        target = _target(picture.size, size)
        picture.draft(picture.mode, (round(target[0] * margin), round(target[1] * margin)))
        return picture.resize(target, filter)

    return way


def _full(filter: Image.Resampling) -> Way:
    def way(body: bytes, size: int) -> Image.Image:
        picture = Image.open(BytesIO(body))
        return picture.resize(_target(picture.size, size), filter)

    return way


def _area(body: bytes, size: int) -> Image.Image:
    """As img2dataset does."""
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    target = _target((picture.shape[1], picture.shape[0]), size)
    small = cv2.resize(picture, target, interpolation=cv2.INTER_AREA)
    return Image.fromarray(small[:, :, ::-1].copy())


def _target(source: tuple[int, int], size: int) -> tuple[int, int]:
    scale = size / min(source)
    return round(source[0] * scale), round(source[1] * scale)


def verify_outputs(folder: Path, originals: Path | None = None, size: int = 256) -> Verified:
    """Open every picture under `folder` and count those that decode and have the right size.

    Right is: shortest side `size`, or smaller and as large as the original; with `originals`, also the
    original's shape the right way up.
    """
    faults = [_fault(path, _original_size(path, originals), size) for path in _pictures(folder)]
    return Verified(faults.count(None), Counter(fault for fault in faults if fault is not None))


def _fault(output: Path, original: tuple[int, int] | None, size: int) -> str | None:
    try:
        with Image.open(output) as image:
            image.load()
    except Exception:  # whatever a broken file makes the decoder raise, the verdict is the same
        return "not decodable"
    short = min(image.size)
    if short != size and not (short < size and image.size == original):
        return "wrong size"
    if original is not None and not _same_shape(image.size, original):
        return "wrong shape"
    return None


def _same_shape(got: tuple[int, int], original: tuple[int, int]) -> bool:
    """Whether `got` is `original` scaled by its shortest side, allowing for either way of rounding."""
    scale = min(got) / min(original)
    return all(abs(one - other * scale) <= 1 for one, other in zip(got, original, strict=True))


def _original_size(output: Path, originals: Path | None) -> tuple[int, int] | None:
    found = _original(output, originals) if originals else None
    if found is not None:
        with Image.open(found) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return (image.height, image.width) if turned else image.size
    told = _beside(output)
    if told.get("original_width") and told.get("original_height"):
        return int(told["original_width"]), int(told["original_height"])
    return None


def _original(output: Path, originals: Path) -> Path | None:
    url = _beside(output).get("url")
    if url:
        named = originals / PurePosixPath(unquote(urlsplit(url).path)).name
        return named if named.is_file() else None
    alike = (originals / f"{output.stem}.{suffix}" for suffix in SUFFIXES.values())
    return next((path for path in alike if path.is_file()), None)


def _beside(output: Path) -> dict[str, str]:
    try:
        told: dict[str, str] = json.loads(output.with_suffix(".json").read_text())
    except FileNotFoundError:
        return {}
    return told


def _pictures(folder: Path) -> Iterator[Path]:
    endings = {f".{suffix}" for suffix in SUFFIXES.values()}
    return (path for path in sorted(folder.rglob("*")) if path.suffix in endings)


def _upright(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image, dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("outputs", type=Path, nargs="?")
    parser.add_argument("--originals", type=Path, default=default_root() / "mixed")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    if args.outputs is None:
        sample = random.Random(0).sample(sorted(args.originals.glob("*.jpg")), args.samples)
        for spent, before, after, psnr, name in compare(sample, args.size):
            print(f"{spent:6.2f} ms   SSIM {before:.4f}, stored {after:.4f}   colours {psnr:.1f} dB   {name}")
        return
    seen = verify_outputs(args.outputs, args.originals, args.size)
    print(f"correct {seen.correct}, wrong {seen.wrong.total()} {dict(seen.wrong) or ''}")
    found = pairs(args.outputs, args.originals)
    sample = random.Random(0).sample(found, min(args.samples, len(found)))
    print(f"mean SSIM of {len(sample)}: {mean_ssim(sample):.4f}")


if __name__ == "__main__":
    main()
