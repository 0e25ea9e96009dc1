"""Types of the kept columns: the same in every shard, so that readers can take them as one table."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def types_of(known: Mapping[str, Any], head: Mapping[str, Sequence[Any]]) -> dict[str, pa.DataType]:
    """Types of columns: as the input has them, or what their first values look like.

    Args:
        known: types of the input.
        head: first values of all columns.
    """
    return {name: _storable(known[name]) if name in known else _guessed(values) for name, values in head.items()}


def _storable(kind: pa.DataType) -> pa.DataType:
    """A dictionary becomes what it stands for; what Parquet does not have becomes text."""
    kind = _simple(kind)
    try:
        schema = pa.schema([("column", kind)])
        with pq.ParquetWriter(io.BytesIO(), schema) as file:
            file.write_table(schema.empty_table())
    except pa.ArrowException:
        return pa.string()
    return kind


def _simple(kind: pa.DataType) -> pa.DataType:
    """The type that every reader knows: a list for other kinds of lists, a list of keys and values for a map."""
    test = pa.types
    if test.is_dictionary(kind):
        return _simple(kind.value_type)
    if test.is_map(kind):
        return pa.list_(pa.struct([("key", _simple(kind.key_type)), ("value", _simple(kind.item_type))]))
    if test.is_list(kind) or test.is_large_list(kind) or test.is_fixed_size_list(kind):
        return pa.list_(_simple(kind.value_type))
    if test.is_struct(kind):
        return pa.struct([(field.name, _simple(field.type)) for field in kind])
    if test.is_null(kind) or test.is_large_string(kind):
        return pa.string()
    return pa.binary() if test.is_large_binary(kind) else kind


def _guessed(values: Sequence[Any]) -> pa.DataType:
    try:
        return _storable(pa.array(list(values)).type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.string()


def as_text(types: Mapping[str, pa.DataType]) -> str:
    """Types as a text that can be kept."""
    return base64.b64encode(pa.schema(list(types.items())).serialize()).decode()


def from_text(text: str) -> dict[str, pa.DataType]:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    return {field.name: field.type for field in schema}
