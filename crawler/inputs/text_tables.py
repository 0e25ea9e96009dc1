"""Tables in text: CSV and TSV with a header, JSON lines, and JSON that is one array of rows. Read in pieces."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import IO, Any

from crawler.errors import InputError
from crawler.inputs.rows import LONGEST_ROW, Row, Table, broken

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BLANKS = " \t\r\n,"


@contextmanager
def text_table(form: str, file: IO[bytes], source: str) -> Iterator[Table]:
    """The table in a stream of bytes.

    Args:
        source: its name, for people.
    """
    newline = "" if form in _DELIMITERS else None
    with TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=newline) as text:
        if form in _DELIMITERS:
            yield SeparatedTable(text, _DELIMITERS[form], source)
        else:
            yield ArrayTable(text, source) if form == "json" else LinesTable(text)


class SeparatedTable:
    """CSV (RFC 4180) or TSV; the first row is the header."""

    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, file: TextIOWrapper, delimiter: str, source: str) -> None:
        self._reader = csv.reader(_lines(file), delimiter=delimiter)
        try:
            self.names: Sequence[str] = [name.strip() for name in next(self._reader, [])]
        except csv.Error as error:
            raise InputError(f"{source}: its first line is no header: {error}") from error

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        while True:
            at = self._reader.line_num + 1
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield broken(at, "", f"a row that cannot be read: {error}")
                continue
            if any(cell.strip() for cell in row):
                yield Row(at, dict(zip(self.names, row, strict=False)))


def _lines(file: TextIOWrapper) -> Iterator[str]:
    """The lines of a file, each cut after `LONGEST_ROW` characters: one without end must not fill the memory."""
    while line := file.readline(LONGEST_ROW):
        rest = line
        while len(rest) == LONGEST_ROW and not rest.endswith("\n"):
            rest = file.readline(LONGEST_ROW)
        yield line


class LinesTable:
    """JSON lines: one object a line. What columns there are is only seen in the rows."""

    names: Sequence[str] = ()
    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        for number, line in enumerate(_lines(self._file), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield broken(number, line, f"a row that cannot be read: {error}")
                    continue
                yield _row(number, row, line)


def _row(at: int, value: object, text: str) -> Row:
    return Row(at, value) if isinstance(value, dict) else broken(at, text, "a row that is no object")


class ArrayTable:
    """A JSON file: one array of objects or of addresses, or objects one after the other (as some call JSON lines)."""

    names: Sequence[str] = ()
    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, file: TextIOWrapper, source: str) -> None:
        self._file = file
        self._source = source

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        for number, (value, text) in enumerate(self._values(), 1):
            yield Row(number, {"url": value}) if isinstance(value, str) else _row(number, value, text)

    def _values(self) -> Iterator[tuple[object, str]]:
        decode = json.JSONDecoder().raw_decode
        piece, at = self._file.read(1 << 16), 0
        at = _skip(piece, at)
        array = piece[at : at + 1] == "["
        at += array
        count = 0
        while True:
            at = _skip(piece, at)
            if at < len(piece):
                if array and piece[at] == "]":
                    return
                try:
                    value, end = decode(piece, at)
                    if end < len(piece) or isinstance(value, dict | list | str):
                        yield value, piece[at : at + 500]
                        count, at = count + 1, end
                        continue
                except (ValueError, RecursionError) as error:
                    if len(piece) - at > LONGEST_ROW:
                        raise self._failed(
                            count, f"has a value of more than {LONGEST_ROW:,} characters: {error}"
                        ) from None
            more = self._file.read(1 << 16)
            if not more:
                break
            piece, at = piece[at:] + more, 0
        if at < len(piece):
            raise self._failed(count, f"cannot be read from there on: {piece[at : at + 40]!r}")
        if array:
            raise self._failed(count, "ends before its array does")

    def _failed(self, count: int, why: str) -> InputError:
        return InputError(f"{self._source}: item {count + 1} {why}")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at
