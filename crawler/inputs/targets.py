"""All sources of a run as one numbered stream of targets. A position keeps its number whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any

from crawler.errors import InputError, InputMissing, SettingsError
from crawler.inputs.lines import count_lines, read_lines
from crawler.inputs.rows import Entry, check_columns, is_table, read_rows
from crawler.model import Target
from crawler.settings import InputSettings
from crawler.urls import as_text, looks_like_url, split_credentials

_BATCH = 256

Entries = Sequence[tuple[str, str] | Entry]


class Targets:
    """The Source behind `InputSettings`."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._total: int | None = None

    def check(self, needed: str = "") -> None:
        """Look whether every list is there, and every table has its columns. Blocks.

        Args:
            needed: a column beside that of the addresses.

        Raises:
            InputMissing: one is not, or is nothing that can be read. SettingsError: a column is missing.
        """
        sources = self._settings.sources
        if isinstance(sources, tuple | list):
            for source in sources:
                listed = not _is_address(source) and source != "-"
                table = listed and is_table(source)
                if needed and isinstance(source, str) and not table:
                    raise SettingsError(
                        "verify_hash",
                        f"{source[:100]} has no columns; give a table (.csv, .tsv, .jsonl), or rows from Python",
                    )
                if listed:
                    _check(source)
                if table:
                    check_columns(source, self._settings.url_column, needed)

    @property
    def total(self) -> int | None:
        return self._total

    async def batches(self) -> AsyncIterator[Sequence[Target]]:
        self._total = self._clip(await self._count())
        limit, repeat, index = self._settings.limit, self._settings.repeat, 0
        batch: list[Target] = []
        async with aclosing(self._entries()) as every:
            async for entries in every:
                for entry in entries:
                    for _ in range(repeat if limit is None else min(repeat, limit - index)):
                        batch.append(target_of(index, *entry))
                        index += 1
                        if len(batch) >= _BATCH:
                            yield batch
                            batch = []
                if batch:
                    yield batch
                    batch = []
                if limit is not None and index >= limit:
                    break
        self._total = index

    async def _entries(self) -> AsyncGenerator[Entries, None]:
        """Address, origin and perhaps columns of every entry, before repeating."""
        sources, most = self._settings.sources, self._most()
        if most == 0:
            return
        if isinstance(sources, AsyncIterable):
            at = 0
            async for given in sources:
                at += 1
                yield [_item(given, at, self._settings.url_column)]
        elif isinstance(sources, tuple | list):
            for at, source in enumerate(sources, 1):
                async for entries in _named(source, at, self._settings.url_column):
                    yield entries
        else:
            for entries in _pulled(islice(sources, most), self._settings.url_column):
                yield entries
                await asyncio.sleep(0)  # an endless iterable must not keep the loop to itself

    def _most(self) -> int | None:
        """Entries that are needed."""
        limit = self._settings.limit
        return None if limit is None else -(-limit // self._settings.repeat)

    async def _count(self) -> int | None:
        sources = self._settings.sources
        if not isinstance(sources, tuple | list):
            return None
        total = 0
        for source in sources:
            found = (
                1
                if _is_address(source)
                else None
                if source == "-" or is_table(source)
                else await asyncio.to_thread(count_lines, Path(source))
            )
            if found is None:
                return None
            total += found
        return total

    def _clip(self, count: int | None) -> int | None:
        if count is None:
            return None
        total = count * self._settings.repeat
        return total if self._settings.limit is None else min(total, self._settings.limit)


def target_of(index: int, given: str, origin: str = "", columns: Mapping[str, Any] | None = None) -> Target:
    """The target behind an address as it was given, with its password put where nobody prints it."""
    if "@" not in given:
        return Target(index, given, origin, None, columns or {})
    url, credentials = split_credentials(given)
    return Target(index, url, origin, credentials, columns or {})


def _is_address(source: object) -> bool:
    return not isinstance(source, str) or looks_like_url(source)


def _item(given: object, at: int, url_column: str) -> tuple[str, str] | Entry:
    """An address, or a row that has one."""
    if not isinstance(given, Mapping):
        return as_text(given), f"item {at}"
    columns = dict(given)
    try:
        json.dumps(columns)
    except (TypeError, ValueError) as error:
        raise InputError(f"item {at}: its columns must be what JSON has: {error}") from None
    return as_text(columns.pop(url_column, "")), f"item {at}", columns


async def _named(source: object, at: int, url_column: str) -> AsyncIterator[Entries]:
    if not isinstance(source, str):
        yield [_item(source, at, url_column)]
        return
    if looks_like_url(source):
        yield [(as_text(source), f"argument {at}")]
        return
    if is_table(source):
        async for rows in read_rows(source, url_column):
            yield rows
        return
    name = "standard input" if source == "-" else source
    async for lines in read_lines(source):
        yield [(text, f"{name}:{number}") for number, text in lines]


def _pulled(sources: Iterable[object], url_column: str) -> Iterable[Entries]:
    numbered = enumerate(sources, 1)
    while entries := [_item(given, at, url_column) for at, given in islice(numbered, _BATCH)]:
        yield entries


def _check(source: str) -> None:
    path = Path(source)
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputMissing(f"{source[:100]}: cannot be a list: {getattr(error, 'strerror', None) or error}") from None
    if path.is_dir():
        raise InputMissing(
            f"{source}: is a folder; give a text file with one URL a line, a URL, or - for standard input"
        )
    if not path.exists():
        raise InputMissing(f"{source}: no such file; give a text file with one URL a line, a URL with its scheme, or -")
    if not os.access(path, os.R_OK):
        raise InputMissing(f"{source}: cannot be read, permission denied")
