"""Pictures as files in a folder. Every file is whole when its name appears: bytes, rename, then the journal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from crawler.batcher import Batcher
from crawler.disk import disk_errors, flush, write_all
from crawler.model import CompanionFile, Picture, Receipt, Record
from crawler.store.at_once import AtOnce
from crawler.store.digests import digest_of, stored_companion
from crawler.store.facts import told
from crawler.store.intents import Intents
from crawler.store.names import beside, file_name, numbered

INTENTS = "intents"
_TEMPORARY = ".crawler/tmp"
_BATCH = 32
_REST = 0.02
"""Seconds between two batches: many small pictures are written at a time, each batch costs the loop the same."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


class NewFile(NamedTuple):
    """Bytes that are to be written: of a picture, or of the companion with that label."""

    target: int
    label: str
    data: bytes


_Item = tuple[Picture, str]
"""A picture, and the name of the one whose place it takes."""


class FileStore(AtOnce):
    """A Store that writes each picture to `folder` under the name its template gives.

    A name that is taken gets the target's number added: no picture ever replaces another. Only pictures that are named
    by their content share a file when they are the same.

    Args:
        durable: flush every file and its folder to the disk before it counts as stored.
        home: folder of the journal, where names that are about to appear are noted.
        sidecar: what is written beside each picture: `json`, `txt`.
    """

    def __init__(
        self,
        folder: Path,
        template: str,
        durable: bool = False,
        *,
        home: Path | None = None,
        sidecar: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._home = home or folder / ".crawler"
        self._sidecar = sidecar
        self._template = template
        self._durable = durable
        self._temporary = folder / _TEMPORARY
        # As text, for what happens once a picture: joining a Path takes longer than renaming a file.
        self._root, self._temporaries = os.path.join(folder, ""), os.path.join(self._temporary, "")
        self._made: set[str] = set()
        self._by_content = "{sha256}" in template
        self._unkept: set[str] = set()
        self._reserved: dict[str, int] = {}  # names whose picture is being replaced, and by which target's
        self._intents: Intents | None = None
        self._failure: BaseException | None = None

    async def __aenter__(self) -> FileStore:
        self._batcher: Batcher[_Item, Receipt] = Batcher("crawler-store", self._write, _BATCH, _REST)
        self._intents = await self._batcher.call(self._prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batcher.close()

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        return await self._batcher.do((picture, instead_of))

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await self._batcher.call(lambda: self._reserve(index, names))
        await forget()
        if self._by_content:  # they may be somebody else's too, which is found out in the end
            self._unkept.update(names)
        else:
            await self._batcher.call(lambda: self._remove(names))

    def keeping(self, records: Iterable[Record]) -> Iterator[Record]:
        """Take note of the files that records name. Called from the journal's thread, as `discard_unkept`."""
        for record in records:
            self._unkept.difference_update(record.files)
            yield record

    def discard_unkept(self) -> None:
        """Remove the files of retired pictures that no record names any more."""
        self._remove(self._unkept)
        self._unkept.clear()

    def discard(self, names: Iterable[str]) -> None:
        """Remove files that a killed run left without a record. Called from the journal's thread."""
        self._remove(names)

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
            return Intents(self._home / INTENTS)

    def _write(self, items: list[_Item]) -> Sequence[Receipt | BaseException]:
        """What cannot be written ends the run: what comes after it is not written either, for nobody would record it."""
        if self._failure is not None:
            raise self._failure
        try:
            results = self._written(items)
        except Exception as error:
            self._failure = error
            raise
        self._failure = next((result for result in results if isinstance(result, BaseException)), None)
        return results

    def _written(self, items: list[_Item]) -> Sequence[Receipt | BaseException]:
        with disk_errors(self._folder):
            named = [(picture, self._name(picture, instead_of)) for picture, instead_of in items]
            fresh: dict[str, NewFile] = {}
            receipts = [self._assign(picture, name, fresh) for picture, name in named]
            failed = self._move(fresh)
        if not failed:
            return receipts
        return [_error_of(receipt, failed) or receipt for receipt in receipts]

    def _reserve(self, index: int, names: Sequence[str]) -> None:
        with disk_errors(self._folder):
            self._announce(dict.fromkeys(names, index))
        self._reserved |= dict.fromkeys(names, index)

    def _announce(self, names: Mapping[str, int]) -> None:
        assert self._intents is not None
        self._intents.announce(names, self._durable)

    def _name(self, picture: Picture, instead_of: str) -> str:
        """The name of a picture: its template's, or that of the picture whose place it takes."""
        if not instead_of or self._by_content:
            return file_name(self._template, picture)
        self._reserved = {name: index for name, index in self._reserved.items() if index != picture.target.index}
        return f"{instead_of.rpartition('.')[0]}.{picture.extension}"

    def _assign(self, picture: Picture, name: str, fresh: dict[str, NewFile]) -> Receipt:
        """Give a picture and its companions their files."""
        self._make_parent(name)
        index = picture.target.index
        name = self._place(NewFile(index, "", picture.data), name, fresh, self._sidecar)
        found: list[CompanionFile] = []
        for companion in picture.companions:
            file = NewFile(index, companion.label, companion.data)
            place = self._place(file, beside(name, companion.label, companion.extension), fresh)
            found.append(stored_companion(companion, place))
        receipt = Receipt(name, len(picture.data), digest_of(picture), tuple(found))
        return self._with_sidecars(picture, receipt, fresh) if self._sidecar else receipt

    def _with_sidecars(self, picture: Picture, receipt: Receipt, fresh: dict[str, NewFile]) -> Receipt:
        """The texts beside a picture have its name, with another ending."""
        made = []
        for ending in self._sidecar:
            if ending == "json":
                data = json.dumps(told(Record.made(picture, receipt)), ensure_ascii=False, indent=4)
            else:
                data = picture.target.extra.caption or ""
            file = NewFile(picture.target.index, ending, data.encode(errors="backslashreplace"))
            name = self._place(file, f"{receipt.file_name.rpartition('.')[0]}.{ending}", fresh)
            made.append(CompanionFile(ending, name, 0, 0, ending, len(file.data), hashlib.sha256(file.data).digest()))
        return receipt._replace(companions=(*receipt.companions, *made))

    def _place(self, file: NewFile, name: str, fresh: dict[str, NewFile], beside: Sequence[str] = ()) -> str:
        """A free name. What is named by its content and is there already is not written again.

        Args:
            beside: endings under which the name must be free too.
        """
        if self._by_content and self._holds(name, file.data, fresh):
            return name
        while any(
            self._taken(one, fresh) for one in (name, *(f"{name.rpartition('.')[0]}.{ending}" for ending in beside))
        ):
            name = numbered(name, file.target)
        fresh[name] = file
        return name

    def _holds(self, name: str, data: bytes, fresh: dict[str, NewFile]) -> bool:
        """True if these very bytes are stored under the name: the same source can be made into other pictures."""
        if name in fresh:
            return fresh[name].data == data
        return self._read(name) == data

    def _taken(self, name: str, fresh: Container[str]) -> bool:
        return name in fresh or self._exists(name) or (name in self._reserved and not self._by_content)

    # What touches the disk.

    def _exists(self, name: str) -> bool:
        return os.path.lexists(self._root + name)

    def _read(self, name: str) -> bytes | None:
        try:
            return Path(self._folder, name).read_bytes()
        except FileNotFoundError:
            return None

    def _remove(self, names: Iterable[str]) -> None:
        with disk_errors(self._folder):
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def _move(self, fresh: Mapping[str, NewFile]) -> Mapping[str, BaseException]:
        """Write files and give them their names, which are announced in between. Returns what failed, by name."""
        written = [self._write_temporary(file) for file in fresh.values()]
        self._announce({name: file.target for name, file in fresh.items()})
        for temporary, name in zip(written, fresh, strict=True):
            os.replace(temporary, self._root + name)
        if self._durable:
            for parent in {(self._folder / name).parent for name in fresh}:
                flush(parent)
        return {}

    def _make_parent(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent not in self._made:
            os.makedirs(self._root + parent, exist_ok=True)
            self._made.add(parent)

    def _write_temporary(self, given: NewFile) -> str:
        path = f"{self._temporaries}{given.target}.{given.label}"
        descriptor = os.open(path, _NEW)  # what `open` does besides takes as long as writing a small picture
        try:
            write_all(descriptor, given.data)
            if self._durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return path


def _error_of(receipt: Receipt, failed: Mapping[str, BaseException]) -> BaseException | None:
    names = (receipt.file_name, *(one.file_name for one in receipt.companions))
    return next((failed[name] for name in names if name in failed), None)
