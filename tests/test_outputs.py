"""Variants and numbered frames are files beside their picture: named after it, told with it, and kept as whole as it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crawler import Crawler, Settings, SettingsError, Summary, crawl
from crawler.errors import SettingsChanged, StoreError
from crawler.model import Companion, Fetched, Picture, Target
from crawler.store.files import FileStore
from crawler.verify import fault_lines, verify
from tests.cli import as_flags, counts, crawler, inside, metadata, pictures, started, wait_until
from tests.servers.validators import Page, Pages, Validators, listed, running_validators
from tests.test_kill import metadata as told
from tests.test_kill import state_files, tree

LIMIT = 30.0
PLAIN: dict[str, Any] = {"allow_private": True, "retries": 0, "workers": 1, "size": 24}
RICH: dict[str, Any] = PLAIN | {"variant": ("thumb:8:cover:webp", "wide:20x10:fill:png"), "frames": "all", "exif": True}
Colour = tuple[int, int, int]


def colour_of(number: int) -> Colour:
    """A colour of its own for every number up to 125, far from all others."""
    return 20 + number % 5 * 50, 20 + number // 5 % 5 * 50, 20 + number // 25 % 5 * 50


def encoded(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def flat(number: int, format: str = "PNG", size: tuple[int, int] = (32, 24), **options: Any) -> bytes:
    return encoded(Image.new("RGB", size, colour_of(number)), format, **options)


def moving(*numbers: int) -> bytes:
    """A GIF of flat frames."""
    first, *others = (Image.new("RGB", (32, 24), colour_of(number)).quantize(4) for number in numbers)
    return encoded(first, "GIF", save_all=True, append_images=others, duration=100, disposal=1)


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker & Sons"
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)
    return flat(1, "JPEG", quality=95, exif=exif)


class Held(Pages):
    def hold(self, bodies: Mapping[str, bytes], draw: random.Random | None = None) -> None:
        """These pictures, each with a tag that belongs to its bytes, at once or after a moment that is drawn."""
        for name, data in bodies.items():
            wait = draw.choice((0.0, 0.03, 0.06)) if draw else 0.0
            self[f"/{name}"] = Page(data, etag=f'"{hashlib.md5(data).hexdigest()}"', wait=wait)


def pages(site: Validators) -> Held:
    assert isinstance(site.holds, Held)
    return site.holds


@pytest.fixture
def site() -> Iterator[Validators]:
    with running_validators(Held()) as server:
        yield server


def run(urls: Path, output: Path, **more: Any) -> Summary:
    """A run in this process, to its end."""
    settings = Settings.of((str(urls),), output=str(output), **RICH | more)
    return asyncio.run(asyncio.wait_for(crawl(settings), LIMIT))


def faults(output: Path, repair: bool = False) -> list[str]:
    return list(fault_lines(asyncio.run(asyncio.wait_for(verify(output, repair), LIMIT)).faults))


def files_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A picture and its companions as a line of metadata tells them."""
    return [dict(row), *row.get("files", ())]


def check(output: Path) -> None:
    """Every file is told of once, is what it is said to be, and nothing is left over."""
    every = [file for row in metadata(output) for file in files_of(row)]
    assert sorted(file["file_name"] for file in every) == pictures(output)
    for file in every:
        data = (output / file["file_name"]).read_bytes()
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            found = picture.width, picture.height, str(picture.format).lower(), len(data)
        assert found == (file["width"], file["height"], file["format"], file["bytes"]), file
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite")) as db:
        rows = db.execute("SELECT id, file_name, more FROM targets WHERE reason IS NULL ORDER BY id").fetchall()
    known = [
        (index, [name, *(file["file_name"] for file in json.loads(more or "{}").get("files", ()))])
        for index, name, more in rows
    ]
    lines = sorted(metadata(output), key=lambda row: int(row["index"]))
    assert known == [(row["index"], [file["file_name"] for file in files_of(row)]) for row in lines]
    assert state_files(output) == ["journal.sqlite", "lock"]
    assert faults(output) == []


def colours(output: Path, row: Mapping[str, Any]) -> list[Colour]:
    """The colour in the middle of every file of a picture."""
    return [_middle((output / file["file_name"]).read_bytes()) for file in files_of(row)]


def _middle(data: bytes) -> Colour:
    with Image.open(BytesIO(data)) as picture:
        found = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(found, tuple)
    return found[0], found[1], found[2]


def same_colour(one: Colour, other: Colour) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(one, other, strict=True))


# Names, metadata, journal ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A folder that the command has made."""

    site: Validators
    urls: Path
    output: Path
    rows: dict[str, dict[str, Any]]


BODIES = {
    "photo.jpg": with_exif(),
    "moving.gif": moving(2, 3, 4),
    "pages.tiff": encoded(
        Image.new("RGB", (32, 24), colour_of(5)),
        "TIFF",
        save_all=True,
        append_images=[Image.new("RGB", (10, 16), colour_of(6))],
    ),
    "odd.png": flat(7, icc_profile=b"no profile at all" * 20),
    "plain.png": flat(8),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    home = tmp_path_factory.mktemp("made")
    with running_validators(Held()) as site:
        pages(site).hold(BODIES)
        urls, output = listed(site, home, list(BODIES)), home / "out"
        words = [*as_flags({name: value for name, value in RICH.items() if name != "variant"})]
        for variant in RICH["variant"]:
            words += ["--variant", variant]
        done = crawler("run", urls, "-o", output, *words, "--json")
        assert (done.code, done.summary["stored"]) == (0, len(BODIES)), done.err
        yield Made(site, urls, output, {row["url"].rpartition("/")[2]: row for row in metadata(output)})


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Path:
    """A copy of that folder, to do harm to."""
    return Path(shutil.copytree(made.output, tmp_path / "copy"))


def test_companions_lie_beside_their_picture(made: Made) -> None:
    names = {name: [file["file_name"] for file in files_of(row)] for name, row in made.rows.items()}
    both = ["thumb.webp", "wide.png"]
    labels = {"photo.jpg": both, "moving.gif": ["0001.jpg", "0002.jpg", *both], "pages.tiff": ["0001.jpg", *both],
              "odd.png": both, "plain.png": both}  # fmt: skip
    assert names == {
        name: [f"00000/{at:08d}.{ending}" for ending in ("jpg", *labels[name])] for at, name in enumerate(BODIES)
    }
    check(made.output)


def test_metadata_tells_every_file(made: Made) -> None:
    sizes = {
        name: [(f.get("label"), f["width"], f["height"], f["format"]) for f in files_of(row)]
        for name, row in made.rows.items()
    }
    thumb, wide = ("thumb", 8, 8, "webp"), ("wide", 20, 10, "png")
    assert sizes["plain.png"] == [(None, 24, 18, "jpeg"), thumb, wide]
    frames = [(f"{number:04d}", 24, 18, "jpeg") for number in (1, 2)]
    assert sizes["moving.gif"] == [(None, 24, 18, "jpeg"), *frames, thumb, wide]
    assert sizes["pages.tiff"] == [(None, 24, 18, "jpeg"), ("0001", 10, 16, "jpeg"), thumb, wide]
    assert {name: row["frames"] for name, row in made.rows.items()} == {
        "photo.jpg": 1, "moving.gif": 3, "pages.tiff": 2, "odd.png": 1, "plain.png": 1
    }  # fmt: skip
    assert {name for name, row in made.rows.items() if row["notes"]} == {"odd.png"}
    assert "profile" in made.rows["odd.png"]["notes"]
    exif = json.loads(made.rows["photo.jpg"]["exif"])
    assert exif["Make"] == "Maker & Sons"
    assert "GPS" not in json.dumps(exif)
    assert json.loads(made.rows["plain.png"]["exif"]) == {}
    assert all("values" not in row for row in made.rows.values())


def test_every_file_shows_what_it_is_named_after(made: Made) -> None:
    shown = {name: colours(made.output, row) for name, row in made.rows.items()}
    expected = {"photo.jpg": [1, 1, 1], "moving.gif": [2, 3, 4, 2, 2], "pages.tiff": [5, 6, 5, 5],
                "odd.png": [7, 7, 7], "plain.png": [8, 8, 8]}  # fmt: skip
    for name, numbers in expected.items():
        assert len(shown[name]) == len(numbers)
        for found, number in zip(shown[name], numbers, strict=True):
            assert same_colour(found, colour_of(number)), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("{host}/{stem}", "127.0.0.1/{stem}{label}"),
        ("{stem}", "{stem}{label}"),
        ("{sha256}", "{sha256}{label}"),
        ("{sha256}.{index}.x", "{sha256}.{index}.x{label}"),
        ("{index}/{width}x{height}", "{index}/24x18{label}"),
    ],
)
def test_a_template_names_companions_too(made: Made, tmp_path: Path, name: str, expected: str) -> None:
    output = tmp_path / "out"
    assert run(made.urls, output, name=name).stored == len(BODIES)
    check(output)
    rows = {row["url"].rpartition("/")[2]: row for row in metadata(output)}
    for index, (page, body) in enumerate(BODIES.items()):
        for file in files_of(rows[page]):
            label = f".{file['label']}" if "label" in file else ""
            stem, digest = page.rpartition(".")[0], hashlib.sha256(body).hexdigest()
            wanted = expected.format(stem=stem, label=label, sha256=digest, index=index)
            assert file["file_name"].rpartition(".")[0] == wanted


async def test_a_program_is_given_companions(made: Made, tmp_path: Path) -> None:
    kept = Settings.of((made.site.url("moving.gif"),), output=tmp_path / "out", **RICH)
    async with Crawler(kept) as run_:
        (outcome,) = [outcome async for outcome in run_]
    assert outcome.receipt is not None
    assert [file.file_name for file in outcome.receipt.companions] == [
        f"00000/00000000.{ending}" for ending in ("0001.jpg", "0002.jpg", "thumb.webp", "wide.png")
    ]
    async with Crawler(Settings.of(store="none", **RICH)) as service:
        outcome = await service.get(made.site.url("moving.gif"))
    assert outcome.picture is not None
    assert [(one.label, one.width, one.height) for one in outcome.picture.companions] == [
        ("0001", 24, 18), ("0002", 24, 18), ("thumb", 8, 8), ("wide", 20, 10)
    ]  # fmt: skip
    for one, number in zip(outcome.picture.companions, (3, 4, 2, 2), strict=True):
        assert same_colour(_middle(one.data), colour_of(number))


# Missing and damaged ---------------------------------------------------------------------------------------------------


HARMED = ("00000/00000001.0002.jpg", "00000/00000001.thumb.webp", "00000/00000004.wide.png", "00000/00000004.jpg")


@pytest.mark.parametrize("harm", ["missing", "size", "hash"])
@pytest.mark.parametrize("name", HARMED)
def test_verify_finds_every_file_that_is_not_as_it_was(made: Made, copied: Path, name: str, harm: str) -> None:
    _harm(copied / name, harm)
    found = faults(copied)
    assert [line.partition("\t")[0] for line in found] == [harm]
    assert name in found[0]


def _harm(file: Path, harm: str) -> None:
    data = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-1] if harm == "size" else data[:-1] + bytes([data[-1] ^ 1]))


def test_the_command_repairs_what_is_missing_and_leaves_the_rest_alone(made: Made, copied: Path) -> None:
    before, rows = tree(copied), told(copied)
    for name, harm in zip(HARMED[:3], ("missing", "hash", "size"), strict=True):
        _harm(copied / name, harm)
    done = inside("verify", copied, "--repair")
    assert done.code == 1
    assert [name for name in HARMED[:3] if name in done.out] == list(HARMED[:3])
    of_the_others = [name for name in before if not name.startswith(("00000/00000001.", "00000/00000004."))]
    assert pictures(copied) == sorted(of_the_others), "nothing of a picture is left that is to be done again"
    made.site.reset()
    assert counts(run(made.urls, copied)) == (2, 3, 0)
    assert sorted(made.site.paths()) == ["/moving.gif", "/plain.png"]
    assert (tree(copied), told(copied)) == (before, rows)
    check(copied)


# Refreshed -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{folder}/{index:08d}", "{stem}", "{sha256}"])
def test_a_refresh_replaces_companions_and_removes_those_that_are_no_more(
    site: Validators, tmp_path: Path, name: str
) -> None:
    before = {"less.gif": moving(1, 2, 3, 4), "more.png": flat(5), "stays.gif": moving(6, 7), "still.gif": moving(8, 9)}
    after = before | {"less.gif": moving(11, 12), "more.png": moving(13, 14, 15), "still.gif": flat(16)}
    pages(site).hold(before)
    urls, output = listed(site, tmp_path, list(before)), tmp_path / "out"
    assert counts(run(urls, output, name=name)) == (4, 0, 0)
    kept = {file: (output / file).stat().st_ino for file in tree(output)}
    (stays,) = (_names(row) for row in metadata(output) if row["url"].endswith("stays.gif"))
    pages(site).hold(after)
    assert counts(run(urls, output, name=name, refresh=True)) == (3, 1, 0)
    check(output)
    fresh = tmp_path / "fresh"
    run(urls, fresh, name=name)
    assert tree(output) == tree(fresh)
    shown = {row["url"].rpartition("/")[2]: colours(output, row) for row in metadata(output)}
    for page, numbers in {"less.gif": [11, 12], "more.png": [13, 14, 15], "still.gif": [16]}.items():
        wanted = [*numbers, numbers[0], numbers[0]]
        assert len(shown[page]) == len(wanted)
        assert all(same_colour(a, colour_of(b)) for a, b in zip(shown[page], wanted, strict=True)), page
    assert {file: kept[file] for file in stays} == {file: (output / file).stat().st_ino for file in stays}


def test_what_a_picture_leaves_behind_in_a_refresh_is_not_what_another_has(site: Validators, tmp_path: Path) -> None:
    """Named by their content two pictures share their files; one of them changes."""
    pages(site).hold({"a.gif": moving(1, 2), "b.gif": moving(1, 2), "c.gif": moving(3, 4)})
    urls, output = listed(site, tmp_path, ["a.gif", "b.gif", "c.gif"]), tmp_path / "out"
    run(urls, output, name="{sha256}")
    assert len(pictures(output)) == 8
    pages(site).hold({"a.gif": flat(9), "c.gif": moving(1, 2)})
    assert counts(run(urls, output, name="{sha256}", refresh=True)) == (2, 1, 0)
    shown = [colours(output, row) for row in sorted(metadata(output), key=lambda row: int(row["index"]))]
    for found, numbers in zip(shown, ([9, 9, 9], [1, 2, 1, 1], [1, 2, 1, 1]), strict=True):
        assert all(same_colour(a, colour_of(b)) for a, b in zip(found, numbers, strict=True))
    names = {file["file_name"] for row in metadata(output) for file in files_of(row)}
    assert sorted(names) == pictures(output)
    assert faults(output) == []


# Killed ----------------------------------------------------------------------------------------------------------------


COUNT = 60
SHAPES: dict[str, list[object]] = {"plain": [], "stem": ["--name", "{stem}"], "by-content": ["--name", "{sha256}"]}


def words_of(urls: Path, output: Path, shape: str, *more: object) -> list[object]:
    words: list[object] = ["run", urls, "-o", output, *as_flags(PLAIN), "--concurrency", 16, "--per-host", 0, "--quiet"]
    return [*words, "--variant", "thumb:8:cover:webp", "--frames", "all", *SHAPES[shape], *more]


def bodies_of(draw: random.Random, version: int) -> dict[str, bytes]:
    """Stills and animations, all different; half of them other ones in another version."""
    found = {}
    for number in range(COUNT):
        at = number + version * 7 * (number % 2)
        many = draw.choice((1, 1, 2, 4))
        found[f"{number // 2}.gif?{number}"] = moving(at, *(at + n for n in range(1, many)))
    return found


def killed(words: list[object], site: Validators, output: Path, draw: random.Random) -> None:
    """Start it, and kill it when so many requests have come, or so many pictures are in the journal, as it is drawn."""
    site.reset()
    began = time.time()
    clocks: list[Callable[[], int]] = [lambda: len(site.log()), lambda: settled(output, began)]
    seen = draw.choice(clocks)
    moment = draw.randint(1, COUNT // 2)
    print(f"killed at {moment}")
    with started(*words) as running:
        wait_until(lambda: seen() >= moment or running.process.poll() is not None, f"moment {moment}")
        running.signal(signal.SIGKILL)
        running.process.wait(LIMIT)


def settled(output: Path, since: float) -> int:
    """How many targets a run that goes on has settled."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{output}/.crawler/journal.sqlite?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM targets WHERE ended_at > ?", (since,)).fetchone()[0])
    except sqlite3.OperationalError:  # it has none yet
        return 0


def finished(words: list[object]) -> None:
    done = inside(*words)
    assert done.code == 0, done.err


def survive(site: Validators, home: Path, shape: str, seed: int, kills: int, refresh: bool) -> None:
    """Kill a run, or its refresh, at drawn moments and finish it: it ends like one that was left alone."""
    draw = random.Random(seed)
    bodies = bodies_of(random.Random(seed), 0)
    pages(site).hold(bodies, draw)
    urls, output, whole = listed(site, home, list(bodies)), home / "out", home / "whole"
    words = words_of(urls, output, shape)
    if refresh:
        finished(words)
        pages(site).hold(bodies_of(random.Random(seed + 1), 1), draw)
        words = [*words, "--refresh"]
    for _ in range(kills):
        killed(words, site, output, draw)
    finished(words)
    assert state_files(output) == ["journal.sqlite", "lock"]
    finished(words_of(urls, whole, shape))
    if shape == "by-content":
        assert {file for row in metadata(output) for file in _names(row)} == set(pictures(output))
        assert tree(output) == tree(whole)
    else:
        check(output)
    assert [_without_names(row) for row in told(output)] == [_without_names(row) for row in told(whole)]
    if shape == "plain":
        assert tree(output) == tree(whole)
    assert faults(output) == []


def _names(row: Mapping[str, Any]) -> list[str]:
    return [str(file["file_name"]) for file in files_of(row)]


def _without_names(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of two that want the same name, who gets it depends on who comes first."""
    return [{key: value for key, value in file.items() if key not in ("file_name", "files")} for file in files_of(row)]


@pytest.mark.parametrize(
    ("shape", "seed", "kills", "refresh"),
    [
        ("plain", 1, 2, False),
        ("stem", 2, 2, True),
        *(
            pytest.param(shape, seed, 3, refresh, marks=pytest.mark.soak)
            for shape in SHAPES
            for seed in range(10, 20)
            for refresh in (False, True)
        ),
    ],
)
def test_a_kill_leaves_neither_orphans_nor_gaps(
    site: Validators, tmp_path: Path, shape: str, seed: int, kills: int, refresh: bool
) -> None:
    survive(site, tmp_path, shape, seed, kills, refresh)


# Names that meet -------------------------------------------------------------------------------------------------------


MEETING = (
    "a.png", "x/a.png", "a.thumb.png", "x/a.thumb.png", "a.0001.gif", "a.gif", "y/a.gif", "a-1.png", "a.thumb-0.png",
    "a.thumb.thumb.png", "A.png", "a.0001.thumb.png", "y/a.png",
)  # fmt: skip


@pytest.mark.parametrize("name", ["{stem}", "{host}/{stem}", "same/{width}x{height}"])
@pytest.mark.parametrize("order", [1, -1])
def test_pictures_that_want_the_names_of_companions_get_others(
    site: Validators, tmp_path: Path, name: str, order: int
) -> None:
    numbers = {path: 3 * at for at, path in enumerate(MEETING)}
    bodies = {path: moving(n, n + 1, n + 2) if path.endswith("gif") else flat(n) for path, n in numbers.items()}
    pages(site).hold(bodies)
    urls, output = listed(site, tmp_path, MEETING[::order]), tmp_path / "out"
    settings = {"encode": "jpeg", "variant": ("thumb:8:cover:jpeg",), "name": name, "concurrency": 16, "per_host": 0}
    assert counts(run(urls, output, **settings)) == (len(MEETING), 0, 0)
    check(output)
    for row in metadata(output):
        number = numbers[row["url"].split("/", 3)[3]]
        wanted = [number, number + 1, number + 2, number] if row["url"].endswith("gif") else [number, number]
        found = colours(output, row)
        assert len(found) == len(wanted)
        assert all(same_colour(a, colour_of(b)) for a, b in zip(found, wanted, strict=True)), row
    assert counts(run(urls, output, **settings)) == (0, len(MEETING), 0)


def test_the_longest_names_have_room_for_a_label(site: Validators, tmp_path: Path) -> None:
    stem, label = "x" * 400, "L" * 32
    pages(site).hold({f"{stem}.gif": moving(1, 2), f"y/{stem}.gif": moving(3, 4)})
    urls, output = listed(site, tmp_path, [f"{stem}.gif", f"y/{stem}.gif"]), tmp_path / "out"
    assert counts(run(urls, output, name="{stem}", variant=(f"{label}:8:cover:webp",))) == (2, 0, 0)
    check(output)


async def test_the_frames_of_one_picture_are_never_those_of_another(tmp_path: Path) -> None:
    """Numbers of targets and of frames stand side by side in many places: 1 and 0001, 10001."""
    indexes = (1, 10001, 11, 110001, 0, 1000)
    given = {
        index: _picture(index, [Companion(label, b"%d %s" % (index, label.encode()), "jpeg", "jpg", 1, 1)
                                for label in ("0001", "10001", "0011", "thumb")])
        for index in indexes
    }  # fmt: skip
    store = FileStore(tmp_path, "{index}")
    async with store:
        try:
            await asyncio.gather(*(store.put(picture) for picture in given.values()))
        finally:
            await asyncio.to_thread(store.ended, True)
    found = {path.name: path.read_bytes() for path in tmp_path.glob("*.jpg")}
    wanted = {f"{index}.jpg": b"%d" % index for index in indexes}
    for index, picture in given.items():
        wanted |= {f"{index}.{one.label}.jpg": one.data for one in picture.companions}
    assert found == wanted


async def test_after_a_picture_that_cannot_be_written_no_other_is_written_that_nobody_would_record(
    tmp_path: Path,
) -> None:
    store = FileStore(tmp_path, "{index}")
    async with store:
        try:
            (tmp_path / ".crawler" / "tmp").rename(tmp_path / "gone")
            with pytest.raises(StoreError) as first:
                await store.put(_picture(1, []))
            (tmp_path / "gone").rename(tmp_path / ".crawler" / "tmp")
            with pytest.raises(StoreError, match=re.escape(str(first.value))):
                await store.put(_picture(2, []))
        finally:
            await asyncio.to_thread(store.ended, False)
    assert not (tmp_path / "2.jpg").exists()


def _picture(index: int, companions: Sequence[Companion]) -> Picture:
    target = Target(index, f"http://example.org/{index}")
    fetched = Fetched(target, b"", target.url, 200, "image/jpeg", 1.0, 0.1)
    data, digest = b"%d" % index, hashlib.sha256(b"%d" % index).digest()
    return Picture(fetched, data, "jpeg", "jpg", 1, 1, 1, 1, "jpeg", digest, companions=tuple(companions))


# A folder keeps to its variants ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "now",
    [(), ("thumb:9:cover:webp", "wide:20x10:fill:png"), ("thumb:8:cover:webp",), ("little:8:cover:webp",)],
    ids=["none", "larger", "fewer", "renamed"],
)
def test_other_variants_in_a_folder_are_refused(made: Made, copied: Path, now: tuple[str, ...]) -> None:
    before = tree(copied)
    with pytest.raises(SettingsChanged, match=r"--variant is .* and was thumb:8:cover:webp wide:20x10:fill:png"):
        run(made.urls, copied, variant=now)
    assert tree(copied) == before


def test_the_command_refuses_other_variants_in_one_line(made: Made) -> None:
    flags = {name: value for name, value in RICH.items() if name != "variant"}
    done = crawler("run", made.urls, "-o", made.output, *as_flags(flags), "--variant", "thumb:9")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    assert "--variant is thumb:9 and was thumb:8:cover:webp wide:20x10:fill:png" in done.err
    check(made.output)


@pytest.mark.parametrize("setting", [{"variant": ("thumb:8",)}, {"frames": "all"}, {"transform": "os.path:basename"}])
def test_a_folder_of_an_older_version_has_none_of_them(
    site: Validators, tmp_path: Path, setting: dict[str, Any]
) -> None:
    """What that version could not do was not done: pictures with it and without it would be mixed."""
    pages(site).hold({"a.png": flat(1)})
    urls, output = listed(site, tmp_path, ["a.png"]), tmp_path / "out"
    plain = {"variant": (), "frames": "first", "exif": False}
    run(urls, output, **plain)
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite", isolation_level=None)) as db:
        known = json.loads(db.execute("SELECT value FROM facts WHERE name = 'settings'").fetchone()[0])
        older = {
            name: known[name] for name in ("size", "fit", "upscale", "encode", "quality", "name", "repeat", "format")
        }
        db.execute("UPDATE facts SET value = ? WHERE name = 'settings'", (json.dumps(older),))
    assert counts(run(urls, output, **plain)) == (0, 1, 0), "the same command goes on"
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE facts SET value = ? WHERE name = 'settings'", (json.dumps(older),))
    with pytest.raises(SettingsChanged, match=f"--{next(iter(setting))} is "):
        run(urls, output, **plain | setting)


@pytest.mark.parametrize(
    "variant",
    [
        "thumb", "thumb:", "thumb:0", "thumb:70000", "thumb:8:sideways", "thumb:8:cover:tiff", "thumb:8:cover:original",
        "8:8", "0001:8", "../x:8", "a/b:8", "a.b:8", ":8", "thumb:8x", "thumb:8:cover:webp:more", "l" * 33 + ":8", 8,
    ],
)  # fmt: skip
def test_a_variant_that_is_none_is_refused(variant: Any) -> None:
    with pytest.raises(SettingsError, match="--variant"):
        Settings.of(("http://127.0.0.1:9/",), store="none", variant=(variant,))


def test_variants_of_one_name_or_of_untouched_bytes_are_refused() -> None:
    with pytest.raises(SettingsError, match="--variant: thumb given more than once"):
        Settings.of((), store="none", variant=("thumb:8", "wide:9", "thumb:9"))
    with pytest.raises(SettingsError, match="--variant: cannot be made with --encode original"):
        Settings.of((), store="none", variant=("thumb:8",), encode="original")
