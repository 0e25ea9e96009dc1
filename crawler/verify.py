"""Every stored record of a run against the disk: is the file there, the right size, the same bytes, and a picture?"""

from __future__ import annotations

import asyncio
import hashlib
import json
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
from crawler.state.home import FOLDER
from crawler.state.reader import RunReader
from crawler.state.repair import forget
from crawler.store.stored import Bytes, Stored, open_stored

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


async def verify(folder: Path | str, repair: bool = False) -> Checked:
    """Check every stored picture of the run in `folder`. With `repair` the next run does the faulty ones again.

    Raises:
        NotARun, JournalError: there is nothing to check. RunLocked: a run is using the folder; nothing is touched.
    """
    reader = await asyncio.to_thread(RunReader, folder)
    status = await asyncio.to_thread(reader.status)
    if status.running:
        raise RunLocked(f"{folder}: a run is using this folder ({status.running}); verify it when the run has ended")
    made = json.loads(await asyncio.to_thread(reader.fact, "settings") or "{}")
    form, shard_count = made.get("format", "files"), made.get("shard_count", 0)
    output = await asyncio.to_thread(reader.fact, "output") or str(folder)
    if "://" not in output and Path(folder).is_dir() and reader.home == Path(folder) / FOLDER:
        output = str(folder)  # the folder may have been moved
    stored = await asyncio.to_thread(open_stored, form, output, reader.home, shard_count)
    faults = []
    settings = ProcessSettings(encode="original", max_pixels=_ANY_SIZE, formats=_formats())
    try:
        async with WorkerPool(settings) as pool:
            records = reader.records()
            while batch := await asyncio.to_thread(lambda: _some(records, stored)):
                found = await asyncio.gather(*(_check(record, file, pool) for record, file in batch))
                faults += [fault for fault in found if fault is not None]
        if repair and faults:
            faulty = {fault.record.index: fault.record for fault in faults}
            await asyncio.to_thread(forget, reader.home, list(faulty.values()), shard_count, stored.remove)
    finally:
        await asyncio.to_thread(stored.close)
    return Checked(status.stored, faults)


def _formats() -> tuple[str, ...]:
    """All formats that can be opened here."""
    return (*FORMATS, *(EXTRA_FORMATS if has("pillow_heif") else ()))


@dataclass(frozen=True, slots=True)
class _File:
    """A file that a record names, and what it should be.

    Attributes:
        data: what it is, or why it could not be read.
    """

    name: str
    size: int
    digest: bytes
    is_picture: bool
    data: Bytes


def _some(records: Iterator[Record], stored: Stored) -> list[tuple[Record, _File]]:
    """The files of the next few records."""
    found = []
    for record in islice(records, _AT_ONCE):
        data = stored.read(record)
        found.append((record, _File(record.file_name, record.size, record.digest, True, data[0])))
        for one, its in zip(record.companions, data[1:], strict=True):
            found.append((record, _File(one.file_name, one.size, one.digest, one.is_picture, its)))
    return found


async def _check(record: Record, file: _File, pool: WorkerPool) -> Fault | None:
    data = file.data
    if isinstance(data, str):
        return Fault(record, "missing", data, file.name)
    if len(data) != file.size:
        return Fault(record, "size", f"{len(data)} bytes, {file.size} were stored", file.name)
    if await asyncio.to_thread(lambda: hashlib.sha256(data).digest()) != file.digest:
        return Fault(record, "hash", "other bytes than were stored", file.name)
    if not file.is_picture:
        return None
    result = await pool.process(Fetched(Target(record.index, record.url), data, "", 200, "", 0.0, 0.0))
    if isinstance(result, Miss):
        return Fault(record, "decode", f"{result.reason.value}: {result.detail}", file.name)
    return None


def fault_lines(faults: Iterable[Fault]) -> Iterable[str]:
    """One line for each fault."""
    return (f"{fault.kind}\t{fault.file_name}\t{fault.detail}" for fault in faults)
