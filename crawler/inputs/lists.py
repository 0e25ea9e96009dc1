"""Lists of targets: found, opened, their columns understood, and read in a thread, some rows at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager
from itertools import chain, islice
from typing import Any, NamedTuple

from crawler.errors import InputError, SettingsError
from crawler.extras import require
from crawler.found import Origin
from crawler.inputs.columns import HEAD_ROWS, Columns, check_others, columns_of
from crawler.inputs.keys import Keys
from crawler.inputs.lines import read_lines
from crawler.inputs.opening import PipedFile, check_compression, opened
from crawler.inputs.places import STDIN, files_of, format_of, is_regular, is_remote
from crawler.inputs.rows import Table
from crawler.inputs.stdin import stdin
from crawler.inputs.text_tables import text_table
from crawler.inputs.where import Condition, RowFilter
from crawler.model import NO_EXTRA, Extra, Row
from crawler.settings import InputSettings
from crawler.urls import as_text, masked

_BATCH = 256
_HEAD_CHARACTERS = 4_000_000
_TYPED_HEAD = 100
_GIVEN_UP = 5.0

OpenRun = Callable[[str, str], Any]
"""Opens an earlier run: its folder, and which of its targets are meant."""


class Entry(NamedTuple):
    """What becomes a target: its address as it was given, where it stood, and what goes with it."""

    url: str
    origin: str = ""
    columns: Mapping[str, Any] = {}
    extra: Extra = NO_EXTRA
    flaw: str = ""
    found: Origin | None = None


class Lists:
    """The lists among the sources of a run.

    Args:
        looked_at: columns that functions look at; None for all.
        needed: columns that settings other than those of the input name, by setting.
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
        self._looked_at = looked_at
        self._needed = needed or {}
        self._open_run = open_run
        self._taken = taken
        self._where = Condition(settings.where) if settings.where else None
        self._keys = Keys()
        self.columns: Columns | None = None
        self.notes: list[str] = []

    def close(self) -> None:
        self._keys.close()

    # Before anything is fetched. All of these block.

    def files(self, source: str) -> list[tuple[str, str]]:
        """Name and format of the files behind a source. Raises what `check` raises."""
        chosen = self._settings.input_format
        return [(name, format_of(name, chosen)) for name in files_of(source, chosen)]

    def check(self, source: str) -> None:
        """Look whether the files of a source are there, and the first one has the columns that are asked for.

        Raises:
            InputError, SettingsError, MissingExtra: they are not, or it has not.
        """
        files = self.files(source)
        for name, form in files:
            if form == "parquet":
                require("pyarrow", "sources", shown(name))
            check_compression(name)
        name, form = files[0]
        if form == "txt":
            self.refuse_columns(name)
        elif is_remote(name) or form == "run" or is_regular(name):  # a pipe can be read only once
            with self._table(name, form) as table:
                self._learn(shown(name), table, form)

    def refuse_columns(self, source: str) -> None:
        """Plain addresses have no columns. Raises SettingsError if one is asked for."""
        asked: dict[str, Any] = {
            name: getattr(self._settings, name) for name in ("caption_column", "key_column", "keep_columns", "where")
        }
        for setting, value in (asked | dict(self._needed)).items():
            if value:
                raise SettingsError(
                    setting,
                    f"{shown(source)[:100]} has no columns; give a table (.csv, .tsv, .json, .jsonl, .parquet), "
                    "or rows from Python",
                )

    def refuse_where(self, source: str) -> None:
        """Raises SettingsError if rows are to be chosen by a condition."""
        if self._where is not None:
            raise SettingsError("where", f"is for tables in files; {source} are chosen where they are made")

    def understand(self, name: str, table: Table, head: Sequence[Row], texts: bool = False) -> None:
        """Decide from the first rows of a table which column is what. The first table decides; others need its columns.

        Args:
            texts: all values are texts.
        """
        names = list(table.names) or list(dict.fromkeys(column for row in head for column in row.values))
        if not names and not texts:
            return  # nothing is in it, so nothing can be wrong
        where = self._where.columns if self._where else ()
        check_others(name, names, [*self._needed.items(), *(("where", column) for column in where)])
        if self.columns is not None:
            check_others(name, names, self.columns.named())
            return
        self.columns = columns_of(self._settings, name, names, table.types, head, self._looked_at, texts, self._taken)
        if self.columns.url != (self._settings.url_column or "url"):
            self.notes.append(f"addresses are taken from column {self.columns.url!r} of {name}")

    def _learn(self, name: str, table: Table, form: str) -> tuple[Iterator[Row], RowFilter | None]:
        """Read the first rows, and decide. Returns all rows, and what chooses those that are wanted."""
        if table.types:
            known = self.columns is not None or self._settings.url_column or "url" in table.names
            texts = () if known else [column for column, kind in table.types.items() if "string" in str(kind)]
            head = list(islice(table.rows(texts), _TYPED_HEAD)) if texts else []  # to guess the address
            self.understand(name, table, head)
            return table.rows(self.columns.wanted if self.columns else None), None
        rows = table.rows(None)
        if self.columns is not None and self._where is None:
            if table.names:
                self.understand(name, table, ())
            return rows, None
        head = []
        failure: Exception | None = None
        size = 0
        try:
            for row in islice(rows, HEAD_ROWS):
                head.append(row)
                size += len(row.text) + sum(len(value) for value in row.values.values() if isinstance(value, str))
                if size > _HEAD_CHARACTERS:
                    break
        except Exception as error:
            if not head:
                raise
            failure = error
        separated = form in ("csv", "tsv")
        self.understand(name, table, head, separated)
        chosen = None
        if self._where is not None:
            chosen = RowFilter(self._where, head, separated)
            chosen.chosen([])  # says so now if the values do not fit
        return chain(head, rows if failure is None else _failing(failure)), chosen

    # While it runs.

    async def read(self, source: str) -> AsyncGenerator[Sequence[Entry], None]:
        """The entries of a source in order, some at a time.

        Raises:
            InputError: it cannot be read to its end; what could be read has been given.
        """
        for name, form in await asyncio.to_thread(self.files, source):
            async with aclosing(self._read_file(name, form)) as batches:
                async for batch in batches:
                    yield batch

    async def _read_file(self, name: str, form: str) -> AsyncGenerator[Sequence[Entry], None]:
        if form == "txt":
            told = "standard input" if name == STDIN else shown(name)
            async with aclosing(read_lines(name)) as batches:
                async for lines in batches:
                    yield [Entry(text, f"{told}:{number}") for number, text in lines]
        elif name == STDIN:
            async with stdin() as read:
                with PipedFile(read, asyncio.get_running_loop()) as piped:
                    async with aclosing(self._pulled(name, form, piped)) as rows:
                        async for batch in rows:
                            yield batch
        else:
            async with aclosing(self._pulled(name, form)) as rows:
                async for batch in rows:
                    yield batch

    async def _pulled(
        self, name: str, form: str, piped: PipedFile | None = None
    ) -> AsyncGenerator[Sequence[Entry], None]:
        rows = self._entries(name, form, piped)
        # Always the same thread: allocators keep what was freed for each.
        thread = ThreadPoolExecutor(1, "crawler-input")
        pulling: asyncio.Future[Sequence[Entry] | None] | None = None
        try:
            while True:
                pulling = asyncio.wrap_future(thread.submit(next, rows, None))
                if (batch := await asyncio.shield(pulling)) is None:
                    return
                yield batch
        finally:
            if pulling is not None and not pulling.done():  # we are cancelled, and the thread still reads
                if piped is not None:
                    piped.give_up()
                await asyncio.wait({pulling}, timeout=_GIVEN_UP)
            if pulling is not None and not pulling.done():
                thread.shutdown(wait=False)
            else:
                await asyncio.wrap_future(thread.submit(rows.close))
                await asyncio.to_thread(thread.shutdown)

    def _entries(self, name: str, form: str, piped: Any) -> Generator[Sequence[Entry], None, None]:
        """In a thread."""
        told = "standard input" if name == STDIN else shown(name)
        with self._table(name, form, piped) as table:
            rows, chosen = self._begin(told, table, form)
            for batch in _batches(rows):
                if self.columns is None:  # the first rows told nothing
                    self.understand(told, table, [row for row in batch if not row.flaw])
                yield [self.entry(row, f"{told}:{row.at}") for row in (chosen.chosen(batch) if chosen else batch)]

    def _begin(self, name: str, table: Table, form: str) -> tuple[Iterator[Row], RowFilter | None]:
        """As `_learn`; but when the run is on its way, a file without the columns ends it like one that cannot be read."""
        late = self.columns is not None
        try:
            return self._learn(name, table, form)
        except SettingsError as error:
            if late:
                raise InputError(str(error)) from error
            raise

    def entry(self, row: Row, origin: str) -> Entry:
        """What becomes of a row."""
        if row.flaw or self.columns is None:
            return Entry(row.text, origin, flaw=row.flaw or "a row without an address")
        extra, flaw = self.columns.extra(row)
        if extra.key and not flaw and self._keys.taken(extra.key):
            flaw = f"its key {extra.key!r} is that of an earlier row"
        return Entry(self.columns.address(row), origin, self.columns.others(row), NO_EXTRA if flaw else extra, flaw)

    @contextmanager
    def _table(self, name: str, form: str, piped: Any = None) -> Iterator[Table]:
        if form == "run":
            if self._open_run is None:
                raise InputError(f"{name}: runs cannot be read here")
            with closing(self._open_run(name, self._settings.take)) as run:
                yield run
            return
        with opened(name, piped) as file:
            if form == "parquet":
                if piped is not None:
                    raise SettingsError("input_format", "Parquet cannot be read from standard input: give a file")
                from crawler.inputs.parquet import ParquetTable

                yield ParquetTable(file, name, self._where)
            else:
                with text_table(form, file, shown(name)) as table:
                    yield table


def shown(name: str) -> str:
    """The name of a file as it can be shown and kept."""
    return as_text(masked(name))


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Some rows at a time; what could be read before an error comes before it."""
    while True:
        batch: list[Row] = []
        failure = None
        try:
            batch.extend(islice(rows, _BATCH))
        except Exception as error:
            failure = error
        if batch:
            yield batch
        if failure is not None:
            raise failure
        if not batch:
            return


def _failing(error: Exception) -> Iterator[Row]:
    raise error
    yield
