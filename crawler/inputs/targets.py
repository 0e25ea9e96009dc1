"""All sources of a run as one numbered stream of targets. A position keeps its number whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any

from crawler.errors import InputError
from crawler.found import GIVEN, Origin
from crawler.inputs.columns import Columns
from crawler.inputs.lines import count_lines
from crawler.inputs.lists import Entry, Lists, OpenRun
from crawler.inputs.places import STDIN, compression_of, could_be_list, is_list, is_on_the_web, is_remote
from crawler.inputs.rows import MappedRows
from crawler.model import NO_EXTRA, Extra, Row, Target
from crawler.settings import InputSettings
from crawler.urls import as_text, masked, split_credentials

_BATCH = 256


class Targets:
    """The Source behind `InputSettings`.

    Args:
        looked_at: columns that functions look at; None for all.
        needed: columns that other settings name, by setting: `verify_hash`.
        open_run: opens an earlier run.
        taken: names of columns that the output has besides its usual ones.
    """

    def __init__(
        self,
        settings: InputSettings,
        looked_at: Collection[str] | None = None,
        needed: Mapping[str, str] | None = None,
        open_run: OpenRun | None = None,
        taken: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._lists = Lists(settings, looked_at, needed, open_run, taken)
        self._total: int | None = None
        self.complete = False

    def check(self) -> None:
        """Look whether every list is there, and every table has its columns. Blocks.

        Raises:
            InputMissing: one is not, or is nothing that can be read. SettingsError: a column is missing.
        """
        sources = self._settings.sources
        if not isinstance(sources, tuple | list):
            self._lists.refuse_where("rows from Python")
            return
        mapped = [source for source in sources if isinstance(source, Mapping)]
        if mapped:
            self._lists.refuse_where("rows from Python")
            self._lists.understand("the rows given", MappedRows(), [Row(0, dict(row)) for row in mapped[:_BATCH]])
        for source in sources:
            if is_list(source, self._settings.input_format):
                self._lists.check(source)
            elif isinstance(source, str):
                if form := could_be_list(source):
                    self._lists.notes.append(
                        f"{masked(source)} is fetched as a picture; to read it as a list: --input-format {form}"
                    )
                elif not is_on_the_web(source):
                    self._lists.notes.append(
                        f"{masked(source)} is no address of a picture; to read it as a list: --input-format, or a / at its end"
                    )
                self._lists.refuse_columns(source)

    @property
    def by_hand(self) -> bool:
        """There are addresses among the sources that stand for themselves, and may be pages."""
        sources = self._settings.sources
        return isinstance(sources, tuple) and not all(self._is_list(source) for source in sources)

    @property
    def columns(self) -> Columns | None:
        """What the columns of the tables are, once that is known."""
        return self._lists.columns

    @property
    def notes(self) -> Sequence[str]:
        """What was decided that people should know."""
        return self._lists.notes

    @property
    def total(self) -> int | None:
        return self._total

    async def batches(self) -> AsyncGenerator[Sequence[Target], None]:
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
        self.complete = True

    async def _entries(self) -> AsyncGenerator[Sequence[Entry], None]:
        """What becomes a target, before repeating."""
        sources, most = self._settings.sources, self._most()
        try:
            if most == 0:
                return
            if isinstance(sources, AsyncIterable):
                at = 0
                async for given in sources:
                    at += 1
                    yield [self._item(given, at)]
            elif isinstance(sources, tuple | list):
                for at, source in enumerate(sources, 1):
                    async with aclosing(self._named(source, at)) as named:
                        async for entries in named:
                            yield entries
            else:
                for entries in self._pulled(islice(sources, most)):
                    yield entries
                    await asyncio.sleep(0)  # an endless iterable must not keep the loop to itself
        finally:
            await asyncio.to_thread(self._lists.close)

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
            found = await asyncio.to_thread(self._count_list, source) if self._is_list(source) else 1
            if found is None:
                return None
            total += found
        return total

    def _count_list(self, source: str) -> int | None:
        """Targets of plain text files; None for what would have to be read to its end."""
        if source == STDIN or is_remote(source):
            return None
        total = 0
        for name, form in self._lists.files(source):
            found = count_lines(Path(name)) if form == "txt" and not compression_of(name) else None
            if found is None:
                return None
            total += found
        return total

    def _clip(self, count: int | None) -> int | None:
        if count is None:
            return None
        total = count * self._settings.repeat
        return total if self._settings.limit is None else min(total, self._settings.limit)

    def _is_list(self, source: object) -> bool:
        return is_list(source, self._settings.input_format)

    async def _named(self, source: object, at: int) -> AsyncGenerator[Sequence[Entry], None]:
        if isinstance(source, str) and self._is_list(source):
            async with aclosing(self._lists.read(source)) as lists:
                async for entries in lists:
                    yield entries
        elif isinstance(source, str):
            by_hand = isinstance(self._settings.sources, tuple)  # a list from a program is a list
            yield [Entry(as_text(source), f"argument {at}", found=GIVEN if by_hand else None)]
        else:
            yield [self._item(source, at)]

    def _pulled(self, sources: Iterable[object]) -> Iterable[Sequence[Entry]]:
        numbered = enumerate(sources, 1)
        while entries := [self._item(given, at) for at, given in islice(numbered, _BATCH)]:
            yield entries

    def _item(self, given: object, at: int) -> Entry:
        """An address, or a row that has one."""
        if not isinstance(given, Mapping):
            return Entry(as_text(given), f"item {at}")
        row = dict(given)
        try:
            json.dumps(row)
        except (TypeError, ValueError) as error:
            raise InputError(f"item {at}: its columns must be what JSON has: {error}") from None
        if self._lists.columns is None:
            self._lists.understand(f"item {at}", MappedRows(), [Row(at, row)])
        return self._lists.entry(Row(at, row), f"item {at}")


def target_of(
    index: int,
    given: str,
    origin: str = "",
    columns: Mapping[str, Any] | None = None,
    extra: Extra = NO_EXTRA,
    flaw: str = "",
    found: Origin | None = None,
) -> Target:
    """The target behind an address as it was given, with its password put where nobody prints it."""
    if "@" not in given:
        return Target(index, given, origin, None, columns or {}, extra, flaw, found)
    url, credentials = split_credentials(given)
    return Target(index, url, origin, credentials, columns or {}, extra, flaw, found)
