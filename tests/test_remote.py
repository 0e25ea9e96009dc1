"""Outputs in a store behind fsspec: real runs against moto's S3, which is slow, broken, away and back at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import io
import itertools
import json
import logging
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import s3fs
from botocore.loaders import JSONFileLoader  # type: ignore[import-untyped]

from crawler import Crawler, Settings, Summary, crawl
from crawler.errors import CrawlerError, JournalError, SettingsChanged, SettingsError, StoreError
from crawler.state.home import home_for
from crawler.state.reader import RunReader
from crawler.store import places, stored
from crawler.verify import Checked, verify
from tests.cli import CHECKOUT, Ended, counts, environment, inside, started, wait_until
from tests.cli import crawler as command
from tests.servers import pictures
from tests.servers.objects import BUCKET, KEY_ID, SECRET, Asked, Fault, Objects, running_objects
from tests.servers.validators import Page, Pages, Validators, running_validators

COUNT, PER_SHARD = 10, 4
FORMATS = ("webdataset", "parquet", "files")
PICTURES = Pages({f"/{n}.jpg": Page(pictures.jpeg(40 + n, 30)) for n in range(COUNT) if n != 5})
LASTING = {"webdataset": ".tar", "parquet": ".parquet", "files": ".jpg"}
"""A part of the names of what holds the pictures."""
VARIES = {"fetched_at", "ended_at", "seconds", "start_time", "end_time", "duration", "origin"}
"""Times, and the name of the list."""
_numbers = itertools.count()


def soak(*values: object) -> Any:
    """Values of a test that are for the long run only: others like them are looked at in the short one."""
    return pytest.param(*values, marks=pytest.mark.soak)


_load_file = JSONFileLoader.load_file


@functools.cache
def _loaded(path: str) -> Any:
    return _load_file(JSONFileLoader(), path)


@pytest.fixture(scope="module")
def moto() -> Iterator[Objects]:
    with running_objects() as objects:
        yield objects


@pytest.fixture(scope="module")
def pages_site() -> Iterator[Validators]:
    with running_validators(PICTURES) as site:
        yield site


@pytest.fixture
def site(pages_site: Validators) -> Validators:
    """The site with all its pictures and an empty log."""
    pages_site.holds = Pages(PICTURES)
    pages_site.reset()
    return pages_site


@pytest.fixture
def store(moto: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Objects:
    """The store, up and mended. What tries again below the crawler tries once, and the crawler itself without long rests."""
    moto.reset()
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(places, "_FIRST_DELAY", 0.02)
    monkeypatch.setattr(stored, "_PATIENCE", 0.1)
    monkeypatch.setattr(
        JSONFileLoader, "load_file", lambda self, path: _loaded(path)
    )  # what S3 is: megabytes, read for every client
    return moto


@pytest.fixture
def prefix() -> str:
    """A part of the bucket that nobody else uses."""
    return f"set{next(_numbers)}"


@pytest.fixture
def address(store: Objects, prefix: str) -> str:
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def urls(site: Validators, tmp_path: Path) -> Path:
    path = tmp_path / "urls.csv"
    path.write_text("url,text\n" + "".join(f"{site.url(f'{n}.jpg')},picture {n}\n" for n in range(COUNT)))
    return path


@pytest.fixture(scope="module")
def undisturbed(pages_site: Validators, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What a run into a folder makes of the list, by format."""
    made: dict[str, dict[str, Any]] = {}

    def tree(format: str) -> dict[str, Any]:
        if format not in made:
            pages_site.holds = Pages(PICTURES)
            folder = tmp_path_factory.mktemp("undisturbed")
            path = folder / "urls.csv"
            path.write_text("url,text\n" + "".join(f"{pages_site.url(f'{n}.jpg')},picture {n}\n" for n in range(COUNT)))
            asyncio.run(crawl(settings(path, str(folder / "out"), format)))
            pages_site.reset()
            made[format] = {
                name: told(name, (folder / "out" / name).read_bytes())
                for name in (file.relative_to(folder / "out").as_posix() for file in (folder / "out").rglob("*"))
                if (folder / "out" / name).is_file() and not name.startswith(".crawler")
            }
        return made[format]

    return tree


Tree = Callable[[str], dict[str, Any]]


def settings(urls: Path | str, output: str, format: str = "webdataset", **more: Any) -> Settings:
    given: dict[str, Any] = {
        "output": output, "format": format, "shard_count": PER_SHARD, "caption_column": "text", "allow_private": True,
        "robots": False, "workers": 1, "retries": 0, "store_patience": 20.0,
    }  # fmt: skip
    return Settings.of([str(urls)], **given | more)


def crawled(urls: Path | str, output: str, format: str = "webdataset", **more: Any) -> Summary:
    return asyncio.run(crawl(settings(urls, output, format, **more)))


def verified(output: str, repair: bool = False) -> Checked:
    return asyncio.run(verify(output, repair))


def words(urls: Path | str, output: str, format: str, *more: object) -> list[object]:
    """The same run as a command."""
    return [
        "run", urls, "-o", output, "--format", format, "--shard-count", PER_SHARD, "--caption-column", "text",
        "--allow-private", "--no-robots", "--workers", 1, "--retries", 0, *more,
    ]  # fmt: skip


def told(name: str, data: bytes) -> Any:
    """What a file says, but for the times at which it happened and the order in which that was."""
    if name.endswith(".parquet"):
        table = pq.read_table(io.BytesIO(data))
        return table.drop_columns([column for column in table.column_names if column in VARIES]).to_pylist()
    if name.endswith(".jsonl"):
        rows = [json.loads(line) for line in data.splitlines()]
        return sorted(({k: v for k, v in row.items() if k not in VARIES} for row in rows), key=lambda row: row["index"])
    if name.endswith(".json"):
        return {key: value for key, value in json.loads(data).items() if key not in VARIES}
    return data


def tree(store: Objects, prefix: str) -> dict[str, Any]:
    return {name: told(name, data) for name, data in store.tree(prefix).items()}


def check_whole(store: Objects, prefix: str, whole: dict[str, Any], address: str) -> None:
    """The objects are those of an undisturbed run, not one more, and the journal agrees."""
    found = tree(store, prefix)
    assert sorted(found) == sorted(whole)
    assert found == whole
    status = RunReader(address).status()
    assert (status.stored, status.missed, status.running) == (COUNT - 1, 1, None)


def one_line(done: Ended) -> str:
    """What a command that failed says: one line, and no traceback."""
    assert "Traceback" not in done.err
    assert "never retrieved" not in done.err
    return done.err.splitlines()[-1]


# What is stored


@pytest.mark.parametrize("format", ["webdataset", "files"])
async def test_a_store_holds_what_a_folder_would_hold(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, undisturbed: Tree, format: str
) -> None:
    whole = await asyncio.to_thread(undisturbed, format)
    assert counts(await crawl(settings(urls, address, format))) == (COUNT - 1, 0, 1)
    assert tree(store, prefix) == whole
    store.entries.clear()
    site.reset()
    assert counts(await crawl(settings(urls, address + "/", format))) == (0, COUNT, 0), (
        "a slash at the end is no other place"
    )
    assert site.paths() == []
    assert {asked.key for asked in store.entries if asked.method == "PUT" and ".crawler" not in asked.key} <= {
        f"{prefix}/metadata.jsonl"
    }
    assert tree(store, prefix) == whole


def test_metadata_and_sidecars_are_beside_the_pictures(
    store: Objects, prefix: str, address: str, urls: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"metadata": "csv", "sidecar": ("json", "txt"), "name": "{stem}"}
    crawled(urls, address, "files", **more)
    crawled(urls, str(tmp_path / "folder"), "files", **more)
    local = {path.name for path in (tmp_path / "folder").iterdir() if path.is_file()}
    assert set(store.names(f"{prefix}/")) == local
    assert store.read(f"{prefix}/3.txt") == b"picture 3"


def test_a_shard_is_there_when_its_stats_are_and_takes_no_room_here(store: Objects, address: str, urls: Path) -> None:
    crawled(urls, address, uploads=1)
    put = [asked.key.rpartition("/")[2] for asked in store.entries if asked.method == "PUT"]
    for shard in ("00000", "00001", "00002"):
        assert [name for name in put if name.startswith(shard)][-1] == f"{shard}_stats.json"
    left = [path.name for path in home_for(address).rglob("*") if path.is_file()]
    assert sorted(left) == ["journal.sqlite", "lock"]


def test_a_shard_of_many_megabytes_goes_in_parts(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize: 5 << 20)
    site.holds = Pages({path: Page(page.body + bytes(3 << 19)) for path, page in PICTURES.items()})
    failed = store.fail(Fault(status=500), "PUT", ".tar", times=1)
    crawled(urls, address, encode="original", shard_count=COUNT)
    parts = [asked for asked in store.entries if "partNumber" in asked.query]
    assert len(failed) == 1
    assert len(parts) >= 3, "parts of 5 MB, one of them twice"
    assert verified(address).faults == []
    assert len(store.read(f"{prefix}/00000.tar")) > (COUNT - 1) * (3 << 19)


def test_any_spelling_of_an_address_is_one_place(store: Objects, prefix: str, urls: Path) -> None:
    path = "ü 漢字//a b/50%20?x=1#y/[1]*"
    address = f"s3://{BUCKET}/{prefix}/{path}"
    crawled(urls, address, "webdataset")
    assert len(store.names(f"{prefix}/{path}/")) == len(store.names(f"{prefix}/")) == 9, "nothing is anywhere else"
    assert verified(address).faults == []
    assert counts(crawled(urls, address)) == (0, COUNT, 0)


def test_addresses_that_look_alike_have_states_of_their_own() -> None:
    alike = [
        "s3://bucket/a?b",
        "s3://bucket/a*b",
        "s3://bucket/a_b",
        "s3://bucket-a_b",
        "gs://bucket/a_b",
        "s3://" + "漢" * 300,
    ]
    assert len({home_for(address) for address in alike}) == len(alike)
    assert max(len(home_for(address).name.encode()) for address in alike) < 120
    assert home_for("s3://bucket/a/") == home_for("s3://bucket/a")


@pytest.mark.parametrize(
    ("scheme", "format"),
    [("memory", "files"), ("file", "webdataset"), ("local", "files"), soak("memory", "parquet"), soak("file", "files")],
)
def test_other_stores_take_whole_files_too(
    store: Objects, urls: Path, tmp_path: Path, undisturbed: Tree, scheme: str, format: str
) -> None:
    whole = undisturbed(format)
    folder = f"/{tmp_path.name}" if scheme == "memory" else f"{tmp_path}/new/pictures"
    address = f"{scheme}://{folder}"
    crawled(urls, address, format)
    system, root = fsspec.core.url_to_fs(address)
    found = {name.removeprefix(root).lstrip("/"): system.cat_file(name) for name in system.find(root)}
    assert {name: told(name, data) for name, data in found.items()} == whole
    assert verified(address).faults == []


# A store that fails


@pytest.mark.parametrize(
    ("format", "fault"),
    [
        ("webdataset", Fault(status=500)), ("parquet", Fault(cut=50)), ("files", Fault(status=503)),
        ("webdataset", Fault(swallow=True)), ("files", Fault(swallow=True)),
        *(soak(one, Fault(status=status)) for one in FORMATS for status in (429, 500, 502, 503, 504)),
        *(soak(one, Fault(cut=cut)) for one in FORMATS for cut in (0, 1000)), soak("parquet", Fault(swallow=True)),
    ],
)  # fmt: skip
def test_what_fails_is_tried_again_and_nothing_is_lost(
    store: Objects,
    prefix: str,
    address: str,
    urls: Path,
    site: Validators,
    undisturbed: Tree,
    format: str,
    fault: Fault,
) -> None:
    whole = undisturbed(format)
    failed: list[str] = []

    def first_time(asked: Asked) -> Fault | None:
        """Every object fails once."""
        if asked.method == "PUT" and ".crawler" not in asked.key and asked.key not in failed:
            failed.append(asked.key)
            return fault
        return None

    store.rule = first_time
    assert counts(crawled(urls, address, format)) == (COUNT - 1, 0, 1)
    assert len(failed) == len(whole)
    assert len(site.paths()) == COUNT, "nothing is fetched twice"
    check_whole(store, prefix, whole, address)


@pytest.mark.parametrize("format", ["webdataset", soak("parquet"), "files"])
def test_a_store_that_is_away_for_a_while_pauses_the_run(
    store: Objects,
    prefix: str,
    address: str,
    urls: Path,
    undisturbed: Tree,
    format: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = undisturbed(format)

    class Back(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            store.up()

    def goes(asked: Asked) -> Fault | None:
        if ".crawler" in asked.key:
            return None
        store.rule = lambda _: None
        going.set()
        return Fault(cut=0)

    def end_soon() -> None:
        going.wait(20)
        store.down()

    going, back = threading.Event(), Back()
    store.rule = goes
    logger = logging.getLogger("crawler.outputs")
    logger.addHandler(back)
    down = threading.Thread(target=end_soon, name="test")
    down.start()
    try:
        assert counts(crawled(urls, address, format)) == (COUNT - 1, 0, 1)
    finally:
        down.join()
        logger.removeHandler(back)
    store.up()
    said = [record.getMessage() for record in caplog.records if record.name == "crawler.outputs"]
    assert sum("trying again" in text for text in said) == 1, said
    assert sum("works again" in text for text in said) == 1, said
    check_whole(store, prefix, whole, address)


def test_a_store_that_fails_for_all_uploads_at_once_is_told_once(
    store: Objects, address: str, urls: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail(Fault(status=500), "PUT", ".tar", times=6)
    crawled(urls, address)
    said = [record.getMessage() for record in caplog.records if record.name == "crawler.outputs"]
    assert len(said) == 2, said
    assert "trying again" in said[0]
    assert "works again" in said[1]


def test_a_slow_store_holds_the_run_back_and_loses_nothing(
    store: Objects, prefix: str, address: str, urls: Path, undisturbed: Tree
) -> None:
    whole = undisturbed("files")
    store.rule = lambda asked: Fault(wait=0.05)
    crawled(urls, address, "files", uploads=3)
    check_whole(store, prefix, whole, address)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=403), Fault(status=404), None])
def test_a_store_that_cannot_be_written_is_said_before_anything_is_fetched(
    store: Objects, address: str, urls: Path, site: Validators, fault: Fault | None
) -> None:
    if fault is None:
        store.down()
    else:
        store.fail(fault)
    with pytest.raises(StoreError) as raised:
        crawled(urls, address, "parquet")
    assert str(raised.value).startswith(f"{address}: cannot write")
    assert "\n" not in str(raised.value)
    assert site.paths() == []
    store.reset()
    if fault is None:
        assert counts(crawled(urls, address, "files")) == (COUNT - 1, 0, 1), (
            "nothing is kept of it, not even the format"
        )


def test_a_bucket_that_is_not_there_is_said_in_one_line(store: Objects, urls: Path, site: Validators) -> None:
    done = inside(*words(urls, "s3://nobody-has-this-bucket/x", "files"))
    assert done.code == 1
    assert "nobody-has-this-bucket" in one_line(done)
    assert "does not exist" in one_line(done)
    assert site.paths() == []


@pytest.mark.parametrize(
    ("format", "patience"),
    [
        ("webdataset", 0),
        ("parquet", 0.3),
        ("files", 0.3),
        soak("webdataset", 0.3),
        soak("parquet", 0),
        soak("files", 0),
    ],
)
def test_a_store_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    store: Objects,
    prefix: str,
    address: str,
    urls: Path,
    site: Validators,
    undisturbed: Tree,
    format: str,
    patience: float,
) -> None:
    whole = undisturbed(format)
    store.fail(Fault(status=503), "PUT", LASTING[format])
    with pytest.raises(StoreError, match=f"{address}: cannot upload .*run the same command again"):
        crawled(urls, address, format, store_patience=patience)
    fetched = site.paths()
    store.mend()
    again = crawled(urls, address, format)
    assert again.stored + again.skipped + again.missed == COUNT
    if format != "files":  # what waits for its shard is stored
        assert len(site.paths()) == len(set(fetched) | set(site.paths())) == COUNT
    check_whole(store, prefix, whole, address)


def test_what_was_stored_before_the_store_went_away_is_not_fetched_again(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, undisturbed: Tree
) -> None:
    whole = undisturbed("files")
    store.fail(Fault(status=500), "PUT", "00007.jpg")
    with pytest.raises(StoreError):
        crawled(urls, address, "files", store_patience=0.2, uploads=1, per_host=1, concurrency=1)
    there = [name for name in store.names(f"{prefix}/") if name.endswith(".jpg")]
    site.reset()
    store.mend()
    crawled(urls, address, "files")
    assert len(site.paths()) <= COUNT - len(there)
    check_whole(store, prefix, whole, address)


@pytest.mark.parametrize("metadata", ["jsonl", "parquet"])
def test_the_error_that_ended_the_run_is_the_one_that_is_told(
    store: Objects, address: str, urls: Path, metadata: str
) -> None:
    def rule(asked: Asked) -> Fault | None:
        return Fault(status=500) if "00003.jpg" in asked.key or "metadata" in asked.key else None

    store.rule = rule
    with pytest.raises(StoreError) as raised:
        crawled(urls, address, "files", store_patience=0.2, uploads=1, metadata=metadata)
    assert "metadata" not in str(raised.value)
    assert not list(home_for(address).glob("journal.sqlite-*")), "the journal has been closed"


@pytest.mark.parametrize("metadata", [soak("jsonl"), "csv", "parquet"])
def test_metadata_that_could_not_be_uploaded_is_uploaded_by_the_next_run(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, metadata: str
) -> None:
    failed = store.fail(Fault(status=500), "PUT", "metadata")
    with pytest.raises(StoreError, match=f"metadata.{metadata}"):
        crawled(urls, address, "files", store_patience=0.1, metadata=metadata)
    assert failed
    assert not list(home_for(address).glob("journal.sqlite-*")), "the journal has been closed"
    site.reset()
    store.mend()
    assert counts(crawled(urls, address, "files", metadata=metadata)) == (0, COUNT, 0)
    assert f"metadata.{metadata}" in store.names(f"{prefix}/")
    assert site.paths() == []


def test_several_shards_that_fail_are_one_line_of_error(store: Objects, address: str, urls: Path) -> None:
    store.fail(Fault(status=403), "PUT", ".tar")
    done = command(*words(urls, address, "webdataset", "--quiet"))
    assert done.code == 1
    assert done.err.splitlines() == [one_line(done)]
    assert "cannot upload" in done.err


# Published again


@pytest.mark.parametrize(
    ("format", "fault"),
    [
        ("webdataset", Fault(short=300)), soak("parquet", Fault(status=500)), ("files", Fault(status=503)),
        soak("webdataset", Fault(status=503)), soak("parquet", Fault(short=300)), soak("files", Fault(short=300)),
    ],
)  # fmt: skip
def test_old_shards_are_read_and_written_anew_though_reading_fails(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, format: str, fault: Fault
) -> None:
    crawled(urls, address, format)
    site.holds = Pages(
        PICTURES | {"/5.jpg": Page(pictures.jpeg(45, 30)), "/1.jpg": Page(pictures.png(70, 70), "image/png")}
    )
    read = store.fail(fault, "GET", prefix, times=2)
    assert counts(crawled(urls, address, format, retry_missed="all"))[0] == 1
    assert read or format == "files"
    store.fail(fault, "GET", prefix, times=2)
    assert counts(crawled(urls, address, format, refresh=True))[0] == 1
    store.mend()
    urls.write_text(urls.read_text() + site.url("1.jpg?again") + ",one more\n")
    site.holds = lambda host, path: PICTURES.get(path.partition("?")[0], Page(status=404))
    assert crawled(urls, address, format).stored == 1
    checked = verified(address)
    assert (checked.records, checked.faults) == (COUNT + 1, [])
    names = store.names(f"{prefix}/")
    assert len(names) == {"webdataset": 9, "parquet": 6, "files": COUNT + 2}[format]


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_a_journal_that_is_gone_is_made_again_from_the_shards(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, format: str
) -> None:
    crawled(urls, address, format)
    before = store.tree(prefix)
    home_for(address).rename(home_for(address).with_name("gone"))
    site.reset()
    store.fail(Fault(status=500), "GET", times=2)
    assert counts(crawled(urls, address, format)) == (0, COUNT, 0)
    assert site.paths() == []
    assert store.tree(prefix) == before
    assert verified(address).faults == []


def test_files_without_their_journal_are_not_touched(store: Objects, prefix: str, address: str, urls: Path) -> None:
    crawled(urls, address, "files")
    before = store.tree(prefix)
    for path in home_for(address).rglob("journal*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(JournalError, match=r"metadata\.jsonl"):
            crawled(urls, address, "files")
    assert store.tree(prefix) == before


# Looking at a run


def test_the_commands_that_look_at_a_run_take_its_address(store: Objects, address: str, urls: Path) -> None:
    crawled(urls, address + "-2", "files")
    for given in (address + "-2", address + "-2/", str(home_for(address + "-2"))):
        status = json.loads(inside("status", given, "--json").out)
        assert (status["stored"], status["missed"]) == (COUNT - 1, 1)
        assert inside("misses", given).out.endswith("5.jpg\n")
        assert inside("verify", given).code == 0


@pytest.mark.parametrize(
    ("format", "name"),
    [("webdataset", "{index}"), soak("parquet", "{index}"), soak("files", "{index}"), ("files", "{stem}")],
)
def test_verify_finds_and_mends_what_was_damaged_in_the_store(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators, format: str, name: str
) -> None:
    crawled(urls, address, format, name=name)
    whole = tree(store, prefix)
    holds = [name for name in whole if name.endswith(LASTING[format])]
    store.remove(f"{prefix}/{holds[0]}")
    store.write(f"{prefix}/{holds[1]}", b"damaged")
    done = inside("verify", address, "--repair", "--json")
    assert done.code == 1
    assert len({fault["file_name"] for fault in done.summary["faults"]}) == {"files": 2}.get(format, 7)
    site.reset()
    crawled(urls, address, format, name=name)
    assert len(site.paths()) == {"files": 2}.get(format, 7)
    assert tree(store, prefix) == whole


@pytest.mark.parametrize(
    ("format", "away"),
    [
        ("webdataset", "refused"), soak("parquet", "403"), ("files", "503"),
        soak("webdataset", "503"), soak("parquet", "refused"), soak("files", "refused"),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_read_is_no_fault_of_the_pictures(
    store: Objects, address: str, urls: Path, format: str, away: str
) -> None:
    crawled(urls, address, format)
    if away == "refused":
        store.down()
    else:
        store.fail(Fault(status=int(away)))
    done = inside("verify", address, "--repair")
    store.reset()
    assert done.code == 1
    assert one_line(done).startswith(f"crawler: {address}: cannot ")
    assert done.out == ""
    assert verified(address).records == COUNT - 1, "nothing was forgotten"


# States


@pytest.mark.parametrize(
    ("format", "other"),
    [("webdataset", "store"), ("files", "folder"), soak("files", "store"), soak("parquet", "folder")],
)
def test_a_state_belongs_to_one_output(
    store: Objects, prefix: str, address: str, urls: Path, tmp_path: Path, format: str, other: str
) -> None:
    state = str(tmp_path / "one")
    crawled(urls, address, format, state=state)
    elsewhere = f"{address}-2" if other == "store" else str(tmp_path / "folder")
    with pytest.raises(CrawlerError, match=prefix):
        crawled(urls, elsewhere, format, state=state)
    assert counts(crawled(urls, address + "/", format, state=state)) == (0, COUNT, 0)


def test_two_runs_at_once_do_not_share_a_state(store: Objects, address: str, urls: Path) -> None:
    async def both() -> None:
        async with Crawler(settings(urls, address)) as first:
            with pytest.raises(JournalError, match="another run"):
                await crawl(settings(urls, address))
            assert counts(await first.finish()) == (COUNT - 1, 0, 1)

    asyncio.run(both())


def test_settings_that_have_changed_are_told_with_the_address(store: Objects, address: str, urls: Path) -> None:
    crawled(urls, address)
    with pytest.raises(SettingsChanged) as raised:
        crawled(urls, address, encode="png")
    assert str(raised.value).startswith(f"{address}: ")


@pytest.mark.parametrize("format", [soak("webdataset"), soak("parquet"), "files"])
def test_a_folder_can_have_its_state_elsewhere(
    urls: Path, tmp_path: Path, store: Objects, undisturbed: Tree, format: str
) -> None:
    whole = undisturbed(format)
    state, out = tmp_path / "elsewhere", tmp_path / "out"
    crawled(urls, str(out), format, state=str(state))
    assert counts(crawled(urls, str(out), format, state=str(state))) == (0, COUNT, 0)
    files = {
        path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file() and path.name != "lock"
    }
    assert {name: told(name, path.read_bytes()) for name, path in files.items()} == whole
    assert inside("verify", state).code == 0
    assert json.loads(inside("status", state, "--json").out)["stored"] == COUNT - 1


@pytest.mark.parametrize("format", [soak("webdataset"), soak("parquet"), "files"])
def test_credentials_are_nowhere(store: Objects, prefix: str, address: str, urls: Path, format: str) -> None:
    crawled(urls, address, format)
    store.fail(Fault(status=403), "PUT", prefix)
    done = inside(*words(urls, address + "-3", format))
    store.fail(Fault(status=500), "PUT", LASTING[format])
    again = inside(*words(urls, address + "-2", format, "--store-patience", 0.1))
    store.mend()
    assert (done.code, again.code) == (1, 1)
    kept = [path.read_bytes() for path in home_for(address).parent.rglob("*") if path.is_file()]
    said = "".join((done.err, done.out, again.err, again.out)).encode()
    for data in (said, *store.tree(prefix).values(), *kept):
        assert SECRET.encode() not in data
        assert KEY_ID.encode() not in data


@pytest.mark.parametrize(
    "given", ["s3://key:pass-word@bucket/x", "ftp://user:pass-word@host/x", "simplecache::ftp://user:pass-word@host/x"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, urls: Path, given: str) -> None:
    done = inside(*words(urls, given, "files"))
    assert done.code == 2
    assert "--output" in done.err
    assert "pass-word" not in done.err


@pytest.mark.parametrize("given", ["http://host/x", "https://host/x", "nope://x", "s3://[::1/x"])
def test_what_is_no_store_is_refused(urls: Path, given: str) -> None:
    with pytest.raises(SettingsError, match="--output"):
        crawled(urls, given)


@pytest.mark.parametrize(("missing", "code", "advice"), [("fsspec", 2, "crawler[remote]"), ("s3fs", 1, "s3fs")])
def test_what_is_not_installed_is_named(
    store: Objects, address: str, urls: Path, site: Validators, missing: str, code: int, advice: str
) -> None:
    program = f"""
        import sys
        from importlib.abc import MetaPathFinder
        class Missing(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == {missing!r}:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Missing())
        from crawler.cli.app import main
        main(sys.argv[1:])
    """
    call = [sys.executable, "-c", textwrap.dedent(program), *map(str, words(urls, address, "files"))]
    done = subprocess.run(
        call, capture_output=True, text=True, env=environment(), cwd=CHECKOUT, timeout=60, check=False
    )
    assert done.returncode == code
    assert advice in one_line(Ended(done.returncode, done.stdout, done.stderr))
    assert site.paths() == []


def test_lists_are_read_from_the_store_that_is_written(
    store: Objects, prefix: str, address: str, urls: Path, undisturbed: Tree
) -> None:
    whole = undisturbed("parquet")
    store.write(f"{prefix}-lists/one.csv", urls.read_bytes())
    crawled(f"{address}-lists/*.csv", address, "parquet")
    found = tree(store, prefix)
    assert sorted(found) == sorted(whole)
    assert counts(crawled(f"{address}-lists/", address, "parquet")) == (0, COUNT, 0)


# Embedded


async def test_two_runs_on_one_loop_write_to_two_places(
    store: Objects, prefix: str, address: str, urls: Path, undisturbed: Tree
) -> None:
    whole = await asyncio.to_thread(undisturbed, "webdataset")
    failed = store.fail(Fault(status=500), "PUT", "-b/0", times=4)
    await asyncio.gather(*(crawl(settings(urls, f"{address}-{name}")) for name in "ab"))
    assert failed
    for name in "ab":
        assert tree(store, f"{prefix}-{name}") == whole


@pytest.mark.parametrize("format", ["webdataset", soak("parquet"), "files"])
def test_a_block_left_early_while_the_store_is_away_ends_soon(
    store: Objects, prefix: str, address: str, urls: Path, undisturbed: Tree, format: str
) -> None:
    whole = undisturbed(format)
    failed = store.fail(Fault(status=503), "PUT", "/0000")

    async def leave() -> float:
        async with Crawler(settings(urls, address, format, store_patience=6.0)) as run:
            task = asyncio.create_task(run.finish())
            await asyncio.to_thread(wait_until, lambda: failed, "an upload that fails")
            began = time.monotonic()
        with contextlib.suppress(CrawlerError, asyncio.CancelledError):
            await task
        return time.monotonic() - began

    with contextlib.suppress(StoreError):
        assert asyncio.run(leave()) < 3
    store.mend()
    crawled(urls, address, format)
    check_whole(store, prefix, whole, address)


def test_nothing_is_left_to_the_collector_that_asyncio_complains_about(
    store: Objects, address: str, urls: Path
) -> None:
    said: list[str] = []

    async def one(work: Any) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
        await work
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    for work in (crawl(settings(urls, address)), verify(address), crawl(settings(urls, address, refresh=True))):
        asyncio.run(one(work))
        gc.collect()
    assert said == []


# Signals and kills


@pytest.mark.parametrize(
    ("format", "how"),
    [
        ("webdataset", "503"),
        ("files", "refused"),
        soak("files", "503"),
        soak("webdataset", "refused"),
        soak("files", "silent"),
    ],
)
def test_one_interrupt_while_the_store_is_away_ends_the_run(
    store: Objects, prefix: str, address: str, urls: Path, undisturbed: Tree, format: str, how: str
) -> None:
    whole = undisturbed(format)
    failed = store.fail({"503": Fault(status=503), "silent": UNANSWERED}.get(how, Fault(cut=0)), "PUT", "/0000")
    with started(*words(urls, address, format, "--quiet")) as run:
        wait_until(lambda: failed, "an upload that fails")
        if how == "refused":
            store.down()
        run.signal(signal.SIGINT)
        done = run.ended(12)
    assert done.code == 130
    assert "Traceback" not in done.err
    store.reset()
    crawled(urls, address, format)
    check_whole(store, prefix, whole, address)


UNANSWERED = Fault(hold=True, cut=0)
UNTOLD = Fault(hold=True, swallow=True)


def kill_at(store: Objects, call: list[object], fault: Fault, method: str, key: str, nth: int = 1) -> None:
    """SIGKILL the run while the store sits on its nth such request."""
    seen: list[Asked] = []

    def rule(asked: Asked) -> Fault | None:
        if method == asked.method and key in asked.key:
            seen.append(asked)
            return fault if len(seen) >= nth else None
        return None

    store.rule = rule
    store.entries.clear()
    with started(*call) as run:
        wait_until(lambda: len(seen) >= nth or run.process.poll() is not None, "the request")
        assert run.process.poll() is None, run.err.read_text()
        if fault.swallow:
            wait_until(
                lambda: seen[nth - 1].key.partition("/")[2] in store.names(seen[0].key.partition("/")[0]), "its object"
            )
        run.signal(signal.SIGKILL)
        assert run.ended().code == -signal.SIGKILL
    store.mend()


@pytest.mark.parametrize(
    ("format", "fault", "method", "key"),
    [
        ("webdataset", UNANSWERED, "DELETE", ".crawler"),
        soak("webdataset", UNANSWERED, "PUT", "1.tar"),
        ("webdataset", UNTOLD, "PUT", "_stats"),
        soak("parquet", UNTOLD, "PUT", "0.parquet"),
        ("files", UNTOLD, "PUT", "00003.jpg"),
        soak("files", UNTOLD, "PUT", "metadata"),
    ],
    ids=["probe", "tar", "stats", "parquet", "picture", "metadata"],
)
def test_a_run_killed_in_an_upload_ends_like_an_undisturbed_one(
    store: Objects,
    prefix: str,
    address: str,
    urls: Path,
    undisturbed: Tree,
    format: str,
    fault: Fault,
    method: str,
    key: str,
) -> None:
    whole = undisturbed(format)
    kill_at(store, words(urls, address, format, "--quiet"), fault, method, key)
    crawled(urls, address, format)
    check_whole(store, prefix, whole, address)
    assert verified(address).faults == []


def test_pictures_that_a_killed_run_left_are_removed_though_removing_fails(
    store: Objects, prefix: str, address: str, urls: Path, site: Validators
) -> None:
    kill_at(store, words(urls, address, "files", "--quiet"), UNTOLD, "PUT", "00003.jpg")
    site.holds = lambda host, path: Page(status=404)
    failed = store.fail(Fault(status=500), "DELETE", ".jpg", times=2)
    done = crawled(urls, address, "files")
    assert len(failed) == 2
    there = [name for name in store.names(f"{prefix}/") if name.endswith(".jpg")]
    assert len(there) == RunReader(address).status().stored <= done.skipped
    assert verified(address).faults == []


@pytest.mark.soak
@pytest.mark.parametrize("format", FORMATS)
def test_twenty_times_killed_and_cut_off_at_random(
    store: Objects, prefix: str, address: str, urls: Path, undisturbed: Tree, format: str
) -> None:
    whole = undisturbed(format)
    for seed in range(20):
        draw = random.Random(seed)
        place = f"{address}/{seed}"
        store.rule = lambda asked: Fault(wait=0.03)
        for _ in range(2):
            kill_in = draw.uniform(0.5, 2.0)
            moments = sorted((draw.uniform(0.3, kill_in), what) for what in ("down", "up"))
            print(f"{format}, seed {seed}: killed after {kill_in:.3f} s, store {moments}")
            with started(*words(urls, place, format, "--quiet", "--store-patience", 60)) as run:
                began = time.monotonic()
                for moment, what in moments:
                    ended_within(run.process, began + moment)
                    store.down() if what == "down" else store.up()
                ended_within(run.process, began + kill_in)
                run.signal(signal.SIGKILL) if run.process.poll() is None else None
                run.ended()
            store.up()
        store.mend()
        crawled(urls, place, format)
        check_whole(store, f"{prefix}/{seed}", whole, place)
        assert verified(place).faults == []
        with contextlib.closing(sqlite3.connect(home_for(place) / "journal.sqlite")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def ended_within(process: subprocess.Popen[bytes], moment: float) -> None:
    """Wait for the end of a process, or for the moment."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, moment - time.monotonic()))


@pytest.mark.soak
def test_a_large_shard_goes_up_in_parts(
    site: Validators, store: Objects, prefix: str, address: str, tmp_path: Path
) -> None:
    """Parts of 50 MB: one that fails is sent again, and the whole is what it would be here."""
    body = PICTURES["/0.jpg"].body
    for n in range(5):
        site.holds[f"/large/{n}.jpg"] = Page(body + bytes([n]) * 30_000_000)  # type: ignore[index]
    path = tmp_path / "large.txt"
    path.write_text("".join(f"{site.url(f'large/{n}.jpg')}\n" for n in range(5)))
    more: dict[str, Any] = {"caption_column": "", "encode": "original", "shard_count": 5}
    store.fail(Fault(status=503), "PUT", ".tar", times=1)
    crawled(path, address, "webdataset", **more)
    crawled(path, str(tmp_path / "here"), "webdataset", **more)
    parts = [asked for asked in store.entries if "uploadId" in asked.query and asked.method == "PUT"]
    assert len({asked.query for asked in parts}) >= 3
    assert store.read(f"{prefix}/00000.tar") == (tmp_path / "here/00000.tar").read_bytes()
