"""JPEG to JPEG in YCbCr: the same picture as by way of RGB, whatever the sizes, the sampling and the turn."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from crawler.process import planes
from tests.processed import miss_of, opened, picture_of
from tests.servers.pictures import jpeg, scene


def saved(picture: Image.Image, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=98, **options)
    return out.getvalue()


def pixels(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(image.convert("RGB"), dtype=float)


def taken(body: bytes, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> tuple[Image.Image, int]:
    """What is stored, and how many pictures were scaled in YCbCr for it."""
    calls, scaled = [], planes.scaled

    def counted(*given: Any) -> Image.Image:
        calls.append(given)
        return scaled(*given)

    monkeypatch.setattr(planes, "scaled", counted)
    return opened(picture_of(body, quality=98, **flags)), len(calls)


SMOOTH = scene(901, 607, 5)


@pytest.mark.parametrize("source", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("subsampling", ["420", "422", "444"])
@pytest.mark.parametrize("size", [(257, 173), (256, 172), (300, 201)])
def test_it_is_the_picture_that_a_full_decode_gives(
    source: str, subsampling: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = saved(SMOOTH, subsampling=source)
    found, count = taken(body, monkeypatch, size=size, fit="fill", subsampling=subsampling)
    assert count == 1
    whole = Image.open(BytesIO(body)).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    expected = pixels(Image.open(BytesIO(saved(whole, subsampling=int(["444", "422", "420"].index(subsampling))))))
    assert found.size == size
    assert np.abs(pixels(found) - expected).mean() < 2.5


def test_colours_do_not_wander_where_a_side_is_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A colour off by a pixel shows as a seam: every stripe must keep its own up to the last column."""
    stripes = Image.new("RGB", (1010, 606))
    colours = [(230, 40, 40), (40, 60, 220)]
    for at in range(0, 1010, 202):
        stripes.paste(colours[at // 202 % 2], (at, 0, at + 202, 606))
    found, count = taken(saved(stripes, subsampling=0), monkeypatch, size=(255, 153), fit="fill")
    assert count == 1
    row = pixels(found)[76]
    for stripe in range(5):
        middle = row[round(51 * stripe) + 6 : round(51 * stripe) + 45].mean(axis=0)
        assert np.abs(middle - colours[stripe % 2]).max() < 6
    edge = row[-5:].mean(axis=0)
    assert np.abs(edge - colours[0]).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright_and_is_cropped_like_any_other(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    body = jpeg(640, 480, 3, exif_orientation=orientation)
    upright, count = taken(body, monkeypatch, size=(120, 160), fit="cover")
    assert count == 1
    plain = opened(picture_of(body, size=(120, 160), fit="cover", encode="png"))
    assert np.abs(pixels(upright) - pixels(plain)).mean() < 4


@pytest.mark.parametrize(
    "flags",
    [
        {"encode": "png"}, {"encode": "webp"}, {"filter": "lanczos"}, {"upscale": True, "size": 900, "fit": "outside"},
        {"fit": "contain", "size": (300, 300)}, {"dedup": "pixels"}, {"variant": ("w:64:inside:webp",)},
        {"fit": "cover", "gravity": "entropy"},
    ],
)  # fmt: skip
def test_what_needs_rgb_gets_it(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, count = taken(jpeg(640, 480, 2), monkeypatch, **{"size": 200} | flags)
    assert count == 0


def test_a_picture_with_a_profile_is_brought_to_srgb_first(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    _, count = taken(saved(SMOOTH, icc_profile=profile), monkeypatch, size=200)
    assert count == 0


def test_a_jpeg_that_holds_red_green_and_blue_keeps_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adobe's marker says that there is no YCbCr in it."""
    body = saved(Image.new("RGB", (400, 300), (200, 30, 60)), keep_rgb=True)
    found, count = taken(body, monkeypatch, size=100)
    assert count == 0
    assert np.abs(pixels(found).mean(axis=(0, 1)) - (200, 30, 60)).max() < 4


def test_what_is_missing_of_a_cut_off_picture_is_not_green() -> None:
    whole = jpeg(800, 600, 4)
    cut = whole[: len(whole) // 2]
    assert miss_of(cut, size=200).reason.value == "truncated"
    kept = pixels(opened(picture_of(cut, size=200, truncated="keep")))
    red, green, blue = kept[-10:].mean(axis=(0, 1))
    assert green < max(red, blue) + 30


def test_two_outputs_come_from_one_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    _, count = taken(jpeg(1200, 900, 1), monkeypatch, size=300, variant=("thumb:100:cover",))
    assert count == 2
