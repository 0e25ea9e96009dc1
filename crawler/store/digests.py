"""What is noted of bytes that are stored, so that they can be held against it later."""

from __future__ import annotations

import hashlib

from crawler.model import Companion, CompanionFile, Picture


def digest_of(picture: Picture) -> bytes:
    """SHA-256 of a picture as it is stored."""
    return picture.sha256 if picture.untouched else hashlib.sha256(picture.data).digest()


def stored_companion(companion: Companion, file_name: str) -> CompanionFile:
    """A companion that is stored under a name."""
    digest = hashlib.sha256(companion.data).digest()
    width, height = companion.width, companion.height
    return CompanionFile(companion.label, file_name, width, height, companion.format, len(companion.data), digest)
