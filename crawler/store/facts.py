"""What is told of a stored picture, in its line of metadata and in the JSON beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from crawler.fitting import finite
from crawler.model import Record


def told(record: Record, captions: bool = False) -> dict[str, Any]:
    """Its facts by name, `file_name` first.

    Args:
        captions: pictures have captions here: those that have none say so.
    """
    row: dict[str, Any] = {
        "file_name": record.file_name,
        "index": record.index,
        "url": record.url,
        "final_url": record.final_url,
        "sha256": record.sha256.hex(),
        "width": record.width,
        "height": record.height,
        "original_width": record.original_width,
        "original_height": record.original_height,
        "format": record.format,
        "bytes": record.size,
        "content_type": record.content_type,
        "fetched_at": utc(record.fetched_at),
        "frames": record.frames,
        "notes": "; ".join(record.notes),
    }
    if captions or record.extra.caption is not None:
        row["caption"] = record.extra.caption
    if record.extra.key:
        row["key"] = record.extra.key
    if record.extra.kept:
        row |= finite(dict(record.extra.kept))
    pictures = [one for one in record.companions if one.is_picture]
    if pictures:
        row["files"] = [
            {
                "label": one.label,
                "file_name": one.file_name,
                "width": one.width,
                "height": one.height,
                "format": one.format,
                "bytes": one.size,
            }
            for one in pictures
        ]
    if record.exif is not None:
        row["exif"] = record.exif  # as text: its keys differ from picture to picture, and a table wants columns
    if record.values:
        row["values"] = record.values
    return row


def utc(seconds: float) -> str:
    """A moment as ISO 8601 in UTC, to the millisecond."""
    whole, part = divmod(int(seconds * 1000), 1000)
    return f"{_utc(whole)}.{part:03d}Z"


@lru_cache(maxsize=16)  # pictures come many to a second
def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "")
