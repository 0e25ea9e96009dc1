"""Tables of all formats, packed or not, from files, folders and stores: what is in them is fetched, what is wrong is said."""

from __future__ import annotations

import asyncio
import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import fsspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.errors import CrawlerError, InputError, InputMissing, SettingsError
from crawler.inputs.targets import Targets
from crawler.inputs.where import Condition
from crawler.model import Target
from crawler.settings import InputSettings
from tests.cli import Ended, command, environment, inside, metadata
from tests.servers import pictures as painted
from tests.servers.validators import Page, Validators, running_validators

LIMIT: Final = 30.0
MB: Final = 1_000_000
PACKED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd.compress,
}  # fmt: skip
HERE: Final = ("--allow-private", "--workers", 1, "--retries", 0, "--size", 24, "--json")
JPEG: Final = painted.jpeg(32, 24, seed=1)
Row = dict[str, Any]


async def attempt(*sources: object, **options: Any) -> tuple[list[Target], str]:
    """The targets of these sources, and what then ended them, if anything did."""
    source = Targets(InputSettings(tuple(map(str, sources)), **options), ())
    found: list[Target] = []
    async with asyncio.timeout(LIMIT):
        await asyncio.to_thread(source.check)
        try:
            async for batch in source.batches():
                found += batch
        except InputError as error:
            return found, str(error)
    assert [target.index for target in found] == list(range(len(found)))
    return found, ""


def tried(*sources: object, **options: Any) -> tuple[list[Target], str]:
    return asyncio.run(attempt(*sources, **options))


def read(*sources: object, **options: Any) -> list[Target]:
    found, failure = tried(*sources, **options)
    assert failure == ""
    return found


def urls(*sources: object, **options: Any) -> list[str]:
    return [target.url for target in read(*sources, **options)]


def refused(*sources: object, **options: Any) -> str:
    """What is said before anything is fetched."""
    with pytest.raises(CrawlerError) as error:
        Targets(InputSettings(tuple(map(str, sources)), **options), ()).check()
    return str(error.value)


def place(target: Target) -> str:
    """File and row."""
    return target.origin.rpartition("/")[2]


def written(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def parquet(path: Path, columns: Any, **options: Any) -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


def separated(rows: Sequence[Row], delimiter: str = ",") -> str:
    file = io.StringIO()
    table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


def lines(rows: Sequence[object]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def table(folder: Path, form: str, rows: Sequence[Row]) -> Path:
    """The same rows in any format."""
    path = folder / f"t.{form}"
    if form == "parquet":
        return parquet(path, pa.Table.from_pylist(list(rows)))
    kind, _, packed = form.partition(".")
    if kind in ("csv", "tsv"):
        text = separated(rows, "," if kind == "csv" else "\t")
    else:
        text = json.dumps(rows) if kind == "json" else lines(rows)
    return written(path, PACKED[f".{packed}" if packed else ""](text.encode()))


THREE: Final = [f"http://a/{number}" for number in range(3)]
ROWS: Final[list[Row]] = [
    {"url": url, "title": f"{number}, \"so\"\nto say", "n": number, "ok": number > 0} for number, url in enumerate(THREE)
]  # fmt: skip


# Formats ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
async def test_the_same_rows_are_the_same_targets_in_every_format(tmp_path: Path, kind: str) -> None:
    options: Any = {"caption_column": "title", "keep_columns": ("n", "ok"), "key_column": "n"}
    for packed in PACKED if kind != "parquet" else ("",):
        path = await asyncio.to_thread(table, tmp_path, kind + packed, ROWS)
        found, failure = await attempt(path, **options)
        assert [(one.url, one.extra.caption, one.extra.kept, one.extra.key) for one in found] == [
            (row["url"], row["title"], {"n": row["n"], "ok": row["ok"]}, str(row["n"])) for row in ROWS
        ]
        assert failure == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["http://a/0", "http://a/1"]', ["http://a/0", "http://a/1"]),
        ('{"url": "http://a/0"}{"url": "http://a/1"}\n\n{"url": "http://a/2"}', THREE),
        ('\ufeff [\r\n {"url": "http://a/0"} ,\r\n"http://a/1" ]\r\n', THREE[:2]),
        ("[]", []),
        (" \n", []),
        ("", []),
        ('[{"url": "http://a/\\ud83d\\ude00"}]', ["http://a/\U0001f600"]),
        ('[{"url": "http://a/0"}]\n[{"url": "http://a/1"}]\n', THREE[:2]),
    ],
)
def test_json_is_an_array_or_rows_one_after_the_other(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert urls(written(tmp_path / "t.json", text)) == expected


@pytest.mark.parametrize("odd", ["5", "null", "true", "[1]", '{"url": 5}', '{"link": 1}', "{}"])
def test_what_is_no_row_is_a_miss_of_its_own(tmp_path: Path, odd: str) -> None:
    for form in ("json", "jsonl"):
        good = '{"url": "http://a/%d"}'
        text = f"[{good % 0}, {odd}, {good % 2}]" if form == "json" else f"{good % 0}\n{odd}\n{good % 2}\n"
        found = read(written(tmp_path / f"t.{form}", text))
        assert [(one.url, place(one)) for one in found[::2]] == [
            ("http://a/0", f"t.{form}:1"),
            ("http://a/2", f"t.{form}:3"),
        ]
        assert found[1].flaw or not found[1].url.startswith("http")


def test_what_is_nested_too_deep_is_a_miss_in_lines_and_the_end_of_an_array(tmp_path: Path) -> None:
    rows = ['{"url": "http://a/0"}', "[" * 100_000 + "]" * 100_000, '{"url": "http://a/2"}']
    found = read(written(tmp_path / "t.jsonl", "\n".join(rows)))
    assert [bool(one.flaw) for one in found] == [False, True, False]
    found, failure = tried(written(tmp_path / "t.json", f"[{','.join(rows)}]"))
    assert ([one.url for one in found], "item 2 is nested too deep" in failure) == (THREE[:1], True)


def test_a_thousand_bad_lines_in_front_do_not_spoil_the_others(tmp_path: Path) -> None:
    found = read(written(tmp_path / "t.jsonl", "x\n" * 1500 + '{"url": "http://a/0"}\n'))
    assert (found[-1].url, found[-1].flaw, len(found)) == ("http://a/0", "", 1501)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "-2", ""], [1, -2, None]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["true", "False", ""], [True, False, None]),
        (["1", "007", "2"], ["1", "007", "2"]),
        (["1", "x", "true"], ["1", "x", "true"]),
        (["9999999999999999999", "1", "2"], ["9999999999999999999", "1", "2"]),
        ([" 1", "2 ", "\u0663"], [" 1", "2 ", "\u0663"]),
    ],
)
def test_texts_of_a_csv_become_numbers_only_if_all_look_like_them(
    tmp_path: Path, texts: list[str], values: list[Any]
) -> None:
    rows = [{"url": url, "n": text} for url, text in zip(THREE, texts, strict=True)]
    found = read(table(tmp_path, "csv", rows), keep_columns=("n",))
    assert [one.extra.kept["n"] for one in found] == values
    assert [type(one.extra.kept["n"]) for one in found] == [type(value) for value in values]


def test_a_later_cell_that_is_no_number_stays_text(tmp_path: Path) -> None:
    text = "url,n\n" + "http://a/0,1\n" * 1000 + "http://a/1,many\n"
    *_, last = read(written(tmp_path / "t.csv", text), keep_columns=("n",))
    assert last.extra.kept == {"n": "many"}


@pytest.mark.parametrize("name", ["width", "file_name", "index", "url", "caption", "key"])
def test_a_kept_column_never_takes_the_name_of_one_of_ours(tmp_path: Path, name: str) -> None:
    rows = [{"address": "http://a/0", name: "mine"}]
    (one,) = read(table(tmp_path, "csv", rows), url_column="address", keep_columns=(name,))
    assert one.extra.kept == {f"input_{name}": "mine"}


def test_no_kept_column_is_lost_to_another_of_the_same_new_name(tmp_path: Path) -> None:
    source = table(tmp_path, "csv", [{"url": "http://a/0", "width": "one", "input_width": "two"}])
    with suppress(SettingsError):
        (one,) = read(source, keep_columns=("all",))
        assert sorted(one.extra.kept.values()) == ["one", "two"]


# Which column ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"url": "http://a/0", "link": "http://a/9"}, "url"),
        ({"name": "x", "imageUrl": "http://a/0"}, "imageUrl"),
        ({"name": "x", "image url": "http://a/0"}, "image url"),
        ({"curl": "x", "href": "http://a/0"}, "href"),
        ({"url_id": "7", "url_big": "http://a/0"}, "url_big"),
        ({"name": "x", "src": "http://a/0"}, "src"),
    ],
)
def test_the_column_of_the_addresses_is_found(tmp_path: Path, row: Row, column: str) -> None:
    for form in ("csv", "jsonl", "parquet"):
        source = Targets(InputSettings((str(table(tmp_path, form, [row])),)), ())
        source.check()
        said = " ".join(source.notes)
        assert (f"column {column!r}" in said) == (column != "url")
        assert urls(table(tmp_path, form, [row])) == ["http://a/0"]


@pytest.mark.parametrize(
    "row",
    [{"a": "http://a/0", "b": "http://a/1"}, {"url_a": "http://a/0", "url_b": "http://a/1"}, {"a": "x", "b": "y"}],
)
def test_what_could_be_either_is_asked_for(tmp_path: Path, row: Row) -> None:
    for form in ("csv", "jsonl", "parquet"):
        said = refused(table(tmp_path, form, [row]))
        assert said.startswith("--url-column: ")
        assert said.endswith(f"there are {', '.join(row)}. Name one")


@pytest.mark.parametrize("setting", ["url_column", "caption_column", "key_column", "keep_columns", "where"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, setting: str) -> None:
    for form in ("csv", "jsonl", "parquet"):
        given: Any = {"keep_columns": ("nope",), "where": "nope = 1"}.get(setting, "nope")
        said = refused(table(tmp_path, form, ROWS), **{setting: given})
        assert said.startswith(f"--{setting.replace('_', '-')}: ")
        assert said.endswith("has no column 'nope'; there are url, title, n, ok")


@pytest.mark.parametrize("asked", [{"keep_columns": ("n",)}, {"key_column": "n"}, {"where": "n > 0"}])
def test_a_column_that_is_there_twice_can_be_left_alone_but_not_asked_for(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    for form in ("csv", "parquet"):
        path = tmp_path / f"t.{form}"
        if form == "csv":
            written(path, "url,n,n\nhttp://a/0,1,2\n")
        else:
            parquet(path, pa.table([pa.array(THREE[:1]), pa.array([1]), pa.array([2])], names=["url", "n", "n"]))
        assert urls(path) == THREE[:1]
        assert "n" in refused(path, **asked)


# Parquet ---------------------------------------------------------------------------------------------------------------

MOMENT: Final = datetime.datetime(2020, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array(["x"], pa.string_view()), "x"),
        (pa.array([[1, None]]), [1, None]),
        (pa.array([{"a": {"b": [1.5]}}]), {"a": {"b": [1.5]}}),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([MOMENT]), "2020-01-02T03:04:05"),
        (pa.array([MOMENT], pa.timestamp("ns", "UTC")), "2020-01-02T03:04:05+00:00"),
        (pa.array([MOMENT.date()]), "2020-01-02"),
        (pa.array([b"\xff"]), "/w=="),
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array([None]), None),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), [["a", 1]]),
    ],
    ids=lambda value: str(getattr(value, "type", ""))[:30],
)
def test_values_of_any_type_go_along_as_json_has_them(tmp_path: Path, value: Any, plain: Any) -> None:
    (one,) = read(parquet(tmp_path / "t.parquet", {"url": THREE[:1], "v": value}), keep_columns=("v",))
    assert one.extra.kept == {"v": plain}
    json.dumps(plain)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary()],
    ids=str,
)
def test_addresses_may_be_texts_of_any_type(tmp_path: Path, kind: Any) -> None:
    array = pa.array([url.encode() for url in THREE], kind) if kind == pa.binary() else pa.array(THREE).cast(kind)
    assert urls(parquet(tmp_path / "t.parquet", {"url": array})) == THREE


def raw_texts(*values: bytes) -> Any:
    """A column of texts that need not be UTF-8: nobody checks."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values).buffers())


@pytest.mark.parametrize(
    "odd",
    [
        pa.array([0, 2**62, 1], pa.timestamp("us")),
        pa.array([0, 2**31 - 1, 1], pa.date32()),
        raw_texts(b"x", b"\xff", b"y"),
    ],
    ids=["moment", "day", "text"],
)
def test_a_value_that_python_has_not_costs_at_most_its_row(tmp_path: Path, odd: Any) -> None:
    found = read(parquet(tmp_path / "t.parquet", {"url": THREE, "v": odd}), keep_columns=("v",))
    assert [(one.url, one.flaw) for one in (found[0], found[2])] == [(THREE[0], ""), (THREE[2], "")]
    assert len(found) == 3


def test_an_address_that_is_no_text_is_one_miss(tmp_path: Path) -> None:
    found = urls(parquet(tmp_path / "t.parquet", {"url": raw_texts(b"http://a/0", b"http://a/\xff", b"http://a/2")}))
    assert found == ["http://a/0", "http://a/\ufffd", "http://a/2"]


def test_a_name_with_a_dot_is_no_path(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "t.parquet", {"x.url": THREE, "x": [{"url": "no"}] * 3, "a.b": [1, 2, 3], "a": [{"b": 9}] * 3}
    )
    found = read(path, keep_columns=("a.b",), where="`a.b` > 1")
    assert [(one.url, one.extra.kept) for one in found] == [(THREE[1], {"a.b": 2}), (THREE[2], {"a.b": 3})]


@pytest.mark.parametrize("groups", [0, 1], ids=["no group", "no rows"])
def test_a_table_without_rows_is_nothing_to_do(tmp_path: Path, groups: int) -> None:
    schema = pa.schema([("url", pa.string()), ("n", pa.int64())])
    with pq.ParquetWriter(tmp_path / "t.parquet", schema) as file:
        if groups:
            file.write_table(schema.empty_table())
    assert urls(tmp_path / "t.parquet", where="n > 1", keep_columns=("n",)) == []


def test_rows_have_their_number_in_the_file_over_many_small_groups(tmp_path: Path) -> None:
    columns = {"url": [f"http://a/{n}" for n in range(3000)], "n": range(3000)}
    found = read(parquet(tmp_path / "t.parquet", columns, row_group_size=7), where="n < 2 or n >= 2998")
    assert [(one.index, one.url, place(one)) for one in found] == [
        (index, f"http://a/{n}", f"t.parquet:{n + 1}") for index, n in enumerate((0, 1, 2998, 2999))
    ]


def damaged(path: Path) -> Path:
    """The second of three groups cannot be unpacked."""
    columns = {"url": [f"http://a/{n}" for n in range(3000)], "n": range(3000)}
    parquet(path, columns, row_group_size=1000, use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    data[middle : middle + 500] = b"\xff" * 500
    return written(path, bytes(data))


def test_groups_that_cannot_hold_wanted_rows_are_not_read(tmp_path: Path) -> None:
    assert len(urls(damaged(tmp_path / "t.parquet"), where="n < 10 or n >= 2000")) == 1010


def test_what_stands_before_the_damage_is_fetched(tmp_path: Path) -> None:
    found, failure = tried(damaged(tmp_path / "t.parquet"))
    assert [one.url for one in found] == [f"http://a/{n}" for n in range(len(found))]
    assert len(found) >= 1000
    assert re.search(r"t\.parquet: cannot be read to its end: .*snappy", failure)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PAR1", b"url\nhttp://a/0\n", b"PAR1" + b"x" * 100 + b"PAR1", b"PAR1" + bytes(8) + b"PAR1",
        b"PARE" + b"x" * 100 + (50).to_bytes(4, "little") + b"PARE", gzip.compress(b"x", mtime=0),
    ],
)  # fmt: skip
def test_what_is_no_parquet_is_said_before_anything_is_fetched(tmp_path: Path, data: bytes) -> None:
    assert "t.parquet: is no Parquet file, or is damaged: " in refused(written(tmp_path / "t.parquet", data))


# Conditions ------------------------------------------------------------------------------------------------------------

SIZES: Final[list[Row]] = [
    {"url": "0", "w": 300, "h": 200, "lang": "en", "f": 0.5, "ok": True, "odd name": "it's"},
    {"url": "1", "w": 100, "h": 100, "lang": "de", "f": 1.5, "ok": False, "odd name": "`w`"},
    {"url": "2", "w": 60_000, "h": 60_000, "lang": None, "f": None, "ok": True, "odd name": "its"},
]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("w >= 300", "02"),
        ("w > 100 AND NOT w = 300", "2"),
        ("w = 300 or h == 100", "01"),
        ("w <> 300", "12"),
        ("100 < w <= 300", "0"),
        ("300 = w", "0"),
        ("w = h", "12"),
        ("lang in ('en', 'fr')", "0"),
        ("lang not in ('en')", "12"),
        ('lang = "de"', "1"),
        ("f < 1", "0"),
        ("w > 99.5 and f >= 0.5", "01"),
        ("ok", "02"),
        ("not ok", "1"),
        ("ok = FALSE", "1"),
        ("w - h > 50", "0"),
        ("w in (100, 300)", "01"),
        ("`odd name` = 'its'", "2"),
        ('`odd name` = "it\'s"', "0"),
        ("`odd name` = 'it''s'", "0"),
        ("`odd name` = '`w`'", "1"),
        ("w / h > 1.2", "0"),
        ("w / (h - 100) > 2", "01"),
        ("w < 999999999999999999999999", "012"),
    ],
)
def test_a_condition_chooses_the_same_rows_in_every_format(tmp_path: Path, condition: str, expected: str) -> None:
    for form in ("csv", "tsv", "json", "jsonl", "parquet"):
        assert "".join(urls(table(tmp_path, form, SIZES), where=condition)) == expected, form


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("lang is null", "2"), ("lang IS NOT NULL and (w > 200 or h = 100)", "01"), ("w > 100 AND NOT lang = 'fr'", "0")],
)
def test_what_is_null_is_neither_so_nor_not_so(tmp_path: Path, condition: str, expected: str) -> None:
    for form in ("csv", "json", "jsonl", "parquet"):
        assert "".join(urls(table(tmp_path, form, SIZES), where=condition)) == expected, form


def test_sizes_of_pictures_do_not_overflow(tmp_path: Path) -> None:
    sides = pa.array([300, 60_000, 10], pa.int32())
    path = parquet(tmp_path / "t.parquet", {"url": THREE, "w": sides, "h": sides})
    assert urls(path, where="w * h > 1000") == THREE[:2]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_long_numbers_are_compared_too(tmp_path: Path, form: str) -> None:
    rows = [{"url": url, "id": 2**53 + number} for number, url in enumerate(THREE)]
    assert urls(table(tmp_path, form, rows), where="id > 5") == THREE
    assert urls(table(tmp_path, form, rows), where=f"id = {2**53 + 1}") == THREE[1:2]


@pytest.mark.parametrize(
    "condition",
    [
        "w >", "w > 1;", "w > 1 -- no", "w > 1 # no", "f(w) > 1", "w.x > 1", "w[0] > 1", "w > 1 if ok else ok", "lambda: w",
        "1 = 1", "'x'", "w = null", "w is 5", "w like 'x'", "w between 1 and 2", "w in w", "`w > 1", "w = 1j", "w = b'x'",
        "w = f'{h}'", "__import__('os')", "w := 1", "*", "not " * 5000 + "ok", "(" * 500 + "w", "w > \x00",
        "w = 'a'", "w in ('a')", "w", "lang > 5", "w and h", "`` > 1", "w > 9" + "9" * 5000,
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_condition_that_means_nothing_is_refused_before_anything_is_fetched(tmp_path: Path, condition: str) -> None:
    for form in ("parquet", "csv"):
        assert refused(table(tmp_path, form, SIZES), where=condition).startswith("--where: "), form


WORDS: Final = (
    """w h lang ok and or not in is null ( ) , = <> < - + / * ` 'en' 1 0 1e400 0x1 True `odd_name` '' f'' . : \\ ' """
)
words = st.sampled_from([*WORDS.split(), "99999999999999999999", "\0"])


@settings(deadline=None, max_examples=300)
@given(st.lists(words, max_size=9).map(" ".join) | st.text(max_size=12))
@example("w < 99999999999999999999")
@example("w in (99999999999999999999)")
def test_a_condition_is_understood_or_refused(condition: str) -> None:
    with suppress(SettingsError):
        Condition(condition).chosen(pa.Table.from_pylist(SIZES))


def test_every_table_is_chosen_from_whatever_came_before_it(tmp_path: Path) -> None:
    forms = ["parquet", "csv", "jsonl"]
    for order in (forms, forms[::-1], ["csv", "parquet", "jsonl"]):
        sources = [table(tmp_path, form, SIZES) for form in order]
        assert urls(*sources, where="w > 200", keep_columns=("w",)) == ["0", "2"] * 3, order


# Keys ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "missing"), ("a/b", "'/'"), ("..", "'.'"), ("a.b", "'.'"), ("a b", "' '"), ("a\tb", "in it"), ("a\x7f", "in it"),
        ("a\\b", "in it"), ("x" * 201, "200 bytes"), ("\u00fc" * 101, "200 bytes"), ("FIRST", "earlier row"),
        ("a\x85b", "in it"), ("a\u2028b", "in it"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_a_name_is_a_miss_with_its_row(tmp_path: Path, key: str, why: str) -> None:
    rows = [{"url": url, "k": one} for url, one in zip(THREE, ["first", key, "last"], strict=True)]
    found = read(table(tmp_path, "jsonl", rows), key_column="k")
    assert [one.extra.key for one in found] == ["first", "", "last"]
    assert [bool(one.flaw) for one in found] == [False, True, False]
    assert (why in found[1].flaw, place(found[1])) == (True, "t.jsonl:2")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=8) | st.integers() | st.none() | st.booleans() | st.floats(), max_size=12))
def test_keys_that_are_taken_can_be_names_of_files(tmp_path_factory: pytest.TempPathFactory, keys: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("keys")
    rows = [{"url": "http://a/0", "k": key} for key in keys]
    source = written(folder / "t.jsonl", lines(rows))
    found = [one.extra.key for one in read(source, key_column="k", url_column="url")] if rows else []
    taken = [key for key in found if key]
    assert len({key.lower() for key in taken}) == len(taken)
    for key in taken:
        (folder / f"{key}.jpg").touch(exist_ok=False)


# Torn, damaged, hostile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "txt"])
def test_what_stands_before_the_tear_is_fetched(tmp_path: Path, form: str) -> None:
    for packed in (".gz", ".xz", ".zst"):
        all_urls = [f"http://a/{number}-{number * 7919 % 100_003}" for number in range(20_000)]
        rows = [{"url": url} for url in all_urls]
        path = written(tmp_path / "t", "\n".join(all_urls)) if form == "txt" else table(tmp_path, form, rows)
        data = PACKED[packed](path.read_bytes())
        torn = written(tmp_path / f"torn.{form}{packed}", data[: len(data) * 2 // 3])
        found, failure = tried(torn)
        assert [one.url for one in found] == all_urls[: len(found)]
        assert len(found) > 5000
        assert failure.startswith(f"{torn}: is damaged or cut off: ")


def test_a_small_torn_file_gives_what_it_has(tmp_path: Path) -> None:
    whole = json.dumps([{"url": f"http://a/{number}", "n": number * 7919 % 100_003} for number in range(1000)]).encode()
    found, failure = tried(written(tmp_path / "t.json.gz", gzip.compress(whole, mtime=0)[:3000]))
    assert len(found) > 100
    assert "damaged or cut off" in failure


@pytest.mark.parametrize("end", ["", ",", ', {"url": "http://a/9', ", nope]", "}"])
def test_an_array_that_breaks_off_gives_what_stood_before(tmp_path: Path, end: str) -> None:
    path = written(tmp_path / "t.json", '[{"url": "http://a/0"}, {"url": "http://a/1"}' + end)
    found, failure = tried(path)
    assert [one.url for one in found] == THREE[:2]
    assert failure.startswith(f"{path}: item 3 ")


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz", ".zst"])
def test_files_packed_one_after_the_other_are_one(tmp_path: Path, packed: str) -> None:
    pack = PACKED[packed]
    path = written(
        tmp_path / f"t.csv{packed}", pack(b"url\nhttp://a/0\nhttp") + pack(b"://a/1\n") + pack(b"http://a/2")
    )
    assert urls(path) == THREE


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz", ".zst"])
def test_what_is_not_packed_is_said_before_anything_is_fetched(tmp_path: Path, packed: str) -> None:
    assert f"t.csv{packed}: " in refused(written(tmp_path / f"t.csv{packed}", "url\nhttp://a/0\n"))


def test_a_long_cell_costs_its_row_only(tmp_path: Path) -> None:
    cell = "http://evil/\n" * 200_000
    path = table(tmp_path, "csv", [{"url": THREE[0], "n": cell}, {"url": THREE[1], "n": "y" * 200_000}])
    found = read(path, keep_columns=("n",))
    assert [bool(one.flaw) for one in found] == [True, False]
    assert "evil" not in found[0].url


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), st.text(max_size=6)), max_size=8))
@example([("0", "\r")])
def test_cells_come_out_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]) -> None:
    cells = [tuple(re.sub("[\ud800-\udfff\0]", "", text) for text in pair) for pair in cells]  # type: ignore[misc]
    rows = [{"url": f"http://a/{one.strip()}", "n": f"x{other}"} for one, other in cells]
    folder = tmp_path_factory.mktemp("cells")
    for form in ("csv", "tsv", "json", "jsonl") if rows else ():
        found = read(table(folder, form, rows), keep_columns=("n",))
        assert [(one.url, one.extra.kept["n"]) for one in found] == [(row["url"].strip(), row["n"]) for row in rows]


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["csv", "tsv", "json", "jsonl", "csv.gz", "json.zst", "parquet"]),
    st.lists(
        st.sampled_from(
            [b"url", b",", b"\n", b"\r", b'"', b"{", b"}", b"[", b"]", b'{"url":"http://a/0"}', b"http://a/0", b"\t"]
        )
        | st.binary(max_size=5),
        max_size=20,
    ).map(b"".join),
)
@example("json", b'[{"url":1e999}, NaN, Infinity, "\\ud800"]')
def test_nothing_in_a_file_is_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: bytes
) -> None:
    path = written(tmp_path_factory.mktemp("any") / f"t.{form}", data)
    with suppress(CrawlerError):
        for one in tried(path, keep_columns=("all",), caption_column="url", where="url != 'x'")[0]:
            one.url.encode()
            one.flaw.encode()


# Files, folders, stores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a b.csv", "a#b.csv", "a?b.csv", "a[1].csv", "a*b.csv", "[!x].csv", "\u00fc%20.csv", "-.csv", "a:b.csv", "~.csv", "A.CSV",
     "a?b.csv.gz", "x?/t.csv.gz"],
)  # fmt: skip
def test_a_file_may_have_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"url\nhttp://a/0\n"
    path = written(tmp_path / name, gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    monkeypatch.chdir(tmp_path)
    assert urls(path) == urls(name) == THREE[:1]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder with lists, and with what is none."""
    for name in ("b.csv", "a.csv", "deep/c.csv", ".hidden.csv"):
        written(tmp_path / "lists" / name, f"url\nhttp://{name}\n")
    written(tmp_path / "lists/d.txt.gz", gzip.compress(b"http://d\n", mtime=0))
    written(tmp_path / "lists/e.jpg", "no list")
    return tmp_path / "lists"


@pytest.fixture
def memory(lists: Path) -> Iterator[str]:
    """The same in a store."""
    store = fsspec.filesystem("memory")
    for path in lists.rglob("*"):
        if path.is_file():
            store.pipe(f"/lists/{path.relative_to(lists)}", path.read_bytes())
    yield "memory://lists"
    store.rm("/lists", recursive=True)


FOUND: Final = {
    "/": ["http://a.csv", "http://b.csv", "http://d"],
    "/*.csv": ["http://a.csv", "http://b.csv"],
    "/[a-b].csv": ["http://a.csv", "http://b.csv"],
    "/**/*.csv": ["http://a.csv", "http://b.csv", "http://deep/c.csv"],
    "/b.csv": ["http://b.csv"],
}


@pytest.mark.parametrize("pattern", FOUND)
def test_folders_and_patterns_stand_for_the_lists_in_them(lists: Path, memory: str, pattern: str) -> None:
    assert urls(f"{lists}{pattern}") == FOUND[pattern]
    assert urls(f"file://{lists}{pattern}") == FOUND[pattern]
    assert urls(f"{memory}{pattern}") == FOUND[pattern]


def test_a_name_in_a_store_may_have_signs_in_it(memory: str) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/lists/sub/h#x.csv", b"url\nhttp://a/0\n")
    assert urls(f"{memory}/sub/") == THREE[:1]


@pytest.mark.parametrize("source", ["memory://none/x.csv", "memory://none/*", "memory://none/", "nosuch://x/y.csv"])
def test_what_is_not_there_is_named(source: str) -> None:
    with pytest.raises(InputMissing, match=f"^{re.escape(source)}: "):
        Targets(InputSettings((source,))).check()


def test_passwords_are_in_no_error_of_a_store() -> None:
    class Leaky(fsspec.AbstractFileSystem):  # type: ignore[misc]
        def __init__(self, *_: Any, **__: Any) -> None:
            raise ValueError("ann:secret@host is no bucket; nor is leaky://ann:secret@host/x.csv")

    fsspec.register_implementation("leaky", Leaky, clobber=True)
    said = refused("leaky://ann:secret@host/x.csv")
    assert said.startswith("leaky://ann:***@host/x.csv: ")
    assert "secret" not in said


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_file_that_goes_away_is_an_input_error(tmp_path: Path, form: str) -> None:
    path = table(tmp_path, form, ROWS)
    source = Targets(InputSettings((str(path),)), ())
    await asyncio.to_thread(source.check)
    path.unlink()
    with pytest.raises(InputError, match=r"t\..*: no such file"):
        await anext(source.batches())


def test_a_table_from_a_pipe_by_its_name_is_whole(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"url\nhttp://a/0\nhttp://a/1\nhttp://a/2\n")
    os.close(theirs)
    try:
        assert urls(f"/dev/fd/{ours}", input_format="csv") == THREE
    finally:
        os.close(ours)


@pytest.mark.parametrize("form", ["csv.gz", "json.zst", "jsonl", "parquet"])
async def test_nothing_stays_open_when_reading_ends_early(tmp_path: Path, form: str) -> None:
    path = table(tmp_path, form, [{"url": f"http://a/{number}"} for number in range(5000)])
    here = psutil.Process()
    source = Targets(InputSettings((str(path), str(path)), limit=3), ())
    await asyncio.to_thread(source.check)
    assert [len(batch) async for batch in source.batches()] == [3]
    cut = Targets(InputSettings((str(path),)), ()).batches()
    await anext(cut)
    await cut.aclose()
    assert str(path) not in {file.path for file in await asyncio.to_thread(here.open_files)}


class Stuck(io.RawIOBase):
    """A file in a store that gives many rows, and then nothing for long."""

    left, reached, free = 8, threading.Event(), threading.Event()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            self.free.wait(LIMIT)
            return 0
        data = b"url\n" * (len(buffer) // 4)
        buffer[: len(data)] = data
        return len(data)


class StuckStore(fsspec.AbstractFileSystem):  # type: ignore[misc]
    def exists(self, *_: Any, **__: Any) -> bool:
        return True

    def isdir(self, *_: Any) -> bool:
        return False

    def open(self, *_: Any, **__: Any) -> Any:
        return Stuck()


async def test_reading_can_be_given_up_while_a_store_does_not_answer() -> None:
    Stuck.reached.clear()
    Stuck.free.clear()
    fsspec.register_implementation("stuck", StuckStore, clobber=True)
    source = Targets(InputSettings(("stuck://host/t.csv",)), ())

    async def read_all() -> None:
        async for _ in source.batches():
            pass

    reading = asyncio.create_task(read_all())
    await asyncio.to_thread(Stuck.reached.wait, LIMIT)
    reading.cancel()
    asyncio.get_running_loop().call_later(0.05, Stuck.free.set)
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit": 2}, ["00", "01"]),
        ({"repeat": 2, "limit": 3}, ["00", "00", "01"]),
        ({"where": "n >= 2", "limit": 2, "repeat": 1}, ["02", "03"]),
        ({"where": "n >= 8"}, ["08", "09", "00x", "00y"]),
    ],
)
def test_limit_and_repeat_count_the_rows_that_are_wanted(tmp_path: Path, options: Any, expected: list[str]) -> None:
    one = table(tmp_path, "parquet", [{"url": f"{number:02}", "n": number} for number in range(10)])
    two = parquet(tmp_path / "u.parquet", {"url": ["00x", "00y"], "n": [8, 9]})
    assert urls(one, two, **options) == expected


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_long_table_is_never_whole_in_memory(tmp_path: Path, form: str) -> None:
    count, block = 80_000, 10_000
    path = tmp_path / f"t.{form}"
    rows = [{"url": f"http://a/{number}", "text": "x" * 300, "n": number} for number in range(block)]
    if form == "parquet":
        part = pa.Table.from_pylist(rows)
        with pq.ParquetWriter(path, part.schema, use_dictionary=False, compression="none") as file:
            for _ in range(count // block):
                file.write_table(part)
    else:
        text = separated(rows) if form == "csv" else lines(rows)
        head, _, rest = text.partition("\n") if form == "csv" else ("", "", text)
        written(path, f"{head}\n" + rest * (count // block))
    here = psutil.Process()
    before, most, found = here.memory_info().rss, 0, 0

    async def read_all() -> None:
        nonlocal most, found
        async for batch in Targets(InputSettings((str(path),), keep_columns=("n",)), ()).batches():
            found += len(batch)
            most = max(most, here.memory_info().rss)

    asyncio.run(read_all())
    assert found == count
    assert most - before < 40 * MB


# Runs ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Validators]:
    """A JPEG at every address, of other bytes each; lists below /lists."""

    def holds(_: str, path: str) -> Page:
        if path.startswith("/lists/"):
            text = f"link,n\n{running.url('one')},1\n{running.url('two')},2\n".encode()
            return Page(gzip.compress(text, mtime=0) if path.endswith(".gz") else text, "text/csv")
        return Page(b"", "text/plain", status=404) if "gone" in path else Page(painted.stamped(JPEG, path))

    with running_validators(holds) as running:
        yield running


@pytest.fixture
def site(server: Validators) -> Validators:
    server.reset()
    return server


def run(*words: object) -> Ended:
    return inside("run", *words, *HERE)


def counted(done: Ended) -> tuple[int, int, int]:
    return done.summary["stored"], done.summary["skipped"], done.summary["missed"]


def stored(output: Path) -> list[str]:
    """The paths of what was stored, in the order of the input."""
    rows = sorted(metadata(output), key=lambda row: int(row["index"]))
    return [row["url"].rpartition("/")[2] for row in rows]


def test_a_torn_list_stores_what_came_before_and_fails(site: Validators, tmp_path: Path) -> None:
    data = gzip.compress(separated([{"url": site.url(f"{number}")} for number in range(5)]).encode())
    path, output = written(tmp_path / "t.csv.gz", data[:-6]), tmp_path / "out"
    done = run(path, "-o", output)
    assert (done.code, stored(output)) == (1, ["0", "1", "2", "3", "4"])
    assert f"crawler: {path}: is damaged or cut off" in done.err


def test_a_later_file_without_the_columns_ends_the_run_when_the_others_are_done(
    site: Validators, tmp_path: Path
) -> None:
    written(tmp_path / "lists/a.csv", separated([{"url": site.url(f"{n}"), "text": "x"} for n in range(3)]))
    written(tmp_path / "lists/b.csv", separated([{"url": site.url("9"), "other": "x"}]))
    done = run(tmp_path / "lists", "-o", tmp_path / "out", "--caption-column", "text")
    assert (done.code, stored(tmp_path / "out")) == (1, ["0", "1", "2"])
    assert "b.csv has no column 'text'; there are url, other" in done.err


def test_bad_rows_are_misses_with_file_and_row(site: Validators, tmp_path: Path) -> None:
    texts = [json.dumps({"url": site.url("0")}), "nope", '{"url": 5}', json.dumps({"url": site.url("3")})]
    path, output = written(tmp_path / "t.jsonl", "\n".join(texts)), tmp_path / "out"
    assert counted(run(path, "-o", output)) == (2, 0, 2)
    said = inside("misses", output, "--format", "jsonl").out.splitlines()
    missed = [(row["index"], row["origin"], row["reason"]) for row in map(json.loads, said)]
    assert [(index, origin) for index, origin, _ in missed] == [(1, f"{path}:2"), (2, f"{path}:3")]
    assert missed[0][2] == "bad_row"
    assert f"{path}:2: a row that cannot be read" in said[0]


def test_the_targets_of_a_run_are_the_input_of_the_next(site: Validators, tmp_path: Path) -> None:
    one = tmp_path / "one"
    path = table(tmp_path, "csv", [{"url": site.url(name)} for name in ("a", "gone", "c")])
    assert counted(run(path, "-o", one)) == (2, 0, 1)
    wanted = {"stored": ["a", "c"], "missed": [], "not_found": [], "all": ["a", "c"]}
    for take, expected in wanted.items():
        assert run(one, "-o", tmp_path / take, "--input-format", "run", "--take", take).code == 0
        assert stored(tmp_path / take) == expected
    assert site.paths().count("/gone") == 4
    assert run(one, "-o", tmp_path / "w", "--input-format", "run", "--where", "original_width > 99").code == 0
    assert stored(tmp_path / "w") == []
    done = run(one, "-o", tmp_path / "no")
    assert (done.code, "--input-format run" in done.err) == (2, True)


def test_a_condition_and_a_guessed_column_in_a_run(site: Validators, tmp_path: Path) -> None:
    rows = [{"href": site.url(f"{number}"), "n": number} for number in range(6)]
    output = tmp_path / "out"
    done = run(table(tmp_path, "parquet", rows), "-o", output, "--where", "n >= 2 and n != 4", "--limit", 2)
    assert (done.code, stored(output)) == (0, ["2", "3"])
    assert "addresses are taken from column 'href'" in done.err


def test_the_same_table_again_is_skipped_and_another_is_refused(site: Validators, tmp_path: Path) -> None:
    rows = [{"url": site.url(f"{number}"), "n": number} for number in range(4)]
    output = tmp_path / "out"
    assert counted(run(table(tmp_path, "parquet", rows), "-o", output)) == (4, 0, 0)
    assert counted(run(table(tmp_path, "parquet", rows), "-o", output)) == (0, 4, 0)
    done = run(table(tmp_path, "parquet", rows[::-1]), "-o", output)
    assert (done.code, "t.parquet:1: position 0 is " in done.err) == (1, True)
    assert len(site.paths()) == 4


@pytest.mark.parametrize("name", ["lists/t.csv", "lists/t.gz", "lists/t.csv?of=today"])
def test_a_list_on_the_web_is_read_if_its_format_is_given(site: Validators, name: str) -> None:
    assert urls(site.url(name), input_format="csv") == [site.url("one"), site.url("two")]


def test_a_list_on_the_web_is_a_picture_otherwise_and_that_is_said(site: Validators) -> None:
    url = site.url("lists/t.csv")
    source = Targets(InputSettings((url,)))
    source.check()
    assert list(source.notes) == [f"{url} is fetched as a picture; to read it as a list: --input-format csv"]


@pytest.mark.parametrize(("form", "text"), [("csv", "url\n{}\n"), ("json", '[{{"url": "{}"}},')])
def test_a_table_from_a_pipe_that_stays_open_ends_with_ctrl_c(
    site: Validators, tmp_path: Path, form: str, text: str
) -> None:
    words = command("run", "-", "--input-format", form, "-o", tmp_path / "out", *HERE)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(PYTHONUNBUFFERED="1"), start_new_session=True
    ) as process:
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            process.stdin.write(text.format(site.url("0")).encode())
            process.stdin.flush()
            process.stderr.readline()  # it says how it goes: it has begun
            os.killpg(process.pid, signal.SIGINT)
            process.wait(LIMIT)
        finally:
            limit.cancel()
            process.kill()
    assert process.returncode == 130
