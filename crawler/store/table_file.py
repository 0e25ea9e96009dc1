"""The table of a shard as a Parquet file, written some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crawler.model import Settled
from crawler.store.shard import Plan
from crawler.store.table import columns_of, schema_of, with_features

SETTINGS = b"crawler"
"""Where the settings stand in the metadata of the file."""


class TableFile:
    """Takes a row for each target.

    Args:
        pictures: types of the columns that hold pictures.
        rows_at_once: rows in a row group.
    """

    def __init__(self, path: Path, plan: Plan, pictures: Mapping[str, pa.DataType], rows_at_once: int) -> None:
        schema = schema_of(plan.kept, plan.captions, pictures)
        if pictures:
            schema = with_features(schema, [name for name, kind in pictures.items() if pa.types.is_struct(kind)])
        told = {"settings": dict(plan.settings), "shard_count": plan.shard_count}
        schema = schema.with_metadata({**(schema.metadata or {}), SETTINGS: json.dumps(told, sort_keys=True).encode()})
        self._schema = schema
        self._most = rows_at_once
        self._pictures: dict[str, list[bytes | None]] = {name: [] for name in pictures}
        self._rows: list[Settled] = []
        self._keys: list[str] = []
        binary = [f"{name}.bytes" if pa.types.is_struct(kind) else name for name, kind in pictures.items()]
        leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
        others = [leaf for leaf in leaves if leaf not in binary]
        self._writer = pq.ParquetWriter(
            path,
            schema,
            # Pictures are compressed already; for the rest zstd is smaller than snappy at the same speed.
            compression={leaf: "none" if leaf in binary else "zstd" for leaf in leaves},
            use_dictionary=others,
            write_statistics=others,
        )

    def add(self, one: Settled, key: str, pictures: Mapping[str, bytes]) -> None:
        self._rows.append(one)
        self._keys.append(key)
        for name, data in self._pictures.items():
            data.append(pictures.get(name))
        if len(self._rows) >= self._most:
            self._write()

    def end(self) -> None:
        self._write()
        self._writer.close()

    def discard(self) -> None:
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            table = columns_of(self._rows, self._keys, self._schema, self._pictures)
            self._writer.write_table(table, row_group_size=self._most)
            self._rows, self._keys = [], []
            for data in self._pictures.values():
                data.clear()


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    """Paths of the columns of Parquet that a column becomes."""
    if pa.types.is_struct(kind):
        return [leaf for inner in kind for leaf in _leaves(f"{path}.{inner.name}", inner.type)]
    if pa.types.is_list(kind):  # of all lists, kept columns are of this kind only
        return _leaves(f"{path}.list.element", kind.value_type)
    return [path]
