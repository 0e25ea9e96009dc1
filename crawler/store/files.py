"""Pictures as files in a folder. Every file is whole when its name appears: bytes, rename, then the journal."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from crawler.batcher import Batcher
from crawler.disk import disk_errors, write_all
from crawler.model import Picture, Receipt
from crawler.store.intents import Intents
from crawler.store.names import file_name, numbered

INTENTS = ".crawler/intents"
_TEMPORARY = ".crawler/tmp"
_BATCH = 32


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
        self._intents: Intents | None = None

    async def __aenter__(self) -> FileStore:
        self._batcher: Batcher[Picture, Receipt] = Batcher("crawler-store", self._write, _BATCH)
        self._intents = await self._batcher.call(self._prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batcher.close()

    async def put(self, picture: Picture) -> Receipt:
        return await self._batcher.do(picture)

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

    def _write(self, pictures: list[Picture]) -> list[Receipt]:
        assert self._intents is not None
        with disk_errors(self._folder):
            named = [(picture, file_name(self._template, picture)) for picture in pictures]
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

    def _assign(self, picture: Picture, name: str, fresh: dict[str, Picture]) -> Receipt:
        """Give a picture its file. One that is named by its content and is there already is not written again."""
        self._make_parent(self._folder / name)
        if name in fresh or os.path.lexists(self._folder / name):
            if "{sha256}" in self._template:
                return Receipt(name, len(picture.data), _digest(picture))
            while name in fresh or os.path.lexists(self._folder / name):
                name = numbered(name, picture.target.index)
        fresh[name] = picture
        return Receipt(name, len(picture.data), _digest(picture))

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
