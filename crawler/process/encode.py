"""Pictures to the bytes that are stored."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from crawler.model import Reason
from crawler.picture_settings import Encode, ProcessSettings
from crawler.process.decode import MISSING, Refused
from crawler.process.frames import Timing

EXTENSIONS = {
    "jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "bmp": "bmp", "ico": "ico",
    "tiff": "tif", "avif": "avif", "jpeg2000": "jp2", "heif": "heic",
}  # fmt: skip
"""Ending of a file by format."""

_SUBSAMPLING = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}
_CLEAR = 255
_LONGEST = 65_535  # ms for a frame, as long as an animated PNG can be told in milliseconds
_LONGEST_IN_ALL = 1 << 30  # ms: encoders count in 32 bits


def options_of(encode: Encode, settings: ProcessSettings) -> dict[str, Any]:
    """What Pillow's encoder of a format is told."""
    sampling = _SUBSAMPLING[settings.subsampling]
    told: dict[str, dict[str, Any]] = {
        "jpeg": {"quality": settings.quality, "subsampling": sampling, "progressive": settings.progressive},
        "webp": {"quality": settings.quality, "lossless": settings.lossless},
        "avif": {"quality": settings.quality, "subsampling": sampling, "max_threads": 1},
        "png": {"compress_level": settings.compression},
    }
    return told.get(encode, {})


def encode(
    frames: list[Image.Image], encode: Encode, options: dict[str, Any], timing: Timing | None, tags: dict[str, Any]
) -> bytes:
    """Encode one picture, or an animation if there are more frames than one.

    Args:
        options: from `options_of`.
        tags: metadata of the source that is kept.

    Raises:
        Refused: this Pillow has no such format.
    """
    if encode in MISSING:
        raise Refused(Reason.UNSUPPORTED_FORMAT, f"{encode} cannot be written: this Pillow is built without it")
    for frame in frames:
        frame.info = {}  # Pillow writes comments and tags of the source that stand here
    if len({frame.mode for frame in frames}) > 1:
        frames = [frame.convert("RGBA" if any("A" in one.mode for one in frames) else "RGB") for frame in frames]
    if encode == "gif" and frames[0].mode in ("LA", "RGBA"):
        frames = [_with_palette(frame) for frame in frames]
        # Every frame clears what was before it, or that shows through.
        options = options | {"transparency": _CLEAR, "disposal": 2, "optimize": False}
    out = BytesIO()
    if len(frames) > 1 and timing is not None:
        options = options | _played(frames, encode, timing)
    frames[0].save(out, encode, **options, **tags)
    return out.getvalue()


def _with_palette(frame: Image.Image) -> Image.Image:
    """A frame with transparency as a GIF can hold it: a palette of 255 colours and one that is clear."""
    frame = frame.convert("RGBA")
    hidden = frame.getchannel("A").point([255] * 128 + [0] * 128)
    colours = frame.convert("RGB")
    colours.paste((0, 0, 0), mask=hidden)
    found = colours.quantize(_CLEAR, Image.Quantize.MEDIANCUT)
    palette = (found.getpalette() or [])[: 3 * _CLEAR]
    found.putpalette(palette + [0] * (768 - len(palette)))
    found.paste(_CLEAR, mask=hidden)
    return found


def _played(frames: list[Image.Image], encode: Encode, timing: Timing) -> dict[str, Any]:
    """What the encoder of an animation is told. A GIF that plays once has no loop extension, and counts repeats."""
    longest = min(_LONGEST, _LONGEST_IN_ALL // len(frames))
    durations = [min(duration, longest) for duration in timing.durations]
    told: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": durations}
    if encode == "gif":
        if timing.plays != 1:
            told["loop"] = max(0, timing.plays - 1)
    else:
        told["loop"] = min(timing.plays, 65_535)
    return told
