"""What lies beside pictures that are files: metadata in three forms, texts with captions and facts; read by `datasets`."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from crawler import Settings, SettingsError, Summary, crawl
from crawler.verify import verify
from tests.cli import crawler, inside, metadata, wait_until
from tests.servers import pictures
from tests.servers.validators import Page, Pages, Validators, running_validators

COUNT: Final = 7
MISSING: Final = 4


@pytest.fixture(scope="module")
def site() -> Iterator[Validators]:
    pages = Pages()
    for n in range(COUNT):
        if n != MISSING:
            pages[f"/{n}.jpg"] = Page(pictures.jpeg(40 + n, 30, seed=n), etag=f'"{n}"')
    with running_validators(pages) as running:
        yield running


@pytest.fixture
def table(site: Validators, tmp_path: Path) -> Path:
    """A list with captions, one of which has all that a CSV file must quote."""
    rows = [
        {"url": site.url(f"{n}.jpg"), "text": 'a "b", c\nd é' if n == 1 else f"text {n}", "score": n / 2, "id": f"k{n}"}
        for n in range(COUNT)
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(table: Path, output: Path, **more: Any) -> Summary:
    given = {"caption_column": "text", "keep_columns": "score", "allow_private": True, "robots": False, "size": 32}
    return asyncio.run(crawl(Settings.of([str(table)], output=output, **given | more)))


def rows_of(output: Path, form: str) -> list[dict[str, Any]]:
    if form == "jsonl":
        return metadata(output)
    if form == "parquet":
        import pyarrow.parquet as pq

        found: list[dict[str, Any]] = pq.read_table(output / "metadata.parquet").to_pylist()
        return found
    with (output / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_metadata_tells_the_same_in_every_form(table: Path, tmp_path: Path, form: str) -> None:
    run(table, tmp_path / "out", metadata=form)
    rows = {int(row["index"]): row for row in rows_of(tmp_path / "out", form)}
    assert sorted(rows) == [n for n in range(COUNT) if n != MISSING]
    assert rows[1]["caption"] == 'a "b", c\nd é'
    assert [float(row["score"]) for _, row in sorted(rows.items())] == [0, 0.5, 1, 1.5, 2.5, 3]
    assert [int(rows[n]["original_width"]) for n in (0, 6)] == [40, 46]
    assert all((tmp_path / "out" / row["file_name"]).is_file() for row in rows.values())
    assert [path.name for path in (tmp_path / "out").glob("metadata.*")] == [f"metadata.{form}"]
    assert run(table, tmp_path / "out", metadata=form).skipped == COUNT
    assert len(rows_of(tmp_path / "out", form)) == COUNT - 1, "a rerun adds nothing"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_metadata_is_made_again_from_the_journal(table: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    run(table, output, metadata=form)
    before = rows_of(output, form)
    (output / f"metadata.{form}").unlink()
    run(table, output, metadata=form)
    assert sorted(rows_of(output, form), key=lambda row: int(row["index"])) == sorted(
        before, key=lambda row: int(row["index"])
    )


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_what_is_taken_out_leaves_the_metadata(site: Validators, table: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    run(table, output, metadata=form)
    name = next(row["file_name"] for row in rows_of(output, form) if int(row["index"]) == 2)
    (output / name).write_bytes(b"broken")
    assert len(asyncio.run(verify(output, repair=True)).faults) == 1
    assert run(table, output, metadata=form).stored == 1
    indexes = sorted(int(row["index"]) for row in rows_of(output, form))
    assert indexes == [n for n in range(COUNT) if n != MISSING]
    assert asyncio.run(verify(output)).faults == []


def test_a_kill_leaves_lines_of_csv_that_agree(site: Validators, table: Path, tmp_path: Path) -> None:
    """The first run is killed when it has stored something, the second ends as if nothing had been."""
    output = tmp_path / "out"
    flags = ["--metadata", "csv", "--caption-column", "text", "--allow-private", "--no-robots", "--sidecar", "json,txt"]
    longer = tmp_path / "longer.jsonl"
    longer.write_text(table.read_text() * 40)
    from tests.cli import started

    with started("run", longer, "-o", output, "--repeat", "1", "--concurrency", "2", *flags) as running:
        wait_until(lambda: (output / "metadata.csv").exists(), "a first line")
        running.process.kill()
        running.process.wait()
    done = crawler("run", longer, "-o", output, *flags, "--concurrency", "2", "--json")
    assert done.code == 0, done.err
    rows = rows_of(output, "csv")
    assert len({row["index"] for row in rows}) == len(rows)
    named = {row["file_name"].rpartition(".")[0] for row in rows}
    there = {path.relative_to(output).with_suffix("").as_posix() for path in output.rglob("0*.*") if path.is_file()}
    assert named == there
    assert asyncio.run(verify(output)).faults == []


def test_texts_lie_beside_their_picture(table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(table, output, sidecar="json,txt", variant="thumb:8")
    stems = {path.relative_to(output).as_posix() for path in output.rglob("0*.jpg") if ".thumb." not in path.name}
    for name in stems:
        told = json.loads((output / name).with_suffix(".json").read_text(encoding="utf-8"))
        assert told["file_name"] == name
        assert (output / name).with_suffix(".txt").read_text(encoding="utf-8") == told["caption"]
        assert [file["label"] for file in told["files"]] == ["thumb"]
    assert len(stems) == COUNT - 1
    assert all([file["label"] for file in row["files"]] == ["thumb"] for row in metadata(output)), (
        "texts are no pictures"
    )
    (output / next(iter(stems))).with_suffix(".txt").unlink()
    assert [fault.kind for fault in asyncio.run(verify(output, repair=True)).faults] == ["missing"]
    assert run(table, output, sidecar="json,txt", variant="thumb:8").stored == 1
    assert asyncio.run(verify(output)).faults == []


def test_texts_of_two_pictures_with_one_name_stay_apart(site: Validators, tmp_path: Path) -> None:
    rows = [{"url": f"{site.url('1.jpg')}?{n}", "text": f"text {n}"} for n in range(3)]
    for n in range(3):
        site.holds[f"/1.jpg?{n}"] = Page(pictures.jpeg(40, 30, seed=n))  # type: ignore[index]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "out"
    run(path, output, sidecar="txt", name="{stem}", keep_columns="")
    assert {path.stem: path.with_suffix(".txt").read_text() for path in output.glob("*.jpg")} == {
        row["file_name"][:-4]: row["caption"] for row in metadata(output)
    }
    assert len(list(output.glob("*.txt"))) == 3


def test_a_key_is_the_name_of_a_file(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out", key_column="id")
    assert sorted(path.name for path in (tmp_path / "out/00000").iterdir()) == [
        f"k{n}.jpg" for n in range(COUNT) if n != MISSING
    ]
    run(table, tmp_path / "flat", key_column="id", name="{key}-{width}")
    assert (tmp_path / "flat/k0-32.jpg").is_file()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files to the collector
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_datasets_reads_the_folder(table: Path, tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    output = tmp_path / "out"
    run(table, output, metadata=form)
    shutil.rmtree(output / ".crawler")
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(output), split="train", cache_dir=str(tmp_path / "cache"), drop_labels=True
    )
    texts = {row["index"]: (row["image"].size[0], row["caption"]) for row in found}
    assert texts[1] == (32, 'a "b", c\nd é')
    assert len(texts) == COUNT - 1


@pytest.mark.parametrize(
    ("given", "field", "told"),
    [
        ({"sidecar": "txt"}, "sidecar", "--caption-column"),
        ({"sidecar": "xml"}, "sidecar", "must be some of json, txt"),
        ({"sidecar": "json", "format": "webdataset"}, "sidecar", "is for --format files"),
        ({"metadata": "xml"}, "metadata", "must be one of jsonl, csv, parquet"),
        ({"output": "s3://user:secret@bucket/a"}, "output", "has a password"),
        ({"output": "http://host/a"}, "output", "is no store that can be written"),
        ({"output": "nosuch://host/a"}, "output", "is no store that can be written"),
        ({"format": "parquet", "frames": "all"}, "frames", "a row has one picture"),
        ({"format": "parquet", "variant": "url:8"}, "variant", "another column"),
        ({"key_column": "id", "repeat": 2}, "key_column", "no two samples"),
        ({"take": "some"}, "take", "must be one of stored, missed"),
        ({"input_format": "xml"}, "input_format", "must be one of auto"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_said(given: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        Settings.of(["http://h/a"], **{"output": "x"} | given)
    assert error.value.field == field
    assert "secret" not in str(error.value)


def test_a_run_is_the_input_of_another(table: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    run(table, first)
    again = inside(
        "run", first, "--input-format", "run", "--caption-column", "caption", "--where", "original_width >= 42",
        "-o", tmp_path / "second", "--allow-private", "--no-robots", "--quiet",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert sorted(row["caption"] for row in metadata(tmp_path / "second")) == ["text 2", "text 3", "text 5", "text 6"]
    missed = inside(
        "run", first, "--input-format", "run", "--take", "missed", "-o", tmp_path / "third", "--allow-private",
        "--no-robots", "--json", "--quiet",
    )  # fmt: skip
    assert missed.summary["reasons"] == {"not_found": 1}
    wrong = inside("run", tmp_path, "--input-format", "run", "-o", tmp_path / "fourth")
    assert wrong.code == 2
    assert "is not the folder of a run" in wrong.err


def test_what_was_decided_is_said(site: Validators, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"image_url,n\n{site.url('1.jpg')},1\n")
    done = inside("run", table, "-o", tmp_path / "out", "--allow-private", "--no-robots")
    assert "addresses are taken from column 'image_url'" in done.err
