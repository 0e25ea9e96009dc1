"""The same picture under different addresses is stored once: by its bytes, its pixels or its look. Nothing is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageEnhance

from crawler import Crawler, Outcome, Reason, Settings, SettingsError, Summary, crawl
from crawler.clock import SystemClock
from crawler.errors import SettingsChanged, StoreError
from crawler.model import Fetched, Likeness, Miss, Picture, Record, Target, Twin
from crawler.state.journal import FolderJournal
from crawler.state.none import NullJournal
from crawler.state.twins import Twins, signed
from crawler.store.files import FileStore
from crawler.store.metadata import MetadataLedger
from crawler.verify import verify
from tests.cli import Running, as_flags, check_agreement, counts, crawler, inside, metadata, started, wait_until
from tests.processed import picture_of
from tests.servers import pictures as painted
from tests.servers.validators import Page, Pages, Validators, listed, running_validators

LIMIT = 30.0
PLAIN: dict[str, Any] = {"allow_private": True, "retries": 0, "workers": 1, "size": 48}
ONE: dict[str, Any] = PLAIN | {"concurrency": 1}
"""One after the other: the first of the list is the one that is kept."""
ALL = (1 << 64) - 1


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture


class Held(Pages):
    def hold(self, bodies: Mapping[str, bytes]) -> None:
        self.update({f"/{name}": Page(body) for name, body in bodies.items()})


def pages(site: Validators) -> Held:
    assert isinstance(site.holds, Held)
    return site.holds


@pytest.fixture
def site() -> Iterator[Validators]:
    with running_validators(Held()) as server:
        yield server


def run(urls: Path, output: Path, **more: Any) -> Summary:
    """A run in this process, to its end."""
    settings = Settings.of((str(urls),), output=str(output), **ONE | more)
    return asyncio.run(asyncio.wait_for(crawl(settings), LIMIT))


@dataclass(frozen=True)
class Row:
    """What the journal says of a target."""

    reason: str | None
    detail: str | None
    same_as: int | None
    file_name: str | None


def journal(output: Path) -> dict[int, Row]:
    """Every row, also of a run that was killed."""
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite")) as db:
        rows = db.execute("SELECT id, reason, detail, same_as, file_name FROM targets").fetchall()
    return {index: Row(*told) for index, *told in rows}


def kept(output: Path) -> dict[int, int]:
    """For every target that is settled, the position of the one that holds its picture."""
    return {index: index if row.same_as is None else row.same_as for index, row in journal(output).items()}


def check(output: Path) -> None:
    """Files, metadata and journal agree, and who is left out has a twin that is stored."""
    check_agreement(output)
    rows = journal(output)
    assert sorted(line["index"] for line in metadata(output)) == [i for i in sorted(rows) if rows[i].reason is None]
    check_twins(output)
    assert asyncio.run(asyncio.wait_for(verify(output), LIMIT)).faults == []


def check_twins(output: Path) -> None:
    """Nobody is left out for one whose picture is not there: it would be done by no later run."""
    rows = journal(output)
    for index, row in rows.items():
        if row.same_as is not None:
            assert row.reason == "duplicate"
            twin = rows.get(row.same_as)
            assert twin is not None, f"{index} is left out for {row.same_as}, which is not settled"
            assert twin.reason is None, f"{index} is left out for {row.same_as}, which is missed: {twin}"
            assert (output / str(twin.file_name)).exists()


# What is the same ----------------------------------------------------------------------------------------------------


def relatives() -> dict[str, bytes]:
    """One picture in many files, and others that are not the same."""
    scene = painted.scene(40, 30, seed=1)
    photo = encoded(painted.scene(40, 30, seed=2), "JPEG", quality=90)
    grey = painted.scene(40, 30, seed=3).convert("L")
    changed = scene.copy()
    changed.putpixel((39, 29), tuple(255 - level for level in painted.scene(40, 30, seed=1).tobytes()[-3:]))
    opaque, clear = scene.convert("RGBA"), scene.convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 254))
    return {
        "scene.png": encoded(scene, "PNG"),
        "scene.bmp": encoded(scene, "BMP"),
        "scene.tiff": encoded(scene, "TIFF"),
        "scene.webp": encoded(scene, "WEBP", lossless=True),
        "opaque.png": encoded(opaque, "PNG"),
        "upside_down.png": _turned(scene),
        "again.png": encoded(scene, "PNG"),
        "photo.jpg": photo,
        "photo_comment.jpg": painted.stamped(photo, "another comment"),
        "photo.png": encoded(decoded(photo), "PNG"),
        "grey.png": encoded(grey, "PNG"),
        "grey_rgb.png": encoded(grey.convert("RGB"), "PNG"),
        "changed.png": encoded(changed, "PNG"),
        "clear.png": encoded(clear, "PNG"),
        "wider.png": encoded(scene.crop((0, 0, 41, 30)), "PNG"),
        "tall.png": encoded(Image.frombytes("RGB", (30, 40), scene.tobytes()), "PNG"),
    }


def _turned(picture: Image.Image) -> bytes:
    """Stored upside down, with the tag that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 3
    return encoded(picture.transpose(Image.Transpose.ROTATE_180), "PNG", exif=exif.tobytes())


RELATIVES = relatives()
SAME_BYTES = {"again.png": "scene.png"}
SAME_PIXELS = SAME_BYTES | {
    "scene.bmp": "scene.png",
    "scene.tiff": "scene.png",
    "scene.webp": "scene.png",
    "opaque.png": "scene.png",
    "upside_down.png": "scene.png",
    "photo_comment.jpg": "photo.jpg",
    "photo.png": "photo.jpg",
    "grey_rgb.png": "grey.png",
}
EXPECTED: dict[str, dict[str, str]] = {"url": {}, "bytes": SAME_BYTES, "pixels": SAME_PIXELS}


def positions(same: Mapping[str, str]) -> dict[int, int]:
    names = list(RELATIVES)
    return {at: names.index(same.get(name, name)) for at, name in enumerate(names)}


def test_the_same_bytes_are_stored_once_and_the_others_say_who_has_them(site: Validators, tmp_path: Path) -> None:
    pages(site).hold(RELATIVES)
    urls, output = listed(site, tmp_path, list(RELATIVES)), tmp_path / "out"
    done = run(urls, output, dedup="bytes")
    assert done.reasons == {"duplicate": 1}
    assert kept(output) == positions(SAME_BYTES)
    assert journal(output)[6].detail == f"the same bytes as position 0 of the input, {site.url('scene.png')}"
    assert len(site.log()) == len(RELATIVES), "each was fetched once, for only its bytes tell"
    check(output)


@pytest.mark.parametrize("encode", ["jpeg", "original"])
def test_the_same_pixels_are_stored_once_whatever_holds_them(site: Validators, tmp_path: Path, encode: str) -> None:
    pages(site).hold(RELATIVES)
    urls, output = listed(site, tmp_path, list(RELATIVES)), tmp_path / "out"
    assert run(urls, output, dedup="pixels", encode=encode).reasons == {"duplicate": len(SAME_PIXELS)}
    assert kept(output) == positions(SAME_PIXELS)
    check(output)


def test_the_command_tells_misses_and_journal_who_is_kept(site: Validators, tmp_path: Path) -> None:
    pages(site).hold(RELATIVES)
    names = list(RELATIVES)
    urls, output = listed(site, tmp_path, names), tmp_path / "out"
    urls.write_text(urls.read_text().replace("//", "//ann:secret@", 1))  # the first address has a password
    done = crawler("run", urls, "-o", output, *as_flags(ONE), "--dedup", "pixels", "--json")
    assert done.code == 0, done.err
    assert done.summary["reasons"] == {"duplicate": len(SAME_PIXELS)}
    missed = inside("misses", output, "--reason", "duplicate", "--format", "jsonl")
    told = {row["index"]: row for row in map(json.loads, missed.out.splitlines())}
    assert {names[index] for index in told} == set(SAME_PIXELS)
    first = site.url("scene.png").replace("//", "//ann:***@")
    for index, row in told.items():
        by = "bytes" if names[index] in SAME_BYTES else "pixels"
        twin = names.index(SAME_PIXELS[names[index]])
        url = first if twin == 0 else site.url(names[twin])
        assert row["detail"] == f"the same {by} as position {twin} of the input, {url}"
        assert row["later"] is False
        assert row["status"] == 200
        assert journal(output)[index].same_as == twin
    everything = done.out + done.err + missed.out + (output / ".crawler/journal.sqlite").read_bytes().decode("latin-1")
    assert "secret" not in everything
    check(output)


@pytest.mark.parametrize("dedup", EXPECTED)
async def test_a_program_that_keeps_nothing_is_told_too(site: Validators, dedup: str) -> None:
    pages(site).hold(RELATIVES)
    urls = [site.url(name) for name in RELATIVES]
    found: dict[int, Outcome] = {}
    async with Crawler(Settings.of(urls, store="none", dedup=dedup, **ONE)) as crawl_:
        async for outcome in crawl_:
            found[outcome.target.index] = outcome
    assert {index: _standing_for(outcome) for index, outcome in found.items()} == positions(EXPECTED[dedup])
    assert {one.miss.reason for one in found.values() if one.miss} <= {Reason.DUPLICATE}


def _standing_for(outcome: Outcome) -> int | None:
    return outcome.target.index if outcome.miss is None else outcome.miss.same_as


async def test_a_service_that_wants_no_twins_gets_each_picture_once(site: Validators) -> None:
    pages(site).hold(RELATIVES)
    async with Crawler(Settings.of(store="none", dedup="pixels", **PLAIN)) as service:
        first = await service.get(site.url("scene.png"))
        again = await service.get(site.url("scene.bmp"))
        other = await service.get(site.url("photo.jpg"))
    assert first.stored
    assert other.stored
    assert again.miss is not None
    assert (again.miss.reason, again.miss.same_as) == (Reason.DUPLICATE, first.target.index)
    assert site.url("scene.png") in again.miss.detail


async def test_pictures_of_animations_count_with_all_frames_that_are_used(site: Validators) -> None:
    scenes = [painted.scene(24, 24, seed).quantize(32) for seed in (1, 2, 3)]
    first_two = encoded(scenes[0], "GIF", save_all=True, append_images=scenes[1:2], duration=100)
    other_two = encoded(scenes[0], "GIF", save_all=True, append_images=scenes[2:3], duration=100)
    pages(site).hold({"a.gif": first_two, "b.gif": other_two})
    urls = [site.url("a.gif"), site.url("b.gif")]
    wanted = {"first": 1, "all": 2}
    for frames, stored in wanted.items():
        settings = Settings.of(urls, store="none", dedup="pixels", frames=frames, encode="webp", **ONE)
        assert (await crawl(settings)).stored == stored, frames
    original = Settings.of(urls, store="none", dedup="pixels", encode="original", **ONE)
    assert (await crawl(original)).stored == 2, "what is stored as it came is compared as a whole"


# What looks the same -------------------------------------------------------------------------------------------------


PHOTOGRAPHS = (4, 11, 12, 21, 34)


def copies(seed: int) -> dict[str, bytes]:
    """A photograph, and what others make of it."""
    photo = painted.scene(120, 90, seed)
    return {
        f"{seed}.jpg": encoded(photo, "JPEG", quality=95),
        f"{seed}_smaller.jpg": encoded(photo, "JPEG", quality=40),
        f"{seed}_half.jpg": encoded(photo.resize((60, 45)), "JPEG", quality=90),
        f"{seed}_double.png": encoded(photo.resize((240, 180)), "PNG"),
        f"{seed}_brighter.jpg": encoded(ImageEnhance.Brightness(photo).enhance(1.06), "JPEG", quality=90),
    }


COPIES = {name: data for seed in PHOTOGRAPHS for name, data in copies(seed).items()}
LOOKS = {name: picture_of(data, dedup="near", size=48).likeness.look for name, data in COPIES.items()}
OTHERS = {f"other{seed}.jpg": painted.jpeg(60, 45, seed) for seed in range(50, 70)}


def apart(one: str, other: str) -> int:
    first, second = LOOKS[one], LOOKS[other]
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


@pytest.mark.parametrize(("dedup", "distance"), [("near", 4), ("near:0", 0), ("near:2", 2), ("near:10", 10)])
def test_what_looks_the_same_is_stored_once(site: Validators, tmp_path: Path, dedup: str, distance: int) -> None:
    pages(site).hold(COPIES | OTHERS)
    names = [*COPIES, *OTHERS]
    urls, output = listed(site, tmp_path, names), tmp_path / "out"
    run(urls, output, dedup=dedup)
    stands = {names[index]: names[twin] for index, twin in kept(output).items()}
    assert {name: stands[name] for name in OTHERS} == {name: name for name in OTHERS}, "different photographs"
    stored: list[str] = []
    for index, name in enumerate(COPIES):
        near = [other for other in stored if apart(name, other) <= distance]
        if not near:
            assert stands[name] == name
            stored.append(name)
            continue
        assert stands[name] in near
        detail = str(journal(output)[index].detail)
        told = re.fullmatch(
            r"looks the same \(distance (\d+)\) as position (\d+) of the input, (.*)", detail
        ) or re.fullmatch(r"(the same bytes) as position (\d+) of the input, (.*)", detail)
        assert told, detail
        assert (names[int(told[2])], told[3]) == (stands[name], site.url(stands[name]))
        if told[1].isdigit():
            assert int(told[1]) == apart(name, stands[name]) <= distance
    assert {name.partition(".")[0].partition("_")[0] for name in stored} == set(map(str, PHOTOGRAPHS))
    if distance >= 4:
        assert len(stored) == len(PHOTOGRAPHS)
    check(output)


@pytest.mark.parametrize("side", [24, 32, 48, 64, 96, 160, 400])
@pytest.mark.parametrize("flags", [{"encode": "original"}, {"size": 16}, {"size": 512}], ids=["original", "16", "512"])
def test_a_jpeg_and_the_png_of_its_pixels_look_the_same_at_every_size(side: int, flags: dict[str, Any]) -> None:
    photo = encoded(painted.scene(side, side * 3 // 4, seed=5), "JPEG", quality=92)
    same = encoded(decoded(photo), "PNG")
    looks = [picture_of(data, dedup="near", **flags).likeness.look for data in (photo, same)]
    assert looks[0] is not None
    assert looks[1] is not None
    assert (looks[0] ^ looks[1]).bit_count() <= 4


# Across runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dedup", ["pixels", "near"])
def test_a_later_run_knows_what_earlier_ones_have_stored(site: Validators, tmp_path: Path, dedup: str) -> None:
    names = ["scene.png", "photo.jpg", "scene.tiff", "photo.png", "grey.png", "grey_rgb.png"]
    pages(site).hold({name: RELATIVES[name] for name in names})
    output = tmp_path / "out"
    assert counts(run(listed(site, tmp_path, names[:2]), output, dedup=dedup)) == (2, 0, 0)
    site.reset()
    assert counts(run(listed(site, tmp_path, names), output, dedup=dedup)) == (1, 2, 3)
    assert sorted(site.paths()) == sorted(f"/{name}" for name in names[2:])
    assert kept(output) == {0: 0, 1: 1, 2: 0, 3: 1, 4: 4, 5: 4}
    site.reset()
    assert counts(run(listed(site, tmp_path, names), output, dedup=dedup)) == (0, 6, 0)
    assert site.log(robots=True) == [], "duplicates are settled too"
    check(output)


def test_duplicates_are_tried_again_only_when_they_are_asked_for(site: Validators, tmp_path: Path) -> None:
    names = ["scene.png", "scene.bmp", "gone.png"]
    pages(site).hold({name: RELATIVES[name] for name in names[:2]})
    urls, output = listed(site, tmp_path, names), tmp_path / "out"
    assert counts(run(urls, output, dedup="pixels")) == (1, 0, 2)
    site.reset()
    assert counts(run(urls, output, dedup="pixels", retry_missed="later")) == (0, 3, 0)
    assert site.log() == []
    for choice in ("duplicate", "all"):
        assert run(urls, output, dedup="pixels", retry_missed=choice).reasons["duplicate"] == 1, "it is still the same"
    assert kept(output) == {0: 0, 1: 0, 2: 2}
    pages(site).hold({"scene.bmp": RELATIVES["photo.jpg"], "gone.png": RELATIVES["scene.webp"]})
    assert counts(run(urls, output, dedup="pixels", retry_missed="all")) == (1, 1, 1)
    assert kept(output) == {0: 0, 1: 1, 2: 0}
    check(output)


def test_one_that_was_missed_before_is_the_duplicate_of_a_later_line(site: Validators, tmp_path: Path) -> None:
    pages(site).hold({"late.jpg": RELATIVES["photo.jpg"]})
    urls, output = listed(site, tmp_path, ["early.jpg", "late.jpg"]), tmp_path / "out"
    assert counts(run(urls, output, dedup="bytes")) == (1, 0, 1)
    pages(site).hold({"early.jpg": RELATIVES["photo.jpg"]})
    assert counts(run(urls, output, dedup="bytes", retry_missed="all")) == (0, 1, 1)
    assert kept(output) == {0: 1, 1: 1}
    assert "as position 1 of the input" in str(journal(output)[0].detail)
    check(output)


@pytest.mark.parametrize(
    ("before", "now"), [("url", "bytes"), ("bytes", "pixels"), ("near", "url"), ("pixels", "near")]
)
def test_another_dedup_in_a_folder_is_refused(site: Validators, tmp_path: Path, before: str, now: str) -> None:
    pages(site).hold({"a.jpg": RELATIVES["photo.jpg"]})
    urls, output = listed(site, tmp_path, ["a.jpg"]), tmp_path / "out"
    run(urls, output, dedup=before)
    rows = journal(output)
    with pytest.raises(SettingsChanged, match=f"--dedup is {now} and was {before}"):
        run(urls, output, dedup=now)
    assert journal(output) == rows


@pytest.mark.parametrize(
    "given", ["", "look", "near:", "near:11", "near:-1", "near:2.5", "pixels:3", "bytes:0", 4, None]
)
def test_a_dedup_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(SettingsError, match=r"--dedup: .* must be url, bytes, pixels, near"):
        Settings.of(("http://127.0.0.1:9/",), store="none", dedup=given)


# When the one that is kept is no more ----------------------------------------------------------------------------------


def test_when_the_kept_one_has_changed_the_others_are_done_again(site: Validators, tmp_path: Path) -> None:
    names = ["kept.png", "same.bmp", "other.jpg", "also.webp"]
    given = {"kept.png": "scene.png", "same.bmp": "scene.bmp", "other.jpg": "photo.jpg", "also.webp": "scene.webp"}
    pages(site).hold({name: RELATIVES[of] for name, of in given.items()})
    urls, output = listed(site, tmp_path, names), tmp_path / "out"
    run(urls, output, dedup="pixels")
    assert kept(output) == {0: 0, 1: 0, 2: 2, 3: 0}
    assert counts(run(urls, output, dedup="pixels", refresh=True)) == (0, 4, 0), "nothing has changed"
    assert kept(output) == {0: 0, 1: 0, 2: 2, 3: 0}
    pages(site).hold({"kept.png": RELATIVES["grey.png"]})
    assert run(urls, output, dedup="pixels", refresh=True).stored >= 1
    check(output)
    run(urls, output, dedup="pixels")
    assert kept(output) == {0: 0, 1: 1, 2: 2, 3: 1}, "the picture that two addresses still have is there again"
    check(output)


def test_one_that_becomes_what_another_is_gives_way(site: Validators, tmp_path: Path) -> None:
    pages(site).hold({"a.jpg": RELATIVES["photo.jpg"], "b.jpg": RELATIVES["grey.png"]})
    urls, output = listed(site, tmp_path, ["a.jpg", "b.jpg"]), tmp_path / "out"
    run(urls, output, dedup="pixels")
    pages(site).hold({"a.jpg": RELATIVES["grey_rgb.png"]})
    assert counts(run(urls, output, dedup="pixels", refresh=True)) == (0, 1, 1)
    assert kept(output) == {0: 1, 1: 1}
    check(output)
    site.reset()
    assert counts(run(urls, output, dedup="pixels")) == (0, 2, 0)
    assert site.log() == [], "it is settled"


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_when_the_kept_one_is_lost_the_others_are_done_again(site: Validators, tmp_path: Path, harm: str) -> None:
    names = ["kept.png", "same.bmp", "other.jpg", "also.webp"]
    given = {"kept.png": "scene.png", "same.bmp": "scene.bmp", "other.jpg": "photo.jpg", "also.webp": "scene.webp"}
    pages(site).hold({name: RELATIVES[of] for name, of in given.items()})
    urls, output = listed(site, tmp_path, names), tmp_path / "out"
    run(urls, output, dedup="pixels")
    file = output / str(journal(output)[0].file_name)
    if harm == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert inside("verify", output, "--repair").code == 1
    assert sorted(journal(output)) == [2]
    del pages(site)["/kept.png"]  # gone meanwhile: only the duplicates still have it
    assert counts(run(urls, output, dedup="pixels")) == (1, 1, 2)
    assert kept(output) == {0: 0, 1: 1, 2: 2, 3: 1}
    assert journal(output)[0].reason == "not_found"
    check(output)


async def test_a_duplicate_found_just_before_its_twin_changes_is_not_lost(tmp_path: Path) -> None:
    """In a run that refreshes: a new line holds what an old one held, is settled, and then the old one has changed."""
    old, same, other = stored(0, b"old"), stored(1, b"old"), stored(2, b"other")
    async with opened(tmp_path) as (state, files):
        assert await state.twin(old) is None
        await state.settle(Outcome(old.target, old, await files.put(old)))
    async with opened(tmp_path, refresh=True) as (state, files):
        twin = await state.twin(same)
        assert twin is not None
        # After a commit the journal rests for a moment, and what comes then waits for the next one.
        await state.settle(Outcome(other.target, other, await files.put(other)))
        while 2 not in journal(tmp_path):  # noqa: ASYNC110 - nobody tells when a commit is done
            await asyncio.sleep(0)
        await state.settle(Outcome(same.target, miss=Miss(same.target, Reason.DUPLICATE, same_as=twin.index)))
        await state.forget(old.target)
        new = stored(0, b"new")
        await state.settle(Outcome(new.target, new, await files.put(new, "0.jpg")))
    assert 1 not in kept(tmp_path), "its picture is nowhere now, so it must be to do"


@contextlib.asynccontextmanager
async def opened(folder: Path, refresh: bool = False, by: str = "bytes") -> Any:
    """The journal and the store of a folder."""
    files = FileStore(folder, "{index}")
    ledger = MetadataLedger(folder, files, False)
    state = FolderJournal(folder, {}, ledger, SystemClock(), refresh=refresh, dedup=(by, 4))
    async with state, files:
        yield state, files


class FailsOnce(MetadataLedger):
    """Writes its lines, then finds that they cannot be committed, the first time; not before it may."""

    failed = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.entered, self.may = threading.Event(), threading.Event()

    def append(self, records: Sequence[Record]) -> int:
        mark = super().append(records)
        if not self.failed:
            self.failed = True
            self.entered.set()
            assert self.may.wait(10)
            raise StoreError("no room")
        return mark


async def test_after_a_commit_that_failed_no_other_counts_lines_that_nobody_recorded(tmp_path: Path) -> None:
    files = FileStore(tmp_path, "{index}")
    ledger = FailsOnce(tmp_path, files, False)
    state = FolderJournal(tmp_path, {}, ledger, SystemClock())

    async def run() -> None:
        async with state, files:
            for index in range(3):  # the first is being committed while the others come
                picture = stored(index, b"%d" % index)
                await state.settle(Outcome(picture.target, picture, await files.put(picture)))
                await asyncio.to_thread(ledger.entered.wait)
            ledger.may.set()

    with pytest.raises(StoreError, match="no room"):
        await run()
    async with opened(tmp_path):
        pass
    assert metadata(tmp_path) == []
    assert journal(tmp_path) == {}


def stored(index: int, data: bytes, **alike: int | None) -> Picture:
    """A picture of a target, as it comes from a worker."""
    target = Target(index, f"http://example.org/{index}.jpg")
    fetched = Fetched(target, b"", target.url, 200, "image/jpeg", 1.0, 0.1)
    digest = data.ljust(32, b".")
    return Picture(fetched, data, "jpeg", "jpg", 1, 1, 1, 1, "jpeg", digest, likeness=Likeness(**alike))


def test_new_lines_in_a_refresh_do_not_double_what_has_just_changed(site: Validators, tmp_path: Path) -> None:
    pages(site).hold({"a.jpg": RELATIVES["photo.jpg"]})
    output = tmp_path / "out"
    run(listed(site, tmp_path, ["a.jpg"]), output, dedup="bytes")
    names = ["a.jpg", *(f"new{number}.jpg" for number in range(12))]
    pages(site).hold(dict.fromkeys(names, RELATIVES["grey.png"]))
    run(listed(site, tmp_path, names), output, dedup="bytes", refresh=True)
    assert len(metadata(output)) == 1
    check(output)


# Many at once ----------------------------------------------------------------------------------------------------------


AT_ONCE = 64


@pytest.mark.parametrize("dedup", ["bytes", "pixels", "near:0"])
def test_of_many_that_come_at_once_one_is_stored(site: Validators, tmp_path: Path, dedup: str) -> None:
    photo = RELATIVES["photo.jpg"]
    same = photo if dedup == "bytes" else None
    pages(site).hold({f"{n}.jpg": same or painted.stamped(photo, str(n)) for n in range(AT_ONCE)})
    urls, output = listed(site, tmp_path, [f"{n}.jpg" for n in range(AT_ONCE)]), tmp_path / "out"
    done = run(urls, output, dedup=dedup, concurrency=AT_ONCE, per_host=0, workers=2)
    assert counts(done) == (1, 0, AT_ONCE - 1)
    assert len(set(kept(output).values())) == 1
    check(output)


async def test_of_many_that_come_at_once_a_program_gets_one(site: Validators) -> None:
    pages(site).hold({f"{n}.jpg": RELATIVES["photo.jpg"] for n in range(AT_ONCE)})
    settings = PLAIN | {"store": "none", "dedup": "bytes", "concurrency": AT_ONCE, "per_host": 0}
    async with Crawler(Settings.of(**settings)) as service:
        found = await asyncio.gather(*(service.get(site.url(f"{n}.jpg")) for n in range(AT_ONCE)))
    (one,) = (outcome for outcome in found if outcome.stored)
    assert {outcome.miss.same_as for outcome in found if outcome.miss} == {one.target.index}


async def test_what_is_in_the_journal_is_not_held_in_memory_too(tmp_path: Path) -> None:
    """A run of millions must not look through all of them for each picture."""
    first = stored(0, b"same")
    async with opened(tmp_path) as (state, files):
        assert await state.twin(first) is None
        early = asyncio.ensure_future(state.twin(stored(1, b"same")))
        await state.recall_robots("nowhere")
        await state.settle(Outcome(first.target, first, await files.put(first)))
        assert not (await early).settled
        while 0 not in journal(tmp_path):  # noqa: ASYNC110 - nobody tells when a commit is done
            await asyncio.sleep(0)
        late = await state.twin(stored(2, b"same"))
        assert (late.index, late.settled) == (0, True)


async def test_a_duplicate_waits_for_the_record_of_its_twin(tmp_path: Path) -> None:
    """Otherwise a kill could leave a record of the duplicate alone."""
    first = stored(7, b"same")
    async with opened(tmp_path) as (state, files):
        assert await state.twin(first) is None
        waiting = [asyncio.ensure_future(state.twin(stored(n, b"same"))) for n in range(20, 60)]
        assert await state.twin(stored(8, b"other")) is None
        for _ in range(10):
            await state.recall_robots("nowhere")  # all that was asked before has been answered
        assert not any(task.done() for task in waiting)
        await state.settle(Outcome(first.target, first, await files.put(first)))
        twins = await asyncio.wait_for(asyncio.gather(*waiting), LIMIT)
        assert {twin.index for twin in twins} == {7}
        again = await state.twin(stored(7, b"same"))
        assert again is None, "nobody is a twin of itself"


# Killed ----------------------------------------------------------------------------------------------------------------


GROUPS = 12


def family(number: int) -> dict[str, bytes]:
    """One picture under five addresses."""
    photo = painted.jpeg(32, 24, seed=number)
    also = {f"{number}_{n}.jpg": painted.stamped(photo, str(n)) for n in range(3)}
    return {f"{number}.jpg": photo, f"{number}.png": encoded(decoded(photo), "PNG")} | also


def survive(site: Validators, home: Path, seed: int, kills: int, dedup: str) -> None:
    """Kill a run at drawn moments; whenever it is killed, and in the end, every picture is stored or to be done."""
    draw = random.Random(seed)
    bodies = {name: body for number in range(GROUPS) for name, body in family(number).items()}
    names = draw.sample(list(bodies), len(bodies))
    pages(site).update({f"/{name}": Page(body, wait=draw.choice((0.0, 0.03, 0.06))) for name, body in bodies.items()})
    urls, output = listed(site, home, names), home / "out"
    words = (
        "run",
        urls,
        "-o",
        output,
        *as_flags(PLAIN),
        "--concurrency",
        8,
        "--per-host",
        0,
        "--dedup",
        dedup,
        "--quiet",
    )
    for _ in range(kills):
        site.reset()
        with started(*words) as running:
            _moment(site, output, draw, kills, running)
            running.signal(signal.SIGKILL)
            running.process.wait(LIMIT)
        if settled(output):
            check_twins(output)
    done = inside(*words)
    assert done.code == 0, done.err
    groups: dict[str, set[int]] = {}
    for index, twin in kept(output).items():
        groups.setdefault(re.split(r"[_.]", names[index])[0], set()).add(twin)
    assert len(kept(output)) == len(names)
    assert {group: len(kept_ones) for group, kept_ones in groups.items()} == dict.fromkeys(map(str, range(GROUPS)), 1)
    assert len(metadata(output)) == GROUPS
    check(output)


def _moment(site: Validators, output: Path, draw: random.Random, kills: int, running: Running) -> None:
    """Wait until so many requests have come, or so many targets are in the journal, as it is drawn."""
    clocks: list[Callable[[], int]] = [lambda: len(site.log()), lambda: settled(output)]
    seen = draw.choice(clocks)
    moment = draw.randint(1, GROUPS * 5 // (kills + 1)) + seen()
    wait_until(lambda: seen() >= moment or running.process.poll() is not None, f"moment {moment}")


def settled(output: Path) -> int:
    """How many targets are in the journal of a run that goes on."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{output}/.crawler/journal.sqlite?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM targets").fetchone()[0])
    except sqlite3.OperationalError:  # it has none yet
        return 0


@pytest.mark.parametrize(
    ("seed", "kills", "dedup"),
    [
        (1, 2, "pixels"),
        (2, 2, "near"),
        *(
            pytest.param(seed, 4, dedup, marks=pytest.mark.soak)
            for seed in range(10, 25)
            for dedup in ("pixels", "near")
        ),
    ],
)
def test_a_kill_never_leaves_a_duplicate_without_its_twin(
    site: Validators, tmp_path: Path, seed: int, kills: int, dedup: str
) -> None:
    survive(site, tmp_path, seed, kills, dedup)


# The search, against counting them all ---------------------------------------------------------------------------------


EDGES = (
    0,
    1,
    ALL,
    ALL - 1,
    1 << 63,
    (1 << 63) - 1,
    (1 << 63) + 1,
    0xFFFF << 48,
    0x7FFF_8000_7FFF_8000,
    0xAAAA_5555_AAAA_5555,
)


@contextlib.contextmanager
def table(by: str, distance: int) -> Iterator[tuple[sqlite3.Connection, Twins]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(
            "CREATE TABLE targets (id INTEGER PRIMARY KEY, url TEXT, reason TEXT, sha256 BLOB, pixels INTEGER, look INTEGER)"
        )
        yield db, Twins(db, by, distance)


def fill(db: sqlite3.Connection, looks: Mapping[int, int]) -> None:
    rows = [
        (index, f"http://example.org/{index}", index.to_bytes(32, "big"), signed(look)) for index, look in looks.items()
    ]
    db.executemany("INSERT OR REPLACE INTO targets VALUES (?, ?, NULL, ?, NULL, ?)", rows)


def looking(index: int, look: int | None) -> Picture:
    return stored(index, b"looks %d" % index, look=look)


def flipped(look: int, bits: Sequence[int]) -> int:
    for bit in bits:
        look ^= 1 << bit
    return look


def spreads(bits: int) -> Iterator[tuple[int, ...]]:
    """Every way to spread so many bits over four pieces of 16."""
    for three in product(range(bits + 1), repeat=3):
        last = bits - sum(three)
        if 0 <= last <= 16:
            yield (*three, last)


def told(twin: Twin | None) -> tuple[int, str] | None:
    return None if twin is None else (twin.index, twin.likeness)


@pytest.mark.parametrize("distance", range(11))
def test_every_spread_of_bits_within_the_distance_is_found_and_none_beyond(distance: int) -> None:
    draw = random.Random(distance)
    with table("near", distance) as (db, twins):
        for bits in {max(0, distance - 1), distance, distance + 1}:
            for number, spread in enumerate(spreads(bits)):
                look = EDGES[number % len(EDGES)] if number % 2 else draw.getrandbits(64)
                fill(db, {0: look})
                changed = flipped(look, [16 * p + at for p, n in enumerate(spread) for at in draw.sample(range(16), n)])
                found = twins.claim(looking(5, changed))
                twins.drop(5)
                wanted = (0, f"looks the same (distance {bits})") if bits <= distance else None
                assert told(found) == wanted, (spread, hex(look))
                assert found is None or (found.settled, found.url) == (True, "http://example.org/0")


@pytest.mark.parametrize("distance", range(11))
def test_the_nearest_of_a_crowd_is_the_one_that_counting_finds(distance: int) -> None:
    draw = random.Random(100 + distance)
    bases = [*EDGES, *(draw.getrandbits(64) for _ in range(10))]
    crowd = [flipped(base, draw.sample(range(64), draw.randint(0, 14))) for base in bases for _ in range(25)]
    looks = dict(enumerate(draw.sample(crowd, len(crowd))))
    asked = [flipped(draw.choice(bases), draw.sample(range(64), draw.randint(0, 9))) for _ in range(60)]
    asked += [*bases, *draw.sample(crowd, 20)]
    hits = 0
    with table("near", distance) as (db, twins):
        fill(db, looks)
        for number, asked_for in enumerate(asked):
            # Every third is a target that is tried again: what it held itself does not count.
            index, look = (1000 + number, asked_for) if number % 3 else (number, looks[number])
            near = [((look ^ other).bit_count(), at) for at, other in looks.items() if at != index]
            nearest = min(near)
            found = twins.claim(looking(index, look))
            twins.drop(index)
            hits += nearest[0] <= distance
            if nearest[0] <= distance:
                assert told(found) == (nearest[1], f"looks the same (distance {nearest[0]})")
            else:
                assert found is None
    assert hits >= 10, "the test must have asked for some that are there"


@pytest.mark.parametrize("distance", [0, 3, 4, 7, 10])
def test_those_that_share_pieces_and_differ_otherwise_are_not_taken(distance: int) -> None:
    draw = random.Random(distance)
    look = draw.getrandbits(64)
    far = {}
    for index in range(400):
        piece = index % 4
        far[index] = flipped(look, [16 * piece + at for at in draw.sample(range(16), distance + 1 + index % 3)])
    with table("near", distance) as (db, twins):
        fill(db, far)
        assert twins.claim(looking(1000, look)) is None
        twins.drop(1000)
        fill(db, {700: flipped(look, draw.sample(range(64), distance))})
        assert told(twins.claim(looking(1000, look))) == (700, f"looks the same (distance {distance})")


@pytest.mark.parametrize("distance", [0, 4, 10])
def test_pictures_that_are_under_way_are_compared_in_the_same_way(distance: int) -> None:
    draw = random.Random(distance)
    with table("near", distance) as (_, twins):
        for base in (*EDGES, draw.getrandbits(64)):
            assert twins.claim(looking(1, base)) is None
            for bits in range(13):
                found = twins.claim(looking(2, flipped(base, draw.sample(range(64), bits))))
                twins.drop(2)
                wanted = (1, f"looks the same (distance {bits})") if bits <= distance else None
                assert told(found) == wanted
                assert found is None or not found.settled
            twins.drop(1)


@pytest.mark.parametrize("by", ["bytes", "pixels", "near"])
def test_missed_targets_and_oneself_are_nobodys_twin(by: str) -> None:
    with table(by, 4) as (db, twins):
        db.execute("INSERT INTO targets VALUES (0, 'u', 'not_found', NULL, NULL, NULL)")
        db.execute("INSERT INTO targets VALUES (1, 'u', 'duplicate', NULL, NULL, NULL)")
        assert twins.claim(stored(2, b"same", pixels=-1, look=0)) is None
        assert twins.claim(stored(2, b"same", pixels=-1, look=0)) is None, "a target that is tried again"
        twins.drop(2)
        assert twins.claim(stored(3, b"same", pixels=-1, look=0)) is None, "what came to nothing is forgotten"


def test_pixels_of_all_values_are_compared_with_their_sign() -> None:
    values = [-(1 << 63), -1, 0, 1, (1 << 63) - 1]
    with table("pixels", 0) as (db, twins):
        for index, value in enumerate(values):
            db.execute("INSERT INTO targets VALUES (?, 'u', NULL, ?, ?, NULL)", (index, b"%d" % index, value))
        for index, value in enumerate(values):
            assert told(twins.claim(stored(100, b"x", pixels=value))) == (index, "the same pixels")


@pytest.mark.parametrize("distance", [0, 10])
def test_the_search_uses_the_indexes(distance: int) -> None:
    """A crowd of 200,000 must not be read for each picture."""
    asked: list[str] = []
    with table("near", distance) as (db, twins):
        fill(db, {0: 0})
        db.set_trace_callback(asked.append)
        twins.claim(looking(1, ALL))
        db.set_trace_callback(None)
        plans = [row[3] for question in asked for row in db.execute(f"EXPLAIN QUERY PLAN {question}")]
    assert plans
    assert [plan for plan in plans if "SCAN" in plan and "INDEX" not in plan] == []
    assert sum("by_look_" in plan for plan in plans) >= (1 if distance == 0 else 4)


async def test_a_run_without_twins_asks_nobody(tmp_path: Path) -> None:
    """The default costs nothing: no index, no question."""
    async with opened(tmp_path, by="url") as (state, files):
        one, other = stored(0, b"same"), stored(1, b"same")
        for picture in (one, other):
            assert await state.twin(picture) is None
            await state.settle(Outcome(picture.target, picture, await files.put(picture)))
    with contextlib.closing(sqlite3.connect(tmp_path / ".crawler/journal.sqlite")) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {name for name in names if name.startswith("by_")} == {"by_same_as", "by_place"}
    async with NullJournal() as nothing:
        assert await nothing.twin(one) is None
