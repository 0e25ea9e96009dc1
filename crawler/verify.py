"""Every stored record of a run against the disk: is the file there, the right size, the same bytes, and a picture?"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from crawler.errors import RunLocked
from crawler.extras import has
from crawler.model import Fetched, Miss, Record, Target
from crawler.picture_settings import EXTRA_FORMATS, FORMATS, ProcessSettings
from crawler.process.pool import WorkerPool
from crawler.state.reader import RunReader
from crawler.state.repair import forget

_AT_ONCE = 64
_ANY_SIZE = 1 << 40  # what was stored was allowed when it was stored


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one stored file: a picture or one of its companions."""

    record: Record
    kind: Literal["missing", "size", "hash", "decode"]
    detail: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check: how many records there were, and what was wrong with some."""

    records: int
    faults: list[Fault]


async def verify(folder: Path, repair: bool = False) -> Checked:
    """Check every stored picture of the run in `folder`. With `repair` the next run does the faulty ones again.

    Raises:
        NotARun, JournalError: there is nothing to check. RunLocked: a run is using the folder; nothing is touched.
    """
    reader = await asyncio.to_thread(RunReader, folder)
    status = await asyncio.to_thread(reader.status)
    if status.running:
        raise RunLocked(f"{folder}: a run is using this folder ({status.running}); verify it when the run has ended")
    faults = []
    settings = ProcessSettings(encode="original", max_pixels=_ANY_SIZE, formats=_formats())
    async with WorkerPool(settings) as pool:
        records = reader.records()
        while batch := await asyncio.to_thread(lambda: list(islice(records, _AT_ONCE))):
            files = [(record, file) for record in batch for file in _files(record)]
            found = await asyncio.gather(*(_check(folder, record, file, pool) for record, file in files))
            faults += [fault for fault in found if fault is not None]
    if repair and faults:
        faulty = {fault.record.index: fault.record for fault in faults}
        await asyncio.to_thread(forget, folder, list(faulty.values()))
    return Checked(status.stored, faults)


def _formats() -> tuple[str, ...]:
    """All formats that can be opened here."""
    return (*FORMATS, *(EXTRA_FORMATS if has("pillow_heif") else ()))


@dataclass(frozen=True, slots=True)
class _File:
    """A file that a record names, and what it should be."""

    name: str
    size: int
    digest: bytes


def _files(record: Record) -> Iterator[_File]:
    yield _File(record.file_name, record.size, record.digest)
    for file in record.companions:
        yield _File(file.file_name, file.size, file.digest)


async def _check(folder: Path, record: Record, file: _File, pool: WorkerPool) -> Fault | None:
    data = await asyncio.to_thread(_read, folder, file)
    if isinstance(data, tuple):
        return Fault(record, *data, file.name)
    result = await pool.process(Fetched(Target(record.index, record.url), data, "", 200, "", 0.0, 0.0))
    if isinstance(result, Miss):
        return Fault(record, "decode", f"{result.reason.value}: {result.detail}", file.name)
    return None


def _read(folder: Path, file: _File) -> bytes | tuple[Literal["missing", "size", "hash"], str]:
    """The bytes of a file, or what is wrong with them."""
    try:
        data = (folder / file.name).read_bytes()
    except FileNotFoundError:
        return "missing", "there is no such file"
    except OSError as error:
        return "missing", f"cannot be read: {error.strerror or error}"
    if len(data) != file.size:
        return "size", f"{len(data)} bytes, {file.size} were stored"
    if hashlib.sha256(data).digest() != file.digest:
        return "hash", "other bytes than were stored"
    return data


def fault_lines(faults: Iterable[Fault]) -> Iterable[str]:
    """One line for each fault."""
    return (f"{fault.kind}\t{fault.file_name}\t{fault.detail}" for fault in faults)
