"""`--dedup near`: how long one look among a million takes, and how far copies of a picture are from it and from others."""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import time
from io import BytesIO
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageEnhance

from benchmarks import corpus
from crawler.model import Fetched, Likeness, Picture, Target
from crawler.process.likeness import look
from crawler.state.schema import connect
from crawler.state.twins import Twins, signed

_COLUMNS = "id, url, attempts, seconds, ended_at, sha256, look"


def journal_of(folder: Path, count: int, chance: random.Random) -> sqlite3.Connection:
    """A journal that holds `count` pictures with looks drawn at random, as `Twins` has prepared it."""
    db = connect(folder / "journal.sqlite")
    Twins(db, "near", 4)
    rows = (
        (at, f"http://h.test/{at}", 1, 0.1, 0.0, chance.randbytes(32), signed(chance.getrandbits(64)))
        for at in range(count)
    )
    for _ in range(0, count, 10_000):
        db.execute("BEGIN")
        batch = [row for _, row in zip(range(10_000), rows, strict=False)]
        db.executemany(f"INSERT INTO targets ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", batch)
        db.execute("COMMIT")
    return db


def lookups(db: sqlite3.Connection, distance: int, times: int, chance: random.Random) -> list[float]:
    """Milliseconds of each of some lookups of looks drawn at random, which hardly ever have a twin."""
    twins, took = Twins(db, "near", distance), []
    for at in range(times):
        picture = _picture(-1 - at, chance)
        began = time.perf_counter()
        twins.claim(picture)
        took.append((time.perf_counter() - began) * 1000)
        twins.drop(-1 - at)
    return took


def _picture(index: int, chance: random.Random) -> Picture:
    fetched = Fetched(Target(index, "http://h.test/new"), b"", "", 200, "", 0.0, 0.0)
    likeness = Likeness(look=chance.getrandbits(64))
    return Picture(fetched, b"", "jpeg", "jpg", 1, 1, 1, 1, "jpeg", chance.randbytes(32), likeness=likeness)


def copies(picture: Image.Image) -> dict[str, Image.Image]:
    """What people do to a picture."""
    small = BytesIO()
    picture.resize((picture.width // 3, picture.height // 3), Image.Resampling.LANCZOS).save(small, "JPEG", quality=40)
    webp = BytesIO()
    picture.save(webp, "WEBP", quality=50)
    wide, high = picture.size
    return {
        "a third of the size, JPEG quality 40": Image.open(small),
        "WebP quality 50": Image.open(webp),
        "10% brighter": ImageEnhance.Brightness(picture).enhance(1.1),
        "2% cut off at each side": picture.crop((wide // 50, high // 50, wide - wide // 50, high - high // 50)),
        "upside down": picture.transpose(Image.Transpose.ROTATE_180),
    }


def distances(pictures: list[Path]) -> None:
    """Print how far copies are from their pictures, and pictures from each other."""
    found: dict[str, list[int]] = {}
    looks = []
    for path in pictures:
        with Image.open(path) as opened:
            whole = opened.convert("RGB")
        mine = look(whole, None)
        looks.append(mine)
        for name, copy in copies(whole).items():
            found.setdefault(name, []).append((look(copy.convert("RGB"), None) ^ mine).bit_count())
    for name, apart in found.items():
        within = sum(one <= 4 for one in apart) / len(apart)
        print(f"{name:38} median {statistics.median(apart):4.1f}  most {max(apart):2}  within 4: {within:6.1%}")
    apart = [(one ^ other).bit_count() for one, other in combinations(looks, 2)]
    within = sum(one <= 4 for one in apart)
    print(
        f"{'different pictures':38} median {statistics.median(apart):4.1f}  least {min(apart):2}  within 4: {within}/{len(apart)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--lookups", type=int, default=500)
    arguments = parser.parse_args()
    chance = random.Random(0)
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        db = journal_of(Path(folder), arguments.count, chance)
        each = (time.perf_counter() - began) / arguments.count * 1e6
        size = (Path(folder) / "journal.sqlite").stat().st_size / arguments.count
        print(f"{arguments.count} looks kept: {each:.1f} us and {size:.0f} bytes each, the row with them")
        for distance in (0, 4, 7, 10):
            took = sorted(lookups(db, distance, arguments.lookups, chance))
            print(
                f"distance {distance:2}: median {statistics.median(took):.3f} ms, "
                f"99th percentile {took[len(took) * 99 // 100]:.3f} ms"
            )
        db.close()
    distances(corpus.pictures(corpus.photographs()))


if __name__ == "__main__":
    main()
