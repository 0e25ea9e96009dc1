"""Pictures as files in a folder. Every file is whole when its name appears: bytes, rename, then the journal."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from pathlib import Path

from crawler.batcher import Batcher
from crawler.disk import disk_errors, write_all
from crawler.model import Picture, Receipt, Record
from crawler.store.intents import Intents
from crawler.store.names import file_name, numbered

INTENTS = ".crawler/intents"
_TEMPORARY = ".crawler/tmp"
_BATCH = 32

_Item = tuple[Picture, str]
"""A picture, and the name of the one whose place it takes."""


class FileStore:
    """A Store that writes each picture to `folder` under the name its template gives.

    A name that is taken gets the target's number added: no picture ever replaces another. Only pictures that are named
    by their content share a file when they are the same.

    Args:
        durable: flush every file and its folder to the disk before it counts as stored.
    """

    def __init__(self, folder: Path, template: str, durable: bool = False) -> None:
        self._folder = folder
        self._template = template
        self._durable = durable
        self._temporary = folder / _TEMPORARY
        self._made: set[Path] = set()
        self._by_content = "{sha256}" in template
        self._unkept: set[str] = set()
        self._reserved: set[str] = set()  # names whose picture is being replaced
        self._intents: Intents | None = None

    async def __aenter__(self) -> FileStore:
        self._batcher: Batcher[_Item, Receipt] = Batcher("crawler-store", self._write, _BATCH)
        self._intents = await self._batcher.call(self._prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batcher.close()

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        return await self._batcher.do((picture, instead_of))

    async def retire(self, index: int, file_name: str, forget: Callable[[], Awaitable[None]]) -> None:
        await self._batcher.call(lambda: self._announce(index, file_name))
        await forget()
        if self._by_content:  # it may be somebody else's too, which is found out in the end
            self._unkept.add(file_name)
        else:
            await self._batcher.call(lambda: self._remove(file_name))

    def keeping(self, records: Iterable[Record]) -> Iterator[Record]:
        """Take note of the files that records name. Called from the journal's thread, as `discard_unkept`."""
        for record in records:
            self._unkept.discard(record.file_name)
            yield record

    def discard_unkept(self) -> None:
        """Remove the files of retired pictures that no record names any more."""
        for name in self._unkept:
            (self._folder / name).unlink(missing_ok=True)
        self._unkept.clear()

    def forget(self, indexes: Iterable[int]) -> None:
        """The journal has the pictures of these targets. Called from its thread."""
        if self._intents is not None:
            self._intents.forget(indexes)

    def finish(self, settled: bool) -> None:
        """The last call, from the journal's thread. `settled`: all that was stored is in the journal."""
        if self._intents is not None:
            self._intents.close(settled)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _prepare(self) -> Intents:
        with disk_errors(self._folder):
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
            return Intents(self._folder / INTENTS)

    def _write(self, items: list[_Item]) -> list[Receipt]:
        assert self._intents is not None
        with disk_errors(self._folder):
            named = [(picture, self._name(picture, instead_of)) for picture, instead_of in items]
            fresh: dict[str, Picture] = {}
            receipts = [self._assign(picture, name, fresh) for picture, name in named]
            written = [self._write_temporary(picture) for picture in fresh.values()]
            self._intents.announce({name: picture.target.index for name, picture in fresh.items()}, self._durable)
            for temporary, name in zip(written, fresh, strict=True):
                os.replace(temporary, self._folder / name)
            if self._durable:
                for parent in {(self._folder / name).parent for name in fresh}:
                    _flush_folder(parent)
        return receipts

    def _announce(self, index: int, file_name: str) -> None:
        assert self._intents is not None
        with disk_errors(self._folder):
            self._intents.announce({file_name: index}, self._durable)
        self._reserved.add(file_name)

    def _remove(self, file_name: str) -> None:
        with disk_errors(self._folder):
            (self._folder / file_name).unlink(missing_ok=True)

    def _name(self, picture: Picture, instead_of: str) -> str:
        """The name of a picture: its template's, or that of the picture whose place it takes."""
        if not instead_of or self._by_content:
            return file_name(self._template, picture)
        self._reserved.discard(instead_of)
        return f"{instead_of.rpartition('.')[0]}.{picture.extension}"

    def _assign(self, picture: Picture, name: str, fresh: dict[str, Picture]) -> Receipt:
        """Give a picture its file. One that is named by its content and is there already is not written again."""
        self._make_parent(self._folder / name)
        if self._taken(name, fresh):
            if self._by_content:
                return Receipt(name, len(picture.data), _digest(picture))
            while self._taken(name, fresh):
                name = numbered(name, picture.target.index)
        fresh[name] = picture
        return Receipt(name, len(picture.data), _digest(picture))

    def _taken(self, name: str, fresh: Container[str]) -> bool:
        return (
            name in fresh or os.path.lexists(self._folder / name) or (name in self._reserved and not self._by_content)
        )

    def _make_parent(self, path: Path) -> None:
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)

    def _write_temporary(self, picture: Picture) -> Path:
        path = self._temporary / str(picture.target.index)
        with open(path, "wb", buffering=0) as file:
            write_all(file, picture.data)
            if self._durable:
                os.fsync(file.fileno())
        return path


def _digest(picture: Picture) -> bytes:
    return picture.sha256 if picture.untouched else hashlib.sha256(picture.data).digest()


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
