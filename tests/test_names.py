"""What a picture is called on disk: whatever a URL or a template holds, the file lies in the folder and is nobody else's."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.checks import NAME_FIELDS
from crawler.errors import SettingsError
from crawler.model import Fetched, Picture, Receipt, Target
from crawler.settings import DEFAULT_NAME, StoreSettings
from crawler.store.files import FileStore
from crawler.store.names import PER_FOLDER, file_name, numbered
from crawler.urls import BadURL, parse

LONGEST_NAME = 255  # bytes that a file system takes for one part of a path
RESERVED = ("metadata.jsonl", ".crawler")  # what a run keeps in the folder for itself


def picture(url: str = "http://example.org/cat.jpg", index: int = 0, data: bytes = b"", width: int = 640) -> Picture:
    fetched = Fetched(Target(index, url), b"", url, 200, "image/jpeg", 0.0, 0.0)
    return Picture(fetched, data, "jpeg", "jpg", width, 480, 800, 600, "jpeg", hashlib.sha256(data).digest())


def check_path(name: str) -> None:
    parts = PurePosixPath(name).parts
    assert not PurePosixPath(name).is_absolute()
    assert not [part for part in parts if part.startswith(".")]
    assert "/".join(parts) == name, "no empty part"
    assert not set(name) & set('\\:*?"<>|\x00\r\n\t ')
    assert all(len(part.encode()) <= LONGEST_NAME - len("-18446744073709551615") for part in parts)
    assert parts[0] not in RESERVED
    assert name.endswith(".jpg")


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (DEFAULT_NAME, "00012/00123456.jpg"),
        ("{folder}/{index:08d}", "00012/00123456.jpg"),
        ("{index}", "123456.jpg"),
        ("{host}/{stem}", "example.org/cat_one.jpg"),
        ("{width}x{height}/{stem}-{index:010d}", "640x480/cat_one-0000123456.jpg"),
        ("{sha256:.2}/{sha256}", None),
        ("pictures\\{stem}", "pictures/cat_one.jpg"),
        ("my pictures/{stem}", "my_pictures/cat_one.jpg"),
        ("{index}.{stem}", "123456.cat_one.jpg"),
    ],
)
def test_a_template_is_filled_in(template: str, name: str | None) -> None:
    sha = hashlib.sha256(b"").hexdigest()
    StoreSettings(name=template)
    taken = picture("http://example.org/a/cat%20one.png?x=1#y", 123_456)
    assert file_name(template, taken) == (name or f"{sha[:2]}/{sha}.jpg")


def test_a_folder_holds_ten_thousand() -> None:
    assert PER_FOLDER == 10_000
    names = [file_name(DEFAULT_NAME, picture(index=index)) for index in (0, 9_999, 10_000, 10_000 * 100_000)]
    assert names == ["00000/00000000.jpg", "00000/00009999.jpg", "00001/00010000.jpg", "100000/1000000000.jpg"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/../../etc/passwd",
        "http://example.org/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "http://example.org/..%5c..%5cwindows",
        "http://example.org/%00",
        "http://example.org/.crawler",
        "http://example.org/.crawler.jpg",
        "http://example.org/metadata.jsonl.jpg",
        "http://metadata.jsonl/a.jpg",
        "http://example.org/" + "a" * 5000,
        "http://example.org/" + "%F0%9F%90%88%CC%81" * 300,
        "http://example.org/CON",
        "http://[::1]/a.jpg",
        "http://example.org/%E2%80%AEgpj.exe",
    ],
)
@pytest.mark.parametrize("template", ["{stem}", "{host}/{stem}", "{stem}/{index}", "{stem}{stem}{stem}"])
def test_a_hostile_address_stays_in_the_folder(url: str, template: str) -> None:
    check_path(file_name(template, picture(url)))


templates = st.lists(
    st.sampled_from([*(f"{{{name}}}" for name in NAME_FIELDS), "{index:06d}", "{sha256:.2}", "/", "\\", ".", "..", "-"])
    | st.text(max_size=6),
    max_size=6,
).map("".join)
hostile = st.text(max_size=80).map("http://example.org/{}".format) | st.sampled_from(
    ["http://example.org/%2e%2e/%2e%2e%2f.jpg", "http://example.org/.jpg", "http://example.org/metadata.jsonl.jpg"]
)


def check_template(template: str, url: str, index: int, width: int) -> None:
    """It is refused when the settings are built, or it gives every picture a name."""
    try:
        StoreSettings(name=template)
        parse(url)
    except (SettingsError, BadURL):
        return
    check_path(file_name(template, picture(url, index, width=width)))


@settings(deadline=None)
@given(templates | st.text(max_size=20), hostile, st.integers(0, 2**40), st.integers(1, 65_535))
@example("{stem}", "http://example.org/..", 0, 1)
@example("{index:{width}}", "http://example.org/a", 0, 65_535)
def test_a_template_is_refused_or_names_every_picture(template: str, url: str, index: int, width: int) -> None:
    check_template(template, url, index, width)


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("{stem:{stem}<5}", "http://example.org/cat"),
        ("{host:{stem}}", "http://example.org/cat"),
        ("{index:c}", "http://example.org/cat"),
        ("{width:c}", "http://example.org/cat"),
        ("{index:,}/{stem}", "http://example.org/cat"),
        ("metadata.jsonl/{index}", "http://example.org/cat"),
        ("metadata.jsonl\\{index}", "http://example.org/cat"),
    ],
)
def test_a_template_that_only_some_pictures_break_is_refused(template: str, url: str) -> None:
    check_template(template, url, 2**40, 0xD800)


# Templates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "",
        "picture",
        "/{index}",
        "{index}/",
        "//{index}",
        "a//{index}",
        "../{index}",
        "{index}/..",
        "a/../{index}",
        "./{index}",
        ".{index}",
        ".crawler/{index}",
        "a/.b/{index}",
        "..\\{index}",
        "\\{index}",
        "{index}\x00",
        "{index!r:.0}/{stem}",
        "{host:.0}/../{stem}",
        "{stem:.>5}",
        "{stem:/>5}",
        "{{index}}",
    ],
)
def test_a_template_that_leads_elsewhere_is_refused(template: str) -> None:
    with pytest.raises(SettingsError) as refused:
        StoreSettings(name=template)
    assert repr(template) in str(refused.value)
    assert refused.value.field == "name"


@pytest.mark.parametrize(
    "template",
    ["{colour}", "{}", "{0}", "{index.real}", "{host[0]}", "{stem.__class__}", "{Index}", "{ index }"],
)
def test_an_unknown_field_is_refused_with_those_there_are(template: str) -> None:
    with pytest.raises(SettingsError) as refused:
        StoreSettings(name=template)
    assert repr(template) in str(refused.value)
    for name in NAME_FIELDS:
        assert name in str(refused.value)


@pytest.mark.parametrize(
    "template", ["{", "}", "{index", "index}", "{index!x}", "{stem:d}", "{index:zz}", "{index:999999999999}"]
)
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(SettingsError) as refused:
        StoreSettings(name=template)
    assert repr(template) in str(refused.value)


def test_a_name_is_text() -> None:
    with pytest.raises(SettingsError):
        StoreSettings(name=None)  # type: ignore[arg-type]


# Names that are taken ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "other"),
    [("cat.jpg", "cat-7.jpg"), ("a.b/cat.tar.jpg", "a.b/cat.tar-7.jpg"), ("a.b/cat.jpg", "a.b/cat-7.jpg")],
)
def test_a_taken_name_gets_the_number_of_its_target(name: str, other: str) -> None:
    assert numbered(name, 7) == other


async def stored(folder: Path, template: str, pictures: list[Picture]) -> list[Receipt]:
    store = FileStore(folder, template)
    try:
        async with store:
            return await asyncio.gather(*(store.put(one) for one in pictures))
    finally:
        await asyncio.to_thread(store.ended, True)


@pytest.mark.parametrize(
    "stems",
    [["cat"] * 5, ["cat", "cat-2", "cat"], ["cat", "cat-3", "cat-3-3", "cat"], ["cat-2", "cat-2", "cat", "cat"]],
    ids=" ".join,
)
async def test_no_picture_replaces_another(tmp_path: Path, stems: list[str]) -> None:
    pictures = [
        picture(f"http://example.org/{number}/{stem}.jpg", number, b"%d" % number) for number, stem in enumerate(stems)
    ]
    receipts = await stored(tmp_path, "{stem}", pictures)
    kept = {path.read_bytes() for path in tmp_path.glob("*.jpg")}
    assert kept == {one.data for one in pictures}
    assert len({receipt.file_name for receipt in receipts}) == len(stems)


async def test_a_picture_does_not_take_the_place_of_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(b"")
    (receipt,) = await stored(tmp_path, "{stem}/{index}", [picture("http://example.org/metadata.jsonl.jpg")])
    assert (tmp_path / receipt.file_name).is_file()
