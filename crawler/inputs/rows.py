"""Rows of a table in a text file (CSV, TSV, JSON lines), read in pieces: an address each, and what else stands there."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from crawler.errors import InputError, SettingsError
from crawler.urls import MASK, as_text

Entry = tuple[str, str, dict[str, Any]]
"""Address, origin and the other columns of a row. A row that cannot be read gives its text as its address, which is then
missed as such."""

_DIALECTS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
_BATCH = 256
_SHOWN = 200
LONGEST_ROW = 1_000_000
"""Characters of a line that are read."""
_PASSWORD = re.compile(r"(?<=//)[^/\s@]*(?=@)")


def is_table(source: str) -> bool:
    """True if the ending of a file says that it holds rows."""
    return _delimiter(source) is not None or Path(source).suffix.lower() in _LINES


def _delimiter(source: str) -> str | None:
    """What stands between the cells of a row; None if the file has no such rows."""
    return _DIALECTS.get(Path(source).suffix.lower())


def check_columns(source: str, url_column: str, needed: str = "") -> None:
    """Look whether a table has the columns that are needed; only CSV and TSV say what they have. Blocks.

    Raises:
        SettingsError: one is missing. InputError: the file cannot be read.
    """
    if _delimiter(source) is None:
        return
    with _reading(source), closing(_Table(source)) as table:
        for setting, name in (("url_column", url_column), ("verify_hash", needed)):
            if name and name not in table.names:
                raise SettingsError(
                    setting, f"{source} has no column {name!r}; there are {', '.join(table.names) or 'none'}"
                )


async def read_rows(source: str, url_column: str) -> AsyncIterator[list[Entry]]:
    """The rows of a table in order, some at a time.

    Raises:
        InputError: the file cannot be read.
    """
    rows = (_separated if _delimiter(source) else _json_lines)(source, url_column)
    try:
        while batch := await asyncio.to_thread(_pulled, source, rows):
            yield batch
    finally:
        await asyncio.to_thread(rows.close)


@contextmanager
def _reading(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from error
    except csv.Error as error:
        raise InputError(f"{source}: its first line is no header: {error}") from error


def _pulled(source: str, rows: Iterator[Entry]) -> list[Entry]:
    with _reading(source):
        return list(islice(rows, _BATCH))


class _Table:
    """A CSV or TSV file and its header."""

    def __init__(self, source: str) -> None:
        self._file = open(source, encoding="utf-8-sig", errors="replace", newline="")  # noqa: PTH123, SIM115
        self.reader = csv.reader(_lines(self._file), delimiter=_delimiter(source) or ",")
        self.names = [name.strip() for name in next(self.reader, [])]

    def close(self) -> None:
        self._file.close()


def _separated(source: str, url_column: str) -> Generator[Entry, None, None]:
    with closing(_Table(source)) as table:
        while True:
            origin = f"{source}:{table.reader.line_num + 1}"
            try:
                row = next(table.reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"a row that cannot be read: {error}", origin, {}
                continue
            if any(cell.strip() for cell in row):
                columns: dict[str, Any] = dict(zip(table.names, row, strict=False))
                yield columns.pop(url_column, "").strip(), origin, columns


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, each cut after `LONGEST_ROW` characters: one without end must not fill the memory."""
    while line := file.readline(LONGEST_ROW):
        rest = line
        while len(rest) == LONGEST_ROW and not rest.endswith("\n"):
            rest = file.readline(LONGEST_ROW)
        yield line


def _json_lines(source: str, url_column: str) -> Generator[Entry, None, None]:
    with open(source, encoding="utf-8-sig", errors="replace") as file:  # noqa: PTH123
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                url = row.pop(url_column, "")
                yield as_text(url).strip() if isinstance(url, str) else "", f"{source}:{number}", row
            else:
                yield _PASSWORD.sub(MASK, line.strip())[:_SHOWN], f"{source}:{number}", {}
