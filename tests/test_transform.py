"""What a person would expect of the pixels: upright, the right size, white behind what is transparent."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from crawler.process import worker
from crawler.process.done import Done
from crawler.process.job import Job
from crawler.settings import ProcessSettings
from tests.servers.pictures import gif, jpeg, png, quadrant_names, quadrants, webp

UPRIGHT = ("red", "green", "blue", "yellow")


def changed(body: bytes, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> tuple[Image.Image, Done]:
    """One picture as a worker would change it."""
    monkeypatch.setattr(worker, "_job", Job(ProcessSettings(**flags)))
    (result,) = worker.work([body])
    if not isinstance(result, Done):
        raise AssertionError(result)
    return Image.open(BytesIO(result[0] or body)), result


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["inside", "cover", "contain", "none"])
def test_pictures_stand_upright(orientation: int, fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, result = changed(quadrants(400, 200, orientation), monkeypatch, size=(100, 60), fit=fit)
    assert quadrant_names(picture) == UPRIGHT
    assert result[5:7] == (400, 200)
    assert picture.getexif().get(0x0112) is None, "the tag is not left behind"


@pytest.mark.parametrize(
    ("fit", "size"),
    [("inside", (100, 50)), ("outside", (120, 60)), ("cover", (100, 60)), ("contain", (100, 60)), ("fill", (100, 60))],
)
def test_every_fit_gives_its_size(fit: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    picture, result = changed(jpeg(400, 200), monkeypatch, size=(100, 60), fit=fit)
    assert picture.size == result[3:5] == size


def test_small_pictures_grow_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed(jpeg(40, 20), monkeypatch, size=100)[0].size == (40, 20)
    assert changed(jpeg(40, 20), monkeypatch, size=100, upscale=True)[0].size == (100, 50)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white_for_jpeg(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = BytesIO()
    clear = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    clear.paste((200, 30, 30, 255), (0, 0, 40, 80))
    clear.convert(mode).save(body, "PNG", **({"transparency": 0} if mode == "P" else {}))
    if mode == "P":
        clear.quantize(4).save(body := BytesIO(), "PNG")
    picture, _ = changed(body.getvalue(), monkeypatch, size=80)
    assert picture.mode in ("RGB", "L")
    right = picture.convert("L").getpixel((70, 40))
    assert isinstance(right, int)
    assert right > 245


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "I;16"])
def test_every_mode_comes_out_as_rgb_or_grey(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, _ = changed(png(90, 60, mode=mode), monkeypatch, size=60)
    assert picture.mode == ("L" if mode in ("L", "1", "LA", "I;16") else "RGB")
    assert picture.size == (60, 40)


def test_sixteen_bits_are_scaled_and_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    body = BytesIO()
    Image.new("I;16", (40, 40), 0x8000).save(body, "PNG")
    middle = changed(body.getvalue(), monkeypatch, size=40, encode="png")[0].getpixel((20, 20))
    assert middle == 128


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (jpeg(64, 48), "jpeg"),
        (jpeg(64, 48, mode="CMYK"), "jpeg"),
        (jpeg(64, 48, progressive=True), "jpeg"),
        (png(64, 48), "png"),
        (webp(64, 48), "webp"),
        (gif(64, 48, frames=3), "gif"),
    ],
)
def test_original_keeps_the_bytes(body: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, result = changed(body, monkeypatch, encode="original", size=16)
    assert result[0] is None, "the bytes do not travel back"
    assert (result[1], picture.size) == (name, (64, 48))


@pytest.mark.parametrize("fit", ["outside", "contain"])
def test_a_result_that_would_be_a_bomb_is_refused(fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ProcessSettings(size=60_000, fit=fit, upscale=True)  # type: ignore[arg-type]
    monkeypatch.setattr(worker, "_job", Job(settings))
    (result,) = worker.work([jpeg(8, 600)])
    assert result[0] == "too_many_pixels"


@pytest.mark.parametrize("encode", ["jpeg", "webp"])
def test_a_profile_is_kept_when_it_is_asked_for(encode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    body = BytesIO()
    Image.open(BytesIO(jpeg(64, 48))).save(body, "JPEG", icc_profile=profile)
    picture, _ = changed(body.getvalue(), monkeypatch, size=32, encode=encode, keep=("icc",))
    assert picture.info["icc_profile"] == profile
