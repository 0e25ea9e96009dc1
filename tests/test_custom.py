"""A function of the user's sees every picture, hashes of the input are checked, and tables tell what belongs to an address."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from crawler import Crawler, Reason, Settings, SettingsError, Summary, crawl
from crawler.errors import CrawlerError, InputChanged, InputError
from crawler.inputs.targets import Targets
from crawler.model import Miss, Sample, Target, Visit
from crawler.process import custom
from crawler.settings import InputSettings
from crawler.state.spill import TargetSpill
from crawler.verify import verify
from tests.cli import Ended, as_flags, counts, crawler, inside, metadata, pictures
from tests.processed import miss_of, opened, picture_of
from tests.servers import pictures as painted
from tests.servers.validators import Page, Validators, running_validators

LIMIT = 30.0
PLAIN: dict[str, Any] = {"allow_private": True, "retries": 0, "workers": 1, "size": 24}
JPEG = painted.jpeg(32, 24, seed=1)
PNG = painted.png(32, 24, seed=1)
Row = Mapping[str, Any]

MODULE = '''
"""What users may write, well and badly."""

import os
import sys
import warnings

from PIL import Image, ImageDraw

EATEN = []


def do(picture, sample):
    """What the column `do` says."""
    sample.values["do"] = sample.columns["do"]
    return globals()[sample.columns["do"]](picture)


def same(picture):
    return picture


def drop(picture):
    return None


def fail(picture):
    raise ValueError("no, not\\nthis one")


def leave(picture):
    sys.exit(7)


def interrupt(picture):
    raise KeyboardInterrupt


def stop(picture):
    raise StopIteration


def give_text(picture):
    return "picture"


def give_class(picture):
    return Image.Image


def give_empty(picture):
    return Image.new("RGB", (0, 7))


def give_closed(picture):
    other = picture.copy()
    other.close()
    return other


def hang(picture):
    while True:
        pass


def abort(picture):
    os.abort()


def vanish(picture):
    os._exit(0)


def eat(picture):
    EATEN.append(bytearray(8 << 30))


def grow(picture):
    return picture.resize((300, 200))


def grey(picture):
    return picture.convert("1")


def cmyk(picture):
    return picture.convert("CMYK")


def see_through(picture):
    picture.putalpha(0)
    return picture


def paint(picture):
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width, picture.height), fill=(0, 128, 255))
    return picture


def half(picture):
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width // 2, picture.height), fill=(0, 128, 255))
    return picture


def tell(picture):
    print("on standard output")
    print("on standard error", file=sys.stderr)
    warnings.warn("take care")
    return picture


def alone(picture):
    """Of one argument."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def optional(picture, sample=None):
    assert sample is not None
    return picture


def any_number(*given):
    assert len(given) == 2
    return given[0]


def named(picture, *, sample=None):
    assert sample is None
    return picture


def report(picture, sample):
    sample.values.update(mode=picture.mode, seen=list(picture.size), index=sample.index, url=sample.url,
                         size=[sample.width, sample.height], format=sample.format, columns=dict(sample.columns))
    return picture


def count(picture, sample):
    sample.values["calls"] = sample.values.get("calls", 0) + 1
    return picture


def colour(picture, sample):
    return Image.new("RGB", picture.size, sample.columns["colour"])


def keep(what):
    def function(picture, sample):
        sample.values["what"] = what
        return picture
    return function


def deep():
    found = []
    for _ in range(5000):
        found = [found]
    return found


keeps_set, keeps_nan, keeps_deep = keep({1}), keep(float("nan")), keep(deep())
keeps_odd = keep(["caf\\u00e9", None, True, 1.5, {"a": [1 << 80]}, "\\ud800", "\\n"])


class Thing:
    def method(self, picture):
        return picture

    @staticmethod
    def static(picture):
        return picture.rotate(180)

    @classmethod
    def of_class(cls, picture, sample):
        return picture.rotate(180)

    def __call__(self, picture):
        return picture.rotate(180)


thing = Thing()
number = 7


def three(picture, sample, more):
    return picture


def nothing():
    return None


async def waiting(picture):
    return picture
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the user's with modules in it, which are found from there and from here."""
    home = tmp_path_factory.mktemp("home")
    (home / "hooks_of_mine.py").write_text(MODULE)
    package = home / "package_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("from hooks_of_mine import *\n")
    broken = {
        "broken_raises": "raise RuntimeError('two\\nlines')",
        "broken_syntax": "def f(:\n",
        "broken_import": "import no_such_module_at_all",
        "broken_exit": "import sys; sys.exit(3)",
        "broken_interrupt": "raise KeyboardInterrupt",
        "broken_end": "import os; os._exit(3)",
        "broken_abort": "import os; os.abort()",
    }
    for name, text in broken.items():
        (home / f"{name}.py").write_text(text + "\n")
    sys.path.insert(0, str(home))
    yield home
    sys.path.remove(str(home))
    for name in [name for name in sys.modules if name.endswith("_of_mine") or name.startswith("package_of_mine")]:
        del sys.modules[name]


@pytest.fixture
def hooks(folder: Path) -> Any:
    import importlib

    return importlib.import_module("hooks_of_mine")


@pytest.fixture(scope="module")
def server() -> Iterator[Validators]:
    """A JPEG at every address, of other bytes each."""
    with running_validators(lambda host, path: Page(painted.stamped(JPEG, path))) as running:
        yield running


@pytest.fixture
def site(server: Validators) -> Validators:
    server.reset()
    return server


def run(*sources: object, output: Path | None = None, **more: Any) -> Summary:
    """A run in this process, to its end."""
    given = {"output": str(output)} if output else {"store": "none"}
    settings = Settings.of([str(source) for source in sources], **PLAIN | given | more)
    return asyncio.run(asyncio.wait_for(crawl(settings), LIMIT))


def write_csv(path: Path, rows: Sequence[Row], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def misses(output: Path) -> dict[int, tuple[str, str]]:
    """Reason and words of every miss."""
    done = inside("misses", output, "--format", "jsonl")
    return {row["index"]: (row["reason"], row["detail"]) for row in map(json.loads, done.out.splitlines())}


def complaint(done: Ended) -> str:
    """The one line of a command that was given something wrong."""
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    return done.err


# What functions do -----------------------------------------------------------------------------------------------------


DOINGS = {
    "same": "stored", "drop": "dropped", "fail": "transform_failed", "leave": "transform_failed", "hang": "too_slow",
    "interrupt": "transform_failed", "stop": "transform_failed", "give_text": "transform_failed",
    "give_class": "transform_failed", "give_empty": "transform_failed", "give_closed": "transform_failed",
    "abort": "worker_crashed", "vanish": "worker_crashed", "eat": "out_of_memory", "grow": "stored", "grey": "stored",
    "cmyk": "stored", "see_through": "stored", "paint": "stored", "tell": "stored",
}  # fmt: skip


@dataclass(frozen=True)
class Done:
    ended: Ended
    output: Path
    rows: dict[str, dict[str, Any]]
    missed: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def done(folder: Path, server: Validators, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Every doing once, with good pictures before and after each."""
    home = tmp_path_factory.mktemp("done")
    rows = [
        row for do in DOINGS for row in ({"url": server.url(do), "do": do}, {"url": server.url(f"x{do}"), "do": "same"})
    ]
    table, output = write_csv(home / "table.csv", rows), home / "out"
    flags = as_flags(PLAIN | {"transform": "hooks_of_mine:do", "process_timeout": 1.0})
    ended = crawler("run", table, "-o", output, *flags, "--json", cwd=folder)
    names = list(DOINGS)
    missed = {names[index // 2]: miss for index, miss in misses(output).items() if index % 2 == 0}
    found = {str(row["values"]["do"]): row for row in metadata(output) if row["index"] % 2 == 0}
    return Done(ended, output, found, missed)


def test_a_function_costs_its_picture_at_most(done: Done) -> None:
    assert done.ended.code == 0, done.ended.err
    ends = dict.fromkeys(done.rows, "stored") | {name: reason for name, (reason, _) in done.missed.items()}
    assert ends == DOINGS
    good = [row for row in metadata(done.output) if row["index"] % 2]
    assert len(good) == len(DOINGS), "the pictures beside it are stored"
    assert asyncio.run(asyncio.wait_for(verify(done.output), LIMIT)).faults == []


def test_a_miss_says_what_the_function_did(done: Done) -> None:
    told = {name: detail for name, (_, detail) in done.missed.items()}
    assert told["drop"] == "by the transform function"
    assert told["fail"] == "ValueError: no, not this one"
    assert "SystemExit: 7" in told["leave"]
    assert "str" in told["give_text"]
    assert "picture or None" in told["give_class"]
    assert told["hang"].startswith("not done after 1 s")
    assert "SIGABRT" in told["abort"]
    assert all("\n" not in detail for detail in told.values())


def test_what_is_returned_is_what_is_stored(done: Done) -> None:
    def stored(name: str) -> Image.Image:
        with Image.open(done.output / done.rows[name]["file_name"]) as picture:
            picture.load()
        return picture

    sizes = {name: (row["width"], row["height"]) for name, row in done.rows.items()}
    assert sizes == dict.fromkeys(sizes, (24, 18)) | {"grow": (24, 16)}
    originals = {(row["original_width"], row["original_height"]) for row in done.rows.values()}
    assert originals == {(32, 24)}, "the size of what came"
    assert stored("grey").mode == "L"
    assert (stored("cmyk").mode, stored("see_through").mode) == ("RGB", "RGB")
    assert stored("see_through").getextrema() == ((255, 255),) * 3, "laid on the background"
    assert all(abs(a - b) <= 4 for a, b in zip(_middle(stored("paint")), (0, 128, 255), strict=True))


def _middle(picture: Image.Image) -> tuple[int, ...]:
    found = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(found, tuple)
    return found


def test_what_a_function_prints_goes_where_it_would(done: Done) -> None:
    assert json.loads(done.ended.out.splitlines()[-1])["stored"] == 2 * len(DOINGS) - len(done.missed)
    assert "on standard error" in done.ended.err
    assert "on standard error" not in json.dumps(done.rows["tell"])
    assert "take care" in done.rows["tell"]["notes"]
    assert "Traceback" not in done.ended.err


@pytest.mark.parametrize(
    "name", ["same", "alone", "optional", "any_number", "named", "Thing.static", "Thing.of_class", "thing"]
)
def test_a_function_may_take_the_picture_alone_or_with_what_is_known(folder: Path, name: str) -> None:
    found = custom.find(f"hooks_of_mine:{name}")
    result = found(Image.new("RGB", (3, 2)), Sample(0, "", {}))
    assert isinstance(result, Image.Image)
    assert picture_of(PNG, transform=f"package_of_mine.inner:{name}").width == 32 or name == "grow"


def test_a_function_sees_the_picture_upright_and_what_is_known_of_it(folder: Path) -> None:
    body = painted.quadrants(40, 20, exif_orientation=6)
    picture = picture_of(body, {"a": "b"}, transform="hooks_of_mine:report", size=8)
    assert picture.values == {
        "mode": "RGB", "seen": [40, 20], "index": 0, "url": "http://example.org/a", "size": [40, 20], "format": "jpeg",
        "columns": {"a": "b"},
    }  # fmt: skip
    assert painted.quadrant_names(picture.data) == tuple(painted.QUADRANTS)


def test_untouched_bytes_are_seen_and_may_be_dropped_but_not_changed(folder: Path) -> None:
    picture = picture_of(PNG, transform="hooks_of_mine:paint", encode="original")
    assert (picture.data, picture.untouched) == (PNG, True)
    assert picture_of(PNG, transform="hooks_of_mine:report", encode="original").values["seen"] == [32, 24]
    assert miss_of(PNG, transform="hooks_of_mine:drop", encode="original").reason is Reason.DROPPED
    assert miss_of(PNG, transform="hooks_of_mine:fail", encode="original").reason is Reason.TRANSFORM_FAILED


STILLS = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "yellow")]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_every_frame_is_seen_and_none_by_the_next(folder: Path, format: str) -> None:
    """A function that paints over what it is given must not paint over what the next frame is laid on."""
    known: dict[str, dict[str, Any]] = {"GIF": {"disposal": 1}, "WEBP": {"lossless": True}}
    options = known.get(format, {})
    if format != "TIFF":
        options["duration"] = 100
    out = BytesIO()
    # Only the right half differs from frame to frame, so that a frame holds that half alone.
    frames = [STILLS[0].copy() for _ in STILLS]
    for frame, still in zip(frames, STILLS, strict=True):
        frame.paste(still.crop((10, 0, 20, 10)), (10, 0))
    frames[0].save(out, format, save_all=True, append_images=frames[1:], **options)
    settings: dict[str, Any] = {"frames": "all", "size": 20, "subsampling": "444", "quality": 100}
    assert picture_of(out.getvalue(), transform="hooks_of_mine:count", **settings).values == {"calls": 3}
    picture = picture_of(out.getvalue(), transform="hooks_of_mine:paint_second", **settings)
    shown = [picture.data, *(one.data for one in picture.companions)]
    colours = [[Image.open(BytesIO(data)).convert("RGB").getpixel((x, 5)) for x in (2, 7, 15)] for data in shown]
    blue, red, lime, yellow = (0, 0, 255), (255, 0, 0), (0, 255, 0), (255, 255, 0)
    for found, expected in zip(colours, ((red, red, red), (blue, red, lime), (red, red, yellow)), strict=True):
        for pixel, wanted in zip(found, expected, strict=True):
            assert isinstance(pixel, tuple)
            assert all(abs(a - b) <= 12 for a, b in zip(pixel, wanted, strict=True)), colours


def test_one_dropped_frame_drops_the_picture(folder: Path) -> None:
    out = BytesIO()
    STILLS[0].save(out, "GIF", save_all=True, append_images=STILLS[1:])
    assert miss_of(out.getvalue(), transform="hooks_of_mine:drop_lime", frames="all").reason is Reason.DROPPED
    assert opened(picture_of(out.getvalue(), transform="hooks_of_mine:drop_lime")).size == (20, 10)


MODULE += """

def paint_second(picture):
    if picture.convert("RGB").getpixel((15, 5)) == (0, 255, 0):
        ImageDraw.Draw(picture).rectangle((0, 0, 4, picture.height), fill=(0, 0, 255))
    return picture


def drop_lime(picture):
    return None if picture.convert("RGB").getpixel((0, 0)) == (0, 255, 0) else picture
"""


# Values ----------------------------------------------------------------------------------------------------------------


def test_values_are_told_with_the_picture_and_survive_the_journal(
    folder: Path, site: Validators, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(site.url("a"), output=output, transform="hooks_of_mine:keeps_odd")
    kept = ["café", None, True, 1.5, {"a": [1 << 80]}, "\ud800", "\n"]
    assert [row["values"] for row in metadata(output)] == [{"what": kept}]
    (output / "metadata.jsonl").unlink()  # written anew from the journal
    run(site.url("a"), output=output, transform="hooks_of_mine:keeps_odd")
    assert [row["values"] for row in metadata(output)] == [{"what": kept}]


@pytest.mark.parametrize("name", ["keeps_set", "keeps_nan", "keeps_deep"])
def test_values_that_json_has_not_fail_their_picture(folder: Path, name: str) -> None:
    miss = miss_of(PNG, transform=f"hooks_of_mine:{name}")
    assert (miss.reason, "\n" in miss.detail) == (Reason.TRANSFORM_FAILED, False)


def test_pictures_of_the_same_bytes_that_become_different_share_no_file(folder: Path, tmp_path: Path) -> None:
    """Named by the bytes that came, and made different by what stands beside their addresses."""
    with running_validators(lambda host, path: Page(JPEG)) as same:
        colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
        rows = [{"url": same.url(f"{n}"), "colour": colour} for n, colour in enumerate([*colours, *colours])]
        table, output = write_csv(tmp_path / "t.csv", rows), tmp_path / "out"
        assert run(table, output=output, transform="hooks_of_mine:colour", name="{sha256}").stored == 4
    assert asyncio.run(asyncio.wait_for(verify(output), LIMIT)).faults == []
    for row in metadata(output):
        with Image.open(output / row["file_name"]) as picture:
            found = _middle(picture)
        wanted = colours[rows[row["index"]]["colour"]]
        assert all(abs(a - b) <= 4 for a, b in zip(found, wanted, strict=True))


# Columns ---------------------------------------------------------------------------------------------------------------


def test_columns_of_every_kind_of_table_reach_the_function(folder: Path, site: Validators, tmp_path: Path) -> None:
    odd = 'a "quoted", text;\nin two lines\tand a tab é 漢'
    rows = [
        write_csv(tmp_path / "a.csv", [{"label": odd, "link": site.url("csv"), "empty": ""}]),
        write_csv(tmp_path / "b.tsv", [{"label": odd, "link": site.url("tsv"), "empty": ""}], "\t"),
        write_lines(
            tmp_path / "c.jsonl", [{"label": odd, "link": site.url("jsonl"), "n": [1, 2.5, None, {"a": True}]}]
        ),
        write_lines(tmp_path / "d.NDJSON", [{"label": odd, "link": site.url("ndjson")}]),
    ]
    output = tmp_path / "out"
    flags = as_flags(PLAIN | {"transform": "hooks_of_mine:report", "url_column": "link"})
    ended = crawler("run", *rows, site.url("alone"), "-o", output, *flags, cwd=folder)
    assert ended.code == 0, ended.err
    table = {"label": odd, "empty": ""}
    assert {row["url"].rpartition("/")[2]: row["values"]["columns"] for row in metadata(output)} == {
        "csv": table, "tsv": table, "jsonl": {"label": odd, "n": [1, 2.5, None, {"a": True}]}, "ndjson": {"label": odd},
        "alone": {},
    }  # fmt: skip


async def test_columns_from_python_reach_the_function(folder: Path, site: Validators) -> None:
    columns = {"label": "é", "nested": {"a": [1, None]}}
    rows = [{"address": site.url("a"), **columns}, {"address": site.url("b")}]

    async def given() -> AsyncIterator[Any]:
        for row in rows:
            yield row

    for sources in (rows, given(), (row for row in rows)):
        settings = Settings.of(sources, store="none", transform="hooks_of_mine:report", url_column="address", **PLAIN)  # type: ignore[arg-type]
        async with Crawler(settings) as run_:
            found = {outcome.target.index: outcome.picture async for outcome in run_}
        assert {index: one and one.values["columns"] for index, one in found.items()} == {0: columns, 1: {}}
    async with Crawler(Settings.of(store="none", transform="hooks_of_mine:report", **PLAIN)) as service:
        one, other = await asyncio.gather(service.get(site.url("a"), columns=columns), service.get(site.url("b")))
    assert one.picture is not None
    assert other.picture is not None
    assert (one.picture.values["columns"], other.picture.values["columns"]) == (columns, {})


async def test_columns_that_json_has_not_are_refused(site: Validators) -> None:
    settings = Settings.of([{"url": site.url("a"), "picture": object()}], store="none", **PLAIN)  # type: ignore[list-item]
    with pytest.raises(InputError, match="item 1: its columns must be what JSON has"):
        await crawl(settings)


async def test_targets_that_waited_on_the_disk_keep_their_columns(tmp_path: Path) -> None:
    odd = {"n": [1, 2.5, None, {"deep": True}], "odd": "é\ud800\n\0", "large": 1 << 80}
    columns: list[dict[str, Any]] = [{}, {"a": "b"}, odd]
    visits = [Visit(Target(n, f"http://a/{n}", f"t.csv:{n}", None, one), "", "a") for n, one in enumerate(columns)]
    async with TargetSpill(tmp_path) as spill:
        await spill.put(visits)
        back = await spill.take("a", 10)
    assert [visit.target for visit in back] == [visit.target for visit in visits]


# What cannot be a function ---------------------------------------------------------------------------------------------


WRONG = {
    "no_such_module:f": "no_such_module",
    "hooks_of_mine.inner:f": "hooks_of_mine.inner",
    "hooks_of_mine:no_such_function": "no_such_function",
    "hooks_of_mine:Thing.no_such_method": "Thing.no_such_method",
    "hooks_of_mine:number": "hooks_of_mine:number",
    "hooks_of_mine:three": "three",
    "hooks_of_mine:nothing": "nothing",
    "broken_raises:f": "RuntimeError: two lines",
    "broken_syntax:f": "SyntaxError",
    "broken_import:f": "no_such_module_at_all",
    "broken_exit:f": "SystemExit",
    "broken_interrupt:f": "KeyboardInterrupt",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_function_that_is_not_there_ends_the_run_before_it_begins(folder: Path, site: Validators, name: str) -> None:
    with pytest.raises(SettingsError, match="--transform: ") as error:
        run(site.url("a"), transform=name)
    assert error.value.field == "transform"
    assert WRONG[name] in str(error.value)
    assert "\n" not in str(error.value)
    assert site.log(robots=True) == []


@pytest.mark.parametrize("name", ["broken_end:f", "broken_abort:f"])
def test_a_module_that_ends_its_process_ends_the_run_before_it_begins(
    folder: Path, site: Validators, name: str
) -> None:
    with pytest.raises(CrawlerError) as error:
        run(site.url("a"), transform=name)
    assert "\n" not in str(error.value)
    assert site.log(robots=True) == []


@pytest.mark.parametrize("name", ["no_such_module:f", "broken_raises:f", "broken_exit:f"])
def test_the_command_says_in_one_line_that_a_function_is_not_there(
    folder: Path, site: Validators, tmp_path: Path, name: str
) -> None:
    flags = as_flags(PLAIN | {"workers": 3, "transform": name})
    line = complaint(crawler("run", site.url("a"), "-o", tmp_path / "out", *flags, cwd=folder))
    assert line.startswith("crawler: --transform: ")
    assert WRONG[name] in line
    assert site.log(robots=True) == []
    assert pictures(tmp_path / "out") == []


@pytest.mark.parametrize(
    "name", ["hooks_of_mine", "hooks_of_mine:", ":f", "a b:c", "hooks_of_mine:f()", "../x:f", "a:b:c", 7]
)
def test_what_is_no_name_of_a_function_is_refused_at_once(name: Any) -> None:
    with pytest.raises(SettingsError, match=r"--transform: .* must be package.module:function"):
        Settings.of(("http://127.0.0.1:9/",), store="none", transform=name)


def test_a_function_itself_may_be_given(hooks: Any, site: Validators) -> None:
    for function in (hooks.drop, hooks.Thing.static, hooks.Thing.of_class):
        done = run(site.url("a"), transform=function)
        assert counts(done) == ((0, 0, 1) if function is hooks.drop else (1, 0, 0))


def test_a_function_that_no_worker_could_find_is_refused(hooks: Any) -> None:
    def inner(picture: Image.Image) -> Image.Image:
        return picture

    for function in (lambda picture: picture, inner, hooks.keeps_set, hooks.thing.method, hooks.thing):
        with pytest.raises(SettingsError, match=r"--transform: .* must be package.module:function"):
            Settings.of(("http://127.0.0.1:9/",), store="none", transform=function)


def test_another_function_in_a_folder_is_refused(folder: Path, site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(site.url("a"), output=output, transform="hooks_of_mine:same")
    with pytest.raises(CrawlerError, match="--transform is hooks_of_mine:alone and was hooks_of_mine:same"):
        run(site.url("a"), output=output, transform="hooks_of_mine:alone")
    assert counts(run(site.url("a"), output=output, transform="hooks_of_mine:same")) == (0, 1, 0)


# Hashes ----------------------------------------------------------------------------------------------------------------


def hash_rows(site: Validators) -> dict[str, tuple[dict[str, Any], str]]:
    """Rows with a hash, and the reason of their miss."""
    found: dict[str, tuple[dict[str, Any], str]] = {}

    def add(name: str, hashed: Any, reason: str = "") -> None:
        found[name] = {"url": site.url(name), "digest": hashed(_body(name)) if callable(hashed) else hashed}, reason

    add("sha256", lambda body: hashlib.sha256(body).hexdigest())
    add("md5", lambda body: hashlib.md5(body).hexdigest())
    add("upper", lambda body: hashlib.sha256(body).hexdigest().upper())
    add("mixed", lambda body: f"  {hashlib.md5(body).hexdigest().title()} ")
    add("empty", "")
    add("blank", "   ")
    add("other_sha256", hashlib.sha256(b"other").hexdigest(), "wrong_hash")
    add("other_md5", hashlib.md5(b"other").hexdigest(), "wrong_hash")
    add("of_another", hashlib.sha256(_body("sha256")).hexdigest(), "wrong_hash")
    add("sha1", lambda body: hashlib.sha1(body).hexdigest(), "wrong_hash")
    add("short", "abc", "wrong_hash")
    add("no_hex", "g" * 64, "wrong_hash")
    add("digits", "٣" * 64, "wrong_hash")
    add("prefixed", lambda body: "sha256:" + hashlib.sha256(body).hexdigest(), "wrong_hash")
    return found


def _body(name: str) -> bytes:
    return painted.stamped(JPEG, f"/{name}")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_bodies_are_held_against_the_hash_of_their_row(site: Validators, tmp_path: Path, ending: str) -> None:
    rows = hash_rows(site)
    table = tmp_path / f"t.{ending}"
    if ending == "jsonl":
        rows["null"] = {"url": site.url("null"), "digest": None}, ""
        rows["number"] = {"url": site.url("number"), "digest": 5}, "wrong_hash"
        rows["list"] = {"url": site.url("list"), "digest": ["a"]}, "wrong_hash"
        rows["without"] = {"url": site.url("without")}, "wrong_hash"
        write_lines(table, [row for row, _ in rows.values()])
    else:
        write_csv(table, [row for row, _ in rows.values()], "\t" if ending == "tsv" else ",")
    output = tmp_path / "out"
    done = run(table, output=output, verify_hash="digest")
    expected = [reason for _, reason in rows.values()]
    assert counts(done) == (expected.count(""), 0, expected.count("wrong_hash"))
    found = misses(output) if ending == "csv" else {}
    if ending == "csv":
        assert {index: reason for index, (reason, _) in found.items()} == {
            index: reason for index, reason in enumerate(expected) if reason
        }
        names = list(rows)
        for index, (_, detail) in found.items():
            assert "digest" in detail, "the column is named"
            compared = names[index] in ("other_sha256", "other_md5", "of_another")
            assert compared == ("digest says " in detail), detail


def test_a_hash_is_checked_before_anything_is_decoded(folder: Path) -> None:
    wrong = {"digest": "0" * 64}
    settings: dict[str, Any] = {"verify_hash": "digest", "transform": "hooks_of_mine:fail"}
    assert miss_of(PNG, wrong, **settings).reason is Reason.WRONG_HASH
    assert miss_of(b"no picture at all", wrong, **settings).reason is Reason.WRONG_HASH
    right = {"digest": hashlib.sha256(PNG).hexdigest()}
    assert miss_of(PNG, right, **settings).reason is Reason.TRANSFORM_FAILED
    assert picture_of(PNG, right, verify_hash="digest", encode="original").data == PNG


async def test_a_hash_may_be_given_with_a_single_address(site: Validators) -> None:
    async with Crawler(Settings.of(store="none", verify_hash="sum", **PLAIN)) as service:
        wrong = await service.get(site.url("a"), columns={"sum": "0" * 32})
        right = await service.get(site.url("a"), columns={"sum": hashlib.md5(_body("a")).hexdigest()})
    assert isinstance(wrong.miss, Miss)
    assert wrong.miss.reason is Reason.WRONG_HASH
    assert right.stored


@pytest.mark.parametrize("flag", ["--verify-hash", "--url-column"])
def test_a_column_that_a_table_has_not_is_told_with_those_it_has(site: Validators, tmp_path: Path, flag: str) -> None:
    table = write_csv(tmp_path / "t.csv", [{"url": site.url("a"), "sha_256": "", "label, of it": ""}])
    line = complaint(crawler("run", table, "-o", tmp_path / "out", *as_flags(PLAIN), flag, "sha256"))
    assert line.startswith(f"crawler: {flag}: ")
    for named in (str(table), "'sha256'", "url", "sha_256", "label, of it"):
        assert named in line
    assert site.log(robots=True) == []
    assert not (tmp_path / "out").exists()


# Tables ----------------------------------------------------------------------------------------------------------------


async def read(path: Path, **options: Any) -> list[Target]:
    source = Targets(InputSettings((str(path),), **options))
    async with asyncio.timeout(LIMIT):
        found = [target async for batch in source.batches() for target in batch]
    assert [target.index for target in found] == list(range(len(found)))
    return found


async def rows_of(path: Path, data: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Line, address and columns of what a file of these bytes gives."""
    path.write_bytes(data)
    return [(one.origin.rpartition(":")[2], one.url, dict(one.columns)) for one in await read(path)]


A, B = "http://a/1", "http://a/2"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"url,n\nhttp://a/1,1\nhttp://a/2,2\n", [("2", A, {"n": "1"}), ("3", B, {"n": "2"})]),
        (b"\xef\xbb\xbfurl,n\r\nhttp://a/1,1\r\nhttp://a/2,2", [("2", A, {"n": "1"}), ("3", B, {"n": "2"})]),
        (b'n,"url"\n"1,\n""2""",http://a/1\n3,"http://a/2"\n', [("2", A, {"n": '1,\n"2"'}), ("4", B, {"n": "3"})]),
        (b"url\n\n\nhttp://a/1\n\r\nhttp://a/2\n\n", [("4", A, {}), ("6", B, {})]),
        (b"url,n,m\nhttp://a/1\nhttp://a/2,2,3,4,5\n", [("2", A, {}), ("3", B, {"n": "2", "m": "3"})]),
        (b" url , n\n http://a/1 , 1\n", [("2", A, {"n": " 1"})]),
        (b"n,url\n1\nhttp://a/1,http://a/2\n", [("2", "", {"n": "1"}), ("3", B, {"n": A})]),
        (b"url,n\n# no remark,1\nhttp://a/1,2\n", [("2", "# no remark", {"n": "1"}), ("3", A, {"n": "2"})]),
        (b"url,n\nhttp://a/1,caf\xe9\n", [("2", A, {"n": "caf�"})]),
        (b"url,n\rhttp://a/1,1\rhttp://a/2,2\r", [("2", A, {"n": "1"}), ("3", B, {"n": "2"})]),
        (b'url,n\nhttp://a/1,"open\nhttp://a/2,2\n', [("2", A, {"n": "open\nhttp://a/2,2\n"})]),
        (b"url,n,n\nhttp://a/1,1,2\n", [("2", A, {"n": "2"})]),
        (b"url,\nhttp://a/1,x\n", [("2", A, {"": "x"})]),
        (b"url,n\n", []),
        (b"url", []),
    ],
)  # fmt: skip
async def test_a_table_is_read_as_it_is_meant(
    tmp_path: Path, data: bytes, expected: list[tuple[str, str, dict[str, Any]]]
) -> None:
    assert await rows_of(tmp_path / "t.csv", data) == expected
    if b'"1,' not in data and b'"open' not in data:
        in_tabs = data.replace(b",", b"\t")
        wanted = [(line, url, {k: v.replace(",", "\t") for k, v in columns.items()}) for line, url, columns in expected]
        assert await rows_of(tmp_path / "t.TSV", in_tabs) == wanted


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"url": "http://a/1", "n": {"a": [1, null, true]}}', (A, {"n": {"a": [1, None, True]}})),
        ('  {"url": " http://a/1 "}  ', (A, {})),
        ('{"n": 1}', ("", {"n": 1})),
        ('{"url": 5, "n": 1}', ("", {"n": 1})),
        ('{"url": null}', ("", {})),
        ('["http://a/1"]', ('["http://a/1"]', {})),
        ('"http://a/1"', ('"http://a/1"', {})),
        ("http://a/1", (A, {})),
        ("{'url': 'http://a/1'}", ("{'url': 'http://a/1'}", {})),
        ('{"url": "http://a/1"', ('{"url": "http://a/1"', {})),
        ('{"url": "http://a/1"}}', ('{"url": "http://a/1"}}', {})),
        ('{"n": ' + "9" * 5000 + "}", ('{"n": ' + "9" * 194, {})),
        ("[" * 100_000, ("[" * 200, {})),
        ('{"url":' * 100_000, (('{"url":' * 30)[:200], {})),
        ('{"url": "http://a/1", "url": "http://a/2"}', (B, {})),
        ('{"url": "http://a/1", "n": "\\u2028\\u0085"}', (A, {"n": "\u2028\u0085"})),
        ('{"url": "http://a/1", "n": "\u2028\u0085\x0c"}', None),
    ],
)
async def test_a_line_of_json_is_a_row_or_a_miss_of_its_own(
    tmp_path: Path, line: str, expected: tuple[str, dict[str, Any]] | None
) -> None:
    data = f'{{"url": "http://a/0"}}\n\n{line}\r\n{{"url": "http://a/9", "z": 1}}'.encode()
    found = await rows_of(tmp_path / "t.jsonl", data)
    assert (found[0], found[-1]) == (("1", "http://a/0", {}), ("4", "http://a/9", {"z": 1})), "the others go on"
    assert len(found) == 3
    assert found[1][0] == "3"
    if expected is not None:
        assert found[1][1:] == expected


def test_a_broken_row_is_a_miss_that_names_file_and_line(site: Validators, tmp_path: Path) -> None:
    secret = "http://ann:secret@127.0.0.1/a.jpg"
    lines = [
        json.dumps({"url": site.url("a")}),
        '{"url": "http://ann:secret@127.0.0.1/a.jpg", ',
        json.dumps([secret]),
        json.dumps({"link": secret}),
        json.dumps({"url": site.url("b").replace("//", "//ann:secret@"), "also": secret}),
        '{"url": "http://127.0.0.1:9/\\ud800.jpg"}',
        '{"url": "http://127.0.0.1/\\u0000.jpg"}',
        "[" * 100_000,
        json.dumps({"url": site.url("c")}),
    ]
    table, output = write_lines(tmp_path / "t.jsonl", lines), tmp_path / "out"
    done = crawler("run", table, "-o", output, *as_flags(PLAIN), "--json")
    assert (done.code, "Traceback" in done.err) == (0, False), done.err[-500:]
    assert sorted(row["index"] for row in metadata(output)) == [0, 4, 8]
    said = inside("misses", output, "--format", "jsonl")
    missed = {row["index"]: row for row in map(json.loads, said.out.splitlines())}
    reasons = {3: "bad_url", 5: "connect", 6: "bad_url"}
    assert {index: (row["reason"], row["origin"]) for index, row in missed.items()} == {
        index: (reasons.get(index, "bad_row"), f"{table}:{index + 1}") for index in (1, 2, 3, 5, 6, 7)
    }, "half a pair of surrogates is taken as the sign for what cannot be read"
    assert all(f"{table}:{index + 1}" in row["detail"] for index, row in missed.items() if index != 5)
    kept = (path.read_bytes().decode("latin-1") for path in output.rglob("*") if path.is_file())
    everything = [done.out, done.err, said.out, *kept]
    assert [text for text in everything if "secret" in text] == []
    assert counts_of(inside("run", table, "-o", output, *as_flags(PLAIN), "--json")) == (0, 9, 0)


def counts_of(done: Ended) -> tuple[int, int, int]:
    assert done.code == 0, done.err
    return done.summary["stored"], done.summary["skipped"], done.summary["missed"]


def test_a_header_without_the_address_is_refused_whatever_else_is_there(site: Validators, tmp_path: Path) -> None:
    for number, data in enumerate((b"", b"\n", b"a,b\nhttp,1\n", b"URL,link\n", b"\xff\xfeu\0r\0l\0")):
        table = tmp_path / f"{number}.csv"
        table.write_bytes(data)
        with pytest.raises(SettingsError, match=r"--url-column: .*; there are .*\. Name one"):
            run(table)
    table.write_bytes(b"url,n\n")
    assert counts(run(table)) == (0, 0, 0)


def test_a_longer_table_goes_on_and_another_is_refused(site: Validators, tmp_path: Path) -> None:
    rows = [{"n": str(n), "url": site.url(f"{n}")} for n in range(3)]
    table, output = write_csv(tmp_path / "t.csv", rows[:2]), tmp_path / "out"
    assert counts(run(table, output=output)) == (2, 0, 0)
    write_csv(table, [{"other": "x", "n": "changed", "url": row["url"]} for row in rows])
    assert counts(run(table, output=output)) == (1, 2, 0), "only the addresses decide"
    write_csv(table, [rows[1], rows[0], rows[2]])
    with pytest.raises(InputChanged, match=f"{table.name}:2: position 0 is .*/1 now and was .*/0"):
        run(table, output=output)
    assert counts(run(write_lines(tmp_path / "t.jsonl", rows), output=output)) == (0, 3, 0)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("end", ["", "\n"], ids=["cut", "ended"])
def test_a_row_without_end_is_a_miss_and_never_whole_in_memory(tmp_path: Path, ending: str, end: str) -> None:
    table, piece, pieces = tmp_path / f"t.{ending}", "x" * 1_000_000, 60
    row = ("http://a/{}," if ending == "csv" else '{{"url": "http://a/{}", "n": "1"}}').format
    with table.open("w") as file:
        if ending == "csv":
            file.write("url,n\n")
        file.write(f"{row(0)}\n")
        file.writelines(piece for _ in range(pieces))
        file.write(f"{end}{row(9)}{end}")
    here = psutil.Process()
    before = here.memory_info().rss
    most = 0

    async def read_all() -> list[str]:
        nonlocal most
        found = []
        async for batch in Targets(InputSettings((str(table),))).batches():
            most = max(most, here.memory_info().rss)
            found += [one.url for one in batch]
        return found

    found = asyncio.run(read_all())
    assert found[0] == "http://a/0"
    assert found[2:] == (["http://a/9"] if end else [])
    assert len(found[1]) < 1000
    assert max(most, here.memory_info().rss) - before < 20_000_000


def test_hashes_need_a_table(site: Validators, tmp_path: Path) -> None:
    """A list of plain addresses has none: nothing would be checked, and nobody would know."""
    (tmp_path / "list.txt").write_text(site.url("a"))
    for source in (tmp_path / "list.txt", site.url("a")):
        with pytest.raises(SettingsError, match=r"--verify-hash: .* has no columns"):
            run(source, verify_hash="sha256")
    assert site.log(robots=True) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_long_table_is_never_whole_in_memory(tmp_path: Path, ending: str) -> None:
    table, rows, text = tmp_path / f"t.{ending}", 100_000, "x" * 300
    with table.open("w") as file:
        if ending == "csv":
            file.write("url,text\n")
            file.writelines(f"http://a/{n},{text}\n" for n in range(rows))
        else:
            file.writelines(f'{{"url": "http://a/{n}", "text": "{text}"}}\n' for n in range(rows))
    here, seen, most = psutil.Process(), 0, 0

    async def read_all() -> None:
        nonlocal seen, most
        async for batch in Targets(InputSettings((str(table),))).batches():
            assert batch[-1].columns == {"text": text}
            if seen % 64 == 0:
                most = max(most, here.memory_info().rss)
            seen += len(batch)

    before = here.memory_info().rss
    asyncio.run(read_all())
    assert seen == rows
    assert max(most, here.memory_info().rss) - before < 10_000_000 < table.stat().st_size / 3
