"""Settings are checked when they are built: every bound is told with the name, the value and what is allowed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import CrawlerError, SettingsError
from crawler.settings import (
    GROUPS,
    MB,
    FetchSettings,
    FrontierSettings,
    InputSettings,
    ProcessSettings,
    ReportSettings,
    Settings,
    StateSettings,
    StoreSettings,
)

NAN = float("nan")

LOWEST: dict[str, tuple[float, float]] = {
    "repeat": (1, 0),
    "limit": (0, -1),
    "concurrency": (1, 0),
    "per_host": (0, -1),
    "delay": (0, -0.5),
    "rate": (0, -1),
    "max_wait": (0, -1),
    "retries": (0, -1),
    "timeout": (0.001, 0),
    "connect_timeout": (0.001, 0),
    "min_speed": (0, -1),
    "max_bytes": (1, 0),
    "max_redirects": (0, -1),
    "memory": (MB, MB - 1),
    "quality": (1, 0),
    "compression": (0, -1),
    "min_bytes": (0, -1),
    "min_size": (0, -1),
    "max_size": (0, -1),
    "min_aspect": (0, -0.1),
    "max_aspect": (0, -0.1),
    "max_pixels": (1, 0),
    "workers": (0, -1),
    "process_timeout": (0.01, 0),
    "worker_memory": (256 * MB, 256 * MB - 1),
    "progress_every": (0.05, 0),
    "shard_count": (1, 0),
    "row_group": (1, 0),
    "spool": (MB, MB - 1),
    "uploads": (1, 0),
    "store_patience": (0, -1),
    "depth": (0, -1),
    "max_pages": (0, -1),
    "max_pages_per_host": (0, -1),
    "max_pages_per_pattern": (0, -1),
    "max_data_url": (0, -1),
    "max_page_bytes": (1000, 999),
}
HIGHEST: dict[str, tuple[float, float]] = {
    "concurrency": (65_536, 65_537),
    "retries": (100, 101),
    "depth": (1000, 1001),
    "max_page_bytes": (1000 * MB, 1000 * MB + 1),
    "max_redirects": (50, 51),
    "quality": (100, 101),
    "compression": (9, 10),
    "workers": (1024, 1025),
    "shard_count": (10_000_000, 10_000_001),
    "row_group": (1_000_000, 1_000_001),
    "uploads": (256, 257),
}
TIMES = {
    "timeout", "connect_timeout", "process_timeout", "progress_every", "delay", "rate", "max_wait", "min_aspect", "max_aspect",
    "store_patience",
}  # fmt: skip
WHOLE = sorted(set(LOWEST) - TIMES)


def refused(**flat: Any) -> str:
    """What is said about one wrong setting, having named it."""
    (name,) = flat
    with pytest.raises(SettingsError) as error:
        Settings.of(**flat)
    assert error.value.field == name
    text = str(error.value)
    assert text.startswith(f"--{name.replace('_', '-')}: ")
    assert "\n" not in text
    return text


def value_of(settings: Settings, name: str) -> Any:
    return next(getattr(getattr(settings, group), name) for group in GROUPS if hasattr(getattr(settings, group), name))


def test_every_bounded_setting_is_in_these_tables() -> None:
    numbers = {
        setting.name
        for group in GROUPS.values()
        for setting in fields(group)
        if str(setting.type).split(" ")[0] in ("int", "float") and setting.name not in ("size", "frames")
    }
    assert numbers == set(LOWEST)


@pytest.mark.parametrize("name", LOWEST)
def test_the_lowest_value_is_taken_and_one_below_is_not(name: str) -> None:
    allowed, below = LOWEST[name]
    assert value_of(Settings.of(**{name: allowed}), name) == allowed
    text = refused(**{name: below})
    assert repr(below) in text
    assert f"{allowed:g}" in text


@pytest.mark.parametrize("name", HIGHEST)
def test_the_highest_value_is_taken_and_one_above_is_not(name: str) -> None:
    allowed, above = HIGHEST[name]
    assert value_of(Settings.of(**{name: allowed}), name) == allowed
    text = refused(**{name: above})
    assert repr(above) in text
    assert f"{allowed:g}" in text


@pytest.mark.parametrize("name", LOWEST)
@pytest.mark.parametrize("value", ["10", True, (10,), NAN, b"1"], ids=repr)
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    assert repr(value) in refused(**{name: value})


@pytest.mark.parametrize("name", sorted(set(LOWEST) - {"limit"}))
def test_nothing_is_no_number(name: str) -> None:
    assert "None given" in refused(**{name: None})


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_counted_is_a_whole_number(name: str) -> None:
    value = LOWEST[name][0] + 1.5
    assert repr(value) in refused(**{name: value})


@pytest.mark.parametrize("size", [1, 512, 65_535, (1, 65_535), (640, 480)])
def test_a_size_is_a_number_or_two(size: Any) -> None:
    box = Settings.of(size=size).process.box
    assert box == (size if isinstance(size, tuple) else (size, size))


@pytest.mark.parametrize(
    "size", [0, -1, 65_536, 1.5, "512", "640x480", True, None, (), (1,), (1, 2, 3), (0, 5), (5, 0)]
)
def test_another_size_is_refused(size: Any) -> None:
    text = refused(size=size)
    assert repr(size) in text
    assert "1 to 65535" in text


@pytest.mark.parametrize(
    ("name", "value", "choices"),
    [
        ("fit", "stretch", "inside, outside, cover, contain, fill, none"),
        ("fit", None, "inside, outside, cover, contain, fill, none"),
        ("encode", "JPEG", "jpeg, png, webp, avif, gif, original"),
        ("encode", "bmp", "jpeg, png, webp, avif, gif, original"),
        ("gravity", "up", "center, north, "),
        ("filter", "area", "auto, lanczos, bicubic, "),
        ("subsampling", "411", "420, 422, 444"),
        ("mode", "cmyk", "auto, rgb"),
        ("truncated", "yes", "miss, keep"),
        ("dedup", "near:11", "url, bytes, pixels, near"),
        ("dedup", "bytes:1", "url, bytes, pixels, near"),
        ("frames", 0, "first, all, or a number"),
        ("frames", "last", "first, all, or a number"),
        ("background", "#12", "a colour"),
        ("background", "#00000080", "a colour"),
        ("format", "tar", "files, webdataset, parquet, none"),
        ("format", ["files"], "files, webdataset, parquet, none"),
        ("retry_missed", "sometimes", "later, all, "),
    ],
)
def test_a_choice_is_one_of_those_that_are_named(name: str, value: object, choices: str) -> None:
    text = refused(**{name: value})
    assert repr(value) in text
    assert choices in text


@pytest.mark.parametrize("value", [" ", "a\nb", "a\r\nX: y", "caf\u00e9", "a\x00", "\u732b", None, 5])
def test_a_user_agent_is_plain_text(value: object) -> None:
    assert repr(value) in refused(user_agent=value)


@pytest.mark.parametrize("name", ["upscale", "allow_private", "durable"])
@pytest.mark.parametrize("value", ["false", None])
def test_a_switch_is_true_or_false(name: str, value: object) -> None:
    """`"false"` is true to Python: private addresses would be open to whoever wrote it."""
    assert repr(value) in refused(**{name: value})


def test_the_output_may_be_a_path() -> None:
    assert Settings.of(output=Path("pictures")).store.output == "pictures"


# Sources ----------------------------------------------------------------------------------------


def test_one_source_may_be_given_alone() -> None:
    assert Settings.of("urls.txt").input.sources == ("urls.txt",)
    assert Settings.of(sources="urls.txt").input.sources == ("urls.txt",)
    assert InputSettings(sources="urls.txt").sources == ("urls.txt",)


def test_sources_are_kept_as_they_are_given() -> None:
    addresses = ["http://a/1", "http://a/2"]
    assert Settings.of(addresses).input.sources is addresses
    generator = (address for address in addresses)
    assert Settings.of(generator).input.sources is generator


def test_sources_cannot_be_given_twice() -> None:
    with pytest.raises((SettingsError, TypeError)):
        Settings.of("a.txt", sources=("b.txt",))


@pytest.mark.parametrize("value", [None, 5, b"http://a/1"])
def test_what_is_no_source_is_refused(value: Any) -> None:
    assert repr(value) in refused(sources=value)


# As a whole -------------------------------------------------------------------------------------


def test_flat_names_find_their_group() -> None:
    settings = Settings.of(
        ["http://a/1"], output="out", size=(64, 32), per_host=2, timeout=5, durable=True, progress_every=1, limit=3
    )
    assert settings == Settings(
        input=InputSettings(["http://a/1"], limit=3),
        frontier=FrontierSettings(per_host=2),
        fetch=FetchSettings(timeout=5),
        process=ProcessSettings(size=(64, 32)),
        store=StoreSettings(output="out"),
        state=StateSettings(durable=True),
        report=ReportSettings(progress_every=1),
    )


def test_without_anything_there_are_the_defaults() -> None:
    assert Settings.of() == Settings()


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    text = refused(thread_count=8)
    assert "unknown setting" in text
    for group in GROUPS.values():
        for setting in fields(group):
            assert setting.name in text


def test_no_name_is_used_twice() -> None:
    names = [setting.name for group in GROUPS.values() for setting in fields(group)]
    assert len(names) == len(set(names))


def test_the_groups_are_those_of_settings() -> None:
    assert {setting.name for setting in fields(Settings)} == set(GROUPS)
    assert all(is_dataclass(group) for group in GROUPS.values())


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_settings_cannot_be_changed(group: str) -> None:
    settings = Settings()
    part = getattr(settings, group) if group else settings
    name = fields(part)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(part, name, getattr(part, name))


def test_a_wrong_setting_is_an_error_of_this_package_and_a_value_error() -> None:
    with pytest.raises(CrawlerError):
        FetchSettings(timeout=-1)
    with pytest.raises(ValueError, match="--timeout"):
        FetchSettings(timeout=-1)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("variant", "thumb", "NAME:SIZE"),
        ("variant", "1st:10", "NAME:SIZE"),
        ("variant", "thumb:0", "1 to 65535"),
        ("variant", "thumb:10x65536", "1 to 65535"),
        ("variant", "thumb:10:crop", "inside, outside, cover"),
        ("variant", "thumb:10:cover:bmp", "jpeg, png, webp, avif, gif"),
        ("variant", "thumb:10:cover:original", "jpeg, png, webp, avif, gif"),
        ("variant", ("a:10", "a:20"), "a given more than once"),
        ("keep", "exif,gps", "gps given, must be some of exif, icc, xmp"),
        ("keep", 5, "some of exif, icc, xmp"),
        ("formats", "jpeg,svg", "svg given, must be some of jpeg, png"),
        ("formats", "", "nothing given"),
        ("transform", "module", "package.module:function"),
        ("transform", "module:", "package.module:function"),
        ("transform", "a b:c", "package.module:function"),
        ("transform", lambda picture: picture, "package.module:function"),
        ("verify_hash", 5, "name of a column"),
        ("url_column", 5, "must be text"),
    ],
    ids=lambda value: value.__name__ if callable(value) else repr(value),
)
def test_what_is_written_in_a_form_of_its_own_is_told_that_form(name: str, value: object, told: str) -> None:
    assert told in refused(**{name: value})


def test_a_variant_says_what_differs_from_the_main_picture() -> None:
    settings = Settings.of(encode="webp", variant=("small:64", "wide:640x360:cover", "icon:32:contain:png")).process
    assert [(one.label, one.box, one.fit, one.encode) for one in settings.outputs] == [
        ("", (512, 512), "inside", "webp"),
        ("small", (64, 64), "inside", "webp"),
        ("wide", (640, 360), "cover", "webp"),
        ("icon", (32, 32), "contain", "png"),
    ]


def test_variants_are_refused_where_bytes_are_kept_as_they_came() -> None:
    with pytest.raises(SettingsError, match="--variant: cannot be made with --encode original"):
        Settings.of(encode="original", variant="thumb:64:cover:webp")


def test_no_strip_keeps_everything() -> None:
    assert Settings.of().process.kept == frozenset()
    assert Settings.of(keep="exif, XMP").process.kept == {"exif", "xmp"}
    assert Settings.of(strip=False).process.kept == {"exif", "icc", "xmp"}
