"""EXIF, ICC and XMP of a source: as JSON for the metadata, and as bytes that go into a stored picture."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from crawler.errors import words
from crawler.process.decode import BROKEN, ORIENTATION

_LEFT_OUT = {
    ORIENTATION,  # the stored pixels stand upright
    ExifTags.Base.ExifOffset, ExifTags.Base.GPSInfo, 0xA005,  # pointers to other blocks
    ExifTags.Base.MakerNote, ExifTags.Base.XMLPacket, ExifTags.Base.InterColorProfile, ExifTags.Base.ImageResources,
    ExifTags.Base.StripOffsets, ExifTags.Base.StripByteCounts,
}  # fmt: skip
_LONGEST_TEXT = 1000
_MOST_TAGS = 500
_JPEG_HOLDS = {"exif": 65_527, "xmp": 65_502, "icc_profile": 255 * 65_519}
"""Bytes of a block: a segment of a JPEG has a length of 16 bits (ITU T.81 B.1.1.4), a profile has up to 255 (ICC.1 B.4)."""
_MOST_VALUES = 100
_CHARSETS = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"JIS\0\0\0\0\0": "iso2022_jp", bytes(8): "utf-8"}
"""CIPA DC-008 4.6.6 D: how a user comment is written."""
_XMP_ORIENTATION = re.compile(rb'\s?tiff:Orientation="[0-9]*"|<tiff:Orientation>[0-9]*</tiff:Orientation>')


def exif_json(picture: Image.Image, with_gps: bool, notes: list[str]) -> dict[str, Any]:
    """The EXIF tags by their names, in values that JSON has. What is no text and no number is left out."""
    try:
        exif = picture.getexif()
        found = _named(dict(exif), ExifTags.TAGS)
        found |= _named(exif.get_ifd(ExifTags.IFD.Exif), ExifTags.TAGS)
        if with_gps:
            found |= _named(exif.get_ifd(ExifTags.IFD.GPSInfo), ExifTags.GPSTAGS)
        if len(found) > _MOST_TAGS:
            notes.append(f"{len(found) - _MOST_TAGS} EXIF tags left out")
        return dict(islice(found.items(), _MOST_TAGS))
    except BROKEN as error:
        notes.append(f"broken EXIF ignored: {words(error)}")
        return {}


def kept_blocks(picture: Image.Image, kept: frozenset[str], notes: list[str]) -> dict[str, bytes]:
    """EXIF and XMP of a source that are kept, without its orientation."""
    blocks: dict[str, bytes] = {}
    if "exif" in kept:
        blocks["exif"] = _upright_exif(picture, notes)
    xmp = picture.info.get("xmp")
    if "xmp" in kept and isinstance(xmp, bytes):
        blocks["xmp"] = _XMP_ORIENTATION.sub(b"", xmp)
    return blocks


def tag_options(blocks: dict[str, bytes], encode: str, profile: bytes | None, notes: list[str]) -> dict[str, Any]:
    """What of a source is written into a stored picture, as the encoder of its format takes it.

    Args:
        blocks: from `kept_blocks`.
        profile: the ICC profile of the stored pixels; None if they are sRGB.
    """
    if encode == "gif":
        return {}
    options: dict[str, Any] = {}
    for name, block in (blocks | {"icc_profile": profile or b""}).items():
        if encode == "jpeg" and len(block) > _JPEG_HOLDS[name]:
            notes.append(f"{name} of {len(block)} bytes left out: a JPEG holds {_JPEG_HOLDS[name]}")
        elif block:
            options |= _as_xmp(block, encode) if name == "xmp" else {name: block}
    return options


def _as_xmp(xmp: bytes, encode: str) -> dict[str, Any]:
    if encode != "png":
        return {"xmp": xmp}
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return {"pnginfo": info}


def _upright_exif(picture: Image.Image, notes: list[str]) -> bytes:
    if picture.format != "TIFF" and "exif" not in picture.info:
        return b""
    try:
        exif = picture.getexif()
        fresh = Image.Exif()
        for tag, value in exif.items():
            if tag not in _LEFT_OUT:
                fresh[tag] = value
        for block in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if values := exif.get_ifd(block):
                fresh.get_ifd(block).update(values)
        return fresh.tobytes()
    except BROKEN as error:
        notes.append(f"broken EXIF ignored: {words(error)}")
        return b""


def _named(tags: dict[int, Any], names: dict[int, str]) -> dict[str, Any]:
    found = {names.get(tag, f"{tag:#06x}"): _plain(value, tag) for tag, value in tags.items() if tag not in _LEFT_OUT}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any, tag: int = 0) -> Any:
    if isinstance(value, bytes):
        return _text(value, tag)
    if isinstance(value, str):
        return value.rstrip("\0 ")[:_LONGEST_TEXT]
    if isinstance(value, int):
        return value
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value] if len(value) <= _MOST_VALUES else None
    try:
        number = float(value)  # a fraction
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _text(value: bytes, tag: int) -> str | int | None:
    if tag == ExifTags.Base.UserComment and value[:8] in _CHARSETS:
        text = value[8:].decode(_CHARSETS[value[:8]], "replace")
    elif len(value) == 1:
        return value[0]
    else:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    text = text.rstrip("\0 ")[:_LONGEST_TEXT]
    return text if text.isprintable() else None
