"""Shards out, read back as others read them: nothing lost, nothing twice, nothing half, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crawler import Crawler, CrawlerError, Settings, SettingsError, Summary, crawl
from crawler.children import worker_context
from crawler.errors import RunLocked, SettingsChanged, StoreError
from crawler.store.build import build
from crawler.store.builder import begin
from crawler.store.order import Built, Order
from crawler.store.shard import Plan
from crawler.store.webdataset import WebDatasetShard
from crawler.verify import Fault, verify
from tests.cli import command, counts, environment, inside, started, wait_until
from tests.servers import pictures as painted
from tests.servers.handle import Faults
from tests.servers.validators import Page, Pages, Validators, running_validators
from tests.test_kill import kill_after, write_list

LIMIT: Final = 30.0
PLAIN: Final[dict[str, Any]] = {"allow_private": True, "retries": 0, "workers": 1, "size": 24, "shard_count": 4}
FORMATS: Final = ("webdataset", "parquet")
JPEG: Final = painted.jpeg(32, 24, seed=1)
BIG: Final = painted.jpeg(200, 150, seed=2, quality=95)
MISSING: Final = Page(b"no", "text/plain", status=404)
HANGING: Final = Page(wait=LIMIT)
KEYS: Final = tuple(f"0000{n}" for n in range(3))
TIMES: Final = ["seconds", "ended_at"]
PUBLISHED: Final = {"webdataset": ["parquet", "tar"], "parquet": ["parquet"]}

every_format = pytest.mark.parametrize("form", FORMATS)
unclosed = pytest.mark.filterwarnings(  # the library leaves its files to the garbage collector
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def version(number: int | str, told: str = "") -> Page:
    """A picture with an ETag, other bytes for each number and word."""
    return Page(painted.stamped(JPEG, f"{number} {told}"), etag=f'"{number}-{told}"')


@pytest.fixture(scope="module")
def server() -> Iterator[Validators]:
    with running_validators(Pages()) as running:
        yield running


@pytest.fixture
def site(server: Validators) -> Validators:
    """A server that holds /0.jpg to /11.jpg with their ETags, each of other bytes."""
    server.holds = Pages({f"/{n}.jpg": version(n) for n in range(12)})
    server.reset()
    return server


def pages(site: Validators) -> Pages:
    assert isinstance(site.holds, Pages)
    return site.holds


def holds(site: Validators, page: Page | Callable[[int], Page], *numbers: int) -> None:
    for n in numbers:
        pages(site)[f"/{n}.jpg"] = page(n) if callable(page) else page


def urls(site: Validators, count: int = 12) -> list[str]:
    return [site.url(f"{n}.jpg") for n in range(count)]


class BuiltHere:
    """The process that makes shards, in this one: it takes half a second to start, and there are many runs here."""

    async def build(self, order: Order) -> Built:
        return await asyncio.to_thread(build, order)

    async def close(self) -> None:
        return None


@pytest.fixture(autouse=True)
def built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.store.shards.Builder", BuiltHere)


def run(sources: Sequence[object], output: Path, form: str = "webdataset", **more: Any) -> Summary:
    """A run in this process, to its end; what goes wrong behind its back fails the test."""
    done = asyncio.run(watched(partial(crawl, settings(sources, output, form, **more))))
    assert isinstance(done, Summary)
    return done


def settings(sources: Sequence[object], output: Path, form: str = "webdataset", **more: Any) -> Settings:
    given = tuple(str(one) if isinstance(one, Path) else one for one in sources)
    return Settings.of(given, output=str(output), format=form, **PLAIN | more)  # type: ignore[arg-type]


async def watched(run: Callable[[], Any]) -> Any:
    """Await a run; no task may outlive it, and no error may be told to nobody but the loop."""
    told: list[str] = []
    loop, before = asyncio.get_running_loop(), asyncio.all_tasks()
    loop.set_exception_handler(lambda _, context: told.append(f"{context.get('message')} {context.get('exception')}"))
    try:
        async with asyncio.timeout(LIMIT):
            return await run()
    finally:
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - before
        assert not left
        assert not told


async def leave_after(count: int, given: Settings, abort: bool = False) -> None:
    """Leave the block of a run after so many outcomes."""
    async with Crawler(given) as going:
        seen = 0
        async for _ in going:
            seen += 1
            if seen == count:
                if abort:
                    going.abort()
                return


def stop_after(count: int, sources: Sequence[object], output: Path, form: str = "webdataset", **more: Any) -> None:
    asyncio.run(watched(partial(leave_after, count, settings(sources, output, form, **more))))


def faults(folder: Path) -> list[Fault]:
    return asyncio.run(verify(folder)).faults


def repair(folder: Path) -> list[Fault]:
    return asyncio.run(verify(folder, repair=True)).faults


def names(output: Path) -> list[str]:
    """The files that are published."""
    return sorted(path.name for path in output.iterdir() if path.is_file())


def state(output: Path) -> list[str]:
    """The files of the state, without what SQLite opens for those that look at it."""
    home = output / ".crawler"
    found = (path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in ("journal.sqlite-shm", "journal.sqlite-wal"))


def stamps(output: Path) -> dict[str, tuple[int, int]]:
    """Who has been written again has another of these."""
    return {name: ((output / name).stat().st_ino, (output / name).stat().st_mtime_ns) for name in names(output)}


def shards(output: Path) -> list[int]:
    return [int(name.partition("_")[0]) for name in names(output) if name.endswith("_stats.json")]


def table(output: Path, shard: int | None = None) -> pa.Table:
    """The table of a shard, or of all."""
    wanted = shards(output) if shard is None else [shard]
    return pa.concat_tables([pq.read_table(output / f"{one:05d}.parquet") for one in wanted])


def column(output: Path, name: str, shard: int | None = None) -> list[Any]:
    found: list[Any] = table(output, shard)[name].to_pylist()
    return found


def members(path: Path) -> dict[str, bytes]:
    """Names and bytes in a tar, in their order."""
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert member.name not in found
            found[member.name] = file.read()
    return found


def sample(output: Path, key: str) -> dict[str, Any]:
    """The JSON of a sample."""
    for shard in shards(output):
        if found := members(output / f"{shard:05d}.tar").get(f"{key}.json"):
            told: dict[str, Any] = json.loads(found)
            return told
    raise AssertionError(f"there is no {key}")


def contents(output: Path) -> dict[str, Any]:
    """All that a run has to give again in the same way: bytes of tars, tables without their times."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in output.glob("*.tar")}
    found |= {f"{n}": table(output, n).drop_columns(TIMES) for n in shards(output)}
    return found


def check(output: Path, total: int, form: str, shard_count: int = 4) -> None:
    """Every target once, every picture what it was, nothing half done is left."""
    wanted = range(-(-total // shard_count))
    assert names(output) == sorted(
        [f"{n:05d}.{ending}" for n in wanted for ending in PUBLISHED[form]] + [f"{n:05d}_stats.json" for n in wanted]
    )
    assert not total or sorted(column(output, "index")) == list(range(total))
    assert state(output) == ["journal.sqlite", "lock"]
    assert faults(output) == []
    if form == "webdataset":
        for n in wanted:
            stored = pa.compute.equal(table(output, n)["status"], "success")
            keys = table(output, n).filter(stored)["key"].to_pylist()
            inside = [name.partition(".")[0] for name in members(output / f"{n:05d}.tar") if name.endswith(".json")]
            assert inside == keys


def rows_of(site: Validators, path: Path, **columns: Sequence[Any]) -> Path:
    """A table of JSON lines with the addresses of the site and these columns."""
    count = len(next(iter(columns.values())))
    rows = [{"url": site.url(f"{n}.jpg")} | {name: columns[name][n] for name in columns} for n in range(count)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def parquet_of(site: Validators, path: Path, **columns: pa.Array) -> Path:
    count = len(next(iter(columns.values())))
    pq.write_table(pa.table({"url": urls(site, count), **columns}), path)
    return path


# What is read back --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(server: Validators, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in each format: nine targets, the fifth is missed, the sixth is no address, the last comes twice."""
    server.holds = Pages({f"/{n}.jpg": version(n) for n in range(12)})
    folder = tmp_path_factory.mktemp("finished")
    lines: list[dict[str, Any]] = [{"url": u, "text": f"no. {n} é", "n": n} for n, u in enumerate(urls(server, 8))]
    lines[4]["url"], lines[5]["url"] = server.url("not-there.jpg"), "http://"
    rows = folder / "list.jsonl"
    rows.write_text("".join(f"{json.dumps(line)}\n" for line in (*lines, lines[0])))
    for form in FORMATS:
        done = run([rows], folder / form, form, caption_column="text", keep_columns="n")
        assert counts(done) == (6, 0, 3)
    return folder


def test_a_tar_holds_picture_metadata_and_caption_of_every_sample(finished: Path) -> None:
    found = members(finished / "webdataset/00001.tar")
    assert list(found) == [f"{key}.{ending}" for key in ("000012", "000013") for ending in ("jpg", "json", "txt")]
    assert Image.open(BytesIO(found["000012.jpg"])).size == (24, 18)
    assert found["000012.txt"].decode() == "no. 6 é"
    told = json.loads(found["000012.json"])
    assert list(told)[:13] == [
        "n", "caption", "url", "key", "status", "error_message", "width", "height", "original_width", "original_height",
        "exif", "sha256", "index",
    ]  # fmt: skip
    assert (told["n"], told["caption"], told["key"], told["status"]) == (6, "no. 6 é", "000012", "success")
    assert (told["width"], told["height"], told["original_width"], told["original_height"]) == (24, 18, 32, 24)
    assert told["sha256"] == hashlib.sha256(version(6).body).hexdigest()
    assert found["000012.json"] == json.dumps(told, indent=4).encode()


def _loaded_for_a_column() -> list[str]:
    pa.array([1, 2])
    return sorted(name for name in ("numpy", "pandas") if sys.modules.get(name) is not None)


def test_what_makes_shards_does_not_wait_for_pandas_to_load() -> None:
    with ProcessPoolExecutor(1, worker_context(), begin) as executor:
        assert "pandas" not in executor.submit(_loaded_for_a_column).result(60)


def test_every_shard_is_its_slice_of_the_input(finished: Path) -> None:
    output = finished / "webdataset"
    assert names(output) == [f"{shard}{end}" for shard in KEYS for end in (".parquet", ".tar", "_stats.json")]
    assert [column(output, "index", shard) for shard in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert column(output, "key", 1) == ["000010", "000011", "000012", "000013"]
    assert column(output, "status", 1) == ["failed_to_download"] * 2 + ["success"] * 2
    assert column(output, "error_message", 1)[0].startswith("not_found")
    assert column(output, "jpg" if "jpg" in table(output).column_names else "sha256", 1)[:2] == [None, None]
    assert members(output / "00002.tar") == {}, "the same address comes once"
    assert column(output, "reason", 2) == ["duplicate"]


@unclosed
def test_the_library_webdataset_reads_every_sample(finished: Path) -> None:
    import webdataset

    found = webdataset.WebDataset(str(finished / "webdataset/0000{0..1}.tar"), shardshuffle=False)
    samples = list(found.decode("pil"))
    assert [one["__key__"] for one in samples] == ["000000", "000001", "000002", "000003", "000012", "000013"]
    assert {one["jpg"].size for one in samples} == {(24, 18)}
    assert [one["json"]["n"] for one in samples] == [0, 1, 2, 3, 6, 7]
    assert samples[0]["txt"] == "no. 0 é"


def test_hugging_face_shows_the_pictures(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = sorted(str(path) for path in (finished / "parquet").glob("*.parquet"))
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert found["index"][:] == list(range(9))
    assert found["caption"][3] == "no. 3 é"
    assert found[0]["jpg"].size == (24, 18)
    assert found[4]["jpg"] is None


def test_both_formats_tell_the_same_of_every_target(finished: Path) -> None:
    one, other = (table(finished / form).drop_columns(TIMES) for form in FORMATS)
    cells = other["jpg"].to_pylist()
    assert other.drop_columns(["jpg"]).equals(one)
    tars = {name: data for n in range(3) for name, data in members(finished / f"webdataset/{n:05d}.tar").items()}
    assert {cell["path"]: cell["bytes"] for cell in cells if cell} == {n: tars[n] for n in tars if n.endswith("jpg")}


def test_the_table_begins_with_the_columns_of_img2dataset(finished: Path) -> None:
    schema = table(finished / "parquet").schema
    number, text = pa.int32(), pa.string()
    assert [(field.name, field.type) for field in schema][:13] == [
        ("n", pa.int64()), ("caption", text), ("url", text), ("key", text), ("status", text), ("error_message", text),
        ("width", number), ("height", number), ("original_width", number), ("original_height", number),
        ("exif", text), ("sha256", text), ("jpg", pa.struct({"bytes": pa.binary(), "path": text})),
    ]  # fmt: skip


@every_format
def test_the_counts_of_a_shard_stand_beside_it(finished: Path, form: str) -> None:
    told = json.loads((finished / form / "00001_stats.json").read_text())
    kinds = ("count", "successes", "failed_to_download", "failed_to_resize")
    assert [told[name] for name in kinds] == [4, 2, 2, 0]
    assert told["status_dict"]["success"] == 2
    assert sum(told["status_dict"].values()) == 4


@every_format
def test_a_finished_run_leaves_nothing_but_its_shards(finished: Path, form: str) -> None:
    check(finished / form, 9, form)


@pytest.mark.parametrize(
    ("shard_count", "keys"),
    [
        (
            1,
            [
                "00000",
                "00001",
                "00002",
                "00003",
                "00004",
                "00005",
                "00006",
                "00007",
                "00008",
                "00009",
                "00010",
                "00011",
            ],
        ),
        (7, [*(f"00000{n}" for n in range(7)), *(f"00001{n}" for n in range(5))]),
        (10, [*(f"00000{n}" for n in range(10)), "000010", "000011"]),
        (100_000, [f"00000{n:05d}" for n in range(12)]),
    ],
)
def test_keys_are_those_of_img2dataset(site: Validators, tmp_path: Path, shard_count: int, keys: list[str]) -> None:
    output = tmp_path / "out"
    run(urls(site), output, shard_count=shard_count)
    assert column(output, "key") == keys
    found = [name for n in shards(output) for name in members(output / f"{n:05d}.tar")]
    assert found == [f"{key}.{ending}" for key in keys for ending in ("jpg", "json")]


def test_bare_pictures_come_in_row_groups_of_a_size(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(urls(site, 4), output, "parquet", picture_column="binary", row_group=3)
    assert table(output).schema.field("jpg").type == pa.binary()
    assert Image.open(BytesIO(column(output, "jpg")[3])).format == "JPEG"
    assert pq.ParquetFile(output / "00000.parquet").num_row_groups == 2
    assert faults(output) == []


@every_format
def test_original_bytes_keep_their_ending(site: Validators, tmp_path: Path, form: str) -> None:
    bodies = [JPEG, painted.png(20, 20), painted.webp(20, 20), painted.gif(20, 20, frames=3)]
    for n, body in enumerate(bodies):
        pages(site)[f"/{n}"] = Page(body, "image/x-any")
    output = tmp_path / "out"
    run([site.url(f"{n}") for n in range(4)], output, form, encode="original")
    paths = ["000000.jpg", "000001.png", "000002.webp", "000003.gif"]
    if form == "webdataset":
        assert {n: data for n, data in members(output / "00000.tar").items() if "json" not in n} == dict(
            zip(paths, bodies, strict=True)
        )
    else:
        told = [{"bytes": body, "path": path} for body, path in zip(bodies, paths, strict=True)]
        assert column(output, "image") == told
    assert faults(output) == []


def test_variants_and_frames_lie_beside_their_picture(site: Validators, tmp_path: Path) -> None:
    pages(site)["/a.gif"] = Page(painted.gif(20, 20, frames=2), "image/gif")
    output = tmp_path / "out"
    run([site.url("a.gif")], output, variant=("thumb:8:cover:webp",), frames="all")
    inside = members(output / "00000.tar")
    pictures = [name for name in inside if not name.endswith("json")]
    assert "000000.jpg" in pictures
    assert "000000.thumb.webp" in pictures
    assert len(pictures) == 3, "two frames, a thumb of the first"
    assert all(Image.open(BytesIO(inside[name])).size in ((20, 20), (8, 8)) for name in pictures)
    assert faults(output) == []


def test_variants_have_a_column_each(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(urls(site, 1), output, "parquet", variant=("thumb:8:cover:webp",))
    (cell,) = column(output, "thumb")
    assert Image.open(BytesIO(cell["bytes"])).format == "WEBP"
    assert cell["path"] == "000000.thumb.webp"
    assert faults(output) == []


def test_frames_that_a_table_has_no_place_for_are_refused_or_kept(site: Validators, tmp_path: Path) -> None:
    pages(site)["/a.gif"] = Page(painted.gif(20, 20, frames=3), "image/gif")
    output = tmp_path / "out"
    with contextlib.suppress(SettingsError):
        run([site.url("a.gif")], output, "parquet", frames="all")
        assert faults(output) == []


@pytest.mark.parametrize("name", ["url", "jpg", "index", "sha256", "caption"])
def test_a_variant_cannot_take_the_name_of_another_column(site: Validators, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="variant"):
        run(urls(site, 1), tmp_path / "out", "parquet", variant=(f"{name}:8",))


def test_a_kept_column_and_a_variant_of_one_name_do_not_lose_either(site: Validators, tmp_path: Path) -> None:
    rows, output = rows_of(site, tmp_path / "list.jsonl", thumb=["a"]), tmp_path / "out"
    with contextlib.suppress(SettingsError):
        run([rows], output, "parquet", keep_columns="thumb", variant=("thumb:8",))
        assert ["a"] in table(output).to_pydict().values()


def test_tags_values_and_notes_stand_in_json_and_table(
    site: Validators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x010F] = 'Maker & "Sons"\0é'
    out = BytesIO()
    Image.new("RGB", (32, 24), "red").save(out, "JPEG", exif=exif)
    pages(site)["/0.jpg"] = Page(out.getvalue())
    pages(site)["/1.jpg"] = Page(JPEG[:-100], "image/jpeg")
    code = "def note(picture, sample):\n    sample.values.update(deep={'a': [1, None]}, text='é')\n    return picture\n"
    (tmp_path / "shard_hooks.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    output = tmp_path / "out"
    run(urls(site, 2), output, exif=True, truncated="keep", transform="shard_hooks:note")
    told, cut = sample(output, "000000"), sample(output, "000001")
    assert json.loads(told["exif"])["Make"].startswith("Maker")
    assert told["values"] == {"deep": {"a": [1, None]}, "text": "é"} == json.loads(column(output, "values")[0])
    assert column(output, "exif")[0] == told["exif"]
    assert cut["notes"] == column(output, "notes")[1] != ""
    assert faults(output) == []


# What came with the pictures ------------------------------------------------------------------------


@unclosed
def test_samples_lie_in_the_order_of_their_own_keys(site: Validators, tmp_path: Path) -> None:
    keys = ["b", "a", "é" * 100, "k" * 200, "日本", "00005", "zz", "Z", "_x", "+=-", "0", "10"]
    rows = rows_of(site, tmp_path / "list.jsonl", k=keys)
    for form in FORMATS:
        output = tmp_path / form
        run([rows], output, form, key_column="k", shard_count=100)
        assert column(output, "key") == sorted(keys, key=str.encode)
        assert faults(output) == []
    inside = [name for name in members(tmp_path / "webdataset/00000.tar") if name.endswith("jpg")]
    assert inside == [f"{key}.jpg" for key in sorted(keys, key=str.encode)]
    import webdataset

    found = webdataset.WebDataset(str(tmp_path / "webdataset/00000.tar"), shardshuffle=False)
    assert sorted(one["__key__"] for one in found) == sorted(keys)


@every_format
def test_own_keys_outlive_the_journal(site: Validators, tmp_path: Path, form: str) -> None:
    rows, output = rows_of(site, tmp_path / "list.jsonl", k=["b", "a", "é"], f=[1.5, None, 2.5]), tmp_path / "out"
    run([rows], output, form, key_column="k", keep_columns="f")
    before = contents(output)
    shutil.rmtree(output / ".crawler")
    holds(site, version(2, "new"), 2)
    assert counts(run([rows], output, form, key_column="k", keep_columns="f", refresh=True)) == (1, 2, 0)
    assert column(output, "key") == ["a", "b", "é"]
    assert column(output, "f") == [None, 1.5, 2.5]
    assert contents(output) != before
    check(output, 3, form)


@pytest.mark.parametrize("odd", [float("nan")])
def test_keys_go_together_with_numbers_that_json_has_not(site: Validators, tmp_path: Path, odd: float) -> None:
    rows = parquet_of(site, tmp_path / "list.parquet", k=pa.array(["b", "a"]), f=pa.array([odd, 1.0]))
    output = tmp_path / "out"
    assert counts(run([rows], output, key_column="k", keep_columns="f")) == (2, 0, 0)
    assert column(output, "key") == ["a", "b"]
    assert [str(one) for one in column(output, "f")] == ["1.0", str(odd)]


def test_the_key_of_a_bad_row_is_nobody_elses(site: Validators, tmp_path: Path) -> None:
    rows, output = rows_of(site, tmp_path / "list.jsonl", k=["000001", "bad.key", "c"]), tmp_path / "out"
    assert counts(run([rows], output, key_column="k")) == (2, 0, 1)
    keys = column(output, "key")
    assert len(set(keys)) == len(keys)


def test_captions_of_all_kinds_come_out_as_they_went_in(site: Validators, tmp_path: Path) -> None:
    captions = ["a\0b", "x" * 1_000_000, "", None, "\r\n\t ", "é日本\U0001f600", 'say "hi" \\ ', "\ud800lone", 5, ["a"]]
    rows, output = rows_of(site, tmp_path / "list.jsonl", text=captions), tmp_path / "out"
    run([rows], output, caption_column="text", shard_count=10)
    found, inside = table(output), members(output / "00000.tar")
    stored = {row["index"]: row["caption"] for row in found.to_pylist() if row["status"] == "success"}
    assert set(range(10)) - set(stored) <= {1}, "at most the one that is too long for a line"
    for index, caption in stored.items():
        told = json.loads(inside[f"00000{index}.json"])["caption"]
        assert told == caption
        assert inside[f"00000{index}.txt"].decode() == (caption or "")
        if index < 7:
            assert caption == captions[index]


NOON = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)
GOOD: Final[dict[str, pa.Array]] = {
    "struct": pa.array([{"a": 1, "b": "x"}, None]),
    "list": pa.array([[1, None], []], pa.list_(pa.int32())),
    "decimal": pa.array([Decimal("12.34"), None], pa.decimal128(10, 2)),
    "zone": pa.array([NOON.replace(tzinfo=datetime.UTC), None], pa.timestamp("us", tz="Europe/Berlin")),
    "naive": pa.array([NOON, None]),
    "date": pa.array([NOON.date(), None]),
    "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
    "words": pa.array(["a", "b"]).dictionary_encode(),
    "late": pa.array([None, 1], pa.int16()),
    "nothing": pa.nulls(2),
    "truth": pa.array([True, None]),
    "half": pa.array([1.5, None], pa.float16()),
    "infinite": pa.array([float("inf"), float("-inf")], pa.float32()),
    "moments": pa.array([[{"t": NOON}], None]),
    "dotted.name": pa.array([1, 2]),
    "long": pa.array(["x", None], pa.large_string()),
}
BAD: Final[dict[str, pa.Array]] = {  # what has no form of its own in JSON
    "binary": pa.array([b"\x00\xff1", b""]),
    "four_bytes": pa.array([b"\x00\xff12", None], pa.binary(4)),
    "binaries": pa.array([[b"\x00\xff1"], None], pa.list_(pa.binary())),
    "milliseconds": pa.array([NOON.replace(microsecond=120000), None], pa.timestamp("ms")),
    "time": pa.array([NOON.time(), None]),
    "seconds_of_day": pa.array([datetime.time(1, 2, 3), None], pa.time32("s")),
    "duration": pa.array([datetime.timedelta(days=1, microseconds=5), None]),
}


@pytest.fixture(scope="module")
def kept(server: Validators, tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, pa.Table]:
    """Columns of all types: as they were given, as they were stored."""
    server.holds = Pages({f"/{n}.jpg": version(n) for n in range(2)})
    folder = tmp_path_factory.mktemp("kept")
    rows = parquet_of(server, folder / "list.parquet", **GOOD, **BAD)
    assert counts(run([rows], folder / "out", keep_columns="all", shard_count=1)) == (2, 0, 0)
    return pq.read_table(rows), table(folder / "out")


@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_a_kept_column_has_its_type_and_its_values(kept: tuple[pa.Table, pa.Table], name: str) -> None:
    given, found = kept
    assert found[name].to_pylist() == given[name].to_pylist()
    if name not in ("words", "nothing", "long"):
        assert found.schema.field(name).type == given.schema.field(name).type


def test_types_are_those_of_the_first_rows_and_the_rest_is_exact_in_json(site: Validators, tmp_path: Path) -> None:
    rows = parquet_of(site, tmp_path / "a.parquet", n=pa.array([None, 1, 2], pa.int32()))
    more = tmp_path / "b.jsonl"
    given: list[Any] = ["x", 2**40, 7, 1.5]
    more.write_text("".join(f"{json.dumps({'url': site.url(f'{n + 3}.jpg'), 'n': v})}\n" for n, v in enumerate(given)))
    output = tmp_path / "out"
    run([rows, more], output, keep_columns="n", shard_count=2)
    assert {table(output, n).schema.field("n").type for n in range(4)} == {pa.int32()}
    assert column(output, "n") == [None, 1, 2, None, None, 7, None]
    told = [
        json.loads(data)["n"] for s in range(4) for n, data in members(output / f"{s:05d}.tar").items() if "json" in n
    ]
    assert told == [None, 1, 2, *given]


def test_objects_without_anything_in_them_are_kept(site: Validators, tmp_path: Path) -> None:
    odd: list[Any] = [{}, {"deep": {}}, [{}], [[{}]], [], [[]], None]
    columns = {f"x{n}": [value, value] for n, value in enumerate(odd)}
    rows, output = rows_of(site, tmp_path / "list.jsonl", **columns), tmp_path / "out"
    assert counts(run([rows], output, keep_columns=",".join(columns))) == (2, 0, 0)
    assert [sample(output, "000001")[name] for name in columns] == odd
    assert set(columns) <= set(table(output).column_names)


# Odd inputs -----------------------------------------------------------------------------------------


@every_format
def test_an_empty_list_has_no_shards(site: Validators, tmp_path: Path, form: str) -> None:
    empty = tmp_path / "list.txt"
    empty.write_text("")
    assert counts(run([empty], tmp_path / "out", form)) == (0, 0, 0)
    check(tmp_path / "out", 0, form)


@every_format
def test_a_list_of_misses_has_shards_without_pictures(site: Validators, tmp_path: Path, form: str) -> None:
    odd = tmp_path / "list.txt"
    odd.write_text(f"no address\nhttp://\n{site.url('gone')}\n{site.url('gone')}\n{'x' * 2_000_000}\n\0\n")
    output = tmp_path / "out"
    assert counts(run([odd], output, form)) == (0, 0, 6)
    check(output, 6, form)
    assert set(column(output, "status")) == {"failed_to_download"}
    if form == "webdataset":
        assert members(output / "00000.tar") == members(output / "00001.tar") == {}


def test_the_same_picture_in_another_shard_is_told_and_not_stored(site: Validators, tmp_path: Path) -> None:
    pages(site)["/5.jpg"] = pages(site)["/0.jpg"]
    output = tmp_path / "out"
    assert counts(run(urls(site, 6), output, dedup="bytes", concurrency=1)) == (5, 0, 1)
    twins = [row for row in table(output).to_pylist() if row["same_as"] is not None]
    assert [(row["status"], {row["index"], row["same_as"]}) for row in twins] == [("failed_to_resize", {0, 5})]
    check(output, 6, "webdataset")


def test_a_picture_comes_in_when_its_twin_in_another_shard_is_lost(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(urls(site, 1), output, dedup="bytes")
    pages(site)["/5.jpg"] = pages(site)["/0.jpg"]
    run(urls(site, 6), output, dedup="bytes")
    assert column(output, "same_as", 1) == [None, 0]
    damage(output / "00000.tar")
    assert [fault.record.index for fault in repair(output)] == [0]
    del pages(site)["/0.jpg"]
    run(urls(site, 6), output, dedup="bytes")
    assert column(output, "status") == ["failed_to_download"] + ["success"] * 5
    check(output, 6, "webdataset")


# In which order they come ----------------------------------------------------------------------------


@every_format
def test_nothing_depends_on_the_order_of_arrival(site: Validators, tmp_path: Path, form: str) -> None:
    found = []
    for n, (slow, concurrency) in enumerate([(0, 16), (11, 16), (5, 1)]):
        holds(site, version, *range(12))
        late = version(slow)
        holds(site, Page(late.body, etag=late.etag, wait=0.3 if concurrency > 1 else 0.0), slow)
        (tmp_path / f"{n}").mkdir()
        run(urls(site), tmp_path / f"{n}", form, concurrency=concurrency)
        found.append(contents(tmp_path / f"{n}"))
    assert found[0] == found[1] == found[2]


@every_format
def test_a_slow_target_holds_only_its_own_shard_back(site: Validators, tmp_path: Path, form: str) -> None:
    holds(site, HANGING, 0)
    stop_after(11, urls(site), tmp_path / "out", form)
    assert shards(tmp_path / "out") == [1, 2]
    assert state(tmp_path / "out") == ["journal.sqlite", "lock", "spool/00000.spool"]


@pytest.mark.parametrize("shard_count", [1, 8, 1000])
def test_a_small_spool_pauses_the_input_and_the_run_ends(site: Validators, tmp_path: Path, shard_count: int) -> None:
    """The first of each shard is slow, so that all of them wait."""
    body = BIG + bytes(300_000)
    for n in range(40):
        pages(site)[f"/{n}.jpg"] = Page(painted.stamped(body, f"{n}"), wait=0.3 if n % 8 == 0 else 0.0)
    output, most = tmp_path / "out", 0

    async def sampled() -> None:
        nonlocal most
        given = settings(
            urls(site, 40), output, encode="original", spool=1_000_000, shard_count=shard_count, concurrency=4
        )
        async with Crawler(given) as going:
            async for _ in going:
                most = max(most, await asyncio.to_thread(spooled, output))

    asyncio.run(watched(sampled))
    check(output, 40, "webdataset", shard_count)
    if shard_count == 8:
        assert most < 7_000_000, "a shard, what was under way, and the cap"


def spooled(output: Path) -> int:
    """Bytes that wait."""
    found = 0
    for path in (output / ".crawler/spool").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


@pytest.mark.parametrize("more", [{"retry_missed": "all"}, {"refresh": True}])
def test_a_small_spool_does_not_hang_what_comes_late(site: Validators, tmp_path: Path, more: dict[str, Any]) -> None:
    body = BIG + bytes(200_000)
    lines, output = tmp_path / "list.txt", tmp_path / "out"
    lines.write_text("\n".join(urls(site, 40)))
    for n in range(40):
        pages(site)[f"/{n}.jpg"] = Page(body, etag='"1"') if "refresh" in more else MISSING
    run([lines], output, encode="original", spool=1_000_000)
    for n in range(40):
        pages(site)[f"/{n}.jpg"] = Page(painted.stamped(body, f"{n}"), etag='"2"')
    assert counts(run([lines], output, encode="original", spool=1_000_000, **more)) == (40, 0, 0)
    check(output, 40, "webdataset")


# What comes later -----------------------------------------------------------------------------------


@every_format
def test_a_run_that_has_ended_is_not_touched_again(site: Validators, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    run(urls(site), output, form)
    before = stamps(output)
    site.reset()
    assert counts(run(urls(site), output, form)) == (0, 12, 0)
    assert site.paths() == []
    assert stamps(output) == before


@every_format
def test_what_is_stored_late_gets_into_its_shard(site: Validators, tmp_path: Path, form: str) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    run(urls(site), whole, form)
    holds(site, MISSING, 5, 11)
    assert counts(run(urls(site), output, form)) == (10, 0, 2)
    check(output, 12, form)
    before = stamps(output)
    holds(site, version, 5, 11)
    site.reset()
    assert counts(run(urls(site), output, form, retry_missed="not_found")) == (2, 10, 0)
    assert sorted(site.paths()) == ["/11.jpg", "/5.jpg"]
    assert contents(output) == contents(whole)
    assert {name[:5] for name, stamp in stamps(output).items() if before[name] != stamp} == {"00001", "00002"}
    check(output, 12, form)


@every_format
def test_what_has_changed_is_replaced_in_its_shard(site: Validators, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    run(urls(site), output, form)
    before = stamps(output)
    holds(site, partial(version, told="new"), 6)
    holds(site, Page(status=404), 1)
    assert counts(run(urls(site), output, form, refresh=True)) == (1, 10, 1)
    assert {name[:5] for name, stamp in stamps(output).items() if before[name] != stamp} == {"00001"}
    assert column(output, "sha256")[6] == hashlib.sha256(version(6, "new").body).hexdigest()
    assert set(column(output, "status")) == {"success"}, "what is gone stays stored"
    check(output, 12, form)


@every_format
def test_a_list_that_has_grown_gives_its_last_shard_the_rest(site: Validators, tmp_path: Path, form: str) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    run(urls(site, 11), whole, form)
    run(urls(site, 6), output, form)
    before = stamps(output)
    assert counts(run(urls(site, 11), output, form)) == (5, 6, 0)
    assert {name[:5] for name in before if stamps(output)[name] != before[name]} == {"00001"}
    assert contents(output) == contents(whole)
    check(output, 11, form)


@every_format
def test_a_run_that_was_left_goes_on_where_it_was(site: Validators, tmp_path: Path, form: str) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    run(urls(site), whole, form)
    holds(site, HANGING, 4, 9, 10, 11)
    stop_after(8, urls(site), output, form)
    assert shards(output) == [0]
    assert state(output) == ["journal.sqlite", "lock", "spool/00001.spool", "spool/00002.spool"]
    assert faults(output) == []
    before = stamps(output)
    holds(site, version, 4, 9, 10, 11)
    site.reset()
    assert counts(run(urls(site), output, form)) == (4, 8, 0)
    assert sorted(site.paths()) == ["/10.jpg", "/11.jpg", "/4.jpg", "/9.jpg"]
    assert before.items() <= stamps(output).items()
    assert contents(output) == contents(whole)
    check(output, 12, form)


@pytest.mark.parametrize("again", ["retry_missed", "refresh"])
def test_no_shard_is_published_before_all_of_it_has_ended(site: Validators, tmp_path: Path, again: str) -> None:
    """What is done again in a shard that waits is one target, however often it is done."""
    output = tmp_path / "out"
    holds(site, HANGING, *range(7, 12))
    if again == "retry_missed":
        holds(site, MISSING, *range(4))
    stop_after(7, urls(site), output, shard_count=10)
    holds(site, partial(version, told="new"), *range(4))
    if again == "refresh":
        stop_after(4, urls(site), output, shard_count=10, refresh=True)
    else:
        run(urls(site), output, shard_count=10, retry_missed="all")
    assert names(output) == []
    holds(site, version, *range(7, 12))
    run(urls(site), output, shard_count=10)
    check(output, 12, "webdataset", 10)


async def test_a_run_that_is_aborted_leaves_nothing_behind(site: Validators, tmp_path: Path) -> None:
    for count in (4, 7, 8):
        output = tmp_path / f"{count}"
        given = settings(urls(site), output, concurrency=1)
        await watched(partial(leave_after, count, given, True))
        assert counts(await crawl(given))[0] <= 12
        assert sorted(path.name for path in output.glob("*.tar")) == [f"{key}.tar" for key in KEYS]
        assert list((output / ".crawler/spool").glob("*")) == []


def test_a_shard_that_cannot_be_begun_leaves_no_file_open(tmp_path: Path) -> None:
    (tmp_path / "00000.parquet").mkdir()
    with pytest.raises(OSError, match=r"00000\.parquet"):
        WebDatasetShard(tmp_path / "00000", Plan(1, False, {}, ["jpg"], "image", 1))
    gc.collect()  # what was left open is said now, and fails the test


async def test_a_run_left_while_a_shard_is_written_leaves_no_process(
    site: Validators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the process that makes shards is looked at here
    holds(site, HANGING, 11)
    given = settings(urls(site), tmp_path / "out", shard_count=1)
    await watched(partial(leave_after, 8, given, True))
    holds(site, version, 11)
    assert (await watched(partial(crawl, given))).ended == "finished"
    assert len(list((tmp_path / "out").glob("*.tar"))) == 12
    assert list((tmp_path / "out/.crawler").glob("*/*")) == []


def test_two_runs_cannot_write_one_output(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"

    async def both(*given: Settings) -> list[Any]:
        return await asyncio.gather(*(crawl(one) for one in given), return_exceptions=True)

    same = [settings(urls(site), output)] * 2
    kinds = [type(one) for one in asyncio.run(both(*same))]
    assert sorted(kind.__name__ for kind in kinds) == ["RunLocked", "Summary"]
    check(output, 12, "webdataset")
    apart = [settings(urls(site), tmp_path / "b", state=str(tmp_path / name)) for name in ("s1", "s2")]
    ended = asyncio.run(both(*apart))
    assert all(isinstance(one, Summary | RunLocked) for one in ended), ended
    assert sorted(column(tmp_path / "b", "index")) == list(range(12))


@pytest.mark.parametrize(
    "more",
    [{"shard_count": 5}, {"size": 20}, {"caption_column": "text"}, {"keep_columns": "text"}, {"form": "parquet"}],
)
@pytest.mark.parametrize("journal", [True, False])
def test_other_settings_in_the_same_folder_are_refused(
    finished: Path, tmp_path: Path, more: dict[str, Any], journal: bool
) -> None:
    output = shutil.copytree(finished / "webdataset", tmp_path / "out")
    if not journal:
        shutil.rmtree(output / ".crawler")
    before = stamps(output)
    with pytest.raises(SettingsChanged):
        run([finished / "list.jsonl"], output, **{"caption_column": "", "keep_columns": ""} | more)
    assert stamps(output) == before


def test_the_state_can_be_elsewhere(site: Validators, tmp_path: Path) -> None:
    output, home = tmp_path / "out", tmp_path / "state"
    holds(site, HANGING, 11)
    stop_after(11, urls(site), output, state=str(home))
    assert (home / "spool/00002.spool").exists()
    holds(site, version, 11)
    run(urls(site), output, state=str(home))
    assert sorted(path.name for path in home.iterdir() if path.name.startswith("journal.sqlite")) == ["journal.sqlite"]
    assert faults(home) == []
    assert sorted(path.name for path in (output / ".crawler").glob("*")) in ([], ["lock"])
    (output / "00001.tar").unlink()
    assert len(repair(home)) == 4
    assert counts(run(urls(site), output, state=str(home))) == (4, 8, 0)


# What breaks ----------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    """Another byte in the first picture."""
    data = bytearray(path.read_bytes())
    data[data.index(b"JFIF") + 30] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def scrambled(path: Path) -> None:
    """Other pages of a Parquet file; what stands at its end is whole."""
    data = bytearray(path.read_bytes())
    data[4:1500] = random.Random(1).randbytes(1496)
    path.write_bytes(data)


def junk(path: Path) -> None:
    path.write_bytes(b"junk" * 1000)


@every_format
@pytest.mark.parametrize("break_it", [damage, cut, junk, Path.unlink])
def test_a_broken_shard_is_found_and_mended(
    site: Validators, finished: Path, tmp_path: Path, form: str, break_it: Callable[[Path], None]
) -> None:
    output = shutil.copytree(finished / form, tmp_path / "out")
    whole, before = contents(output), stamps(output)
    break_it(output / ("00000.tar" if form == "webdataset" else "00000.parquet"))
    found = repair(output)
    assert {fault.record.index for fault in found} <= {0, 1, 2, 3}
    assert found
    done = run([finished / "list.jsonl"], output, form, caption_column="text", keep_columns="n")
    assert done.stored >= len(found)
    assert contents(output) == whole
    assert {name[:5] for name in before if stamps(output)[name] != before[name]} <= {"00000"}
    check(output, 9, form)


@every_format
@pytest.mark.parametrize("break_it", [junk, Path.unlink])
def test_what_comes_late_into_a_broken_shard_says_so(
    site: Validators, tmp_path: Path, form: str, break_it: Callable[[Path], None]
) -> None:
    output = tmp_path / "out"
    run(urls(site, 6), output, form)
    break_it(output / ("00001.tar" if form == "webdataset" else "00001.parquet"))
    with pytest.raises(StoreError):
        run(urls(site, 8), output, form)
    repair(output)
    run(urls(site, 8), output, form)
    check(output, 8, form)


@every_format
def test_an_error_nobody_thought_of_ends_the_run(
    site: Validators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("nobody thought of this")

    with monkeypatch.context() as patch:
        patch.setattr("crawler.store.table_file.TableFile.add", fail)
        with pytest.raises((CrawlerError, ValueError), match="nobody thought of this"):
            run(urls(site), tmp_path / "out", form)
    run(urls(site), tmp_path / "out", form)
    check(tmp_path / "out", 12, form)


def waiting(site: Validators, output: Path) -> None:
    """Three shards that each wait for their first target, and would get it now."""
    holds(site, HANGING, 0, 4, 8)
    stop_after(9, urls(site), output)
    assert state(output) == ["journal.sqlite", "lock", *(f"spool/{key}.spool" for key in KEYS)]
    holds(site, version, 0, 4, 8)


def run_again_and_again(site: Validators, output: Path, most: int = 4) -> None:
    for _ in range(most):
        with contextlib.suppress(StoreError):
            run(urls(site), output)
            return
    raise AssertionError("it never ends well")


def test_a_lost_spool_is_fetched_again(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    waiting(site, output)
    shutil.rmtree(output / ".crawler/spool")
    assert len(faults(output)) == 9
    run_again_and_again(site, output)
    check(output, 12, "webdataset")


@pytest.mark.parametrize("size", [0, 1500])
def test_a_spool_that_was_cut_off_publishes_nothing_wrong(site: Validators, tmp_path: Path, size: int) -> None:
    output = tmp_path / "out"
    waiting(site, output)
    os.truncate(output / ".crawler/spool/00000.spool", size)
    assert {fault.record.index for fault in faults(output)} <= {1, 2, 3}
    run_again_and_again(site, output)
    check(output, 12, "webdataset")


def test_damage_in_the_spool_is_found_and_mended(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    waiting(site, output)
    damage(output / ".crawler/spool/00001.spool")
    assert [fault.record.index // 4 for fault in repair(output)] == [1]
    run(urls(site), output)
    check(output, 12, "webdataset")


def test_what_a_killed_run_left_in_the_spool_for_a_whole_shard_goes(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(urls(site), output)
    (output / ".crawler/spool/00001.spool").write_bytes(b"what no journal knows")
    run(urls(site), output)
    check(output, 12, "webdataset")


@every_format
def test_without_its_journal_a_run_knows_what_is_published(site: Validators, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    holds(site, HANGING, 9)
    holds(site, MISSING, 2)
    stop_after(11, urls(site), output, form)
    shutil.rmtree(output / ".crawler")
    before = stamps(output)
    holds(site, version, 2, 9)
    site.reset()
    assert counts(run(urls(site), output, form)) == (4, 8, 0)
    assert sorted(site.paths()) == ["/10.jpg", "/11.jpg", "/8.jpg", "/9.jpg"], "what was not published"
    assert before.items() <= stamps(output).items()
    check(output, 12, form)
    assert counts(run(urls(site), output, form, retry_missed="all")) == (1, 11, 0)
    check(output, 12, form)


def test_without_its_journal_a_run_does_not_take_another_list(site: Validators, tmp_path: Path) -> None:
    run(urls(site), tmp_path / "out")
    shutil.rmtree(tmp_path / "out/.crawler")
    with pytest.raises(CrawlerError, match="position 0"):
        run(urls(site)[::-1], tmp_path / "out")


@pytest.mark.parametrize("break_it", [scrambled, junk])
def test_without_its_journal_a_broken_table_is_not_written_over(
    site: Validators, tmp_path: Path, break_it: Callable[[Path], None]
) -> None:
    output = tmp_path / "out"
    run(urls(site), output)
    shutil.rmtree(output / ".crawler")
    break_it(output / "00001.parquet")
    before = stamps(output)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be read"):
            run(urls(site), output)
        assert stamps(output) == before


def test_kept_columns_have_one_type_even_without_the_journal(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run([rows_of(site, tmp_path / "list.jsonl", n=[1, 2, 3, 4])], output, keep_columns="n")
    shutil.rmtree(output / ".crawler")
    run([rows_of(site, tmp_path / "list.jsonl", n=[1, 2, 3, 4, "x"])], output, keep_columns="n")
    assert {table(output, n).schema.field("n").type for n in range(2)} == {pa.int64()}


def test_a_shard_written_anew_without_the_journal_keeps_the_other_samples(site: Validators, tmp_path: Path) -> None:
    odd: list[Any] = [1, "x", 2**80, {"a": 1}, [1], True]
    rows, output = rows_of(site, tmp_path / "list.jsonl", n=odd, text=odd[::-1]), tmp_path / "out"
    given: dict[str, Any] = {"keep_columns": "n", "caption_column": "text", "shard_count": 10}
    run([rows], output, **given)
    before = members(output / "00000.tar")
    shutil.rmtree(output / ".crawler")
    holds(site, partial(version, told="new"), 0)
    assert counts(run([rows], output, refresh=True, **given)) == (1, 5, 0)
    after = members(output / "00000.tar")
    assert {name[:6] for name in before if before[name] != after[name]} == {"000000"}


def test_a_folder_where_a_shard_belongs_is_said_and_survived(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "00001.tar").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"00001\.tar"):
            run(urls(site), output)
    (output / "00001.tar").rmdir()
    assert counts(run(urls(site), output)) == (0, 12, 0)
    check(output, 12, "webdataset")


def test_shards_of_another_program_are_not_written_over(site: Validators, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    pq.write_table(pa.table({"url": ["http://a/"]}), output / "00000.parquet")
    (output / "00000_stats.json").write_text("{}")
    before = stamps(output)
    with pytest.raises(StoreError, match="another output"):
        run(urls(site), output)
    assert stamps(output) == before


@pytest.mark.parametrize(("form", "where"), [("webdataset", "spool"), ("webdataset", "shard"), ("parquet", "shard")])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    site: Validators, tmp_path: Path, form: str, where: str
) -> None:
    # All of it just fits into a spool, and not into a shard, which has names besides; nor into half a spool.
    body = painted.stamped(BIG, "0" * 10)
    for n in range(16):
        pages(site)[f"/{n}.jpg"] = Page(painted.stamped(BIG, f"{n:010d}"))
    limit = 16 * len(body) + 1000 if where == "shard" else 14 * len(body)
    assert limit > 180_000, "the journal must fit"
    lines, output = tmp_path / "list.txt", tmp_path / "out"
    lines.write_text("\n".join(urls(site, 16)))
    call = command(
        "run", lines, "-o", output, "--format", form, "--allow-private", "--encode", "original", "--shard-count", 16,
        "--workers", 1, "--quiet",
    )  # fmt: skip
    done = subprocess.run(
        call, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True, text=True, timeout=LIMIT, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "File too large" in done.stderr
    assert names(output) == []
    again = run([lines], output, form, encode="original", shard_count=16)
    assert again.stored == (0 if where == "shard" else 16 - again.skipped)
    check(output, 16, form, 16)


# Kills ----------------------------------------------------------------------------------------------

KILLED: Final = ["--retries", "0", "--size", "24", "--workers", "2", "--per-host", "0", "--quiet", "--allow-private"]


def killed(sources: Path, output: Path, form: str, *more: str) -> list[str]:
    return command("run", sources, "-o", output, "--format", form, "--shard-count", "7", *KILLED, *more)


def kill_when(true: Callable[[], bool], sources: Path, output: Path, form: str, *more: str) -> None:
    """Run until something is seen, and kill the whole of it with no warning."""
    with started(*killed(sources, output, form, *more)[3:]) as running:
        wait_until(true, "what the kill waits for", LIMIT)
        running.signal(signal.SIGKILL)
        assert running.ended().code == -signal.SIGKILL


def survive(faults: Faults, home: Path, form: str, seed: int, kills: int, count: int) -> None:
    """Kill a run at drawn instants, finish it, and compare it with one that was left alone."""
    draw = random.Random(seed)
    sources = write_list(faults, home / "urls.txt", count)
    whole, output = home / "whole", home / f"broken-{seed}"
    if not whole.exists():
        run([sources], whole, form, shard_count=7)
    moments = [draw.uniform(0.4, 1.2) for _ in range(kills)]
    print(f"{form}, seed {seed}: killed after {', '.join(f'{moment:.3f}' for moment in moments)} s")
    for moment in moments:
        kill_after(killed(sources, output, form), moment)
        for shard in shards(output) if output.exists() else []:
            assert len(column(output, "index", shard)) == min(7, count - 7 * shard), "whole under its name"
    published = known(output)
    before = {name: stamp for name, stamp in stamps(output).items() if int(name[:5]) in published} if published else {}
    run([sources], output, form, shard_count=7)
    assert before.items() <= stamps(output).items(), "what is published is not touched"
    assert contents(output) == contents(whole)
    check(output, count, form, 7)


def known(output: Path) -> set[int]:
    """Shards that the journal knows to be published."""
    journal = output / ".crawler/journal.sqlite"
    if not journal.exists():
        return set()
    with contextlib.closing(sqlite3.connect(journal)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'shards'").fetchone():
            return set()
        return {shard for (shard,) in db.execute("SELECT id FROM shards")}


@every_format
def test_a_run_killed_at_any_instant_ends_like_one_left_alone(fault_server: Faults, tmp_path: Path, form: str) -> None:
    survive(fault_server, tmp_path, form, seed=3, kills=1, count=250)


@pytest.mark.soak
@every_format
def test_thirty_runs_killed_twice_end_like_one_left_alone(fault_server: Faults, tmp_path: Path, form: str) -> None:
    for seed in range(30):
        survive(fault_server, tmp_path, form, seed, kills=2, count=1000)


@pytest.mark.parametrize(("form", "again"), [("webdataset", "refresh"), ("parquet", "retry-missed")])
def test_a_kill_while_published_shards_are_written_anew_loses_nothing(
    site: Validators, tmp_path: Path, form: str, again: str
) -> None:
    count, changed = 200, range(0, 200, 3)
    sources, output, whole = tmp_path / "urls.txt", tmp_path / "broken", tmp_path / "whole"
    sources.write_text("\n".join(urls(site, count)))
    holds(site, version, *range(count))
    if again == "retry-missed":
        holds(site, MISSING, *changed)
    run([sources], output, form, shard_count=7)
    holds(site, partial(version, told="new"), *changed)
    run([sources], whole, form, shard_count=7)
    more: dict[str, Any] = {"refresh": True} if again == "refresh" else {"retry_missed": "all"}
    before, words = stamps(output), ["all"] if again == "retry-missed" else []
    kill_when(lambda: stamps(output) != before, sources, output, form, f"--{again}", *words)
    for shard in shards(output):
        assert len(column(output, "index", shard)) == min(7, count - 7 * shard)
    run([sources], output, form, shard_count=7)  # what the kill left without a record
    run([sources], output, form, shard_count=7, **more)
    assert kinds_of(output) == kinds_of(whole)
    check(output, count, form, 7)


def kinds_of(output: Path) -> list[tuple[str, str]]:
    return sorted(zip(column(output, "url"), column(output, "sha256"), strict=True))


def test_a_kill_while_a_list_has_grown_and_a_shard_was_repaired_loses_nothing(site: Validators, tmp_path: Path) -> None:
    whole, output, sources = tmp_path / "whole", tmp_path / "out", tmp_path / "urls.txt"
    holds(site, version, *range(200))
    sources.write_text("".join(f"{url}\n" for url in urls(site, 60)))
    run([sources], output, shard_count=7)
    (output / "00003.tar").unlink()
    damage(output / "00005.tar")
    assert {fault.record.index // 7 for fault in repair(output)} == {3, 5}
    sources.write_text("\n".join(urls(site, 200)))
    before = stamps(output)
    kill_when(lambda: len(stamps(output).keys() - before.keys()) > 5, sources, output, "webdataset")
    run([sources], output, shard_count=7)
    run([sources], whole, shard_count=7)
    assert contents(output) == contents(whole)
    check(output, 200, "webdataset", 7)


def test_the_command_says_which_shards_it_cannot_read(finished: Path, tmp_path: Path) -> None:
    output = shutil.copytree(finished / "webdataset", tmp_path / "out")
    assert inside("verify", output).code == 0
    (output / "00000.tar").unlink()
    told = inside("verify", output)
    assert told.code == 1
    assert "its shard is not there" in told.out + told.err
