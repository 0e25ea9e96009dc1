"""Rows of a table, whatever its format: what stands in each, and where it stood."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

from crawler.model import Row
from crawler.urls import MASK

LONGEST_ROW = 1_000_000
"""Characters of a line, or of a cell, that are taken."""
_SHOWN = 200
_PASSWORD = re.compile(r"(?<=//)[^/\s@]*(?=@)")


class Table(Protocol):
    """An open table. `rows` is called once. Blocks; all calls from one thread at a time."""

    @property
    def names(self) -> Sequence[str]:
        """Its columns in order, as far as they are known before the rows are; a name can come twice."""
        ...

    @property
    def types(self) -> dict[str, Any]:
        """Types of the columns (`pyarrow.DataType`), where the format has such."""
        ...

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        """The rows in order; `wanted` are the columns that are needed, None for all.

        Raises:
            InputError: it cannot be read to its end; what could be read has been given.
        """
        ...


class MappedRows:
    """Rows that a program gives: what columns there are is only seen in them."""

    names: Sequence[str] = ()
    types: dict[str, Any] = {}  # noqa: RUF012 - there are none

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        return iter(())


def broken(at: int, text: str, flaw: str) -> Row:
    """A row that cannot be read."""
    return Row(at, {}, flaw, _PASSWORD.sub(MASK, text.strip())[:_SHOWN])
