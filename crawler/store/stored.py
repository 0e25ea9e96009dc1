"""What was stored, read back: files of a folder, or pictures in shards and in the spool."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from crawler.disk import disk_errors
from crawler.errors import StoreError
from crawler.model import Record
from crawler.store.places import LocalPlace, Place, RemotePlace
from crawler.store.shard_names import sample_key, shard_name

_PATIENCE = 60.0

Bytes = bytes | str
"""What was read, or why it could not be."""


class Stored(Protocol):
    """Reads pictures in order of their index. Blocks; one thread at a time."""

    def read(self, record: Record) -> Sequence[Bytes]:
        """A picture and its companions, in order."""
        ...

    def remove(self, records: Iterable[Record]) -> None:
        """Take pictures away whose records are given up, if they have files of their own."""
        ...

    def close(self) -> None: ...


class StoredFiles:
    """A folder of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, record: Record) -> Sequence[Bytes]:
        return [self._one(name) for name in record.files]

    def _one(self, name: str) -> Bytes:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return "there is no such file"
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"

    def remove(self, records: Iterable[Record]) -> None:
        with disk_errors(self._folder):
            for record in records:
                for name in record.files:
                    (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        return None


class RemoteFiles:
    """Files in a store."""

    def __init__(self, place: RemotePlace) -> None:
        self._place = place

    def read(self, record: Record) -> Sequence[Bytes]:
        return [
            found if (found := self._place.read(name)) is not None else "there is no such file" for name in record.files
        ]

    def remove(self, records: Iterable[Record]) -> None:
        self._place.remove(name for record in records for name in record.files)

    def close(self) -> None:
        self._place.close()


class StoredShards:
    """Shards, and what waits for them."""

    def __init__(self, form: str, place: Place, home: Path, shard_count: int) -> None:
        self._form = form
        self._place = place
        self._home = home
        self._size = shard_count
        self._shard = -1
        self._old: OldShard | None = None
        self._why = ""

    def read(self, record: Record) -> Sequence[Bytes]:
        shard = record.index // self._size
        key = record.extra.key or sample_key(record.index, self._size)
        if record.place is not None:
            found = cut(self._home / "spool" / f"{shard_name(shard)}.spool", record)
            return found or ["it is not in the spool"] * len(record.files)
        if shard != self._shard:
            self._open(shard)
        found = self._old.read(record, key) if self._old is not None else None
        return found or [self._why or "it is not in its shard"] * len(record.files)

    def remove(self, records: Iterable[Record]) -> None:
        return None

    def _open(self, shard: int) -> None:
        self._release()
        self._shard = shard
        try:
            self._old, self._why = open_old(self._form, self._place, shard), ""
        except StoreError:
            raise
        except Exception as error:  # whatever a damaged file makes of its readers
            self._why = f"its shard cannot be read: {error}"
        if self._old is None:
            self._why = self._why or "its shard is not there"

    def close(self) -> None:
        self._release()
        self._place.close()

    def _release(self) -> None:
        if self._old is not None:
            self._old.close()
            self._old = None
            self._place.release(old_name(self._form, self._shard))


class OldShard(Protocol):
    """A published shard."""

    def read(self, record: Record, key: str) -> list[bytes] | None:
        """A picture and its companions; None if they are not there."""
        ...

    def told(self, key: str) -> bytes | None:
        """The JSON of a sample, if it has one of its own."""
        ...

    def close(self) -> None: ...


def old_name(form: str, shard: int) -> str:
    """The file of a shard that has the pictures."""
    return f"{shard_name(shard)}.{'tar' if form == 'webdataset' else 'parquet'}"


def open_old(form: str, place: Place, shard: int) -> OldShard | None:
    """A published shard, None if it is not there."""
    path = place.fetch(old_name(form, shard))
    return open_file(form, path) if path.exists() else None


def open_file(form: str, path: Path) -> OldShard:
    """The pictures in a file of a shard."""
    from crawler.store.parquet import OldParquet
    from crawler.store.webdataset import OldTar

    return OldTar(path) if form == "webdataset" else OldParquet(path)


def cut(spool: Path | int, record: Record) -> list[bytes] | None:
    """A picture and its companions out of a spool; None if it ends before they do."""
    sizes = [record.size, *(one.size for one in record.companions)]
    assert record.place is not None, "only what waits is in a spool"
    if isinstance(spool, Path):
        try:
            with spool.open("rb") as file:
                whole = os.pread(file.fileno(), sum(sizes), record.place)
        except FileNotFoundError:
            return None
    else:
        whole = os.pread(spool, sum(sizes), record.place)
    if len(whole) < sum(sizes):
        return None
    if len(sizes) == 1:
        return [whole]
    found, at = [], 0
    for size in sizes:
        found.append(whole[at : at + size])
        at += size
    return found


def open_stored(form: str, output: str, home: Path, shard_count: int) -> Stored:
    """What a run has stored."""
    remote = "://" in output
    if form not in ("webdataset", "parquet"):
        return RemoteFiles(RemotePlace(output, home, _PATIENCE)) if remote else StoredFiles(Path(output))
    place = RemotePlace(output, home, _PATIENCE) if remote else LocalPlace(Path(output))
    return StoredShards(form, place, home, shard_count)
