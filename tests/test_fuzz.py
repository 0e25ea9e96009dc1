"""Good pictures, damaged at random: whatever comes, a worker lives on within its limits and says what it made of them.

`python -m pytest -m soak tests/test_fuzz.py` does it for five minutes (CRAWLER_FUZZ_SECONDS) from a seed of its own
(CRAWLER_FUZZ_SEED); what breaks something is saved where CRAWLER_FUZZ_KEEP says. A short one with a fixed seed is part of
every run. A number makes a picture: `damaged(17)` is the same for everyone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image, ImageCms

from crawler.model import Companion, Fetched, Miss, Picture, Reason, Target
from crawler.process import worker
from crawler.process.pool import WorkerPool
from crawler.settings import ProcessSettings
from tests.cli import CHECKOUT, LIMIT, environment
from tests.servers import bombs
from tests.servers.pictures import scene

MEMORY: Final = 700_000_000
BASE: Final[Mapping[str, Any]] = {
    "size": 48,
    "worker_memory": MEMORY,
    "max_pixels": 16_000_000,
    "process_timeout": 10.0,
}
FLAGS: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"encode": "original"},
    {"encode": "webp", "frames": "all", "truncated": "keep", "exif": True},
    {"encode": "png", "frames": 3, "exif_gps": True, "keep": ("exif", "icc", "xmp"), "fit": "none"},
    {
        "encode": "jpeg",
        "frames": "all",
        "truncated": "keep",
        "dedup": "near",
        "variant": ("a:16:cover:png", "b:9x30:contain"),
    },
    {"encode": "gif", "frames": "all", "mode": "rgb", "dedup": "pixels", "background": "#ff0080"},
    {"encode": "avif", "fit": "cover", "gravity": "entropy", "upscale": True, "filter": "bicubic", "keep": ("icc",)},
    {
        "encode": "jpeg",
        "fit": "none",
        "truncated": "keep",
        "keep": ("exif", "xmp"),
        "filter": "nearest",
        "progressive": True,
    },
    {
        "encode": "webp",
        "lossless": True,
        "fit": "contain",
        "exif": True,
        "min_size": 8,
        "max_aspect": 9.0,
        "dedup": "pixels",
    },
    {"encode": "original", "frames": "all", "dedup": "pixels", "exif": True, "truncated": "keep"},
)
NEVER: Final = {Reason.WORKER_CRASHED, Reason.TOO_SLOW, Reason.TRANSFORM_FAILED, Reason.DROPPED}
_BATCH: Final = 120
_SPECIAL: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# What is damaged ----------------------------------------------------------------------------------


@cache
def originals() -> tuple[bytes, ...]:
    """Good small pictures of all formats, in most of the ways that these have."""
    picture = scene(40, 30)
    frames = [scene(40, 30, seed) for seed in range(1, 4)]
    clear = picture.copy()
    clear.putalpha(Image.linear_gradient("L").resize(picture.size))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned, exif = Image.Exif(), Image.Exif()
    turned[0x0112] = 6
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[2] = (52.0, 5.0, 12.5)
    told: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    moving: dict[str, Any] = {"save_all": True, "append_images": frames, "duration": 50}
    xmp = b'<x:xmpmeta tiff:Orientation="6"> </x:xmpmeta>'
    return (
        _saved(picture, "JPEG", quality=80, **told),
        _saved(picture, "JPEG", progressive=True, subsampling=0, xmp=xmp),
        _saved(picture.convert("CMYK"), "JPEG"),
        _saved(picture.convert("L"), "JPEG", comment=b"hello", restart_marker_blocks=2),
        _saved(picture, "MPO", save_all=True, append_images=[frames[0].copy()]),
        _saved(picture, "PNG", **told),
        _saved(picture.quantize(16), "PNG", transparency=3),
        _saved(clear, "PNG", xmp=xmp),
        _saved(Image.frombytes("I;16", (20, 20), bytes(range(200)) * 4), "PNG"),
        _saved(picture.convert("1"), "PNG"),
        _saved(picture, "PNG", **moving),
        _saved(clear, "PNG", default_image=True, disposal=1, blend=1, **moving),
        _saved(picture, "WEBP", xmp=xmp, **told),
        _saved(clear, "WEBP", lossless=True),
        _saved(clear, "WEBP", loop=2, **moving),
        _saved(picture, "GIF", comment=b"hello", interlace=1),
        _saved(picture, "GIF", loop=3, disposal=2, transparency=0, **moving),
        _saved(picture, "BMP"),
        _saved(picture.quantize(16), "BMP"),
        bombs.bmp(
            20, 20, b"\x14\1\0\0" * 17 + b"\0\2\4\1" + b"\0\4\1\0\1\0" + b"\x0c\0\0\0" + b"\x14\1\0\1", compression=1
        ),
        _saved(clear, "ICO", sizes=[(16, 16), (32, 30)]),
        _saved(clear, "ICO", sizes=[(16, 16)], bitmap_format="bmp"),
        *(
            _saved(one, "TIFF", compression=compression, exif=turned, icc_profile=profile)
            for one, compression in (
                (picture, "tiff_lzw"),
                (picture, "jpeg"),
                (clear, "tiff_adobe_deflate"),
                (picture.convert("1"), "group4"),
                (picture.convert("CMYK"), "packbits"),
                (picture.convert("F"), None),
            )
        ),
        _saved(picture, "TIFF", save_all=True, append_images=frames),
        bombs.grey_tiff(16, 16, bombs.long(322, 16), bombs.long(323, 16), bombs.long(324, 8), bombs.long(325, 256)),
        bombs.big_tiff(20, 20),
        _saved(picture, "AVIF", speed=10, **told),
        _saved(picture, "AVIF", speed=10, **moving),
        bombs.avif_grid(2, 2, 100, 100),
        _saved(picture, "JPEG2000"),
        _saved(clear, "JPEG2000", no_jp2=True, tile_size=(16, 16), num_resolutions=2),
    )


def _saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.copy().save(out, format, **options)  # a copy: Pillow leaves settings of one encoder for the next
    return out.getvalue()


def damaged(number: int) -> bytes:
    """A picture, one to five times damaged."""
    chance = random.Random(number)
    data = bytearray(chance.choice(originals()))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        chance.choice(_WAYS)(data, chance)
    is_png = data[:8] == bombs.PNG_MAGIC
    return _summed(bytes(data)) if is_png and chance.random() < 0.8 else bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Somewhere in it, more often near its beginning, where the headers are."""
    most = len(data) if chance.random() < 0.4 else min(len(data), chance.choice((40, 200, 700)))
    return chance.randrange(most + 1)


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 8))):
        if data:
            at = min(_place(data, chance), len(data) - 1)
            data[at] = data[at] ^ 1 << chance.randrange(8) if chance.random() < 0.5 else chance.randrange(256)


def _lie(data: bytearray, chance: random.Random) -> None:
    """A number that is too small, too large or just beyond, as a length, a count, a size or an offset may be."""
    form = chance.choice((">B", ">H", "<H", ">I", "<I"))
    value = chance.choice((*_SPECIAL, len(data), chance.randrange(1 << 16))) & (1 << 8 * struct.calcsize(form)) - 1
    at = _place(data, chance)
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


def _nudge(data: bytearray, chance: random.Random) -> None:
    if data:
        at = min(_place(data, chance), len(data) - 1)
        data[at] = data[at] + chance.choice((-1, 1)) & 0xFF


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) if chance.random() < 0.3 else chance.randrange(len(data) + 1) :]


def _part(data: bytearray, chance: random.Random) -> slice:
    at = _place(data, chance)
    return slice(at, at + chance.choice((1, 4, 12, 30, 200)))


def _lose(data: bytearray, chance: random.Random) -> None:
    del data[_part(data, chance)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    part = _part(data, chance)
    data[part.start : part.start] = data[part] * chance.choice((1, 1, 2, 50))


def _move(data: bytearray, chance: random.Random) -> None:
    part = _part(data, chance)
    moved = bytes(data[part])
    del data[part]
    at = _place(data, chance)
    data[at:at] = moved


def _splice(data: bytearray, chance: random.Random) -> None:
    other = bytearray(chance.choice(originals()))
    part, at = _part(other, chance), _place(data, chance)
    if chance.random() < 0.3:
        data[at:] = other[_place(other, chance) :]
    else:
        data[at : at + chance.choice((0, part.stop - part.start))] = other[part]


def _blank(data: bytearray, chance: random.Random) -> None:
    part = _part(data, chance)
    data[part] = chance.choice((b"\0", b"\xff")) * len(data[part])


def _chunks(data: bytearray, chance: random.Random) -> None:
    """Repeat, drop or swap whole chunks: those of PNG, of RIFF and of JPEG and the boxes of AVIF have their length inside."""
    parts = _taken_apart(bytes(data))
    if len(parts) < 2:
        return
    at, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    what = chance.randrange(3)
    if what == 0:
        parts[at:at] = [parts[other]] * chance.choice((1, 2, 100))
    elif what == 1:
        del parts[at]
    else:
        parts[at], parts[other] = parts[other], parts[at]
    data[:] = b"".join(parts)


def _taken_apart(data: bytes) -> list[bytes]:
    if data[:8] == bombs.PNG_MAGIC:
        return _pieces(data, 8, lambda at: 12 + struct.unpack_from(">I", data, at)[0])
    if data[:4] == b"RIFF":
        return _pieces(data, 12, lambda at: 8 + (struct.unpack_from("<I", data, at + 4)[0] + 1 & ~1))
    if data[:2] == b"\xff\xd8":
        return _pieces(data, 2, lambda at: 2 + struct.unpack_from(">H", data, at + 2)[0])
    if data[4:8] in (b"ftyp", b"jP  "):
        return _pieces(data, 0, lambda at: struct.unpack_from(">I", data, at)[0])
    return []


def _pieces(data: bytes, at: int, length: Callable[[int], int]) -> list[bytes]:
    found = [data[:at]] if at else []
    while at < len(data):
        try:
            size = max(length(at), 4)
        except struct.error:
            size = len(data)
        found.append(data[at : at + size])
        at += size
    return found


def _summed(data: bytes) -> bytes:
    """A PNG with checksums that are right again, so that its damage is not the first thing that is seen."""
    out = data[:8]
    for part in _taken_apart(data)[1:]:
        out += part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) if len(part) >= 12 else part
    return out


_WAYS: Final = (_flip, _flip, _lie, _lie, _lie, _nudge, _cut, _lose, _repeat, _move, _splice, _blank, _chunks, _chunks)


def test_damage_is_the_same_for_everyone_and_differs_by_number() -> None:
    assert damaged(17) == damaged(17)
    assert len({damaged(number) for number in range(200)}) > 190


# A short one, in a child --------------------------------------------------------------------------


def main(first: int, count: int) -> None:
    """What runs in the child: for all flags a process of its own, set up as a worker is; how each ended, line by line."""
    originals()
    for at, flags in enumerate(FLAGS):
        child = os.fork()
        if not child:
            _work(flags, range(first + at * count, first + (at + 1) * count))
        _, status, used = os.wait4(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024]), flush=True)


def _work(flags: Mapping[str, Any], numbers: range) -> None:
    """Good and damaged pictures through the code of a worker, and what came of them."""
    worker.setup(ProcessSettings(**BASE, **flags))
    results = worker.work([*originals(), *map(damaged, numbers)])
    print(json.dumps(Counter(one[0] if len(one) == 2 else "stored" for one in results)), flush=True)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child makes its workers by fork")
def test_damaged_pictures_end_with_a_name_and_break_nothing() -> None:
    count = 80
    code = f"from tests.test_fuzz import main; main(1_000_000, {count})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, cwd=CHECKOUT, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [line for line in lines if isinstance(line, list)]
    ends = sum((Counter(line) for line in lines if isinstance(line, dict)), Counter[str]())
    assert [code for code, _ in ended] == [0] * len(FLAGS)
    assert max(peak for _, peak in ended) < 200_000_000
    assert ends.total() == len(FLAGS) * (count + len(originals()))
    assert set(ends) <= {reason.value for reason in Reason if reason not in NEVER} | {"stored"}
    assert ends["stored"] > len(FLAGS) * len(originals()) * 0.95, "good pictures must be taken"
    assert min(ends["decode"], ends["truncated"], ends["too_many_pixels"]) > 0


# The long one, through a pool ---------------------------------------------------------------------


@pytest.mark.soak
def test_workers_outlive_everything_that_is_damaged(tmp_path: Path) -> None:
    seconds = float(os.environ.get("CRAWLER_FUZZ_SECONDS", "300"))
    first = int(os.environ.get("CRAWLER_FUZZ_SEED", str(random.randrange(10**9))))
    kept = Path(os.environ.get("CRAWLER_FUZZ_KEEP", str(tmp_path)))
    numbers = iter(range(first, first + 10**9))
    end = time.monotonic() + seconds
    broken: list[str] = []
    ends: Counter[str] = Counter()
    rounds = 0
    while time.monotonic() < end:
        flags = FLAGS[rounds % len(FLAGS)]
        rounds += 1
        found, more = asyncio.run(_round(flags, numbers, kept, min(end, time.monotonic() + 10)))
        ends += found
        broken += more
    print(f"first seed {first}, {rounds} rounds, {ends.total()} pictures: {dict(ends.most_common())}")
    assert not broken, "\n".join(broken)


async def _round(
    flags: Mapping[str, Any], numbers: Iterator[int], kept: Path, end: float
) -> tuple[Counter[str], list[str]]:
    """Damaged pictures through one pool for some seconds; what came of them, and what must not have come."""
    ends: Counter[str] = Counter()
    broken: list[str] = []
    async with WorkerPool(ProcessSettings(workers=2, **BASE, **flags)) as pool:
        await asyncio.gather(*(pool.process(_fetched(0, originals()[0])) for _ in range(8)))
        while time.monotonic() < end:
            before = _workers()
            some = {number: damaged(number) for number, _ in zip(numbers, range(_BATCH), strict=False)}
            outcomes = await asyncio.gather(*(pool.process(_fetched(*one)) for one in some.items()))
            wrong = [
                f"{number}: {word}"
                for (number, body), outcome in zip(some.items(), outcomes, strict=True)
                if (word := _wrong(outcome, body, flags))
            ]
            after = _workers()
            if set(after) != set(before):
                wrong.append(f"{next(iter(some))}...: a worker died")
            wrong += [f"{next(iter(some))}...: {one} bytes of address space" for one in after.values() if one > MEMORY]
            for one in wrong:
                number = int(re.match(r"\d+", one)[0])  # type: ignore[index]
                (kept / f"{number}.bin").write_bytes(some[number])
            broken += [f"{one} with {dict(flags)}" for one in wrong]
            ends.update(one.reason.value if isinstance(one, Miss) else "stored" for one in outcomes)
    return ends, broken


def _fetched(number: int, body: bytes) -> Fetched:
    return Fetched(Target(number, f"http://example.org/{number}"), body, "", 200, "", 0.0, 0.0)


def _workers() -> dict[int, int]:
    """The worker processes, and the most address space that each has had."""
    found = {}
    for one in bombs.worker_processes():
        status = Path(f"/proc/{one.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        found[one.pid] = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak"))
    return found


def _wrong(outcome: Picture | Miss, body: bytes, flags: Mapping[str, Any]) -> str:
    """What should not have come of a damaged picture; empty if it is all right."""
    if isinstance(outcome, Miss):
        odd = outcome.reason in NEVER or re.match(r"[A-Z]\w*(Error|Exception|Warning): ", outcome.detail)
        return f"{outcome.reason.value}: {outcome.detail}" if odd else ""
    if flags.get("encode") == "original":
        return "" if outcome.data == body else "other bytes than came"
    made: tuple[Picture | Companion, ...] = (outcome, *outcome.companions)
    for one in made:
        try:
            with Image.open(BytesIO(one.data)) as stored:
                stored.load()
                size = stored.size
        except Exception as error:
            return f"what was stored cannot be read: {error}"
        if size != (one.width, one.height):
            return f"{size} was stored, {one.width}x{one.height} is told"
    try:
        json.dumps(outcome.exif, allow_nan=False)
    except ValueError as error:
        return f"EXIF that JSON cannot hold: {error}"
    return "" if all("\n" not in note for note in outcome.notes) else "a note of several lines"
