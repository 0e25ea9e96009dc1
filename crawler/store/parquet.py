"""Shards as Parquet files with the pictures in a column, as `datasets.load_dataset("parquet")` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from crawler.model import Record, Settled
from crawler.store.shard import Plan
from crawler.store.table import PICTURE
from crawler.store.table_file import TableFile


class ParquetShard:
    """Writes one shard. Fed with the targets of its slice in order of their keys, then ended.

    Args:
        base: path of the file without ending.
    """

    def __init__(self, base: Path, plan: Plan) -> None:
        self.files = [Path(f"{base}.parquet")]
        self._columns = plan.pictures
        kind = PICTURE[plan.picture_column]
        self._table = TableFile(self.files[0], plan, dict.fromkeys(plan.pictures, kind), plan.row_group)

    def add(self, one: Settled, key: str, data: Sequence[bytes], told: bytes | None = None) -> None:
        pictures = {}
        if one.record is not None:
            pictures[self._columns[0]] = data[0]
            for companion, its in zip(one.record.companions, data[1:], strict=True):
                pictures[companion.label] = its
        self._table.add(one, key, pictures)

    def end(self) -> None:
        self._table.end()

    def discard(self) -> None:
        """Close and remove what was written."""
        self._table.discard()
        for path in self.files:
            path.unlink(missing_ok=True)


class OldParquet:
    """Pictures in a published Parquet file, read a row group at a time: asked for in the order they lie there."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        kinds = list(PICTURE.values())
        schema = self._file.schema_arrow
        # Between img2dataset's columns and ours: the picture first.
        between = slice(schema.get_field_index("sha256") + 1, schema.get_field_index("index"))
        self._columns = [field.name for field in list(schema)[between] if field.type in kinds]
        self._groups: dict[int, int] = {}
        for group in range(self._file.num_row_groups):
            for index in self._file.read_row_group(group, columns=["index"]).column(0).to_pylist():
                self._groups[index] = group
        self._loaded = -1
        self._rows: dict[int, dict[str, Any]] = {}

    def read(self, record: Record, key: str) -> list[bytes] | None:
        """A picture and its companions; None if they are not there."""
        group = self._groups.get(record.index)
        if group is None:
            return None
        if group != self._loaded:
            table = self._file.read_row_group(group, columns=["index", *self._columns])
            self._rows = {row["index"]: row for row in table.to_pylist()}
            self._loaded = group
        row = self._rows[record.index]
        found = [_bytes(row.get(name)) for name in (self._columns[0], *(file.label for file in record.companions))]
        return None if any(data is None for data in found) else [data for data in found if data is not None]

    def told(self, key: str) -> bytes | None:
        return None

    def close(self) -> None:
        self._file.close()


def _bytes(cell: Any) -> bytes | None:
    found: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
    return found
