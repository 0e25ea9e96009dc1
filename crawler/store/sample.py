"""What is told of one target in a shard: the columns of its row, and the JSON of its sample.

The first names, their order and their types are img2dataset's; what follows is ours.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any

from crawler.fitting import finite
from crawler.model import Reason, Settled

SUCCESS, NOT_DOWNLOADED, NOT_RESIZED = "success", "failed_to_download", "failed_to_resize"
_AFTER_DOWNLOAD = frozenset(
    reason.value
    for reason in (
        Reason.NOT_IMAGE, Reason.UNSUPPORTED_FORMAT, Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL, Reason.TOO_BIG,
        Reason.WRONG_ASPECT, Reason.TOO_FEW_BYTES, Reason.TRUNCATED, Reason.DECODE, Reason.DROPPED,
        Reason.TRANSFORM_FAILED, Reason.WORKER_CRASHED, Reason.TOO_SLOW, Reason.OUT_OF_MEMORY,
    )
)  # fmt: skip


def status_of(one: Settled) -> str:
    """How a target ended, in img2dataset's three words."""
    if not one.reason:
        return SUCCESS
    late = one.reason in _AFTER_DOWNLOAD or (one.reason == Reason.DUPLICATE.value and one.same_as is not None)
    return NOT_RESIZED if late else NOT_DOWNLOADED


def error_of(one: Settled) -> str | None:
    """Why a target was missed, in words; None if it was not."""
    if not one.reason:
        return None
    return f"{one.reason}: {one.detail}" if one.detail else one.reason


def told_of(one: Settled, key: str, captions: bool) -> dict[str, Any]:
    """The JSON of a stored sample. Nothing in it depends on when it came."""
    record = one.record
    assert record is not None, "only what is stored is a sample"
    told: dict[str, Any] = finite(dict(one.extra.kept))
    if captions:
        told["caption"] = one.extra.caption
    told |= {
        "url": one.url,
        "key": key,
        "status": SUCCESS,
        "error_message": None,
        "width": record.width,
        "height": record.height,
        "original_width": record.original_width,
        "original_height": record.original_height,
        "exif": record.exif,
        "sha256": record.sha256.hex(),
        "index": one.index,
        "final_url": record.final_url,
        "format": record.format,
        "frames": record.frames,
        "notes": "; ".join(record.notes),
    }
    if record.values:
        told["values"] = dict(record.values)
    return told


def as_json(told: dict[str, Any]) -> bytes:
    """With four blanks in front of each line, as img2dataset writes it. Faster than `json.dumps(indent=4)` by a factor of
    eight where no value is nested, which is what nearly all samples have.
    """
    lines = []
    for name, value in told.items():
        kind = type(value)
        if kind is str:
            text = encode_basestring_ascii(value)
        elif kind is int:
            text = str(value)
        elif value is None:
            text = "null"
        elif kind is dict or kind is list:
            return json.dumps(told, indent=4).encode()
        else:
            text = json.dumps(value)
        lines.append(f"    {encode_basestring_ascii(name)}: {text}")
    return ("{\n" + ",\n".join(lines) + "\n}").encode()
