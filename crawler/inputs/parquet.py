"""Tables in Parquet files, read some rows at a time; what a condition rules out is not even read (row groups)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from crawler.errors import InputError, in_one_line
from crawler.inputs.where import Condition
from crawler.model import Row
from crawler.urls import masked

_BATCH = 1024
_BUFFER = 1 << 16


class ParquetTable:
    """A Parquet file.

    Args:
        where: which rows are wanted, None for all.

    Raises:
        InputError: it is none.
    """

    def __init__(self, file: IO[bytes], source: str, where: Condition | None = None) -> None:
        self._source = source
        self._raw = file
        self._where = where
        try:
            self._file = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{masked(source)}: is no Parquet file, or is damaged: {in_one_line(error)[:300]}"
            ) from error
        self.names: Sequence[str] = schema.names
        self.types: dict[str, Any] = {field.name: field.type for field in schema}
        if where is not None and set(where.columns) <= set(self.names):
            where.bind(self.types)
            where.chosen(schema.empty_table())  # says so now if the types do not fit

    def rows(self, wanted: Collection[str] | None) -> Iterator[Row]:
        columns = None
        if wanted is not None:
            needed = {*wanted, *(self._where.columns if self._where else ())}
            columns = [name for name in dict.fromkeys(self.names) if name in needed]
        try:
            for group, first in self._groups():
                yield from self._rows(group, first, columns)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{masked(self._source)}: cannot be read to its end: {in_one_line(error)[:300]}"
            ) from error

    def _groups(self) -> Iterator[tuple[int, int]]:
        """Row groups that may hold wanted rows, and the number of their first row."""
        wanted = None
        if self._where is not None:
            fragment = ds.ParquetFileFormat().make_fragment(self._raw)
            wanted = {group.id for group in fragment.subset(self._where.expression).row_groups}
        first = 0
        for group in range(self._file.num_row_groups):
            if wanted is None or group in wanted:
                yield group, first
            first += self._file.metadata.row_group(group).num_rows

    def _rows(self, group: int, first: int, columns: list[str] | None) -> Iterator[Row]:
        at = first + 1
        for batch in self._file.iter_batches(_BATCH, row_groups=[group], columns=columns, use_threads=False):
            numbers: Sequence[int] = range(at, at + batch.num_rows)
            at += batch.num_rows
            if self._where is not None:
                table = pa.Table.from_batches([batch]).append_column("", pa.array(numbers))
                table = self._where.chosen(table)
                numbers = table.column(table.num_columns - 1).to_pylist()
                table = table.remove_column(table.num_columns - 1)
            else:
                table = pa.Table.from_batches([batch])
            cells = [_values(column) for column in table.columns]
            names = table.column_names
            for number, row in zip(numbers, zip(*cells, strict=True) if cells else ((),) * len(numbers), strict=True):
                yield Row(number, dict(zip(names, row, strict=True)))


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; those that Python has no value for are None, and text need not be UTF-8."""
    try:
        values: list[Any] = column.to_pylist()
        return values
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(cell) for cell in column]


def _value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        if pa.types.is_string(cell.type) or pa.types.is_large_string(cell.type):
            return cell.cast(pa.binary()).as_py().decode("utf-8", "replace")
        return None
