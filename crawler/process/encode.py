"""A picture to the bytes that are stored."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from crawler.settings import ProcessSettings

EXTENSIONS = {
    "jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "bmp": "bmp", "ico": "ico",
    "tiff": "tif", "avif": "avif", "jpeg2000": "jp2",
}  # fmt: skip
"""Ending of a file by format."""

_LARGEST_PROFILE = 512 * 1024


def encode(picture: Image.Image, settings: ProcessSettings, profile: bytes | None) -> bytes:
    """Encode as `settings.encode` says.

    Args:
        profile: ICC profile of the pixels. Kept, so that colours stay what they are; EXIF and all else is left out.
    """
    options: dict[str, Any] = {"quality": settings.quality} if settings.encode != "png" else {}
    if profile and len(profile) <= _LARGEST_PROFILE:
        options["icc_profile"] = profile
    picture.info = {}  # Pillow writes comments and tags of the source that stand here
    out = BytesIO()
    picture.save(out, settings.encode, **options)
    return out.getvalue()


def profile_of(source: Image.Image, result: Image.Image) -> bytes | None:
    """The ICC profile of the source if the pixels of the result are still described by it."""
    same = source.mode[:3] == result.mode[:3] or (source.mode == "P" and result.mode.startswith("RGB"))
    profile = source.info.get("icc_profile")
    return profile if same and isinstance(profile, bytes) else None
