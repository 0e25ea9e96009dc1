"""Every picture of the test suites of others: what two readers say of it (Pillow and libvips) is what must come of it.

Where we differ from them stands below by name and with the reason; an exception that is not needed any more fails as well.
The pass over all files runs in processes of its own: one that dies costs the file it was given, and is a failure of it.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import resource
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import pyvips

from crawler.model import Miss, Reason
from crawler.picture_settings import ANIMATED, FORMATS, ProcessSettings
from crawler.process import worker
from tests.conftest import third_party
from tests.processed import processed
from tests.test_pixels import Pixels, frames_of, laid_on

SIDE: Final = 32
"""Longest side of what is stored here: encoding is not what this is about."""
PATIENCE: Final = 30.0
APART: Final = 4.0
"""Levels of 255 in the mean between ours and the same size by libvips. What lies on its side, in another colour space, or
on another background is far more."""

FLAGS: Final[dict[str, Any]] = {"size": SIDE, "filter": "bilinear", "variant": (f"exact:{SIDE}:inside:png",)}
"""Beside the picture that is stored by default the same one without loss, in a filter that libvips has too."""

FRAMES: Final = 4
"""So many frames of every animation are looked at."""

SPAWNING: Final = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What came of one file: `reason` is empty if it was stored. Sizes are as a viewer shows the source."""

    file: str
    reason: str
    detail: str = ""
    width: int = 0
    height: int = 0
    stored: tuple[int, int] = (0, 0)
    frames: int = 0
    format: str = ""
    original_reason: str = ""
    original_detail: str = ""
    identical: bool = False
    original_size: tuple[int, int, int] = (0, 0, 0)
    apart: float | None = None
    trouble: str = ""
    spawned: tuple[str, ...] = ()
    again: str = ""
    animated: bool = False
    unlike: str = ""
    with_extra: str = ""
    died: str = ""


# The pass, in a process of its own


def judged(body: bytes, row: Row) -> Verdict:
    """One file with default flags but for its size, and in its original bytes."""
    result = processed(body, **FLAGS)
    original = processed(body, encode="original")
    verdict = Verdict(row["file"], reason="", identical=not isinstance(original, Miss) and original.data == body)
    if isinstance(original, Miss):
        verdict = replace(verdict, original_reason=original.reason.value, original_detail=original.detail)
    else:
        size = original.original_width, original.original_height, original.frames
        verdict = replace(verdict, original_size=size)
    if row["cls"] in ("disputed", "valid_damaged"):
        again = processed(body, **FLAGS)
        verdict = replace(verdict, again=again.reason.value if isinstance(again, Miss) else "stored")
    if row.get("pillow_plugins", {}).get("format") == "HEIF":
        extra = processed(body, size=SIDE, formats=("default", "heif"))
        told = extra.reason.value if isinstance(extra, Miss) else f"{extra.original_width}x{extra.original_height}"
        verdict = replace(verdict, with_extra=told)
    if isinstance(result, Miss):
        return replace(verdict, reason=result.reason.value, detail=result.detail)
    verdict = replace(
        verdict,
        width=result.original_width,
        height=result.original_height,
        stored=(result.width, result.height),
        frames=result.frames,
        format=result.original_format,
    )
    if row["cls"] != "valid":
        return verdict
    try:
        image = shown(pyvips.Image.new_from_buffer(body, ""))
        verdict = replace(verdict, apart=apart(result.companions[0].data, small(image, result.width, result.height)))
        if result.frames > 1 and result.original_format in ANIMATED:
            verdict = replace(verdict, animated=True, unlike=unlike(body))
    except pyvips.Error as error:
        return replace(verdict, trouble=f"libvips: {' '.join(str(error).split())[:200]}")
    return verdict


def unlike(body: bytes) -> str:
    """How the first frames of an animation differ from what a viewer shows; empty if they do not."""
    picture = processed(body, frames=FRAMES, encode="png", size=SIDE, filter="bilinear")
    if isinstance(picture, Miss):
        return f"{picture.reason.value}: {picture.detail}"
    expected = [
        small(pyvips.Image.new_from_array(frame.astype(np.uint8), interpretation="srgb"), picture.width, picture.height)
        for frame in frames_of(body, FRAMES)
    ]
    found = [laid_on(frame, (255, 255, 255)) for frame in frames_of(picture.data, FRAMES)]
    found, expected = changes(found), changes(expected)
    if len(found) != len(expected):
        return f"{len(found)} frames that differ, expected {len(expected)}"
    both = zip(found, expected, strict=True)
    far = max(float(np.abs(coarse(one) - coarse(other)).mean()) for one, other in both)
    return f"{far:.1f} levels apart" if far > APART else ""


def changes(frames: list[Pixels]) -> list[Pixels]:
    """Those that differ from the one before: encoders make one frame of two that look the same."""
    return [frame for at, frame in enumerate(frames) if at == 0 or np.abs(frame - frames[at - 1]).max() > 2]


def apart(data: bytes, expected: Pixels) -> float:
    """Levels of 255, in the mean, between a file and pixels."""
    return float(np.abs(coarse(on_white(pyvips.Image.new_from_buffer(data, ""))) - coarse(expected)).mean())


def shown(image: Any) -> Any:
    """A libvips image upright, in sRGB, in levels of 255."""
    image = image.autorot()
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, intent="perceptual", depth=8)
    elif image.format in ("ushort", "short", "int"):
        image = image.cast("float") / 257
    if image.interpretation == "cmyk":  # libvips has a profile for ink without one, browsers and Pillow have none
        image = (255 - image[0:3]) * (255 - image[3]) / 255
    return image.copy(interpretation="b-w" if image.bands < 3 else "srgb")


def small(image: Any, width: int, height: int) -> Pixels:
    """Scaled by libvips, on white."""
    clear = image.hasalpha()
    scaled = (image.premultiply() if clear else image).resize(
        width / image.width, vscale=height / image.height, kernel="linear"
    )
    return on_white(scaled.unpremultiply() if clear else scaled)


def coarse(pixels: Pixels) -> Pixels:
    """The mean of every 4 x 4 pixels: what two filters make of one edge is no difference any more."""
    down, across = (np.arange(0, side, 4) for side in pixels.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(pixels, down, axis=0), across, axis=1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(pixels), down, axis=0), across, axis=1)
    mean: Pixels = sums / counts
    return mean


def on_white(image: Any) -> Pixels:
    """RGB of 0 to 255, without transparency."""
    flat = image.flatten(background=255) if image.hasalpha() else image
    whole = np.atleast_3d(flat.numpy()).astype(np.float64)
    return np.repeat(whole, 3, axis=2) if whole.shape[2] == 1 else whole


def serve(pipe: Connection, folder: str) -> None:
    """A process that is told one file after the other; set up as a worker is, so that the same limits hold."""
    os.nice(10)
    spawned: list[str] = []
    sys.addaudithook(lambda event, _: spawned.append(event) if event in SPAWNING else None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff says there what it thinks of every broken file
    worker.setup(ProcessSettings())
    while (row := pipe.recv()) is not None:
        body = Path(folder, row["file"]).read_bytes()
        spawned.clear()
        try:
            verdict = judged(body, row)
        except Exception as error:
            verdict = Verdict(row["file"], reason="", died=f"{type(error).__name__}: {error}")
        pipe.send(replace(verdict, spawned=tuple(spawned)))


def measure(pipe: Connection, folder: str) -> None:
    """The same for what is said to be large: how much memory it took at its peak, in bytes, and what came of it."""
    worker.setup(ProcessSettings())
    processed(b"GIF89a", size=SIDE)  # what is needed once for all
    while (row := pipe.recv()) is not None:
        body = Path(folder, row["file"]).read_bytes()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results = [processed(body, size=SIDE), processed(body, encode="original")]
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe.send(([one.reason if isinstance(one, Miss) else None for one in results], (after - before) * 1024))


class Child:
    """A process that judges; started again if it dies."""

    def __init__(self, work: Callable[[Connection, str], None], folder: Path) -> None:
        self._work, self._folder = work, folder
        self._process: Any = None

    def ask(self, row: Row) -> Any:
        """What it says of a file, or how it died of it."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=self._work, args=(theirs, str(self._folder)), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._pipe.send(row)
            if self._pipe.poll(PATIENCE):
                return self._pipe.recv()
            self._process.kill()
            died = f"no answer within {PATIENCE} s"
        except (EOFError, OSError):
            self._process.join()
            died = f"exit code {self._process.exitcode}"
        self.end()
        return Verdict(row["file"], reason="", died=died)

    def end(self) -> None:
        if self._process is None:
            return
        if self._process.is_alive():
            try:
                self._pipe.send(None)
            except OSError:
                pass
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._pipe.close()
        self._process = None


# What is known


@functools.cache
def rows() -> dict[str, Row]:
    found = json.loads((third_party("corpus") / "images.json").read_text())["files"]
    return {row["file"]: row for row in found}


def of_class(*names: str) -> dict[str, Row]:
    return {file: row for file, row in rows().items() if row["cls"] in names}


@pytest.fixture(scope="module")
def verdicts() -> Mapping[str, Verdict]:
    """What came of all files but the bombs."""
    threads, found = judging()
    for thread in threads:
        thread.join()
    return found


@functools.cache
def judging() -> tuple[list[threading.Thread], dict[str, Verdict]]:
    """All files but the bombs, by two processes; the costly ones first, so that both end at the same time. The session
    begins with it: many tests leave a core idle.
    """
    folder = third_party("corpus") / "images"
    waiting = sorted(rows().values(), key=lambda row: -row["pillow"].get("ms", 0))
    queue = iter([row for row in waiting if row["cls"] != "bomb"])
    found: dict[str, Verdict] = {}
    lock = threading.Lock()

    def run() -> None:
        child = Child(serve, folder)
        while True:
            with lock:
                row = next(queue, None)
            if row is None:
                break
            found[row["file"]] = child.ask(row)
        child.end()

    threads = [threading.Thread(target=run, name="corpus", daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    return threads, found


def frames_expected(row: Row) -> int:
    """As a viewer counts: further views in a JPEG (MPO) are none, nor is the poster of an animated PNG."""
    said = row["pillow"]
    if said["format"] in ("MPO", "ICO"):
        return 1
    if said["format"] == "PNG" and said["frames"] > 1:
        return max(1, apng_frames((third_party("corpus") / "images" / row["file"]).read_bytes()))
    return int(said["frames"])


def apng_frames(data: bytes) -> int:
    """Frames that an animated PNG says it has, in its acTL."""
    at = 8
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            return int(struct.unpack_from(">I", data, at + 8)[0])
        at += 12 + size
    return 1


def size_expected(row: Row) -> tuple[int, int]:
    said = row["pillow"]
    width, height = said.get("oriented_size") or (said["w"], said["h"])
    return width, height


def assert_known(wrong: Mapping[str, str], known: Mapping[str, str]) -> None:
    """What is wrong is what is known to be, file by file."""
    new = {file: told for file, told in wrong.items() if file not in known}
    assert not new, "\n".join(f"{file}: {told}" for file, told in new.items())
    idle = sorted(known.keys() - wrong.keys())
    assert not idle, f"these exceptions are not needed any more: {', '.join(idle)}"


# Where we differ, and why

REFUSED: Final[dict[str, str]] = {}
"""Valid, and we do not store it."""

COUNTED: Final[dict[str, str]] = {}
"""Stored, and the size or the number of frames is another one."""

_MONOCHROME: Final = "libheif shows 16 to 235 of a monochrome AVIF as they are, libavif and browsers widen them"
COLOURED: Final[dict[str, str]] = {
    "pillow/Tests__images__8bit.s.tif": "signed samples, which no two readers show alike",
    "pillow/Tests__images__courB08.pbm": "one row of what was twenty: the filters differ",
    "libvips/test__test-suite__images__ojpeg-tile.tif": "libvips reads zeros from JPEG of the old style in tiles",
    "libavif/tests__data__abc_color_irot_alpha_NOirot.avif": "libheif does not turn the alpha with the colours",
    "libavif/tests__data__clop_irot_imor.avif": "libheif divides an alpha of other depth than the colours too often",
    "wpt/css__css-images__image-orientation__support__F-exif-late.png": "libvips reads no eXIf, least of all after IDAT",
    "link-u-avif/fox.profile0.10bpc.yuv420.monochrome.odd-height.avif": _MONOCHROME,
    "link-u-avif/fox.profile0.8bpc.yuv420.monochrome.odd-height.avif": _MONOCHROME,
    "link-u-avif/fox.profile0.8bpc.yuv420.monochrome.odd-width.odd-height.avif": _MONOCHROME,
    "link-u-avif/fox.profile2.10bpc.yuv422.monochrome.odd-width.avif": _MONOCHROME,
    "link-u-avif/fox.profile2.10bpc.yuv422.monochrome.odd-width.odd-height.avif": _MONOCHROME,
    "link-u-avif/fox.profile2.12bpc.yuv422.monochrome.odd-width.odd-height.avif": _MONOCHROME,
    "link-u-avif/fox.profile2.8bpc.yuv422.monochrome.avif": _MONOCHROME,
    "link-u-avif/fox.profile2.8bpc.yuv422.monochrome.odd-height.avif": _MONOCHROME,
    "link-u-avif/fox.profile2.8bpc.yuv422.monochrome.odd-width.odd-height.avif": _MONOCHROME,
}
"""Stored, and it does not look as libvips shows it."""

_UNORDERED: Final = (
    "its chunks are numbered wrongly: an error by PNG 3rd edition, 14.3.4; as a still picture it is stored"
)
_CLEARED: Final = "libvips clears to the background colour where a frame has no clear one, browsers and we to nothing"
MOVED: Final[dict[str, str]] = {
    "pillow/Tests__images__apng__chunk_no_fdat.png": "a frame without data",
    "pillow/Tests__images__apng__sequence_fdat_fctl.png": _UNORDERED,
    "pillow/Tests__images__apng__sequence_gap.png": _UNORDERED,
    "pillow/Tests__images__apng__sequence_reorder.png": _UNORDERED,
    "pillow/Tests__images__apng__sequence_reorder_chunk.png": _UNORDERED,
    "pillow/Tests__images__apng__sequence_repeat.png": _UNORDERED,
    "pillow/Tests__images__apng__sequence_repeat_chunk.png": _UNORDERED,
    "pillow/Tests__images__apng__sequence_start.png": _UNORDERED,
    "pillow/Tests__images__apng__syntax_num_frames_high.png": "it says that there is one frame more than there is",
    "pillow/Tests__images__dispose_bgnd.gif": _CLEARED,
    "pillow/Tests__images__dispose_bgnd_rgba.gif": _CLEARED,
    "libvips/test__test-suite__images__invalid_multiframe.gif": "the data of its second frame is broken",
}
"""An animation whose frames are not those that a viewer shows."""

OTHERS: Final[dict[str, str]] = {}
"""Not stored by another reason than its format is said to have."""

NO_SIGNATURE: Final = ("SPIDER",)
"""Formats of which nothing at the beginning of a file tells what it is, so that there `not_image` is right."""


# Tests


def test_no_process_died_and_none_was_started(verdicts: Mapping[str, Verdict]) -> None:
    assert len(verdicts) == len(rows()) - len(of_class("bomb"))
    assert {file: one.died for file, one in verdicts.items() if one.died} == {}
    assert {file: one.spawned for file, one in verdicts.items() if one.spawned} == {}, "no network, no program"
    killers = {Reason.WORKER_CRASHED.value, Reason.TOO_SLOW.value}
    assert [file for file, one in verdicts.items() if {one.reason, one.original_reason} & killers] == []


def test_every_valid_picture_is_stored(verdicts: Mapping[str, Verdict]) -> None:
    wrong = {}
    for file in of_class("valid"):
        one = verdicts[file]
        if one.reason or one.original_reason:
            wrong[file] = f"{one.reason or one.original_reason}: {one.detail or one.original_detail}"
        elif not one.identical:
            wrong[file] = "the original bytes have changed"
    assert_known(wrong, REFUSED)


def test_every_valid_picture_has_the_size_and_frames_that_both_readers_see(verdicts: Mapping[str, Verdict]) -> None:
    wrong = {}
    for file, row in of_class("valid").items():
        one = verdicts[file]
        if one.reason:
            continue
        expected = *size_expected(row), frames_expected(row)
        found = one.width, one.height, one.frames
        if found != expected or one.original_size != expected:
            wrong[file] = f"{found}, as original {one.original_size}, expected {expected}"
    assert_known(wrong, COUNTED)


def test_what_is_stored_is_the_whole_picture_at_its_size(verdicts: Mapping[str, Verdict]) -> None:
    wrong = {}
    for file, one in verdicts.items():
        if one.reason or one.died:
            continue
        scale = min(1.0, SIDE / max(one.width, one.height))
        expected = max(1, round(one.width * scale)), max(1, round(one.height * scale))
        if one.stored != expected:
            wrong[file] = f"{one.stored}, expected {expected} of {one.width}x{one.height}"
    assert wrong == {}


def test_every_valid_picture_looks_as_libvips_shows_it(verdicts: Mapping[str, Verdict]) -> None:
    seen = [verdicts[file] for file in of_class("valid") if not verdicts[file].reason]
    assert sum(one.apart is not None for one in seen) > 1000
    wrong = {
        one.file: one.trouble or f"{one.apart:.1f} levels apart"
        for one in seen
        if one.apart is None or one.apart > APART
    }
    assert_known(wrong, COLOURED)


def test_every_frame_of_an_animation_is_what_a_viewer_shows(verdicts: Mapping[str, Verdict]) -> None:
    animated = [verdicts[file] for file in of_class("valid") if verdicts[file].animated]
    assert len(animated) > 70
    assert_known({one.file: one.unlike for one in animated if one.unlike}, MOVED)


def test_nothing_invalid_is_stored(verdicts: Mapping[str, Verdict]) -> None:
    named = {Reason.NOT_IMAGE, Reason.UNSUPPORTED_FORMAT, Reason.DECODE, Reason.TRUNCATED, Reason.TOO_MANY_PIXELS}
    named |= {Reason.OUT_OF_MEMORY}
    for file in of_class("invalid"):
        one = verdicts[file]
        assert one.reason in {reason.value for reason in named}, f"{file}: {one.reason or 'stored'}"
        assert one.original_reason in {reason.value for reason in named}, f"{file}: {one.original_reason or 'stored'}"
        assert one.detail, file


def test_the_reason_does_not_depend_on_what_is_stored(verdicts: Mapping[str, Verdict]) -> None:
    """Original bytes are proven by decoding them: what would be refused otherwise is refused then too."""
    wrong = {
        file: f"{one.reason or 'stored'}, as original {one.original_reason or 'stored'}"
        for file, one in verdicts.items()
        if one.reason != one.original_reason
    }
    assert wrong == {}


def test_no_drawing_is_made_into_pixels(verdicts: Mapping[str, Verdict]) -> None:
    for file in of_class("svg"):
        one = verdicts[file]
        assert one.reason in (Reason.UNSUPPORTED_FORMAT.value, Reason.NOT_IMAGE.value), (
            f"{file}: {one.reason or 'stored'}"
        )


def test_formats_that_need_something_more_are_named(verdicts: Mapping[str, Verdict]) -> None:
    wrong = {
        file: verdicts[file].reason or "stored"
        for file in of_class("valid_with_plugin")
        if verdicts[file].reason != Reason.UNSUPPORTED_FORMAT.value
    }
    assert wrong == {}


def test_pictures_of_telephones_are_stored_with_the_extra(verdicts: Mapping[str, Verdict]) -> None:
    said = {file: row.get("pillow_plugins", {}) for file, row in of_class("valid_with_plugin").items()}
    heif = {file: row for file, row in said.items() if row.get("format") == "HEIF"}
    assert len(heif) == 6
    wrong = {file: verdicts[file].with_extra for file in heif}
    assert {file: told for file, told in wrong.items() if told != f"{heif[file]['w']}x{heif[file]['h']}"} == {}


def test_other_formats_are_stored_if_they_are_on_our_list(verdicts: Mapping[str, Verdict]) -> None:
    wrong = {}
    for file, row in of_class("pillow_only").items():
        one, format = verdicts[file], row["pillow"]["format"]
        if format.lower() in FORMATS:
            expected = *size_expected(row), frames_expected(row)
            if one.reason or (one.width, one.height, one.frames) != expected:
                wrong[file] = f"{format}: {one.reason or 'stored'} {one.detail} {one.width}x{one.height}, {expected}"
        else:
            reason = Reason.NOT_IMAGE if format in NO_SIGNATURE else Reason.UNSUPPORTED_FORMAT
            if one.reason != reason.value:
                wrong[file] = f"{format}: {one.reason or 'stored'}, expected {reason.value}"
    assert_known(wrong, OTHERS)


def test_what_readers_dispute_has_one_result_every_time(verdicts: Mapping[str, Verdict]) -> None:
    files = of_class("disputed", "valid_damaged")
    unsteady = {
        file: verdicts[file].again for file in files if verdicts[file].again != (verdicts[file].reason or "stored")
    }
    assert unsteady == {}
    # What browsers show of these differs as well; the numbers are here to be seen when they change. Most that cannot be
    # decoded are AVIFs with alpha of an early encoder, which libavif does not take.
    disputed = {"decode": 57, "truncated": 10, "not_image": 3, "stored": 1, "unsupported_format": 1}
    assert counted(verdicts, of_class("disputed")) == disputed
    assert counted(verdicts, of_class("valid_damaged")) == {"stored": 14}


def counted(verdicts: Mapping[str, Verdict], files: Iterable[str]) -> dict[str, int]:
    return dict(Counter(verdicts[file].reason or "stored" for file in files))


def test_what_claims_to_be_huge_is_refused_from_its_header() -> None:
    child = Child(measure, third_party("corpus") / "images")
    bombs = of_class("bomb")
    found = {file: child.ask(row) for file, row in bombs.items()}
    child.end()
    assert len(found) == 5
    for file, (reasons, memory) in found.items():
        expected = Reason.UNSUPPORTED_FORMAT if file.endswith(".icns") else Reason.TOO_MANY_PIXELS
        assert reasons == [expected, expected], file
        assert memory < 8_000_000, f"{file} took {memory} bytes more"
