"""HEIC and HEIF: taken with the extra when they are asked for, never otherwise."""

from __future__ import annotations

import importlib.util
import json
from io import BytesIO

import pillow_heif
import pytest
from PIL import Image

from crawler.errors import MissingExtra
from crawler.model import Reason
from crawler.settings import Settings
from tests.cli import inside
from tests.conftest import third_party
from tests.processed import miss_of, opened, picture_of
from tests.servers.pictures import quadrant_names, quadrants

UPRIGHT = ("red", "green", "blue", "yellow")


def heic(orientation: int | None = None) -> bytes:
    """A HEIC of four colours, 120 x 80 upright."""
    with Image.open(BytesIO(quadrants(120, 80, orientation, "PNG"))) as picture:
        exif = picture.getexif().tobytes() if orientation else None
        stored = Image.frombytes("RGB", picture.size, picture.tobytes())
    pillow_heif.from_pillow(stored).save(out := BytesIO(), exif=exif, quality=95)
    return out.getvalue()


def test_heic_is_another_format_unless_it_is_asked_for() -> None:
    miss = miss_of(heic())
    assert miss.reason is Reason.UNSUPPORTED_FORMAT
    assert "HEIC" in miss.detail


@pytest.mark.parametrize("orientation", [None, 3, 6, 8])
def test_heic_stands_upright(orientation: int | None) -> None:
    picture = picture_of(heic(orientation), formats=("default", "heif"), size=60)
    assert (picture.original_format, picture.format) == ("heif", "jpeg")
    assert (picture.original_width, picture.original_height) == (120, 80)
    assert (picture.width, picture.height) == (60, 40)
    assert quadrant_names(opened(picture)) == UPRIGHT


def test_the_bytes_of_a_heic_can_be_kept() -> None:
    body = heic()
    picture = picture_of(body, formats="heif", encode="original")
    assert (picture.data, picture.extension) == (body, "heic")


def test_a_heic_is_held_to_the_limit_of_pixels() -> None:
    assert miss_of(heic(), formats="heif", max_pixels=9_599).reason is Reason.TOO_MANY_PIXELS


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'--formats: .*pip install "crawler\[heif\]"'):
        Settings.of(formats="default,heif")


def test_the_flag_takes_names_with_commas() -> None:
    shown = inside("run", "--formats", "default,heif", "--show-settings")
    assert 'formats = ["jpeg", "png", "webp", "gif", "bmp", "ico", "tiff", "avif", "jpeg2000", "heif"]' in shown.out


def test_third_party_heics_are_stored() -> None:
    folder = third_party("corpus")
    rows = json.loads((folder / "images.json").read_text())["files"]
    wanted = [row for row in rows if row["cls"] == "valid_with_plugin" and row["file"].endswith((".heic", ".heif"))]
    assert wanted
    for row in wanted:
        picture = picture_of((folder / "images" / row["file"]).read_bytes(), formats="default,heif", size=32)
        assert picture.original_format in ("heif", "avif"), row["file"]
