"""What the forms of shards have in common: what goes into them, and how one is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from crawler.model import Settled
from crawler.store.sample import NOT_DOWNLOADED, NOT_RESIZED, SUCCESS, error_of, status_of

_MOST_ERRORS = 100_000


@dataclass(frozen=True)
class Plan:
    """What all shards of an output have.

    Attributes:
        shard_count: targets in one.
        captions: there is a caption for each sample.
        kept: types (`pyarrow.DataType`) of the kept columns, by name.
        pictures: columns of pictures in a Parquet shard: that of the picture first, then those of its variants.
        picture_column: `image` or `binary`.
        row_group: pictures in a row group.
        settings: what decides how pictures look, to be told in the files.
    """

    shard_count: int
    captions: bool
    kept: Mapping[str, Any]
    pictures: Sequence[str]
    picture_column: str
    row_group: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows_at_once: int = 10_000


class Writer(Protocol):
    """Writes one shard under a temporary name."""

    files: list[Path]

    def add(self, one: Settled, key: str, data: Sequence[bytes], told: bytes | None = None) -> None:
        """Take a target.

        Args:
            data: its picture and companions, nothing if it was missed.
            told: its JSON, if that was written before.
        """
        ...

    def end(self) -> None: ...

    def discard(self) -> None: ...


class Counts:
    """`00000_stats.json`: how a shard went, as img2dataset tells it."""

    def __init__(self) -> None:
        self._status: dict[str, int] = {SUCCESS: 0, NOT_DOWNLOADED: 0, NOT_RESIZED: 0}
        self._errors: dict[str, int] = {}
        self._start = self._end = 0.0

    def add(self, one: Settled) -> None:
        status = status_of(one)
        self._status[status] += 1
        error = error_of(one) or status
        if error in self._errors or len(self._errors) < _MOST_ERRORS:
            self._errors[error] = self._errors.get(error, 0) + 1
        start = one.ended_at - one.seconds
        self._start = min(self._start or start, start)
        self._end = max(self._end, one.ended_at)

    def as_json(self) -> bytes:
        told = {
            "count": sum(self._status.values()),
            "successes": self._status[SUCCESS],
            NOT_DOWNLOADED: self._status[NOT_DOWNLOADED],
            NOT_RESIZED: self._status[NOT_RESIZED],
            "duration": self._end - self._start,
            "start_time": self._start,
            "end_time": self._end,
            "status_dict": dict(sorted(self._errors.items(), key=lambda item: (-item[1], item[0]))),
        }
        return json.dumps(told, indent=4, ensure_ascii=False).encode(errors="backslashreplace")
