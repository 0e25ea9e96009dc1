"""A picture that is not wanted is known by its first bytes: sizes told as Pillow tells them, and the rest is not fetched."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import time
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crawler import Crawler, Outcome, Reason, Settings
from crawler.dimensions import ENOUGH, dimensions
from crawler.errors import SettingsError
from crawler.fetch.peek import Peek
from crawler.picture_settings import FORMATS
from crawler.settings import ProcessSettings
from tests.cli import inside
from tests.conftest import third_party
from tests.servers import pictures
from tests.servers.scripted import NOT_FOUND, Reply, picture, running_scripted

LIMIT: Final = 30.0
HOST: Final = "127.0.0.2"
LARGE: Final = 30_000_000
LITTLE: Final = 4_000_000
"""More than a connection can hold between a server and a client that does not read."""
WIDE: Final = (640, 480)


def saved(format: str, size: tuple[int, int] = WIDE, mode: str = "RGB", **options: Any) -> bytes:
    out = BytesIO()
    pictures.scene(*size, seed=5).convert(mode).save(out, format, **options)
    return out.getvalue()


SAMPLES: Final[dict[str, bytes]] = {
    "jpeg": pictures.jpeg(*WIDE),
    "progressive": pictures.jpeg(*WIDE, progressive=True),
    "exif": pictures.jpeg(*WIDE, exif_orientation=3),
    "png": pictures.png(*WIDE),
    "gif": pictures.gif(*WIDE),
    "animated": pictures.gif(*WIDE, frames=2),
    "lossy": pictures.webp(*WIDE),
    "lossless": saved("WEBP", lossless=True),
    "extended": pictures.webp(*WIDE, mode="RGBA", frames=2),
    "bmp": saved("BMP"),
    "avif": saved("AVIF", quality=30, speed=10),
}
"""One of each kind that is told from its first bytes, all 640x480."""

# What Pillow says ---------------------------------------------------------------------------------

TOLD: Final = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "AVIF")
NOT_TOLD: Final[dict[str, str]] = {
    "pillow/Tests__images__junk_jpeg_header.jpg": "junk between two segments, which only Pillow skips",
    "pillow/Tests__images__photoshop-200dpi-broken.jpg": "a segment of a wrong length",
    "pillow/Tests__images__truncated_app14.jpg": "a segment of a wrong length",
    "ljt-bugs/bugs__decompress__mozilla_1050342__jpeg-image-001.jpg": "a segment of a wrong length",
    "ljt-bugs/bugs__decompress__mozilla_1050342__jpeg-image-002.jpg": "a segment of a wrong length",
    "ljt-bugs/bugs__decompress__mozilla_1050342__jpeg-image-003.jpg": "a segment of a wrong length",
    "image-size/specs__images__valid__png__sample_fried.png": "a chunk of its own before IHDR (CgBI)",
    "libavif/android_jni__avifandroidjni__src__androidTest__assets__animated_avif__Chimera-AV1-10bit-480x270.avif": (
        "a sequence that names none of its pictures as the first"
    ),
}
"""Third-party files whose size is left to the workers, and why."""


def corpus() -> tuple[Path, list[dict[str, Any]]]:
    folder = third_party("corpus")
    rows: list[dict[str, Any]] = json.loads((folder / "images.json").read_text(encoding="utf-8"))["files"]
    return folder / "images", rows


def test_third_party_pictures_have_the_size_that_pillow_says() -> None:
    folder, rows = corpus()
    wrong, left = {}, set()
    seen = 0
    for row in rows:
        said = row["pillow"]
        if not said.get("opens") or said["format"] not in TOLD:
            continue
        found = dimensions((folder / row["file"]).read_bytes())
        seen += 1
        if found is None:
            left.add(row["file"])
        elif found != (said["w"], said["h"]):
            wrong[row["file"]] = f"{found}, Pillow says {said['w']}x{said['h']}"
    assert seen > 1000
    assert wrong == {}
    assert left == set(NOT_TOLD)


def test_no_third_party_file_is_told_otherwise_by_its_beginning() -> None:
    folder, rows = corpus()
    lengths = sorted({*range(0, 64), *(int(1.25**power) for power in range(19, 60))})
    wrong = {}
    for row in rows:
        data = (folder / row["file"]).read_bytes()
        whole = dimensions(data)
        early = {length: dimensions(data[:length]) for length in lengths if length < len(data)}
        if odd := {length: found for length, found in early.items() if found not in (None, whole)}:
            wrong[row["file"]] = (odd, whole)
    assert wrong == {}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_size_is_told_early_and_never_wrongly(kind: str) -> None:
    data = SAMPLES[kind]
    told = [dimensions(data[:length]) for length in range(min(len(data), 2000) + 1)]
    assert set(told) == {None, WIDE}
    first = told.index(WIDE)
    assert set(told[first:]) == {WIDE}, "once told, always told"
    assert first < 1024


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_sizes_at_the_edges(format: str) -> None:
    for size in ((1, 1), (1, 16_000), (16_000, 1), (255, 256), (257, 65), (16_383, 3)):
        out = BytesIO()
        Image.new("L", size).save(out, format)
        assert dimensions(out.getvalue()) == size


def test_a_bitmap_from_top_to_bottom_and_one_of_the_old_kind() -> None:
    head = b"BM" + bytes(12)
    assert dimensions(head + struct.pack("<Iii", 40, 7, -5) + bytes(30)) == (7, 5)
    assert dimensions(head + struct.pack("<IHH", 12, 7, 5) + bytes(30)) == (7, 5)


@pytest.mark.parametrize("screen", [(0, 0), (1, 1), (640, 100), (100, 480)])
def test_a_gif_whose_first_frame_is_larger_than_its_screen(screen: tuple[int, int]) -> None:
    """Pillow shows the whole frame, as browsers do."""
    data = SAMPLES["gif"][:6] + struct.pack("<HH", *screen) + SAMPLES["gif"][10:]
    with Image.open(BytesIO(data)) as opened:
        assert opened.size == WIDE
    assert {dimensions(data[:length]) for length in (*range(1500), len(data))} == {None, WIDE}


@pytest.mark.parametrize("junk", [b"\0", b"\7", b"\0\0\0"])
def test_a_gif_with_something_unknown_before_its_frame_is_left_to_the_workers(junk: bytes) -> None:
    data = SAMPLES["gif"]
    frame = 13 + (3 << (data[10] & 7) + 1)
    data = data[:6] + struct.pack("<HH", 0, 480) + data[10:frame] + junk + data[frame:]
    with Image.open(BytesIO(data)) as opened:
        assert opened.size == WIDE
    assert dimensions(data) in (None, WIDE)


HEADS: Final = [data[:3000] for data in SAMPLES.values()]
STARTS: Final = st.sampled_from(
    [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF....WEBP",
        b"RIFF....WEBPVP8X",
        b"BM",
        b"\0\0\0\x1cftypavif",
    ]
)
MARKERS: Final = st.sampled_from(
    [
        *(b"\xff", b"\0", b"\xff\xc0", b"\xff\x00", b"\xff\xd9", b"\xff\xe0\0\0", b"\0\0\0\1"),
        *(b"meta", b"iprp", b"ipco", b"ipma", b"pitm", b"ispe"),
    ]
)


def check_any(data: bytes) -> None:
    found = dimensions(data)
    assert found is None or (len(found) == 2 and all(isinstance(side, int) and side >= 0 for side in found))


@given(
    st.binary(max_size=400)
    | st.tuples(STARTS, st.lists(MARKERS | st.binary(max_size=9))).map(lambda p: p[0] + b"".join(p[1]))
)
def test_no_bytes_make_it_raise(data: bytes) -> None:
    check_any(data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The beginning of a picture with some bytes changed, taken out or put in."""
    data = bytearray(draw(st.sampled_from(HEADS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data), 700)))
        length = draw(st.integers(0, 4))
        data[at : at + length] = draw(st.binary(max_size=6) | MARKERS)
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_a_damaged_header_is_told_as_pillow_reads_it_or_not_at_all(data: bytes) -> None:
    check_any(data)
    found = dimensions(data)
    try:
        with Image.open(BytesIO(data), formats=[name.upper() for name in FORMATS]) as opened:
            size = opened.size
    except Exception:
        return
    if found is not None:
        assert found == size


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * ENOUGH,
        b"\xff\xd8" + b"\xff\xd0" * (ENOUGH // 2),
        b"\xff\xd8" + b"\xff\xe0\0\2" * (ENOUGH // 4),
        b"\0\0\0\x1cftypavif" + bytes(16) + b"\0\0\0\x08free" * (ENOUGH // 8),
        b"\0\0\0\x1cftypavif" + bytes(16) + b"\0\0\0\0" * (ENOUGH // 4),
    ],
    ids=["fill", "restarts", "segments", "boxes", "zeros"],
)
def test_a_header_without_end_costs_little_however_it_comes(data: bytes) -> None:
    """In pieces as small as packets: looking again and again must not be lines times lines."""
    peek = Peek("", ProcessSettings(min_size=10).unwanted)
    began = time.process_time()
    for end in range(1400, len(data), 1400):
        if end >= peek.needs:
            peek.look(data[:end])
    assert time.process_time() - began < 0.5


# Through a run ------------------------------------------------------------------------------------


async def crawled(urls: list[str], **chosen: Any) -> list[Outcome]:
    """How each URL ended, in their order."""
    found: dict[int, Outcome] = {}
    flat = {"store": "none", "allow_private": True, "workers": 1, "size": 32, "retries": 0} | chosen
    async with asyncio.timeout(LIMIT), Crawler(Settings.of(urls, **flat)) as run:
        async for outcome in run:
            found[outcome.target.index] = outcome
    return [found[index] for index in sorted(found)]


def name(outcome: Outcome) -> str:
    return outcome.miss.reason.value if outcome.miss else "stored"


async def endings(replies: dict[str, Reply], **chosen: Any) -> tuple[dict[str, str], dict[str, int]]:
    """How each picture ended, and how many bytes of it were sent."""
    with running_scripted({HOST: {"/robots.txt": NOT_FOUND, **{f"/{key}": replies[key] for key in replies}}}) as server:
        found = await crawled([server.url(HOST, key) for key in replies], **chosen)
        sent = {key: await asyncio.to_thread(server.sent, f"/{key}") for key in replies}
    return dict(zip(replies, map(name, found), strict=True)), sent


PICKY: Final[list[tuple[dict[str, Any], str]]] = [
    ({"min_size": 641}, "too_small"),
    ({"min_size": (641, 600)}, "too_small"),
    ({"max_size": 479}, "too_big"),
    ({"max_size": (479, 479)}, "too_big"),
    ({"min_aspect": 1.4}, "wrong_aspect"),
    ({"max_aspect": 0.7}, "wrong_aspect"),
]


@pytest.mark.parametrize(("chosen", "ending"), PICKY, ids=[f"{chosen}" for chosen, _ in PICKY])
async def test_what_is_not_wanted_is_refused_after_its_first_kilobytes(chosen: dict[str, Any], ending: str) -> None:
    replies = {kind: picture(data, zeros=LARGE) for kind, data in SAMPLES.items()}
    ended, sent = await endings(replies, max_bytes=50_000_000, **chosen)
    assert ended == dict.fromkeys(replies, ending)
    assert {kind: count for kind, count in sent.items() if count > LITTLE} == {}
    assert not Reason(ending).later


async def test_nobody_waits_for_the_rest_of_what_is_not_wanted() -> None:
    stalls = {kind: picture(SAMPLES[kind], zeros=LARGE, first=2048, pause=0.5) for kind in SAMPLES}
    ended, sent = await endings(stalls, min_size=1000)
    assert ended == dict.fromkeys(SAMPLES, "too_small")
    assert {kind: count for kind, count in sent.items() if count > 100_000} == {}, "it had left when the rest came"


def tall_head(data: bytes) -> bytes:
    """The same JPEG with so much in front of its size that nobody waits for it."""
    comment = b"\xff\xfe" + struct.pack(">H", 65_535) + bytes(65_533)
    return data[:2] + comment * 5 + data[2:]


LATE: Final[dict[str, bytes]] = {
    "jpeg": pictures.jpeg(*WIDE),
    "tall": tall_head(pictures.jpeg(*WIDE)),
    "tiff": saved("TIFF"),
    "ico": b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0" + struct.pack("<II", len(pictures.png(*WIDE)), 22) + pictures.png(*WIDE),
    "jp2": saved("JPEG2000"),
}
"""Pictures whose size is told by a worker, but for the first."""


@pytest.mark.parametrize("encode", ["jpeg", "original"])
@pytest.mark.parametrize(
    ("chosen", "ending"),
    [*PICKY, ({"min_size": 480, "max_size": 640}, "stored"), ({"min_aspect": 1.3, "max_aspect": 1.34}, "stored")],
)
def test_a_worker_says_the_same(chosen: dict[str, Any], ending: str, encode: str) -> None:
    ended, _ = asyncio.run(endings({kind: picture(data) for kind, data in LATE.items()}, encode=encode, **chosen))
    assert ended == dict.fromkeys(LATE, ending)


TURNED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"min_aspect": 1.4, "max_aspect": 1.6}, "stored"),
    ({"max_aspect": 1.0}, "wrong_aspect"),
    ({"min_size": (290, 190)}, "stored"),
    ({"max_size": (310, 210)}, "stored"),
    ({"max_size": (250, 350)}, "too_big"),
    ({"min_size": (150, 250)}, "too_small"),
    ({"min_size": (210, 100), "max_size": 299}, "too_big"),
]
"""What is wanted, and how a picture ends that a viewer shows as 300x200."""


@pytest.mark.parametrize(("chosen", "ending"), TURNED, ids=[f"{chosen}" for chosen, _ in TURNED])
def test_a_turned_picture_is_judged_as_a_viewer_shows_it(chosen: dict[str, Any], ending: str) -> None:
    shown = {f"{turn}.jpg": pictures.jpeg(300, 200, exif_orientation=turn) for turn in range(1, 9)}
    shown |= {f"{turn}.png": pictures.png(300, 200, exif_orientation=turn) for turn in (1, 6)}
    shown |= {f"{turn}.webp": pictures.webp(300, 200, exif_orientation=turn) for turn in (1, 8)}
    ended, _ = asyncio.run(endings({key: picture(data) for key, data in shown.items()}, **chosen))
    assert ended == dict.fromkeys(shown, ending)


def test_exactly_the_size_that_is_asked_for_is_taken() -> None:
    for chosen in (
        {"min_size": 480, "max_size": 640},
        {"min_size": WIDE, "max_size": WIDE},
        {"min_aspect": 4 / 3, "max_aspect": 4 / 3},
    ):
        assert ProcessSettings(**chosen).unwanted(*WIDE) is None


sides = st.integers(1, 400)
limits = st.one_of(st.just(0), sides, st.tuples(sides, sides))


@given(limits, limits, sides, sides, st.sampled_from(["jpeg", "png"]))
def test_what_is_refused_early_is_what_a_worker_would_refuse(
    least: int | tuple[int, int], most: int | tuple[int, int], width: int, height: int, kind: str
) -> None:
    try:
        chosen = ProcessSettings(min_size=least, max_size=most)
    except SettingsError:
        return
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(9)
    seen = Peek("", chosen.unwanted).look(head)
    ways = [chosen.unwanted(width, height), chosen.unwanted(height, width)]
    if isinstance(seen, tuple):
        assert [way and way[0] for way in ways] == [seen[0]] * 2, "whichever way it is shown"
    else:
        assert seen is True


# What is no picture ---------------------------------------------------------------------------------

PAGE: Final = b"<!doctype html><html><head><title>A page</title></head><body>" + b"Not a picture. " * 400
SVG: Final = b'<?xml version="1.0" encoding="utf-8"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'


async def test_a_page_is_refused_early_and_a_picture_that_is_called_one_is_stored() -> None:
    jpeg = SAMPLES["jpeg"]
    cases = {
        "page": (picture(PAGE, zeros=LARGE, kind="text/html"), "not_image"),
        "charset": (picture(PAGE, zeros=LARGE, kind="  TEXT/HTML; charset=utf-8"), "not_image"),
        "stalls": (picture(PAGE, zeros=LARGE, kind="text/html", first=1000, pause=0.5), "not_image"),
        "json": (picture(b'{"error": "no such picture"}', zeros=LARGE, kind="application/json"), "not_image"),
        "video": (picture(b"\0\0\0\x20ftypisom\0\0\2\0", zeros=LARGE, kind="video/mp4"), "not_image"),
    }
    ended, sent = await endings({case: reply for case, (reply, _) in cases.items()})
    assert ended == {case: ending for case, (_, ending) in cases.items()}
    assert {case: count for case, count in sent.items() if count > LITTLE} == {}
    assert sent["stalls"] < 100_000
    cases = {
        "html": (picture(jpeg, kind="text/html"), "stored"),
        "plain": (picture(jpeg, kind="text/plain"), "stored"),
        "pieces": (picture(jpeg, kind="text/html", first=3, pause=0.05), "stored"),
        "tiff": (picture(LATE["tiff"], kind="text/plain; charset=x"), "stored"),
        "avif": (picture(SAMPLES["avif"], kind="application/json"), "stored"),
        "gzip": (picture(gzip.compress(jpeg), "Content-Encoding: gzip", kind="text/html"), "stored"),
        "none": (picture(jpeg, kind=""), "stored"),
        "octets": (picture(jpeg, kind="application/octet-stream"), "stored"),
        "no-type-page": (picture(PAGE, kind=""), "not_image"),
        "short": (picture(b"no", kind="text/html"), "not_image"),
        "empty": (picture(b"", kind="text/html"), "empty"),
        "cut-off": (Reply(jpeg[:3000], ("Content-Type: text/html",), length=len(jpeg)), "incomplete"),
    }
    ended, _ = await endings({case: reply for case, (reply, _) in cases.items()})
    assert ended == {case: ending for case, (_, ending) in cases.items()}
    ended, _ = await endings({case: reply for case, (reply, _) in cases.items()}, min_size=10)
    assert ended == {case: ending for case, (_, ending) in cases.items()}, "also where sizes are looked at"


@pytest.mark.parametrize("kind", ["image/svg+xml", "text/xml", "text/html"])
async def test_how_a_body_is_cut_into_pieces_does_not_change_its_reason(kind: str) -> None:
    cases = {f"first-{first}": picture(SVG, kind=kind, first=first, pause=0.05) for first in (0, 5, 20, 60)}
    ended, _ = await endings(cases)
    assert ended == dict.fromkeys(cases, "unsupported_format")


@pytest.mark.parametrize("chosen", [{}, {"min_size": 10}])
async def test_a_body_that_is_announced_too_large_is_not_read(chosen: dict[str, Any]) -> None:
    cases = {
        "picture": picture(SAMPLES["jpeg"], zeros=LARGE),
        "page": picture(PAGE, zeros=LARGE, kind="text/html"),
        "fits": picture(SAMPLES["jpeg"]),
    }
    ended, sent = await endings(cases, max_bytes=1_000_000, **chosen)
    assert ended == {"picture": "too_large", "page": "too_large", "fits": "stored"}
    assert max(sent["picture"], sent["page"]) < LITTLE


# What can be asked for ------------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize("key", ["min_size", "max_size"])
def test_a_size_that_makes_no_sense_is_refused(key: str) -> None:
    values: list[Any] = [
        -1,
        1.5,
        "5",
        "5x5",
        None,
        (1,),
        (1, 2, 3),
        (0, 5),
        (5, -1),
        (5, 1.5),
        (5, True),
        65_536,
        True,
        NAN,
    ]
    for value in values:
        with pytest.raises(SettingsError, match=key.replace("_", "-")):
            ProcessSettings(**{key: value})


@pytest.mark.parametrize("key", ["min_aspect", "max_aspect"])
def test_an_aspect_that_makes_no_sense_is_refused(key: str) -> None:
    values: list[Any] = [-0.1, "1", None, (1, 2), True, NAN]
    for value in values:
        with pytest.raises(SettingsError, match=key.replace("_", "-")):
            ProcessSettings(**{key: value})


@pytest.mark.parametrize(
    "chosen",
    [
        {"min_size": 100, "max_size": 99},
        {"min_size": (100, 10), "max_size": 99},
        {"min_size": 10, "max_size": (9, 100)},
        {"min_aspect": 2, "max_aspect": 1.9},
    ],
)
def test_limits_that_nothing_can_meet_are_refused(chosen: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="max-"):
        ProcessSettings(**chosen)


def test_the_command_line_takes_them_and_writes_them_as_it_reads_them(tmp_path: Path) -> None:
    wanted = ("--min-size", "100x50", "--max-size", "800", "--min-aspect", "0.5", "--max-aspect", "2")
    shown = inside("run", *wanted, "--show-settings")
    assert shown.code == 0, shown.err
    lines = {line.partition(" = ")[0]: line.partition(" = ")[2] for line in shown.out.splitlines()}
    assert (lines["max-size"], lines["min-aspect"], lines["max-aspect"]) == ("800", "0.5", "2.0")
    (tmp_path / "again.toml").write_text(shown.out, encoding="utf-8")
    again = inside("run", "--config", tmp_path / "again.toml", "--show-settings")
    assert (again.code, again.out) == (0, shown.out), again.err
    for wrong in (("--min-size", "0x5"), ("--max-size", "a"), ("--min-aspect", "-1")):
        assert inside("run", "http://h/a.jpg", *wrong, "-o", tmp_path / "o").code == 2
