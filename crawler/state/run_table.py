"""An earlier run as a table: its targets become the input of another run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from crawler.model import Row, Settled
from crawler.state.journal import retried_reasons
from crawler.state.reader import RunReader

_HEAD = 1000
_COLUMNS = (
    "url", "key", "caption", "reason", "detail", "http_status", "file_name", "width", "height", "original_width",
    "original_height", "format", "bytes", "sha256", "content_type", "frames",
)  # fmt: skip


class RunTable:
    """The targets of the run in `folder`, in order of their position.

    Args:
        take: `stored`, `missed`, `all`, `later` or the name of a reason.

    Raises:
        NotARun, JournalError: there is none, or it cannot be read.
    """

    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, folder: str, take: str) -> None:
        self._reader = RunReader(folder)
        self._stored = take in ("stored", "all")
        kept = {name for one in islice(self._reader.settled(), _HEAD) for name in one.extra.kept}
        self.names: Sequence[str] = [*_COLUMNS, *sorted(kept)]
        self._reasons = (
            retried_reasons("all" if take in ("missed", "all") else take) if take != "stored" else frozenset()
        )

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        for one in self._reader.settled():
            if (self._stored and not one.reason) or one.reason in self._reasons:
                yield Row(one.index, _values(one))

    def close(self) -> None:
        return None


def _values(one: Settled) -> dict[str, Any]:
    """What stands in the columns of a row."""
    found: dict[str, Any] = {"url": one.url, "key": one.extra.key, "caption": one.extra.caption, **one.extra.kept}
    record = one.record
    if record is None:
        return found | {"reason": one.reason, "detail": one.detail, "http_status": one.status}
    return found | {
        "file_name": record.file_name, "width": record.width, "height": record.height,
        "original_width": record.original_width, "original_height": record.original_height, "format": record.format,
        "bytes": record.size, "sha256": record.sha256.hex(), "content_type": record.content_type, "frames": record.frames,
    }  # fmt: skip
