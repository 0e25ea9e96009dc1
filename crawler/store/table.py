"""Rows of a shard as a table of pyarrow: one for each target, stored or missed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from crawler.fitting import as_column
from crawler.model import Settled
from crawler.store.sample import error_of, status_of

_I32, _I64, _TEXT, _REAL = pa.int32(), pa.int64(), pa.string(), pa.float64()
THEIRS: dict[str, pa.DataType] = {
    "url": _TEXT, "key": _TEXT, "status": _TEXT, "error_message": _TEXT, "width": _I32, "height": _I32,
    "original_width": _I32, "original_height": _I32, "exif": _TEXT, "sha256": _TEXT,
}  # fmt: skip
OURS: dict[str, pa.DataType] = {
    "index": _I64, "reason": _TEXT, "final_url": _TEXT, "format": _TEXT, "file_ending": _TEXT, "bytes": _I64,
    "content_type": _TEXT,
    "frames": _I32, "notes": _TEXT, "http_status": _I32, "attempts": _I32, "seconds": _REAL, "ended_at": _REAL,
    "digest": _TEXT, "etag": _TEXT, "last_modified": _TEXT, "origin": _TEXT, "same_as": _I64, "files": _TEXT, "values": _TEXT,
}  # fmt: skip
PICTURE = {"image": pa.struct({"bytes": pa.binary(), "path": _TEXT}), "binary": pa.binary()}


def schema_of(kept: Mapping[str, pa.DataType], captions: bool, pictures: Mapping[str, pa.DataType]) -> pa.Schema:
    """Columns in their order: kept ones, caption, img2dataset's, pictures, ours."""
    columns = dict(kept)
    if captions:
        columns["caption"] = _TEXT
    return pa.schema([*(columns | THEIRS | dict(pictures) | OURS).items()])


def columns_of(
    rows: Sequence[Settled], keys: Sequence[str], schema: pa.Schema, pictures: Mapping[str, Sequence[Any]]
) -> pa.Table:
    """A table of some rows.

    Args:
        keys: of their samples.
        pictures: bytes, by column and in order of the rows; None for what is missed.
    """
    found: list[pa.Array] = []
    facts = [_facts(one, key) for one, key in zip(rows, keys, strict=True)]
    for field in schema:
        name = field.name
        if name in pictures:
            found.append(_pictures(rows, keys, pictures[name], field.type, name))
        elif name == "caption":
            found.append(pa.array([one.extra.caption for one in rows], _TEXT))
        elif name in THEIRS or name in OURS:
            found.append(pa.array([fact[name] for fact in facts], field.type))
        else:
            found.append(as_column([one.extra.kept.get(name) for one in rows], field.type))
    return pa.Table.from_arrays(found, schema=schema)


def _pictures(
    rows: Sequence[Settled], keys: Sequence[str], data: Sequence[Any], kind: pa.DataType, name: str
) -> pa.Array:
    if pa.types.is_binary(kind):
        return pa.array(data, kind)
    paths = [None if one is None else _path(row, key, name) for row, key, one in zip(rows, keys, data, strict=True)]
    missing = pa.array([one is None for one in data])
    return pa.StructArray.from_arrays(
        [pa.array(data, pa.binary()), pa.array(paths, _TEXT)], ["bytes", "path"], mask=missing
    )


def _path(one: Settled, key: str, column: str) -> str | None:
    """What the file of a picture would be called."""
    if one.record is None:
        return None
    for companion in one.record.companions:
        if companion.label == column:
            return f"{key}.{column}.{companion.file_name.rpartition('.')[2]}"
    return f"{key}.{one.record.file_name.rpartition('.')[2]}"


def _facts(one: Settled, key: str) -> dict[str, Any]:
    """The values of the columns that every shard has."""
    record = one.record
    found: dict[str, Any] = {
        "url": one.url, "key": key or None, "status": status_of(one), "error_message": error_of(one), "index": one.index,
        "reason": one.reason or None, "http_status": one.status, "attempts": one.attempts, "seconds": one.seconds,
        "ended_at": one.ended_at, "origin": one.origin or None, "same_as": one.same_as, "final_url": one.final_url or None,
    }  # fmt: skip
    if record is None:
        return _NOTHING | found
    files = [asdict(file) | {"digest": file.digest.hex()} for file in record.companions]
    for file in files:
        del file["place"]
    return found | {
        "width": record.width, "height": record.height, "original_width": record.original_width,
        "original_height": record.original_height, "exif": record.exif, "sha256": record.sha256.hex(),
        "final_url": record.final_url, "format": record.format,
        "file_ending": record.file_name.rpartition(".")[2], "bytes": record.size,
        "content_type": record.content_type or None, "frames": record.frames, "notes": "; ".join(record.notes) or None,
        "digest": record.digest.hex(), "etag": record.etag or None, "last_modified": record.last_modified or None,
        "files": json.dumps(files) if files else None, "values": json.dumps(record.values) if record.values else None,
    }  # fmt: skip


_NOTHING: dict[str, Any] = dict.fromkeys((*THEIRS, *OURS))


def with_features(schema: pa.Schema, pictures: Sequence[str]) -> pa.Schema:
    """The schema with what Hugging Face `datasets` reads from its metadata: which columns are pictures."""
    features = {field.name: _feature(field.type) for field in schema if field.name not in pictures}
    features |= {name: {"_type": "Image"} for name in pictures}
    ordered = {field.name: features[field.name] for field in schema}
    told = {"info": {"features": ordered}}
    return schema.with_metadata({**(schema.metadata or {}), b"huggingface": json.dumps(told).encode()})


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    names = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
