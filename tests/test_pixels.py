"""Pixel by pixel against readers of our own: libvips, and numpy where libvips has another convention.

Where a comparison allows a difference, the reason stands beside it. `EXACT` is for what is only moved about, `ROUNDED`
for one rounding to eight bits on each side.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
import pyvips
from PIL import Image

from crawler.model import Reason
from tests.processed import miss_of, opened, picture_of
from tests.servers import profiles
from tests.servers.pictures import jpeg, png, scene

Pixels: TypeAlias = npt.NDArray[np.float64]
"""Height x width x bands, 0 to 255."""


class Within(NamedTuple):
    """How far two pictures may be apart, in levels of 255."""

    mean: float
    most: float


EXACT: Final = Within(0, 0)
ROUNDED: Final = Within(0.6, 1)
"""Half a level on each side."""
CONVERTED: Final = Within(0.7, 2)
"""Two versions of LittleCMS, and its tables of 16 bits against formulas, round differently."""
BLENDED: Final = Within(1, 3)
"""Blending in integers, where decoders take 255 for 256 and the other way round."""
LOSSY: Final = Within(4, 60)
"""AVIF and JPEG at a high quality: hard edges ring, the picture as a whole is the same."""

EXIF_ORIENTATION: Final = 0x0112
TURNED: Final[dict[int, Callable[[Pixels], Pixels]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""What a viewer does to the stored pixels (EXIF 2.3, Orientation), by its number."""
STORED: Final = {number: TURNED[{6: 8, 8: 6}.get(number, number)] for number in TURNED}
"""How upright pixels have to lie in a file with that number."""


# Reading and comparing


def pixels_of(image: Any) -> Pixels:
    """Pixels of a libvips or Pillow image."""
    found = np.asarray(image) if isinstance(image, Image.Image) else image.numpy()
    return np.atleast_3d(found).astype(np.float64)


def read(data: bytes) -> Pixels:
    """The pixels of a file as they lie in it, by libvips."""
    return pixels_of(pyvips.Image.new_from_buffer(data, ""))


def shown(data: bytes) -> Pixels:
    """A still picture as a viewer shows it, by libvips: upright, in sRGB, eight bits; what transparency there is stays."""
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, intent="perceptual", depth=8)
    return pixels_of(image)


def rgb(pixels: Pixels) -> Pixels:
    """Grey as three bands, without what transparency there is."""
    bands = pixels.shape[2] - 1 + pixels.shape[2] % 2
    return np.repeat(pixels[:, :, :1], 3, axis=2) if bands == 1 else pixels[:, :, :3]


def rgba(pixels: Pixels) -> Pixels:
    """Four bands."""
    alpha = pixels[:, :, -1:] if pixels.shape[2] in (2, 4) else np.full((*pixels.shape[:2], 1), 255.0)
    return np.concatenate([rgb(pixels), alpha], axis=2)


def weighted(pixels: Pixels) -> Pixels:
    """Colours times their alpha: what is clear has no colour."""
    whole = rgba(pixels)
    return np.concatenate([whole[:, :, :3] * whole[:, :, 3:] / 255, whole[:, :, 3:]], axis=2)


def laid_on(pixels: Pixels, ground: Sequence[float]) -> Pixels:
    """What is seen over a colour."""
    whole = weighted(pixels)
    return whole[:, :, :3] + np.array(ground) * (1 - whole[:, :, 3:] / 255)


def assert_same(found: Pixels, expected: Pixels, within: Within) -> None:
    assert found.shape == expected.shape
    apart = np.abs(found - expected)
    assert apart.mean() <= within.mean + 1e-9, f"{apart.mean():.3f} apart in the mean, at most {apart.max():.0f}"
    assert apart.max() <= within.most + 1e-9, f"at most {apart.max():.0f} apart, {apart.mean():.3f} in the mean"


def same_size(body: bytes, encode: str = "png", **flags: Any) -> Pixels:
    """What is stored at the size of the source, read by libvips; without loss unless told otherwise."""
    return read(picture_of(body, fit="none", encode=encode, lossless=encode == "webp", **flags).data)


# Making


def saved(image: Image.Image | Pixels, format: str, mode: str | None = None, **options: Any) -> bytes:
    picture = image if isinstance(image, Image.Image) else picture_from(image, mode)
    out = BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def picture_from(pixels: Pixels, mode: str | None = None) -> Image.Image:
    mode = mode or {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
    size = pixels.shape[1], pixels.shape[0]
    return Image.frombytes(mode, size, np.rint(pixels).astype(np.uint8).tobytes())


def photo(width: int = 64, height: int = 48, seed: int = 1) -> Pixels:
    return pixels_of(scene(width, height, seed))


def clear_photo(width: int = 64, height: int = 48, seed: int = 1) -> Pixels:
    """A picture with every alpha from 0 to 255, and loud colours where nothing is to be seen."""
    ramp = np.linspace(0, 255, width * height).round().reshape(height, width, 1)
    return np.concatenate([photo(width, height, seed), ramp], axis=2)


def palette_of(colours: Pixels) -> Image.Image:
    """A palette picture whose colours stand side by side."""
    picture = Image.new("P", (len(colours), 1))
    picture.putpalette(colours.astype(np.uint8).tobytes())
    picture.putdata(range(len(colours)))
    return picture.resize((len(colours) * 4, 8), Image.Resampling.NEAREST)


def orientation_tag(number: int, order: str = "<") -> bytes:
    """A TIFF block with one tag, as EXIF has it; `order` as in struct."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, EXIF_ORIENTATION, 3, 1, number, 0, 0)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def png_file(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_with(data: bytes, kind: bytes, content: bytes, before: bytes) -> bytes:
    """A PNG with one chunk more."""
    chunks = png_chunks(data)
    at = next(i for i, chunk in enumerate(chunks) if chunk[0] == before)
    return png_file([*chunks[:at], (kind, content), *chunks[at:]])


def jpeg_with(data: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with one segment more, at its head."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def oriented(pixels: Pixels, number: int, kind: str) -> bytes:
    """A file that a viewer shows as `pixels`, though they lie in it otherwise."""
    lying = STORED[number](pixels)
    if kind == "png":
        return png_with(saved(lying, "PNG"), b"eXIf", orientation_tag(number, ">"), b"IDAT")
    if kind == "png-late":
        return png_with(saved(lying, "PNG"), b"eXIf", orientation_tag(number), b"IEND")
    if kind == "tiff":
        return saved(lying, "TIFF", tiffinfo={EXIF_ORIENTATION: number})
    if kind == "tiff-lzw":
        return saved(lying, "TIFF", tiffinfo={EXIF_ORIENTATION: number}, compression="tiff_lzw")
    exif = b"Exif\0\0" + orientation_tag(number, ">" if number % 2 else "<")
    if kind == "jpeg":
        return jpeg_with(saved(lying, "JPEG", quality=95), 0xE1, exif)
    if kind == "webp":
        return saved(lying, "WEBP", lossless=True, exif=exif)
    if kind == "heic":  # pillow-heif writes irot and imir for the tag
        pillow_heif.from_pillow(Image.fromarray(lying.astype(np.uint8))).save(
            out := BytesIO(), quality=95, chroma=444, exif=exif
        )
        return out.getvalue()
    assert kind == "avif"
    return saved(lying, "AVIF", quality=95, subsampling="4:4:4", exif=exif)


# Orientation


@pytest.mark.parametrize("kind", ["jpeg", "png", "png-late", "webp", "tiff", "tiff-lzw", "avif", "heic"])
@pytest.mark.parametrize("number", range(1, 9))
def test_every_orientation_of_every_format_that_has_one(kind: str, number: int) -> None:
    upright = photo(60, 40)
    body = oriented(upright, number, kind)
    picture = picture_of(body, fit="none", encode="png", formats="default,heif")
    assert (picture.original_width, picture.original_height) == (60, 40)
    found = read(picture.data)
    if kind == "avif":
        # libvips turns by irot and imir itself; two versions of dav1d and of the colour conversion lie between.
        assert_same(found, read(body), BLENDED)
        assert_same(found, upright, LOSSY)
    elif kind == "heic":
        assert_same(found, upright, LOSSY)  # libvips has no decoder for it in its wheel
        return
    elif kind == "jpeg":
        # The same file, decoded as it lies and turned by us: two builds of libjpeg-turbo give the same pixels.
        assert_same(found, TURNED[number](read(body)), EXACT)
    else:
        assert_same(found, upright, EXACT)
    if not kind.startswith("png"):  # libvips does not look into eXIf
        assert_same(shown(body), found, BLENDED if kind == "avif" else EXACT)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("gravity", ["north", "southeast"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_the_part_that_is_kept_is_that_of_the_upright_picture(kind: str, gravity: str, number: int) -> None:
    body = oriented(photo(60, 100), number, kind)
    found = read(picture_of(body, size=(60, 40), fit="cover", gravity=gravity, encode="png").data)
    whole = same_size(body)
    assert_same(found, whole[:40] if gravity == "north" else whole[60:], EXACT)


def test_a_jpeg_that_is_shrunk_while_it_is_decoded_is_cropped_in_the_same_place() -> None:
    upright = photo(320, 480)
    body = oriented(upright, 6, "jpeg")
    found = read(picture_of(body, size=(40, 30), fit="cover", gravity="southwest", encode="png").data)
    expected = resized(TURNED[6](read(body))[240:], 40, 30, "hamming")
    assert_same(found, expected, SHRUNK)


@pytest.mark.parametrize("number", [0, 9, 65535])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_an_orientation_that_does_not_exist_turns_nothing(kind: str, number: int) -> None:
    upright = photo(60, 40)
    body = {
        "jpeg": lambda: jpeg_with(saved(upright, "JPEG"), 0xE1, b"Exif\0\0" + orientation_tag(number)),
        "png": lambda: png_with(saved(upright, "PNG"), b"eXIf", orientation_tag(number), b"IDAT"),
        "tiff": lambda: saved(upright, "TIFF", tiffinfo={EXIF_ORIENTATION: number}),
    }[kind]()
    assert_same(same_size(body), read(body), EXACT)


def test_avif_is_turned_by_its_own_properties_and_not_by_the_tag() -> None:
    # ISO/IEC 23008-12: EXIF in a HEIF file is a record of the past; irot and imir say how it is shown.
    body = oriented(photo(60, 40), 6, "avif")
    irot = body.index(b"irot")
    unturned = body[: irot + 4] + b"\0" + body[irot + 5 :]
    assert read(unturned).shape == (60, 40, 3), "libvips shows it lying now"
    assert_same(same_size(unturned), read(unturned), BLENDED)


@pytest.mark.parametrize(
    "broken",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
        b"Exif\0\0\0\0junk",
    ],
)
def test_a_broken_exif_block_spoils_no_picture(broken: bytes) -> None:
    body = jpeg_with(saved(photo(60, 40), "JPEG"), 0xE1, broken)
    assert_same(same_size(body), read(body), EXACT)


# Colour

PROFILES: Final = {
    "display-p3": (profiles.DISPLAY_P3, None),
    "adobe-rgb": (profiles.ADOBE_RGB, profiles.ADOBE_GAMMA),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_colours_come_out_in_srgb(format: str, name: str) -> None:
    primaries, gamma = PROFILES[name]
    own = np.random.default_rng(7).integers(0, 256, (40, 60, 3)).astype(np.float64)
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    body = saved(own, format, icc_profile=profiles.rgb_profile(primaries, gamma), **options)
    found = same_size(body)
    assert_same(found, profiles.rgb_to_srgb(own / 255, primaries, gamma) * 255, CONVERTED)
    assert_same(found, shown(body), CONVERTED)
    assert np.abs(found - own).mean() > 8, "the profile says something"


@pytest.mark.parametrize("format", ["JPEG", "AVIF"])
def test_colours_of_lossy_formats_come_out_in_srgb(format: str) -> None:
    profile = profiles.rgb_profile(*PROFILES["adobe-rgb"])
    own = photo() * 0.9 + 12  # what is far from the edge of the gamut is not cut off
    body = saved(own, format, quality=95, subsampling="4:4:4", icc_profile=profile)
    expected = profiles.rgb_to_srgb(read(body) / 255, *PROFILES["adobe-rgb"]) * 255
    # Where green is dark and red is bright, a level of the source (dav1d, YUV to RGB) is several of sRGB.
    assert_same(same_size(body), expected, CONVERTED if format == "JPEG" else Within(1.5, 12))
    assert_same(same_size(body), shown(body), CONVERTED if format == "JPEG" else Within(1.5, 12))


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_with_a_profile_is_converted_too(format: str, alpha: bool) -> None:
    own = np.tile(np.arange(256.0), (8, 1))[:, :, None]
    whole = np.concatenate([own, 255 - own], axis=2) if alpha else own
    found = same_size(saved(whole, format, icc_profile=profiles.grey_profile(1.75)))
    expected = profiles.grey_to_srgb(own / 255, 1.75) * 255
    if alpha:
        assert_same(rgba(found)[:, :, 3:], 255 - own, EXACT)
    # LittleCMS passes grey through Lab, and its lightness has a straight part near black.
    assert_same(rgb(found), rgb(expected), CONVERTED)
    assert np.abs(rgb(found)[:, :, :1] - own).mean() > 8


def test_alpha_has_no_profile() -> None:
    own = clear_photo()
    body = saved(own, "PNG", icc_profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    found = same_size(body)
    assert_same(found[:, :, 3:], own[:, :, 3:], EXACT)
    assert_same(found[:, :, :3], profiles.rgb_to_srgb(own[:, :, :3] / 255, profiles.DISPLAY_P3) * 255, CONVERTED)


def test_a_palette_has_the_profile_of_its_file() -> None:
    colours = np.random.default_rng(3).integers(0, 256, (32, 3)).astype(np.float64)
    body = saved(palette_of(colours), "PNG", icc_profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    expected = profiles.rgb_to_srgb(rgb(read(body)) / 255, profiles.DISPLAY_P3) * 255
    assert_same(rgb(same_size(body)), expected, CONVERTED)


def test_transparent_pixels_of_another_space_lie_on_white() -> None:
    own = clear_photo()
    body = saved(own, "PNG", icc_profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    converted = profiles.rgb_to_srgb(own[:, :, :3] / 255, profiles.DISPLAY_P3) * 255
    expected = laid_on(np.concatenate([converted, own[:, :, 3:]], axis=2), (255, 255, 255))
    found = picture_of(body, fit="none", quality=100, subsampling="444")
    assert_same(read(found.data), expected, Within(2, 16))  # a JPEG of hard edges, at its best quality


def test_a_picture_of_another_space_that_is_scaled_comes_out_in_srgb() -> None:
    own = photo(96, 64)
    body = saved(own, "PNG", icc_profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    found = read(picture_of(body, size=(48, 32), fit="fill", filter="box", encode="png").data)
    expected = boxed(profiles.rgb_to_srgb(own / 255, profiles.DISPLAY_P3) * 255, 2)
    # Whether it is scaled before or after it is converted shows at hard edges between strong colours, and nowhere else.
    assert_same(found, expected, Within(2, 60))
    assert np.abs(found - boxed(own, 2)).mean() > 8


@pytest.mark.parametrize(
    "broken",
    [
        b"no profile at all",
        profiles.rgb_profile(profiles.DISPLAY_P3)[:200],
        profiles.grey_profile(1.75),
        profiles.cmyk_profile(),
    ],
    ids=["junk", "cut off", "for grey", "for ink"],
)
def test_a_profile_that_cannot_be_used_is_noted_and_changes_nothing(broken: bytes) -> None:
    own = photo()
    picture = picture_of(saved(own, "PNG", icc_profile=broken), fit="none", encode="png")
    assert_same(read(picture.data), own, EXACT)
    assert any("profile" in note.lower() for note in picture.notes), picture.notes


def test_a_profile_that_is_good_is_not_noted() -> None:
    body = saved(photo(), "PNG", icc_profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    assert picture_of(body).notes == ()


def test_srgb_as_a_profile_changes_nothing() -> None:
    own = photo()
    assert_same(same_size(saved(own, "PNG", icc_profile=profiles.rgb_profile(profiles.SRGB))), own, ROUNDED)


@pytest.mark.parametrize("encode", ["jpeg", "png", "webp", "avif"])
def test_a_profile_that_is_kept_goes_with_untouched_pixels(encode: str) -> None:
    own = photo()
    profile = profiles.rgb_profile(profiles.DISPLAY_P3)
    body = saved(own, "PNG", icc_profile=profile)
    picture = picture_of(body, fit="none", encode=encode, keep=("icc",), lossless=True, quality=95, subsampling="444")
    assert opened(picture).info["icc_profile"] == profile
    assert_same(read(picture.data), own, EXACT if encode in ("png", "webp") else LOSSY)


@pytest.mark.parametrize(
    ("flags", "bands"),
    [
        ({"encode": "png"}, 1),
        ({"encode": "jpeg", "quality": 100}, 1),
        ({"encode": "webp"}, 3),
        ({"encode": "png", "mode": "rgb"}, 3),
        ({"encode": "png", "size": 64, "fit": "contain", "background": "#ff0080"}, 3),
    ],
)
def test_a_grey_profile_is_kept_with_grey_pixels_only(flags: dict[str, Any], bands: int) -> None:
    """In a file of three channels it is of no use, and readers ignore it: there the pixels become sRGB."""
    own = np.tile(np.linspace(0, 255, 64).round(), (64, 1))[:, :, None]
    if flags.get("fit") == "contain":
        own = own[:32]
    body = saved(own, "PNG", icc_profile=profiles.grey_profile(1.75))
    every: dict[str, Any] = {"keep": ("icc",), "fit": "none", "lossless": True} | flags
    picture = picture_of(body, **every)
    found = read(picture.data)
    assert ("icc_profile" in opened(picture).info, found.shape[2]) == (bands == 1, bands)
    found = found[16:48] if flags.get("fit") == "contain" else found
    expected = own if bands == 1 else rgb(profiles.grey_to_srgb(own / 255, 1.75) * 255)
    assert_same(found, expected, Within(1, 3))  # a JPEG is among them, and LittleCMS near black


def test_a_gif_holds_no_profile_so_its_pixels_are_srgb() -> None:
    colours = np.random.default_rng(4).integers(0, 256, (64, 3)).astype(np.float64)
    own = np.repeat(np.repeat(colours.reshape(8, 8, 3), 4, axis=0), 4, axis=1)
    body = saved(own, "PNG", icc_profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    picture = picture_of(body, fit="none", encode="gif", keep=("icc",))
    assert_same(rgb(read(picture.data)), profiles.rgb_to_srgb(own / 255, profiles.DISPLAY_P3) * 255, CONVERTED)


def test_a_profile_in_several_segments_is_read_and_kept() -> None:
    profile = profiles.rgb_profile(profiles.DISPLAY_P3, padding=150_000)
    body = saved(photo(), "JPEG", quality=95, icc_profile=profile)
    expected = profiles.rgb_to_srgb(read(body) / 255, profiles.DISPLAY_P3) * 255
    assert_same(same_size(body), expected, CONVERTED)
    assert opened(picture_of(body, keep=("icc",))).info["icc_profile"] == profile


def ink_patches() -> Pixels:
    """Every mixture of four inks that are there or not, 16 x 16 pixels each: flat, so that JPEG keeps it."""
    mixed = np.array(list(itertools.product((0.0, 255.0), repeat=4)))
    return np.repeat(np.repeat(mixed.reshape(4, 4, 4), 16, axis=0), 16, axis=1)


def ink_photo() -> Pixels:
    """All amounts of ink, smoothly."""
    across = np.tile(np.linspace(0, 255, 64), (64, 1))
    return np.stack([across, across.T, across[:, ::-1], across.T[::-1] / 2], axis=2).round()


def cmyk_file(inks: Pixels, kind: str, profile: bytes | None = None) -> bytes:
    if kind == "tiff":
        return saved(inks, "TIFF", "CMYK", icc_profile=profile)
    if kind == "cmyk":
        return saved(inks, "JPEG", "CMYK", quality=100, icc_profile=profile)
    # YCCK: amounts of ink taken for red, green and blue, as luminance and colour difference (libjpeg: "we convert YCCK
    # to CMYK by inverting"); black inverted, as Adobe has it. Pillow inverts the bands that it is given and writes them,
    # and its Adobe segment is told that they are YCCK.
    red, green, blue = inks[:, :, :3].transpose(2, 0, 1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    blueness, redness = 128 + (blue - luminance) / 1.772, 128 + (red - luminance) / 1.402
    bands = np.stack([luminance, blueness, redness, 255 - inks[:, :, 3]], axis=2).clip(0, 255)
    data = saved(255 - bands, "JPEG", "CMYK", quality=100, icc_profile=profile)
    at = data.index(b"Adobe\0d") + 11
    assert data[at] == 0
    return data[:at] + b"\x02" + data[at + 1 :]


@pytest.mark.parametrize("kind", ["cmyk", "ycck", "tiff"])
def test_ink_without_a_profile(kind: str) -> None:
    inks = ink_photo()
    # libvips has a profile of its own for ink without one, so what it should look like is a formula here.
    expected = (255 - inks[:, :, :3]) * (255 - inks[:, :, 3:]) / 255
    found = same_size(cmyk_file(inks, kind))
    assert_same(found, expected, ROUNDED if kind == "tiff" else Within(1, 6))  # JPEG at its best quality


@pytest.mark.parametrize("kind", ["cmyk", "ycck", "tiff"])
@pytest.mark.parametrize("keep", [(), ("icc",)], ids=["strip", "keep"])
def test_ink_with_a_profile(kind: str, keep: tuple[str, ...]) -> None:
    body = cmyk_file(ink_patches(), kind, profiles.cmyk_profile())
    picture = picture_of(body, fit="none", encode="png", keep=keep)
    found = read(picture.data)
    assert "icc_profile" not in opened(picture).info, "a profile for ink does not belong to RGB"
    # Lab in eight bits, as such tables have it, is up to five levels of a strong colour away.
    expected = profiles.inks_on_paper(ink_patches().reshape(-1, 4) / 255).reshape(64, 64, 3) * 255
    assert_same(found, expected, Within(2, 8))
    assert_same(found, shown(body), CONVERTED if kind == "tiff" else Within(1, 4))
    body = cmyk_file(ink_photo(), kind, profiles.cmyk_profile())
    assert_same(same_size(body), shown(body), CONVERTED if kind == "tiff" else Within(1, 4))


# Depth and mode


def deep_png(samples: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""
    height, width, bands = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return png_file([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def tiff_file(
    rows: bytes,
    width: int,
    height: int,
    bits: int,
    bands: int,
    order: str = "<",
    sample: int = 1,
    photometric: int = -1,
) -> bytes:
    """An uncompressed TIFF of one strip."""
    if photometric < 0:
        photometric = 1 if bands < 3 else 2
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 0)]
    tags += [(277, 3, bands), (278, 4, height), (279, 4, len(rows)), (339, 3, sample)]
    if bands in (2, 4):
        tags.insert(-1, (338, 3, 2))
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    extra = 8 + 2 + 12 * len(tags) + 4
    depths = struct.pack(f"{order}{bands}H", *[bits] * bands)
    samples = struct.pack(f"{order}{bands}H", *[sample] * bands)
    entries = b""
    for tag, kind, value in tags:
        if tag in (258, 339) and bands > 2:
            place = extra + (len(depths) if tag == 339 else 0)
            entries += struct.pack(order + "HHII", tag, kind, bands, place)
        elif tag in (258, 339):
            entries += struct.pack(order + "HHIHH", tag, kind, bands, value, value if bands == 2 else 0)
        else:
            value = extra + len(depths) + len(samples) if tag == 273 else value
            entries += struct.pack(order + ("HHII" if kind == 4 else "HHIHxx"), tag, kind, 1, value)
    head = mark + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4)
    return head + depths + samples + rows


def ramp16(bands: int, width: int = 64, height: int = 48) -> npt.NDArray[np.uint16]:
    """Every band its own noise over all 16 bits."""
    return np.random.default_rng(bands).integers(0, 65536, (height, width, bands), dtype=np.uint16)


CUT: Final = Within(0.6, 1)
"""The upper byte of sixteen bits, which is what Pillow decodes of colours: never more than one level apart."""
NEAREST: Final = Within(0.3, 0.51)
"""Sixteen or twelve bits of grey to the nearest of 256 levels."""


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_sixteen_bits_of_png_are_scaled(bands: int) -> None:
    samples = ramp16(bands)
    body = deep_png(samples)
    assert_same(read(body), samples.astype(np.float64), EXACT)
    assert_same(rgba(same_size(body)), rgba(samples / 257), NEAREST if bands == 1 else CUT)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_sixteen_bits_of_tiff_are_scaled(bands: int, order: str) -> None:
    samples = ramp16(bands)
    body = tiff_file(samples.astype(f"{order}u2").tobytes(), 64, 48, 16, bands, order)
    assert_same(read(body), samples.astype(np.float64), EXACT)
    assert_same(rgba(same_size(body)), rgba(samples / 257), NEAREST if bands == 1 else CUT)


def test_twelve_bits_of_tiff_are_scaled() -> None:
    samples = np.random.default_rng(12).integers(0, 4096, (48, 64))
    pairs = samples.reshape(48, 32, 2)
    packed = np.stack(
        [pairs[:, :, 0] >> 4, (pairs[:, :, 0] & 15) << 4 | pairs[:, :, 1] >> 8, pairs[:, :, 1] & 255], axis=2
    )
    body = tiff_file(packed.astype(np.uint8).tobytes(), 64, 48, 12, 1)
    assert_same(rgb(same_size(body))[:, :, :1], samples[:, :, None].astype(np.float64) * (255 / 4095), NEAREST)


def test_dark_sixteen_bits_stay_dark() -> None:
    """Scaled by what the format can hold, not by what this picture holds."""
    samples = np.tile(np.linspace(0, 4000, 64), (48, 1))[:, :, None].astype(np.uint16)
    assert_same(same_size(deep_png(samples)), samples.astype(np.float64) / 257, NEAREST)


def test_sixteen_bits_with_a_profile() -> None:
    samples = ramp16(3)
    body = png_with(
        deep_png(samples), b"iCCP", b"p\0\0" + zlib.compress(profiles.rgb_profile(profiles.DISPLAY_P3)), b"IDAT"
    )
    expected = profiles.rgb_to_srgb(samples / 65535, profiles.DISPLAY_P3) * 255
    # Cut to eight bits first: in the dark a level of the source is more than one of the result.
    assert_same(same_size(body), expected, Within(0.8, 8))


@pytest.mark.parametrize("bands", [1, 3])
def test_sixteen_bits_with_one_clear_colour(bands: int) -> None:
    samples = ramp16(bands)
    key = (0x1234, 0x5678, 0x9ABC)[:bands]
    samples[10:20] = key
    body = png_with(deep_png(samples), b"tRNS", struct.pack(f">{bands}H", *key), b"IDAT")
    assert (read(body)[10:20, :, -1] == 0).all()
    found = laid_on(same_size(body), (255, 255, 255))
    expected = rgb(samples / 257)
    expected[10:20] = 255
    assert_same(found, expected, CUT)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_one_clear_grey_of_few_bits(bits: int) -> None:
    most = (1 << bits) - 1
    samples = np.tile(np.arange(64) & most, (8, 1))
    bands = (samples[:, :, None] >> np.arange(bits)[::-1]) & 1
    rows = b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bands)
    header = (b"IHDR", struct.pack(">IIBBBBB", 64, 8, bits, 0, 0, 0, 0))
    body = png_file([header, (b"tRNS", struct.pack(">H", 1)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
    grey = (samples * (255 // most)).astype(np.float64)[:, :, None]
    expected = np.concatenate([grey, np.where(samples == 1, 0.0, 255.0)[:, :, None]], axis=2)
    assert_same(weighted(read(body)), weighted(expected), EXACT)
    assert_same(weighted(same_size(body)), weighted(expected), EXACT)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_in_tiff(bits: int) -> None:
    samples = np.random.default_rng(bits).integers(0, 1 << bits, (48, 64)).astype(f"<u{bits // 8}")
    body = tiff_file(samples.tobytes(), 64, 48, bits, 1, photometric=0)
    most = (1 << bits) - 1
    expected = (most - samples.astype(np.float64))[:, :, None]
    assert_same(read(body), expected, EXACT)
    assert_same(same_size(body), expected * (255 / most), NEAREST)


@pytest.mark.parametrize("turned", [False, True], ids=["black is zero", "white is zero"])
def test_one_bit_is_black_and_white(turned: bool) -> None:
    dots = np.random.default_rng(1).integers(0, 2, (48, 64)).astype(bool)
    body = tiff_file(np.packbits(dots ^ turned).tobytes(), 64, 48, 1, 1, photometric=0 if turned else 1)
    assert_same(same_size(body), dots[:, :, None] * 255.0, EXACT)
    if not turned:
        assert_same(same_size(saved(Image.fromarray(dots), "PNG")), dots[:, :, None] * 255.0, EXACT)


def test_one_bit_becomes_grey_when_it_is_scaled() -> None:
    dots = np.random.default_rng(1).integers(0, 2, (64, 96)).astype(bool)
    found = read(picture_of(saved(Image.fromarray(dots), "PNG"), size=48, filter="box", encode="png").data)
    assert_same(found, boxed(dots[:, :, None] * 255.0, 2), ROUNDED)


@pytest.mark.parametrize("encode", ["jpeg", "png", "webp", "avif"])
def test_grey_stays_grey_unless_told_otherwise(encode: str) -> None:
    own = photo()[:, :, :1]
    body = saved(own, "PNG")
    bands = 1 if encode in ("jpeg", "png") else 3
    assert opened(picture_of(body, encode=encode)).mode in (("L",) if bands == 1 else ("L", "RGB"))
    wide = picture_of(body, encode=encode, mode="rgb", lossless=True, quality=95)
    assert opened(wide).mode == "RGB"
    assert_same(read(wide.data), rgb(own), EXACT if encode in ("png", "webp") else LOSSY)


# Transparency


def clear_files() -> dict[str, tuple[bytes, Pixels]]:
    """Files with transparency, and their pixels as RGBA."""
    own = clear_photo()
    grey = own[:, :, [1, 3]]
    deep = ramp16(4)
    colours = np.random.default_rng(5).integers(0, 256, (32, 4)).astype(np.float64)
    palette = palette_of(colours[:, :3])
    indices = np.asarray(palette)
    keyed = photo()
    keyed[5:15, 5:25] = (12, 200, 77)
    keyed_rgba = rgba(keyed)
    keyed_rgba[(keyed == (12, 200, 77)).all(axis=2), 3] = 0
    return {
        "rgba": (saved(own, "PNG"), own),
        "grey": (saved(grey, "PNG"), rgba(grey)),
        "palette": (
            saved(palette, "PNG", transparency=colours[:, 3].astype(np.uint8).tobytes()),
            colours[indices],
        ),
        "one colour": (png_with(saved(keyed, "PNG"), b"tRNS", struct.pack(">HHH", 12, 200, 77), b"IDAT"), keyed_rgba),
        "deep": (deep_png(deep), deep / 257),
        "webp": (saved(own, "WEBP", lossless=True, exact=True), own),
        "tiff": (saved(own, "TIFF"), own),
        "tiff, multiplied": (multiplied_tiff(own), own),
    }


def multiplied_tiff(pixels: Pixels) -> bytes:
    """A TIFF of associated alpha: the colours are already multiplied (ExtraSamples 1)."""
    flat = np.rint(weighted(pixels)).astype(np.uint8).tobytes()
    body = tiff_file(flat, pixels.shape[1], pixels.shape[0], 8, 4)
    at = body.index(struct.pack("<HHIH", 338, 3, 1, 2)) + 8
    return body[:at] + b"\x01" + body[at + 1 :]


@pytest.mark.parametrize("name", clear_files())
@pytest.mark.parametrize(("background", "ground"), [("white", (255, 255, 255)), ("#ff0080", (255, 0, 128))])
def test_transparency_lies_on_the_background_in_jpeg(name: str, background: str, ground: tuple[int, ...]) -> None:
    body, own = clear_files()[name]
    picture = picture_of(body, fit="none", quality=100, subsampling="444", background=background)
    # Noise and hard edges through a JPEG of the best quality; where the background has a colour, so has what was grey.
    assert_same(rgb(read(picture.data)), laid_on(own, ground), Within(1.5, 24))


@pytest.mark.parametrize("encode", ["png", "webp", "avif"])
@pytest.mark.parametrize("name", clear_files())
def test_transparency_is_kept_where_the_format_can(name: str, encode: str) -> None:
    body, own = clear_files()[name]
    found = same_size(body, encode, quality=100, subsampling="444")
    # What was multiplied and rounded once cannot be told exactly any more; of 16 bits colour and alpha are rounded.
    within = Within(1, 2) if name in ("tiff, multiplied", "deep") else EXACT
    if encode == "avif":
        within = Within(2, 40)
    assert_same(weighted(found), weighted(own), within)


@pytest.mark.parametrize("size", [16, 256])
@pytest.mark.parametrize("filter", ["auto", "lanczos", "bicubic", "box"])
def test_no_dark_edge_around_what_was_cut_out(size: int, filter: str) -> None:
    """White on nothing, where nothing is black: any grey in the result came out of the transparent part."""
    own = np.zeros((64, 64, 4))
    rows, columns = np.mgrid[:64, :64]
    own[(rows - 31.5) ** 2 + (columns - 31.5) ** 2 < 400] = 255
    body = saved(own, "PNG")
    flat = read(picture_of(body, size=size, upscale=True, filter=filter, quality=100).data)
    assert flat.min() >= 252
    kept = read(picture_of(body, size=size, upscale=True, filter=filter, encode="png").data)
    assert kept.shape[:2] == (size, size)
    seen = rgba(kept)
    assert 0 < (seen[:, :, 3] > 0).mean() < 0.6
    assert seen[seen[:, :, 3] >= 8][:, :3].min() >= 250  # an alpha of 8 holds a colour in 1 of 32 steps


def test_scaling_weighs_colours_by_their_alpha() -> None:
    own = clear_photo(96, 64)
    found = read(picture_of(saved(own, "PNG"), size=48, filter="box", encode="png").data)
    expected = boxed(weighted(own), 2)
    assert_same(weighted(found), expected, Within(1, 2))  # multiplied, averaged and divided in eight bits


# Scaling


def boxed(pixels: Pixels, by: int) -> Pixels:
    """The mean of every `by` x `by` pixels."""
    height, width, bands = pixels.shape
    result: Pixels = pixels.reshape(height // by, by, width // by, by, bands).mean(axis=(1, 3))
    return result


def _cubic(x: Pixels) -> Pixels:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


KERNELS: Final[dict[str, Callable[[Pixels], Pixels]]] = {
    "box": lambda x: ((x > -0.5) & (x <= 0.5)).astype(np.float64),
    "bilinear": lambda x: np.maximum(1 - np.abs(x), 0),
    "hamming": lambda x: np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0),
    "bicubic": _cubic,
    "lanczos": lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0),
}


def _weights(before: int, after: int, kernel: str) -> Pixels:
    """A row of weights over the source for every pixel of the result; when shrinking, the kernel is as wide as a pixel."""
    if kernel == "nearest":
        chosen: Pixels = np.eye(before)[((np.arange(after) + 0.5) * before / after).astype(int)]
        return chosen
    scale = before / after
    centres = (np.arange(after)[:, None] + 0.5) * scale
    weights = KERNELS[kernel]((np.arange(before)[None] + 0.5 - centres) / max(scale, 1))
    result: Pixels = weights / weights.sum(axis=1, keepdims=True)
    return result


def resized(pixels: Pixels, width: int, height: int, kernel: str) -> Pixels:
    """Convolution along rows, eight bits again, then along columns."""
    down, across = _weights(pixels.shape[0], height, kernel), _weights(pixels.shape[1], width, kernel)
    between = np.einsum("hwb,xw->hxb", pixels, across).clip(0, 255).round()
    result: Pixels = np.einsum("yh,hxb->yxb", down, between).clip(0, 255)
    return result


SHRUNK: Final = Within(3, 40)
"""A JPEG is decoded at a half, a quarter or an eighth before the filter: the same picture, not the same pixels."""


@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "hamming", "bilinear", "box", "nearest"])
@pytest.mark.parametrize("size", [(41, 29), (143, 97)], ids=["down", "up"])
def test_every_filter_is_what_its_name_says(filter: str, size: tuple[int, int]) -> None:
    own = photo(96, 64)
    found = picture_of(saved(own, "PNG"), size=size, fit="fill", upscale=True, filter=filter, encode="png")
    # One rounding after each of the two directions.
    assert_same(read(found.data), resized(own, *size, filter), Within(0.6, 2))


def test_auto_is_hamming_to_shrink_and_lanczos_to_enlarge() -> None:
    own = photo(96, 64)
    for size, kernel in (((48, 32), "hamming"), ((192, 128), "lanczos")):
        found = picture_of(saved(own, "PNG"), size=size, fit="fill", upscale=True, encode="png")
        assert_same(read(found.data), resized(own, *size, kernel), Within(0.6, 2))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [24, 50, 75, 99])
def test_much_smaller_is_still_the_same_picture(kind: str, size: int) -> None:
    own = photo(400, 400)
    body = saved(own, "JPEG", quality=95, subsampling="4:4:4") if kind == "JPEG" else saved(own, "PNG")
    found = read(picture_of(body, size=size, encode="png").data)
    assert_same(found, resized(read(body), size, size, "hamming"), Within(1.5, 30))


@pytest.mark.parametrize(
    "gravity", ["center", "north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest"]
)
def test_gravity_says_which_part_stays(gravity: str) -> None:
    wide, high = photo(100, 40), photo(40, 100)
    across = {"west": 0, "east": 60}.get(gravity.removeprefix("north").removeprefix("south"), 30)
    down = {"north": 0, "south": 60}.get(gravity[:5], 30)
    found = same_fit(wide, gravity)
    assert_same(found, wide[:, across : across + 40], EXACT)
    assert_same(same_fit(high, gravity), high[down : down + 40], EXACT)


def same_fit(pixels: Pixels, gravity: str) -> Pixels:
    body = saved(pixels, "PNG")
    return read(picture_of(body, size=40, fit="cover", gravity=gravity, encode="png").data)


@pytest.mark.parametrize("place", [0, 30, 60])
@pytest.mark.parametrize("lying", [True, False])
@pytest.mark.parametrize("busy_is_dark", [True, False])
def test_entropy_keeps_the_part_where_something_is(place: int, lying: bool, busy_is_dark: bool) -> None:
    own = np.full((40, 100, 3), 230.0 if busy_is_dark else 20.0)
    noise = np.random.default_rng(1).integers(0, 120, (40, 40, 3)) + (0 if busy_is_dark else 130)
    own[:, place : place + 40] = noise
    found = same_fit(own if lying else own.swapaxes(0, 1), "entropy")
    flat = own[0, 50 if place != 30 else 0]
    assert (found == flat).all(axis=2).mean() < 0.3, "most of it is the busy part"


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_entropy_looks_at_the_upright_picture(kind: str, number: int) -> None:
    own = np.full((100, 40, 3), 230.0)
    own[60:] = np.random.default_rng(1).integers(0, 120, (40, 40, 3))
    body = oriented(own, number, kind)
    found = read(picture_of(body, size=40, fit="cover", gravity="entropy", encode="png").data)
    assert (np.abs(found - 230) < 30).all(axis=2).mean() < 0.3


@pytest.mark.parametrize("encode", ["jpeg", "png", "webp", "avif"])
def test_contain_pads_with_the_background(encode: str) -> None:
    flags: dict[str, Any] = {"size": 64, "fit": "contain", "background": "#ff0080", "quality": 95, "lossless": True}
    found = read(picture_of(saved(photo(64, 32), "PNG"), encode=encode, subsampling="444", **flags).data)
    assert found.shape == (64, 64, 3)
    expected = np.full((64, 64, 3), (255.0, 0, 128))
    expected[16:48] = photo(64, 32)
    assert_same(found, expected, EXACT if encode in ("png", "webp") else LOSSY)


@pytest.mark.parametrize("encode", ["png", "webp", "avif"])
def test_contain_pads_with_nothing_where_the_picture_has_alpha(encode: str) -> None:
    own = clear_photo(64, 32)
    found = read(
        picture_of(
            saved(own, "PNG"), size=64, fit="contain", encode=encode, lossless=True, quality=95, background="#ff0080"
        ).data
    )
    assert found.shape == (64, 64, 4)
    assert found[:15, :, 3].max() <= 2
    assert found[49:, :, 3].max() <= 2
    assert found[40, 32, 3] > 150


def test_contain_pads_grey_with_a_colour() -> None:
    found = read(
        picture_of(
            saved(photo(64, 32)[:, :, :1], "PNG"), size=64, fit="contain", background="#ff0080", encode="png"
        ).data
    )
    assert_same(found[:16], np.full((16, 64, 3), (255.0, 0, 128)), EXACT)
    assert_same(found[16:48], rgb(photo(64, 32)[:, :, :1]), EXACT)
    plain = read(picture_of(saved(photo(64, 32)[:, :, :1], "PNG"), size=64, fit="contain", encode="png").data)
    assert rgb(plain)[:16].min() == 255


# Animations


@dataclass(frozen=True)
class Part:
    """One frame as it lies in a file: what it draws where, and what happens before the next."""

    pixels: Pixels
    x: int = 0
    y: int = 0
    over: bool = True
    after: str = "keep"
    """keep, clear (its rectangle becomes transparent) or back (as it was before)."""


def composed(parts: Sequence[Part], width: int, height: int) -> list[Pixels]:
    """Every frame as it is shown, as GIF89a, the WebP container and APNG say it."""
    canvas = np.zeros((height, width, 4))
    shown = []
    for part in parts:
        before = canvas.copy()
        place = np.s_[part.y : part.y + part.pixels.shape[0], part.x : part.x + part.pixels.shape[1]]
        above = rgba(part.pixels)
        canvas[place] = _over(above, canvas[place]) if part.over else above
        shown.append(canvas.copy())
        if part.after == "clear":
            canvas[place] = 0
        elif part.after == "back":
            canvas = before
    return shown


def _over(above: Pixels, below: Pixels) -> Pixels:
    upper, lower = above[:, :, 3:] / 255, below[:, :, 3:] / 255
    alpha = upper + lower * (1 - upper)
    colour = (above[:, :, :3] * upper + below[:, :, :3] * lower * (1 - upper)) / np.where(alpha > 0, alpha, 1)
    return np.concatenate([colour, alpha * 255], axis=2)


CLEAR: Final = 127
DISPOSALS: Final = {"keep": 1, "clear": 2, "back": 3}
COLOURS: Final = np.random.default_rng(9).integers(0, 256, (128, 3)).astype(np.float64)


def gif_file(
    parts: Sequence[Part],
    width: int,
    height: int,
    delays: Sequence[int] = (),
    loop: int | None = None,
    disposals: Sequence[int] = (),
    clear: bool = True,
) -> bytes:
    """A GIF of up to 127 colours of `COLOURS` and, unless told otherwise, a clear one.

    It is not compressed: the dictionary is emptied in time.
    """
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF6, 0, 0) + COLOURS.astype(np.uint8).tobytes()
    if loop is not None:
        out += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0"
    for number, part in enumerate(parts):
        disposal = disposals[number] if disposals else DISPOSALS[part.after]
        delay = delays[number] // 10 if delays else 10
        out += b"!\xf9\x04" + struct.pack("<BHBx", disposal << 2 | clear, delay, CLEAR * clear)
        high, wide = part.pixels.shape[:2]
        out += b"," + struct.pack("<HHHHB", part.x, part.y, wide, high, 0)
        colours = rgba(part.pixels)
        indices = np.abs(colours[:, :, None, :3] - COLOURS[None, None, :CLEAR]).sum(axis=3).argmin(axis=2)
        indices[colours[:, :, 3] == 0] = CLEAR
        out += b"\x07" + _blocks(_codes(indices.ravel().tolist())) + b"\0"
    return out + b";"


def _codes(indices: list[int]) -> bytes:
    """Codes of eight bits: 128 clears the dictionary, 129 ends; 126 codes do not fill it beyond eight bits."""
    out = bytearray()
    for start in range(0, len(indices), 120):
        out += b"\x80" + bytes(indices[start : start + 120])
    return bytes(out) + b"\x81"


def _blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))


def webp_file(
    parts: Sequence[Part], width: int, height: int, delays: Sequence[int] = (), loop: int = 0, profile: bytes = b""
) -> bytes:
    """An animated WebP without loss."""
    flags = 0x12 | (0x20 if profile else 0)
    chunks = _riff(b"VP8X", struct.pack("<B3x", flags) + _three(width - 1) + _three(height - 1))
    if profile:
        chunks += _riff(b"ICCP", profile)
    chunks += _riff(b"ANIM", struct.pack("<IH", 0xFF336699, loop))
    for number, part in enumerate(parts):
        assert part.x % 2 == part.y % 2 == 0
        assert part.after != "back", "WebP has no such thing"
        still = saved(rgba(part.pixels), "WEBP", lossless=True, exact=True)
        data = still[still.index(b"VP8L") :]
        high, wide = part.pixels.shape[:2]
        head = _three(part.x // 2) + _three(part.y // 2) + _three(wide - 1) + _three(high - 1)
        head += _three(delays[number] if delays else 100) + bytes([(not part.over) << 1 | (part.after == "clear")])
        chunks += _riff(b"ANMF", head + data)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _three(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


def apng_file(
    parts: Sequence[Part],
    width: int,
    height: int,
    delays: Sequence[int] = (),
    loop: int = 0,
    poster: Pixels | None = None,
) -> bytes:
    """An animated PNG; `poster` is the picture for those who know no animation, and no frame of it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"acTL", struct.pack(">II", len(parts), loop))]
    if poster is not None:
        chunks.append((b"IDAT", _png_rows(poster)))
    order = itertools.count()
    for number, part in enumerate(parts):
        high, wide = part.pixels.shape[:2]
        dispose = {"keep": 0, "clear": 1, "back": 2}[part.after]
        delay = delays[number] if delays else 100
        control = struct.pack(">IIIIIHHBB", next(order), wide, high, part.x, part.y, delay, 1000, dispose, part.over)
        chunks.append((b"fcTL", control))
        if number == 0 and poster is None:
            chunks.append((b"IDAT", _png_rows(part.pixels)))
        else:
            chunks.append((b"fdAT", struct.pack(">I", next(order)) + _png_rows(part.pixels)))
    return png_file([*chunks, (b"IEND", b"")])


def _png_rows(pixels: Pixels) -> bytes:
    rows = np.rint(rgba(pixels)).astype(np.uint8)
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def frames_of(data: bytes, most: int = -1) -> list[Pixels]:
    """Every frame, or the first ones, of a GIF, WebP or PNG as it is shown.

    By libvips, and for PNG, which it does not animate, by us.
    """
    if data.startswith(b"\x89PNG"):
        return apng_frames(data)[: most if most > 0 else None]
    pages = pyvips.Image.new_from_buffer(data, "").get("n-pages")
    strip = pyvips.Image.new_from_buffer(data, "", n=min(pages, most) if most > 0 else -1)
    height = strip.get("page-height") if strip.get_typeof("page-height") else strip.height
    whole = rgba(pixels_of(strip))
    return [whole[top : top + height] for top in range(0, len(whole), height)]


def apng_frames(data: bytes) -> list[Pixels]:
    """The frames of an APNG: each is made a PNG of its own, read by libvips, and laid down as its fcTL says."""
    chunks = png_chunks(data)
    if all(kind != b"acTL" for kind, _ in chunks):
        return [rgba(read(data))]
    header = dict(chunks)[b"IHDR"]
    shared = [chunk for chunk in chunks if chunk[0] in (b"PLTE", b"tRNS")]
    controls: list[bytes] = []
    rows: list[bytes] = []
    for kind, content in chunks:
        if kind == b"fcTL":
            controls.append(content)
            rows.append(b"")
        elif kind == b"IDAT" and rows:
            rows[-1] += content
        elif kind == b"fdAT":
            rows[-1] += content[4:]
    parts = []
    for number, (control, content) in enumerate(zip(controls, rows, strict=True)):
        wide, high, x, y, _, _, dispose, blend = struct.unpack(">IIIIHHBB", control[4:])
        own = struct.pack(">II", wide, high) + header[8:]
        pixels = read(png_file([(b"IHDR", own), *shared, (b"IDAT", content), (b"IEND", b"")]))
        after = "clear" if dispose == 2 and number == 0 else ("keep", "clear", "back")[dispose]
        parts.append(Part(pixels / (257 if header[8] == 16 else 1), x, y, bool(blend), after))
    return composed(parts, *struct.unpack(">II", header[:8]))


def timing(data: bytes) -> tuple[list[int], int | None]:
    """Milliseconds of every frame, and how often it plays, as the format counts it (None: a GIF that does not say)."""
    if data.startswith(b"\x89PNG"):
        found = png_chunks(data)
        fractions = [struct.unpack_from(">HH", content, 20) for kind, content in found if kind == b"fcTL"]
        plays = next(struct.unpack(">II", content)[1] for kind, content in found if kind == b"acTL")
        return [round(1000 * part / (whole or 100)) for part, whole in fractions], plays
    strip = pyvips.Image.new_from_buffer(data, "", n=-1)
    if data.startswith(b"GIF8"):
        at = data.find(b"NETSCAPE2.0\x03\x01")
        return strip.get("delay"), struct.unpack_from("<H", data, at + 13)[0] if at >= 0 else None
    return strip.get("delay"), struct.unpack_from("<H", data, data.index(b"ANIM") + 12)[0]


def colour_part(width: int, height: int, seed: int, holes: bool = False) -> Pixels:
    """Colours out of `COLOURS`, every fourth pixel clear if there are holes."""
    chance = np.random.default_rng(seed)
    chosen = COLOURS[:CLEAR][chance.integers(0, CLEAR, (height, width))]
    alpha = (
        np.where(chance.integers(0, 4, (height, width, 1)) == 0, 0.0, 255.0)
        if holes
        else np.full((height, width, 1), 255.0)
    )
    return np.concatenate([chosen, alpha], axis=2)


def half_clear(width: int, height: int, seed: int) -> Pixels:
    chance = np.random.default_rng(seed)
    return chance.integers(0, 256, (height, width, 4)).astype(np.float64)


WIDE: Final = 48
HIGH: Final = 32

GIFS: Final = {
    "whole frames": [Part(colour_part(WIDE, HIGH, seed)) for seed in range(3)],
    "kept": [Part(colour_part(WIDE, HIGH, 1)), *(Part(colour_part(16, 10, n, True), 8 * n, 5 * n) for n in (2, 3))],
    "cleared": [
        Part(colour_part(WIDE, HIGH, 1)),
        Part(colour_part(16, 10, 2), 4, 3, after="clear"),
        Part(colour_part(16, 10, 3), 12, 9, after="clear"),
        Part(colour_part(8, 8, 4), 40, 24),
    ],
    "put back": [
        Part(colour_part(WIDE, HIGH, 1)),
        Part(colour_part(16, 10, 2, True), 4, 3, after="back"),
        Part(colour_part(16, 10, 3, True), 12, 9, after="back"),
        Part(colour_part(8, 8, 4), 40, 24),
    ],
    "first frame cleared": [
        Part(colour_part(WIDE, HIGH, 1), after="clear"),
        Part(colour_part(16, 10, 2), 4, 3, after="clear"),
        Part(colour_part(16, 10, 3), 20, 9),
    ],
    "first frame smaller than the canvas": [
        Part(colour_part(20, 20, 1), 10, 5),
        Part(colour_part(16, 10, 2), 30, 20),
    ],
    "clear and then put back": [
        Part(colour_part(WIDE, HIGH, 1, True), after="clear"),
        Part(colour_part(16, 10, 2), 4, 3, after="back"),
        Part(colour_part(16, 10, 3, True), 8, 9, after="clear"),
        Part(colour_part(WIDE, HIGH, 4, True)),
    ],
}

WEBPS: Final = {
    "whole frames": [Part(half_clear(WIDE, HIGH, seed), over=False) for seed in range(3)],
    "blended": [Part(half_clear(WIDE, HIGH, 1)), *(Part(half_clear(16, 10, n), 8 * n, 6 * n) for n in (2, 3))],
    "laid down": [Part(half_clear(WIDE, HIGH, 1)), *(Part(half_clear(16, 10, n), 8 * n, 6 * n, False) for n in (2, 3))],
    "cleared": [
        Part(half_clear(WIDE, HIGH, 1)),
        Part(half_clear(16, 10, 2), 4, 2, after="clear"),
        Part(half_clear(16, 10, 3), 12, 8, False, after="clear"),
        Part(half_clear(8, 8, 4), 40, 24),
    ],
    "first frame smaller than the canvas": [
        Part(half_clear(20, 20, 1), 10, 4, after="clear"),
        Part(half_clear(16, 10, 2), 30, 20),
    ],
}

APNGS: Final = WEBPS | {
    "put back": [
        Part(half_clear(WIDE, HIGH, 1)),
        Part(half_clear(16, 10, 2), 4, 3, after="back"),
        Part(half_clear(16, 10, 3), 12, 9, False, after="back"),
        Part(half_clear(8, 8, 4), 40, 24),
    ],
}

ANIMATIONS: Final = [
    *(pytest.param("gif", name, id=f"gif, {name}") for name in GIFS),
    *(pytest.param("webp", name, id=f"webp, {name}") for name in WEBPS),
    *(pytest.param("png", name, id=f"png, {name}") for name in APNGS),
]


def animation(kind: str, name: str, **options: Any) -> tuple[bytes, list[Pixels]]:
    """An animation and its frames as they are shown."""
    makers: dict[str, tuple[dict[str, list[Part]], Callable[..., bytes]]] = {
        "gif": (GIFS, gif_file),
        "webp": (WEBPS, webp_file),
        "png": (APNGS, apng_file),
    }
    parts, maker = makers[kind][0][name], makers[kind][1]
    return maker(parts, WIDE, HIGH, **options), composed(parts, WIDE, HIGH)


@pytest.mark.parametrize(("kind", "name"), ANIMATIONS)
def test_our_compositor_agrees_with_libvips(kind: str, name: str) -> None:
    body, expected = animation(kind, name)
    found = frames_of(body)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_same(weighted(one), weighted(other), EXACT if kind == "gif" else BLENDED)


@pytest.mark.parametrize("encode", ["webp", "png"])
@pytest.mark.parametrize(("kind", "name"), ANIMATIONS)
def test_every_frame_is_what_a_viewer_shows(kind: str, name: str, encode: str) -> None:
    body, expected = animation(kind, name)
    picture = picture_of(body, frames="all", fit="none", encode=encode, lossless=True)
    assert picture.frames == len(expected)
    assert picture.companions == ()
    found = frames_of(picture.data)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # WebP and PNG of ours may blend once more, on top of what the source blended.
        assert_same(weighted(one), weighted(other), EXACT if kind == "gif" else Within(1, 4))


@pytest.mark.parametrize("name", GIFS)
def test_a_gif_stays_a_gif_of_the_same_frames(name: str) -> None:
    body, expected = animation("gif", name)
    found = frames_of(picture_of(body, frames="all", fit="none", encode="gif").data)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # A frame has more than 127 colours of the palette at no time, so that nothing has to be left out.
        assert_same(weighted(one), weighted(other), EXACT)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_the_first_frame_is_what_stands_for_an_animation(kind: str) -> None:
    body, expected = animation(kind, "first frame smaller than the canvas")
    picture = picture_of(body, fit="none", encode="png")
    assert picture.frames == len(expected)
    assert picture.companions == ()
    assert (picture.original_width, picture.original_height) == (WIDE, HIGH)
    assert_same(weighted(read(picture.data)), weighted(expected[0]), EXACT if kind == "gif" else BLENDED)


@pytest.mark.parametrize("encode", ["jpeg", "avif"])
def test_other_formats_get_a_file_for_every_frame(encode: str) -> None:
    body, expected = animation("webp", "cleared")
    picture = picture_of(
        body, frames="all", fit="none", encode=encode, quality=100, subsampling="444", background="navy"
    )
    assert [companion.label for companion in picture.companions] == ["0001", "0002", "0003"]
    assert {companion.format for companion in picture.companions} == {encode}
    files = [picture.data, *(companion.data for companion in picture.companions)]
    for data, frame in zip(files, expected, strict=True):
        found = laid_on(read(data), (0, 0, 128))
        assert_same(found, laid_on(frame, (0, 0, 128)), Within(2.5, 60))  # noise, in a lossy format


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_as_many_frames_as_asked_for(kind: str) -> None:
    body, expected = animation(kind, "cleared")
    picture = picture_of(body, frames=2, fit="none", encode="png")
    assert picture.frames == 4
    found = frames_of(picture.data)
    assert len(found) == 2
    assert_same(weighted(found[1]), weighted(expected[1]), BLENDED)
    assert len(frames_of(picture_of(body, frames=99, fit="none", encode="webp").data)) == 4


@pytest.mark.parametrize("name", ["cleared", "first frame cleared", "first frame smaller than the canvas"])
def test_a_gif_without_a_clear_colour_is_cleared_all_the_same(name: str) -> None:
    """GIF89a has a background colour for that, which libvips uses and no browser: what is cleared is transparent."""
    body, expected = animation("gif", name, clear=False)
    found = frames_of(picture_of(body, frames="all", fit="none", encode="png").data)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_same(weighted(one), weighted(other), EXACT)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animations_made_at_random(kind: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    parts = []
    for number in range(6):
        wide, high = (WIDE, HIGH) if number == 0 and seed % 2 else chance.integers(2, 30, 2).tolist()
        x, y = (int(chance.integers(0, room // 2 + 1)) * 2 for room in (WIDE - wide, HIGH - high))
        pixels = colour_part(wide, high, number, True) if kind == "gif" else half_clear(wide, high, number)
        after = ("keep", "clear", "back")[chance.integers(0, 2 if kind == "webp" else 3)]
        if number == 0 and after == "back":
            after = "clear"  # there is nothing to go back to; APNG says so, and GIF is silent
        parts.append(Part(pixels, x, y, kind == "gif" or bool(chance.integers(0, 2)), after))
    makers: dict[str, Callable[..., bytes]] = {"gif": gif_file, "webp": webp_file, "png": apng_file}
    body = makers[kind](parts, WIDE, HIGH)
    expected = composed(parts, WIDE, HIGH)
    for one, other in zip(frames_of(body), expected, strict=True):
        assert_same(weighted(one), weighted(other), EXACT if kind == "gif" else Within(1, 4))
    picture = picture_of(body, frames="all", fit="none", encode="webp", lossless=True)
    for one, other in zip(frames_of(picture.data), expected, strict=True):
        assert_same(weighted(one), weighted(other), EXACT if kind == "gif" else Within(1, 4))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colours", [2, 5, 16, 200, 256])
def test_gifs_with_a_palette_for_every_frame(colours: int, interlaced: bool) -> None:
    """Written by Pillow: compressed, cut to what has changed, every frame with colours of its own."""
    pages = [scene(70, 50, seed).quantize(colours) for seed in range(3)]
    body = saved(pages[0], "GIF", save_all=True, append_images=pages[1:], duration=50, interlace=interlaced)
    picture = picture_of(body, frames="all", fit="none", encode="png")
    found = frames_of(picture.data)
    assert len(found) == 3
    for one, other, page in zip(found, frames_of(body), pages, strict=True):
        assert_same(weighted(one), weighted(other), EXACT)
        assert_same(rgb(one), pixels_of(page.convert("RGB")), EXACT)
    kept = frames_of(picture_of(body, frames="all", fit="none", encode="gif").data)
    for one, other in zip(kept, found, strict=True):
        # 256 colours and a clear one are one too many.
        assert_same(weighted(one), weighted(other), Within(1, 40) if colours == 256 else EXACT)


@pytest.mark.parametrize(
    "extra",
    [
        b"!\xfe\x05hello\0",
        b"!\xff\x0bXMP DataXMP\x03abc\0",
        b"!\x01\x0c" + bytes(12) + b"\0",
        b"!\x77\x03abc\x02de\0",
    ],
    ids=["comment", "application", "text", "unknown"],
)
def test_what_stands_between_the_frames_of_a_gif_changes_nothing(extra: bytes) -> None:
    body, expected = animation("gif", "cleared", delays=(40, 500, 120, 1000))
    control = b"!\xf9\x04"
    for between in (body.replace(control, extra + control), body[:-1] + extra + b";", body[:-1]):
        picture = picture_of(between, frames="all", fit="none", encode="png")
        assert timing(picture.data)[0] == [40, 500, 120, 1000]
        for one, other in zip(frames_of(picture.data), expected, strict=True):
            assert_same(weighted(one), weighted(other), EXACT)


def one_cleared_of_four() -> list[Part]:
    return [
        Part(colour_part(WIDE, HIGH, 1)),
        Part(colour_part(16, 10, 2), 4, 3, after="clear"),
        Part(colour_part(16, 10, 3), 24, 3),
        Part(colour_part(8, 8, 4), 0, 24),
    ]


def test_a_disposal_that_is_not_said_is_not_that_of_the_frame_before() -> None:
    """0 in the graphic control extension: nothing has to be done, as every browser has it."""
    parts = one_cleared_of_four()
    body = gif_file(parts, WIDE, HIGH, disposals=(1, 2, 0, 0))
    expected = composed(parts, WIDE, HIGH)
    found = frames_of(picture_of(body, frames="all", fit="none", encode="png").data)
    for one, other, third in zip(found, expected, frames_of(body), strict=True):
        assert_same(weighted(third), weighted(other), EXACT)
        assert_same(weighted(one), weighted(other), EXACT)


def test_a_frame_without_a_control_block_has_none_of_the_frame_before() -> None:
    parts = one_cleared_of_four()
    whole = gif_file(parts, WIDE, HIGH)
    pieces = whole.split(b"!\xf9\x04")
    bare = b"!\xf9\x04".join(pieces[:3]) + pieces[3][5:] + b"!\xf9\x04" + pieces[4]
    stuffed = whole.replace(b"!\xf9\x04", b"\0!\xf9\x04")  # some encoders end a block once more
    for body in (bare, stuffed):
        found = frames_of(picture_of(body, frames="all", fit="none", encode="png").data)
        for one, other in zip(found, composed(parts, WIDE, HIGH), strict=True):
            assert_same(weighted(one), weighted(other), EXACT)


def test_a_later_frame_beyond_the_canvas_is_cut_off() -> None:
    first, second = Part(colour_part(WIDE, HIGH, 1)), colour_part(16, 10, 2)
    body = gif_file([first, Part(second, WIDE - 8, HIGH - 4)], WIDE, HIGH)
    picture = picture_of(body, frames="all", fit="none", encode="png")
    assert (picture.width, picture.height) == (WIDE, HIGH)
    expected = composed([first, Part(second[:4, :8], WIDE - 8, HIGH - 4)], WIDE, HIGH)
    for one, other in zip(frames_of(picture.data), expected, strict=True):
        assert_same(weighted(one), weighted(other), EXACT)


def test_a_delay_over_nothing_is_in_hundredths() -> None:
    """PNG 3rd edition, 11.3.3.2: a denominator of 0 is to be treated as 100."""
    chunks = png_chunks(animation("png", "cleared", delays=(5, 5, 5, 5))[0])
    changed = [(kind, data[:22] + b"\0\0" + data[24:] if kind == b"fcTL" else data) for kind, data in chunks]
    picture = picture_of(png_file(changed), frames="all", fit="none", encode="png")
    assert timing(picture.data)[0] == [50, 50, 50, 50]


def test_the_poster_of_an_animated_png_is_no_frame_of_it() -> None:
    parts = APNGS["blended"]
    body = apng_file(parts, WIDE, HIGH, (70, 80, 90), poster=photo(WIDE, HIGH, 99))
    expected = composed(parts, WIDE, HIGH)
    picture = picture_of(body, frames="all", fit="none", encode="png")
    assert picture.frames == len(parts)
    assert timing(picture.data)[0] == [70, 80, 90]
    found = frames_of(picture.data)
    for one, other in zip(found, expected, strict=True):
        assert_same(weighted(one), weighted(other), BLENDED)


@pytest.mark.parametrize("frames", ["all", 2])
def test_the_poster_is_left_out_even_if_there_is_one_frame(frames: int | str) -> None:
    part = Part(colour_part(WIDE, HIGH, 1))
    body = apng_file([part], WIDE, HIGH, poster=photo(WIDE, HIGH, 99))
    picture = picture_of(body, frames=frames, fit="none", encode="png")
    assert picture.frames == 1
    assert_same(frames_of(picture.data)[0], part.pixels, EXACT)


@pytest.mark.parametrize("encode", ["webp", "png", "gif"])
@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_frames_last_as_long_as_in_the_source(kind: str, encode: str) -> None:
    body, _ = animation(kind, "cleared", delays=(40, 500, 120, 1000), loop=0)
    found, loop = timing(picture_of(body, frames="all", size=24, encode=encode).data)
    assert found == [40, 500, 120, 1000]
    assert loop == 0, "it plays for ever"


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_how_often_it_plays_stays_the_same(kind: str) -> None:
    body, _ = animation(kind, "cleared", loop=3)
    assert timing(picture_of(body, frames="all", size=24, encode=kind).data)[1] == 3


@pytest.mark.parametrize("encode", ["webp", "png", "gif"])
@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_what_plays_once_does_not_play_for_ever(kind: str, encode: str) -> None:
    """A GIF plays once unless it says otherwise; WebP and PNG say 1, where 0 is for ever."""
    body, _ = animation(kind, "cleared", loop=None if kind == "gif" else 1)
    assert timing(picture_of(body, frames="all", size=24, encode=encode).data)[1] == (None if encode == "gif" else 1)


@pytest.mark.parametrize("encode", ["webp", "png", "gif"])
def test_frames_that_look_the_same_still_take_their_time(encode: str) -> None:
    same = Part(colour_part(WIDE, HIGH, 1))
    body = gif_file([same, same, same, Part(colour_part(WIDE, HIGH, 2))], WIDE, HIGH, (100, 200, 300, 400), loop=0)
    delays, _ = timing(picture_of(body, frames="all", size=24, encode=encode).data)
    assert sum(delays) == 1000
    assert delays[-1] == 400


@pytest.mark.parametrize(("kind", "name"), ANIMATIONS)
def test_frames_are_scaled_after_they_were_composed(kind: str, name: str) -> None:
    body, expected = animation(kind, name)
    picture = picture_of(body, frames="all", size=24, filter="box", encode="png")
    for one, other in zip(frames_of(picture.data), expected, strict=True):
        assert_same(weighted(one), boxed(weighted(other), 2), BLENDED)


def test_every_frame_is_converted_to_srgb() -> None:
    parts = [Part(photo(WIDE, HIGH, seed), over=False) for seed in range(3)]
    body = webp_file(parts, WIDE, HIGH, profile=profiles.rgb_profile(profiles.DISPLAY_P3))
    picture = picture_of(body, frames="all", fit="none", encode="webp", lossless=True)
    for found, part in zip(frames_of(picture.data), parts, strict=True):
        assert_same(rgb(found), profiles.rgb_to_srgb(part.pixels / 255, profiles.DISPLAY_P3) * 255, CONVERTED)


def test_pages_of_a_tiff_are_frames() -> None:
    pages = [scene(40, 30, seed) for seed in range(3)]
    body = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    picture = picture_of(body, frames="all", fit="none", encode="jpeg", quality=100, subsampling="444")
    assert picture.frames == 3
    files = [picture.data, *(companion.data for companion in picture.companions)]
    for data, page in zip(files, pages, strict=True):
        assert_same(read(data), pixels_of(page), Within(1.5, 12))


def test_pages_of_a_tiff_may_differ_in_size_and_lie_on_their_side() -> None:
    pages = [scene(40, 30, 1), scene(20, 50, 2)]
    body = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], tiffinfo={EXIF_ORIENTATION: 6})
    picture = picture_of(body, frames="all", fit="none", encode="jpeg")
    assert (picture.width, picture.height) == (30, 40)
    (second,) = picture.companions
    assert (second.width, second.height) == (50, 20)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_all_frames_together_count_as_pixels(kind: str) -> None:
    body, _ = animation(kind, "cleared")
    assert picture_of(body, max_pixels=WIDE * HIGH).frames == 4
    assert picture_of(body, max_pixels=4 * WIDE * HIGH, frames="all", encode="webp").frames == 4
    for frames in ("all", 4, 2):
        # However small they become: it is their decoding that costs.
        miss = miss_of(body, max_pixels=2 * WIDE * HIGH - 1, frames=frames, encode="webp", size=8)
        assert miss.reason is Reason.TOO_MANY_PIXELS
    assert picture_of(body, max_pixels=2 * WIDE * HIGH, frames=2, encode="webp").frames == 4


def test_an_animation_in_its_original_bytes() -> None:
    for kind in ("gif", "webp", "png"):
        body, expected = animation(kind, "cleared")
        picture = picture_of(body, encode="original", frames="all")
        assert picture.data == body
        assert (picture.untouched, picture.frames) == (True, len(expected))


# Several results of one source


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_variant_is_what_a_run_of_its_own_gives(kind: str) -> None:
    body = oriented(photo(320, 240), 6, "png" if kind == "PNG" else "jpeg")
    whole = picture_of(
        body,
        size=120,
        encode="png",
        variant=("thumb:32:cover:webp", "wide:100x20:contain:png", "small:60"),
        lossless=True,
    )
    assert_same(
        read(whole.data), read(picture_of(body, size=120, encode="png").data), EXACT if kind == "PNG" else SHRUNK
    )
    lone = {
        "thumb": picture_of(body, size=32, fit="cover", encode="webp", lossless=True),
        "wide": picture_of(body, size=(100, 20), fit="contain", encode="png"),
        "small": picture_of(body, size=60, encode="png"),
    }
    assert [companion.label for companion in whole.companions] == list(lone)
    for companion in whole.companions:
        single = lone[companion.label]
        assert (companion.format, companion.extension) == (single.format, single.extension)
        assert (companion.width, companion.height) == (single.width, single.height)
        # A JPEG is decoded once, large enough for the largest of them; alone it would be decoded smaller.
        assert_same(read(companion.data), read(single.data), EXACT if kind == "PNG" else SHRUNK)


def test_a_variant_is_larger_than_the_main_picture() -> None:
    body = saved(photo(400, 300), "JPEG", quality=95)
    (large,) = picture_of(body, size=24, variant=("large:200:inside:png",)).companions
    assert_same(read(large.data), read(picture_of(body, size=200, encode="png").data), EXACT)


def test_transparency_is_decided_by_the_format_of_each() -> None:
    own = clear_photo()
    picture = picture_of(
        saved(own, "PNG"), fit="none", encode="jpeg", quality=100, subsampling="444", variant=("clear:64x48:none:png",)
    )
    assert_same(read(picture.data), laid_on(own, (255, 255, 255)), Within(1.5, 24))
    assert_same(weighted(read(picture.companions[0].data)), weighted(own), EXACT)


# What is cut off


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_decodes_of_a_cut_picture_is_kept_when_asked(kind: str) -> None:
    whole = photo(128, 128)
    body = saved(whole, "JPEG", quality=90) if kind == "JPEG" else saved(whole, "PNG")
    cut = body[: len(body) * 6 // 10]
    assert miss_of(cut).reason is Reason.TRUNCATED
    picture = picture_of(cut, truncated="keep", fit="none", encode="png")
    assert (picture.width, picture.height) == (128, 128)
    assert picture.notes, "it is said that something is missing"
    found = read(picture.data)
    assert_same(found[:56], read(body)[:56], EXACT)
    assert not np.array_equal(found[100:], read(body)[100:])
    assert picture_of(body, truncated="keep").notes == ()
    # The setting does not stay behind for the next one.
    assert miss_of(cut).reason is Reason.TRUNCATED


def test_what_is_cut_off_is_missed_in_its_original_bytes_too() -> None:
    body = saved(photo(128, 128), "JPEG", quality=90)
    assert miss_of(body[: len(body) // 2], encode="original").reason is Reason.TRUNCATED
    assert picture_of(body[: len(body) // 2], encode="original", truncated="keep").data == body[: len(body) // 2]


def test_nothing_to_decode_is_nothing_to_keep() -> None:
    assert miss_of(b"junk" * 100, truncated="keep").reason is Reason.NOT_IMAGE
    assert miss_of(saved(photo(), "PNG")[:20], truncated="keep").reason in (Reason.TRUNCATED, Reason.DECODE)


# Which formats are taken


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "ICO", "TIFF", "AVIF", "JPEG2000"])
def test_only_the_formats_that_are_asked_for(kind: str) -> None:
    body = saved(photo(32, 32), kind)
    name = kind.lower()
    assert picture_of(body).original_format == name
    assert picture_of(body, formats=(name,)).original_format == name
    assert picture_of(body, formats=("default",)).original_format == name
    others = tuple({"jpeg", "png"} - {name})
    miss = miss_of(body, formats=others)
    assert miss.reason is Reason.UNSUPPORTED_FORMAT
    assert name in miss.detail.lower()


# What is written beside the pixels

XMP: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' tiff:Orientation="6" dc:source="secret-place"/></rdf:RDF></x:xmpmeta>'
)
SECRETS: Final = (
    b"Exif", b"eXIf", b"EXIF", b"ICC", b"iCCP", b"acsp", b"GPS", b"secret", b"xmp", b"XMP", b"8BIM", b"Adobe:",
    b"tEXt", b"iTXt", b"zTXt", b"tIME", b"orientation", b"Raw profile",
)  # fmt: skip


def told_exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "secret-maker"
    exif[0x0110] = "secret-model"
    exif[EXIF_ORIENTATION] = orientation
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (52.0, 30.0, 0.0)
    place[3], place[4] = "E", (13.0, 24.0, 0.0)
    return exif.tobytes()


def told(kind: str, orientation: int = 6) -> bytes:
    """A picture that says all it can about itself."""
    profile = profiles.rgb_profile(profiles.DISPLAY_P3)
    options: dict[str, Any] = {"exif": told_exif(orientation), "icc_profile": profile, "xmp": XMP}
    if kind == "JPEG":
        body = saved(photo(60, 40), kind, quality=95, comment=b"secret comment", **options)
        return jpeg_with(body, 0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x06secret")
    if kind == "PNG":
        options.pop("xmp")
        body = saved(photo(60, 40), kind, **options)
        body = png_with(body, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP, b"IDAT")
        body = png_with(body, b"tEXt", b"Comment\0secret text", b"IDAT")
        return png_with(body, b"tIME", b"\x07\xea\1\1\1\1\1", b"IEND")
    if kind == "TIFF":
        tags = {0x010F: "secret-maker", EXIF_ORIENTATION: orientation, 700: XMP, 0x010E: "secret text"}
        return saved(photo(60, 40), kind, tiffinfo=tags, icc_profile=profile)
    return saved(photo(60, 40), kind, **options)


@pytest.mark.parametrize("encode", ["jpeg", "png", "webp", "avif", "gif"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_nothing_is_left_beside_the_pixels(kind: str, encode: str) -> None:
    body = told(kind)
    assert b"secret-maker" in body
    picture = picture_of(body, encode=encode, size=24, variant=("other:20",))
    for data in (picture.data, picture.companions[0].data):
        assert [secret for secret in SECRETS if secret in data] == []
    assert picture.exif is None


@pytest.mark.parametrize("encode", ["webp", "png", "gif"])
def test_nothing_is_left_beside_the_frames_of_an_animation(encode: str) -> None:
    frames = [scene(40, 30, seed) for seed in range(3)]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 50}
    webp = saved(
        frames[0], "WEBP", exif=told_exif(), icc_profile=profiles.rgb_profile(profiles.SRGB), xmp=XMP, **options
    )
    gif = saved(frames[0], "GIF", comment=b"secret comment", **options)
    for body in (webp, gif):
        assert b"secret" in body
        picture = picture_of(body, frames="all", encode=encode)
        assert [secret for secret in SECRETS if secret in picture.data] == []


@pytest.mark.parametrize("encode", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_what_is_kept_goes_with_it_but_for_the_orientation(kind: str, encode: str) -> None:
    body = told(kind, 6)
    for flags in ({"keep": ("exif", "icc", "xmp")}, {"strip": False}):
        picture = picture_of(body, encode=encode, fit="none", **flags)
        assert (picture.width, picture.height) == (40, 60)
        image = opened(picture)
        tags = image.getexif()
        assert tags[0x010F].strip("\0") == "secret-maker"
        assert tags.get(EXIF_ORIENTATION, 1) == 1
        assert image.info["icc_profile"] == profiles.rgb_profile(profiles.DISPLAY_P3)
        if kind != "TIFF":
            assert tags.get_ifd(0x8825)[1].strip("\0") == "N"
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
        assert b"secret-place" in packet
        assert b'tiff:Orientation="6"' not in packet
        # Nobody turns it a second time.
        assert shown(picture.data).shape[:2] == (60, 40)


@pytest.mark.parametrize(("keep", "left", "gone"), [
    (("exif",), b"secret-maker", b"secret-place"),
    (("xmp",), b"secret-place", b"secret-maker"),
])  # fmt: skip
def test_only_what_is_named_is_kept(keep: tuple[str, ...], left: bytes, gone: bytes) -> None:
    data = picture_of(told("JPEG"), keep=keep).data
    assert left in data
    assert gone not in data
    assert b"ICC_PROFILE" not in data
    assert b"secret comment" not in data


def test_exif_in_the_metadata_has_no_place_unless_asked() -> None:
    plain = picture_of(told("JPEG"), exif=True)
    assert plain.exif is not None
    assert plain.exif["Make"] == "secret-maker"
    assert not [name for name in plain.exif if "gps" in name.lower()]
    placed = picture_of(told("JPEG"), exif_gps=True)
    assert placed.exif is not None
    assert [name for name in placed.exif if "gps" in name.lower()]
    assert b"secret" not in plain.data


# How it is written


def jpeg_frame(data: bytes) -> tuple[int, list[int]]:
    """Which start of frame a JPEG has, and the sampling factors of its components."""
    at = 2
    while not (0xC0 <= data[at + 1] <= 0xC2):
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return data[at + 1], list(data[at + 11 : at + 11 + 3 * data[at + 9] : 3])


@pytest.mark.parametrize(("subsampling", "factors"), [("420", 0x22), ("422", 0x21), ("444", 0x11)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_written_as_asked(subsampling: str, factors: int, progressive: bool) -> None:
    data = picture_of(png(64, 48), subsampling=subsampling, progressive=progressive).data
    assert jpeg_frame(data) == (0xC2 if progressive else 0xC0, [factors, 0x11, 0x11])


@pytest.mark.parametrize("encode", ["jpeg", "webp", "avif"])
def test_quality_costs_bytes_and_brings_the_picture_nearer(encode: str) -> None:
    body = saved(photo(96, 64), "PNG")
    low, high = (picture_of(body, fit="none", encode=encode, quality=quality).data for quality in (20, 95))
    assert len(low) * 2 < len(high)
    assert np.abs(read(low) - photo(96, 64)).mean() > 1.3 * np.abs(read(high) - photo(96, 64)).mean()


def test_compression_costs_no_pixels() -> None:
    body = jpeg(96, 64)
    none, most = (picture_of(body, fit="none", encode="png", compression=effort).data for effort in (0, 9))
    assert len(most) < len(none)
    assert_same(read(none), read(most), EXACT)


def test_webp_without_loss_is_without_loss() -> None:
    picture = picture_of(saved(photo(), "PNG"), fit="none", encode="webp", lossless=True)
    assert b"VP8L" in picture.data[:40]
    assert_same(read(picture.data), photo(), EXACT)
    assert b"VP8 " in picture_of(saved(photo(), "PNG"), encode="webp").data[:40]


def test_gif_has_a_palette_of_the_picture_and_one_clear_colour() -> None:
    own = clear_photo(96, 64)
    picture = picture_of(saved(photo(96, 64), "PNG"), fit="none", encode="gif")
    assert_same(rgb(read(picture.data)), photo(96, 64), Within(8, 120))  # 256 colours for a photograph
    found = rgba(read(picture_of(saved(own, "PNG"), fit="none", encode="gif").data))
    assert set(np.unique(found[:, :, 3])) == {0, 255}
    assert found[:16, :, 3].max() == 0, "what is nearly clear becomes clear"
    assert found[48:, :, 3].min() == 255, "what is nearly opaque becomes opaque"


def test_a_soft_edge_has_no_halo_in_a_gif() -> None:
    """What is half clear becomes clear or opaque, as its alpha is nearer to the one or the other."""
    rows, columns = np.mgrid[:64, :64]
    alpha = np.clip((24 - np.hypot(rows - 31.5, columns - 31.5)) * 40 + 128, 0, 255).round()
    own = np.concatenate([np.full((64, 64, 3), (200.0, 30, 30)) * (alpha[:, :, None] > 0), alpha[:, :, None]], axis=2)
    found = rgba(read(picture_of(saved(own, "PNG"), fit="none", encode="gif").data))
    assert_same(found[:, :, 3:], np.where(alpha >= 128, 255.0, 0)[:, :, None], EXACT)
    assert_same(
        found[alpha >= 128][None], np.broadcast_to((200.0, 30, 30, 255), (1, int((alpha >= 128).sum()), 4)), ROUNDED
    )


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_an_animation_with_alpha_becomes_a_gif(kind: str) -> None:
    body, expected = animation(kind, "cleared")
    found = frames_of(picture_of(body, frames="all", fit="none", encode="gif").data)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        sure = np.abs(other[:, :, 3] - 127.5) > 2  # two decoders may round what lies between to either side
        assert ((one[:, :, 3] > 127) == (other[:, :, 3] > 127))[sure].all()
        seen = sure & (other[:, :, 3] > 127)
        assert np.abs(one[seen] - other[seen])[:, :3].mean() < 20  # noise in 255 colours


def test_variants_of_an_animation_move_where_they_can() -> None:
    body, expected = animation("webp", "cleared")
    variants = ("small:24:inside:webp", "still:24:inside:jpeg")
    picture = picture_of(body, frames="all", fit="none", encode="png", lossless=True, filter="box", variant=variants)
    small, still = picture.companions
    for one, other in zip(frames_of(small.data), expected, strict=True):
        assert_same(weighted(one), boxed(weighted(other), 2), BLENDED)
    assert (small.label, small.width, still.label, still.format) == ("small", 24, "still", "jpeg")
    assert read(still.data).shape == (16, 24, 3)


def test_the_same_source_gives_the_same_bytes() -> None:
    body = told("JPEG")
    for encode in ("jpeg", "png", "webp", "avif", "gif"):
        assert picture_of(body, encode=encode).data == picture_of(body, encode=encode).data
