"""`metadata.jsonl`: one line for each stored picture, as the Hugging Face imagefolder convention wants it.

The journal drives it: lines are appended just before their records are committed, and the length of the file is
committed with them. After a kill the file is cut back to that length, so that it never has a line too few or too many.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crawler.disk import disk_errors, write_all
from crawler.model import Record
from crawler.store.files import INTENTS, FileStore
from crawler.store.intents import read_intents

FILE_NAME = "metadata.jsonl"


class MetadataLedger:
    """The Ledger of a FileStore. All calls from the journal's thread."""

    def __init__(self, folder: Path, store: FileStore, durable: bool) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._store = store
        self._durable = durable

    def rewind(
        self, mark: int, recorded: Callable[[], Iterable[Record]], held: Callable[[Iterable[str]], set[str]]
    ) -> int:
        with disk_errors(self._folder):
            self._discard(held)
            size = self._path.stat().st_size if self._path.exists() else 0
            if size < mark:
                self._rebuild(recorded())
            elif size > mark:
                os.truncate(self._path, mark)
            self._file = self._path.open("ab", buffering=0)
            return self._file.tell()

    def append(self, records: Sequence[Record]) -> int:
        with disk_errors(self._folder):
            write_all(self._file, b"".join(map(line, records)))
            if self._durable:
                os.fsync(self._file.fileno())
            return self._file.tell()

    def committed(self, indexes: Sequence[int]) -> None:
        self._store.forget(indexes)

    def rebuild(self, recorded: Iterable[Record]) -> int:
        with disk_errors(self._folder):
            self._file.close()
            self._rebuild(self._store.keeping(recorded))
            self._store.discard_unkept()
            self._file = self._path.open("ab", buffering=0)
            return self._file.tell()

    def close(self, finished: bool) -> None:
        self._file.close()
        self._store.ended(finished)

    def _discard(self, held: Callable[[Iterable[str]], set[str]]) -> None:
        """Remove files that a killed run left without a record: their targets are done again."""
        names = {name for some in read_intents(self._folder / INTENTS).values() for name in some}
        for name in names - held(names) if names else ():
            (self._folder / name).unlink(missing_ok=True)
        (self._folder / INTENTS).unlink(missing_ok=True)
        (self._folder / f"{INTENTS}.new").unlink(missing_ok=True)

    def _rebuild(self, records: Iterable[Record]) -> None:
        fresh = self._folder / f".crawler/{FILE_NAME}.new"
        with fresh.open("wb") as file:
            file.writelines(map(line, records))
        os.replace(fresh, self._path)


def line(record: Record) -> bytes:
    """One line of metadata: JSON, `file_name` first."""
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
    if record.companions:
        row["files"] = [
            {
                "label": one.label,
                "file_name": one.file_name,
                "width": one.width,
                "height": one.height,
                "format": one.format,
                "bytes": one.size,
            }
            for one in record.companions
        ]
    if record.exif is not None:
        row["exif"] = record.exif  # as text: its keys differ from picture to picture, and a table wants columns
    if record.values:
        row["values"] = record.values
    return json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def utc(seconds: float) -> str:
    """A moment as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
