"""Pictures as files in a folder. Every file is whole when its name appears: bytes, rename, then the journal."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from crawler.batcher import Batcher
from crawler.disk import disk_errors, write_all
from crawler.model import CompanionFile, Picture, Receipt, Record
from crawler.store.intents import Intents
from crawler.store.names import beside, file_name, numbered

INTENTS = ".crawler/intents"
_TEMPORARY = ".crawler/tmp"
_BATCH = 32


class _File(NamedTuple):
    """Bytes that are to be written: of a picture, or of the companion with that label."""

    target: int
    label: str
    data: bytes


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
        self._reserved: dict[str, int] = {}  # names whose picture is being replaced, and by which target's
        self._intents: Intents | None = None

    async def __aenter__(self) -> FileStore:
        self._batcher: Batcher[_Item, Receipt] = Batcher("crawler-store", self._write, _BATCH)
        self._intents = await self._batcher.call(self._prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batcher.close()

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        return await self._batcher.do((picture, instead_of))

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await self._batcher.call(lambda: self._announce(index, names))
        await forget()
        if self._by_content:  # they may be somebody else's too, which is found out in the end
            self._unkept.update(names)
        else:
            await self._batcher.call(lambda: self._remove(names))

    def has_room(self, index: int) -> bool:
        return True

    @property
    def busy(self) -> bool:
        return False

    async def finish(self, total: int | None) -> None:
        return None

    def keeping(self, records: Iterable[Record]) -> Iterator[Record]:
        """Take note of the files that records name. Called from the journal's thread, as `discard_unkept`."""
        for record in records:
            self._unkept.difference_update(record.files)
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

    def ended(self, settled: bool) -> None:
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
            fresh: dict[str, _File] = {}
            receipts = [self._assign(picture, name, fresh) for picture, name in named]
            written = [self._write_temporary(file) for file in fresh.values()]
            self._intents.announce({name: file.target for name, file in fresh.items()}, self._durable)
            for temporary, name in zip(written, fresh, strict=True):
                os.replace(temporary, self._folder / name)
            if self._durable:
                for parent in {(self._folder / name).parent for name in fresh}:
                    _flush_folder(parent)
        return receipts

    def _announce(self, index: int, names: Sequence[str]) -> None:
        assert self._intents is not None
        with disk_errors(self._folder):
            self._intents.announce(dict.fromkeys(names, index), self._durable)
        self._reserved |= dict.fromkeys(names, index)

    def _remove(self, names: Sequence[str]) -> None:
        with disk_errors(self._folder):
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def _name(self, picture: Picture, instead_of: str) -> str:
        """The name of a picture: its template's, or that of the picture whose place it takes."""
        if not instead_of or self._by_content:
            return file_name(self._template, picture)
        self._reserved = {name: index for name, index in self._reserved.items() if index != picture.target.index}
        return f"{instead_of.rpartition('.')[0]}.{picture.extension}"

    def _assign(self, picture: Picture, name: str, fresh: dict[str, _File]) -> Receipt:
        """Give a picture and its companions their files."""
        self._make_parent(self._folder / name)
        index = picture.target.index
        name = self._place(_File(index, "", picture.data), name, fresh)
        found = []
        for companion in picture.companions:
            file = _File(index, companion.label, companion.data)
            place = self._place(file, beside(name, companion.label, companion.extension), fresh)
            digest = hashlib.sha256(companion.data).digest()
            found.append(
                CompanionFile(
                    companion.label, place, companion.width, companion.height, companion.format, len(file.data), digest
                )
            )
        return Receipt(name, len(picture.data), _digest(picture), tuple(found))

    def _place(self, file: _File, name: str, fresh: dict[str, _File]) -> str:
        """A free name. What is named by its content and is there already is not written again."""
        if self._by_content and self._holds(name, file.data, fresh):
            return name
        while self._taken(name, fresh):
            name = numbered(name, file.target)
        fresh[name] = file
        return name

    def _holds(self, name: str, data: bytes, fresh: dict[str, _File]) -> bool:
        """True if these very bytes are stored under the name: the same source can be made into other pictures."""
        if name in fresh:
            return fresh[name].data == data
        try:
            return Path(self._folder, name).read_bytes() == data
        except FileNotFoundError:
            return False

    def _taken(self, name: str, fresh: Container[str]) -> bool:
        return (
            name in fresh or os.path.lexists(self._folder / name) or (name in self._reserved and not self._by_content)
        )

    def _make_parent(self, path: Path) -> None:
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)

    def _write_temporary(self, given: _File) -> Path:
        path = self._temporary / f"{given.target}.{given.label}"
        with open(path, "wb", buffering=0) as file:
            write_all(file, given.data)
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
