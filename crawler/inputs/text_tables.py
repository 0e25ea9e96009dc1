"""Tables in text: CSV and TSV with a header, JSON lines, and JSON that is one array of rows. Read in pieces."""

from __future__ import annotations

import csv
import json
import re
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import IO, Any

from crawler.errors import InputError
from crawler.inputs.rows import LONGEST_ROW, Table, broken
from crawler.model import Row

_TOO_LONG = f"a row of more than {LONGEST_ROW:,} characters"
_MOST_DIGITS = 4000
_MOST_LINES = 50
_BLANKS = " \t\r\n,"
_PIECE = 1 << 16
_LONGEST_WORD = 16  # `-Infinity` and its like may be cut in two


@contextmanager
def text_table(form: str, file: IO[bytes], source: str) -> Iterator[Table]:
    """The table in a stream of bytes.

    Args:
        source: its name, for people.
    """
    newline = "" if form in ("csv", "tsv") else None
    with TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=newline) as text:
        if form == "csv":
            yield SeparatedTable(text, source)
        elif form == "tsv":
            yield TabsTable(text)
        else:
            yield ArrayTable(text, source) if form == "json" else LinesTable(text)


class SeparatedTable:
    """CSV (RFC 4180); the first row is the header."""

    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, file: TextIOWrapper, source: str) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))  # one for the process; more harms nobody
        self._lines = _Lines(file)
        self._reader = csv.reader(self._lines)
        try:
            self.names: Sequence[str] = [name.strip() for name in next(self._reader, [])]
        except csv.Error as error:
            raise InputError(f"{source}: its first line is no header: {error}") from error

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        while True:
            at = self._lines.number + 1
            self._lines.start()
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._lines.skip_cell()
                yield broken(at, "", f"a row that cannot be read: {error}")
                continue
            if self._lines.cut:
                yield broken(at, ",".join(row), _TOO_LONG)
            elif any(cell.strip() for cell in row):
                yield Row(at, dict(zip(self.names, row, strict=False)))


class _Lines:
    """The lines of a file, each cut after `LONGEST_ROW` characters: one without end must not fill the memory.

    Attributes:
        number: of the last line, from 1.
        cut: a line of this row was.
    """

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file
        self._open = False  # the quotes so far do not come in pairs
        self.number = 0
        self.cut = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(LONGEST_ROW)
        if not line:
            raise StopIteration
        self.number += 1
        open_here = self._open ^ bool(line.count('"') % 2)
        self._open = open_here
        rest = line
        while len(rest) == LONGEST_ROW and not rest.endswith("\n"):
            rest = self._file.readline(LONGEST_ROW)
            self._open ^= bool(rest.count('"') % 2)
            self.cut = True
        if self.cut and open_here and not self._open:
            line += '"'  # what ended the cell was cut off
        return line

    def start(self) -> None:
        """A row begins."""
        self.cut = self._open = False

    def skip_cell(self) -> None:
        """Go on behind a quoted cell that was given up: its further lines are no rows."""
        while self._open and next(self, None) is not None:
            pass


class TabsTable:
    """TSV. Most files of this kind know no quotes, some quote as CSV does: a cell is quoted if it ends with a quote too, in
    its own line, or in one of the next where these could not be rows themselves, for want of cells.
    """

    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, file: TextIOWrapper) -> None:
        self._lines = _Lines(file)
        header = next(self._lines, "").strip("\r\n")
        self.names: Sequence[str] = [name.strip() for name in _cells(header)] if header else []

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        waiting: deque[tuple[int, str, bool]] = deque()
        while record := self._next(waiting):
            at, line, cut = record
            if cut:
                yield broken(at, line, _TOO_LONG)
            elif line.strip():
                yield Row(at, dict(zip(self.names, _cells(self._whole(line, waiting)), strict=False)))

    def _next(self, waiting: deque[tuple[int, str, bool]]) -> tuple[int, str, bool] | None:
        if waiting:
            return waiting.popleft()
        self._lines.start()
        line = next(self._lines, None)
        return None if line is None else (self._lines.number, line, self._lines.cut)

    def _whole(self, line: str, waiting: deque[tuple[int, str, bool]]) -> str:
        """A line, with those that its last cell goes on in."""
        if not _is_open(line):
            return line
        complete = line.count("\t") >= len(self.names) - 1
        parts, taken = [line], []
        while len(parts) < _MOST_LINES and (more := self._next(waiting)):
            taken.append(more)
            parts.append(more[1])
            if more[2] or (complete and more[1].count("\t") >= len(self.names) - 1):
                break
            if not _is_open("".join(parts)):
                return "".join(parts)
        waiting.extendleft(reversed(taken))  # it was no quote: they are rows of their own
        return line


_OPENS = re.compile(r'(?:^|(?<=\t))"')
_CLOSES = re.compile(r'(?:[^"]|"")*("(?=[\t\r\n]|$))?')
_CELL = re.compile(r'(?:^|\t)(?:"((?:[^"]|"")*)"(?=\t|$)|([^\t]*))')


def _is_open(text: str) -> bool:
    """True if a cell begins with a quote, and none ends it."""
    at = 0
    for found in _OPENS.finditer(text):
        if found.start() < at:
            continue
        end = _CLOSES.match(text, found.end())
        if end is None or not end[1]:
            return True
        at = end.end()
    return False


def _cells(line: str) -> list[str]:
    if '"' not in line or _is_open(line):
        return line.rstrip("\r\n").split("\t")
    found = []
    for quoted, plain in _CELL.findall(line.rstrip("\r\n")):
        found.append(quoted.replace('""', '"') if quoted else plain)
    return found


class LinesTable:
    """JSON lines: one object a line. What columns there are is only seen in the rows."""

    names: Sequence[str] = ()
    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        lines = _Lines(self._file)
        for line in lines:
            number = lines.number
            if lines.cut:
                yield broken(number, line, _TOO_LONG)
                lines.start()
            elif line.strip():
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
        self._read = getattr(
            file.buffer, "read1", file.buffer.read
        )  # gives what is there before it says what is missing
        self._decode = getincrementaldecoder("utf-8-sig")("replace").decode
        self._source = source

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        for number, (value, text) in enumerate(self._values(), 1):
            yield Row(number, {"url": value}) if isinstance(value, str) else _row(number, value, text)

    def _values(self) -> Iterator[tuple[object, str]]:
        piece, at = self._more(), 0
        array, count = False, 0
        while True:
            at = _skip(piece, at)
            if at < len(piece):
                if piece[at] == ("]" if array else "["):
                    array, at = not array, at + 1
                    continue
                try:
                    value, end = _DECODER.raw_decode(piece, at)
                    if end < len(piece) or isinstance(value, dict | list | str):
                        yield value, piece[at : at + 500]
                        count, at = count + 1, end
                        continue
                except json.JSONDecodeError as error:
                    if error.pos < len(piece) - _LONGEST_WORD and not error.msg.startswith("Unterminated"):
                        raise self._failed(
                            count, f"cannot be read: {error.msg}, at {piece[error.pos :][:40]!r}"
                        ) from None
                    if len(piece) - at > LONGEST_ROW:
                        raise self._failed(count, f"has more than {LONGEST_ROW:,} characters") from None
                except RecursionError:
                    raise self._failed(count, "is nested too deep") from None
            more = self._more()
            if not more:
                break
            piece, at = piece[at:] + more, 0
        if at < len(piece):
            raise self._failed(count, f"cannot be read from there on: {piece[at : at + 40]!r}")
        if array:
            raise self._failed(count, "is missing: the file ends before its array does")

    def _more(self) -> str:
        """The next piece of text, empty at the end."""
        while data := self._read(_PIECE):
            if text := self._decode(data):
                return text
        return self._decode(b"", True)

    def _failed(self, count: int, why: str) -> InputError:
        return InputError(f"{self._source}: item {count + 1} {why}")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _whole(digits: str) -> int | float:
    """Python refuses to read numbers of more digits: they are too large for any column."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole)
