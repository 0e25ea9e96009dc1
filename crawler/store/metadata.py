"""The metadata beside files: `metadata.jsonl` or `metadata.csv`, one line for each stored picture, as the Hugging Face
imagefolder convention wants it; or `metadata.parquet`.

The journal drives it: lines are appended just before their records are committed, and the length of the file is
committed with them. After a kill the file is cut back to that length, so that it never has a line too few or too many.
A Parquet file cannot be appended to: it is written from the journal when the run ends.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from crawler.disk import disk_errors, write_all
from crawler.fitting import json_text
from crawler.model import Record
from crawler.store.facts import told
from crawler.store.files import INTENTS, FileStore
from crawler.store.intents import read_intents


class Form(Protocol):
    """How metadata is written line by line."""

    name: str

    def head(self) -> bytes:
        """What the file begins with."""
        ...

    def line(self, record: Record) -> bytes: ...


_encode = json.JSONEncoder(ensure_ascii=False).encode  # dumps() would make one for every line


class JsonLines:
    """A JSON object a line, `file_name` first."""

    name = "metadata.jsonl"

    def __init__(self, captions: bool = False) -> None:
        self._captions = captions

    def head(self) -> bytes:
        return b""

    def line(self, record: Record) -> bytes:
        return _encode(told(record, self._captions)).encode(errors="backslashreplace") + b"\n"


class Separated:
    """CSV (RFC 4180) with a header; what is no plain value is JSON in its cell.

    Args:
        kept: names of the kept columns, once they are known.
        captions: there is a column of captions.
    """

    name = "metadata.csv"

    def __init__(self, kept: Callable[[], Sequence[str]], captions: bool = False) -> None:
        self._kept = kept
        self._captions = captions

    def head(self) -> bytes:
        return _separated(self._columns())

    def line(self, record: Record) -> bytes:
        row = told(record, self._captions)
        return _separated([json_text(row.get(name)) or "" for name in self._columns()])

    def _columns(self) -> list[str]:
        return [*_ALWAYS, *(["caption"] if self._captions else []), "key", *self._kept(), "files", "exif", "values"]


_ALWAYS = (
    "file_name", "index", "url", "final_url", "sha256", "width", "height", "original_width", "original_height", "format",
    "bytes", "content_type", "fetched_at", "frames", "notes",
)  # fmt: skip


def _separated(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="backslashreplace")


class MetadataLedger:
    """The Ledger of a FileStore. All calls from the journal's thread.

    Args:
        folder: where the file is: the output folder, or one from which it is uploaded.
        form: JSON lines, if nothing is said.
        home: folder of the journal; `.crawler` in the folder, if nothing is said.
    """

    dirty = False

    def __init__(
        self, folder: Path, store: FileStore, durable: bool, form: Form | None = None, home: Path | None = None
    ) -> None:
        form = form or JsonLines()
        self._folder = folder
        self._home = home or folder / ".crawler"
        self.path = folder / form.name
        self._store = store
        self._durable = durable
        self._form = form

    def rewind(
        self, mark: int, recorded: Callable[[], Iterable[Record]], held: Callable[[Iterable[str]], set[str]]
    ) -> int:
        with disk_errors(self._folder):
            discard(self._home, self._store, held)
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < mark:
                self._rebuild(recorded())
            elif size > mark:
                os.truncate(self.path, mark)
            self._file = self.path.open("ab", buffering=0)
            return self._file.tell()

    def append(self, records: Sequence[Record]) -> int:
        with disk_errors(self._folder):
            lines = b"".join(map(self._form.line, records))
            if lines and not self._file.tell():
                lines = self._form.head() + lines
            write_all(self._file.fileno(), lines)
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
            self._file = self.path.open("ab", buffering=0)
            return self._file.tell()

    def close(self, finished: bool) -> None:
        self._file.close()
        self._store.ended(finished)

    def _rebuild(self, records: Iterable[Record]) -> None:
        fresh = self._home / f"{self._form.name}.new"
        head = True
        with fresh.open("wb") as file:
            for record in records:
                if head:
                    file.write(self._form.head())
                    head = False
                file.write(self._form.line(record))
        os.replace(fresh, self.path)


class TableLedger:
    """The Ledger of a FileStore whose metadata is a Parquet file.

    Args:
        types: of the kept columns, as far as they are known.
    """

    name = "metadata.parquet"

    def __init__(
        self, folder: Path, home: Path, store: FileStore, captions: bool, types: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._folder = folder
        self._home = home
        self.path = folder / self.name
        self._store = store
        self._captions = captions
        self._types = types
        self.dirty = False

    def rewind(
        self, mark: int, recorded: Callable[[], Iterable[Record]], held: Callable[[Iterable[str]], set[str]]
    ) -> int:
        with disk_errors(self._folder):
            discard(self._home, self._store, held)
        # The mark says that the file is as the journal is.
        self.dirty = mark != _WRITTEN or not self.path.exists()
        return 0 if self.dirty else _WRITTEN

    def append(self, records: Sequence[Record]) -> int:
        self.dirty = self.dirty or bool(records)
        return 0 if self.dirty else _WRITTEN

    def committed(self, indexes: Sequence[int]) -> None:
        self._store.forget(indexes)

    def rebuild(self, recorded: Iterable[Record]) -> int:
        from crawler.store.metadata_table import write_table

        with disk_errors(self._folder):
            fresh = self._home / f"{self.name}.new"
            write_table(fresh, self._store.keeping(recorded), self._captions, self._types())
            os.replace(fresh, self.path)
            self._store.discard_unkept()
        self.dirty = False
        return _WRITTEN

    def close(self, finished: bool) -> None:
        self._store.ended(finished)


_WRITTEN = 1


def discard(home: Path, store: FileStore, held: Callable[[Iterable[str]], set[str]]) -> None:
    """Remove files that a killed run left without a record: their targets are done again."""
    names = {name for some in read_intents(home / INTENTS).values() for name in some}
    if names:
        store.discard(names - held(names))
    (home / INTENTS).unlink(missing_ok=True)
    (home / f"{INTENTS}.new").unlink(missing_ok=True)
