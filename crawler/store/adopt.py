"""What the table of a published shard tells of its targets: enough to make the journal again when it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crawler.errors import SettingsChanged, StoreError
from crawler.fitting import plain
from crawler.model import NO_EXTRA, CompanionFile, Extra, Record, Settled
from crawler.store.shard_names import sample_key, shard_name
from crawler.store.table import OURS, THEIRS
from crawler.store.table_file import SETTINGS

_ROWS = 1000


def table_of(path: Path, shard_count: int) -> tuple[Mapping[str, Any], Iterator[Settled]]:
    """The settings that a shard was made with, and its rows.

    Raises:
        StoreError: it cannot be read, or is not ours. SettingsChanged: its shards have another size.
    """
    try:
        file = pq.ParquetFile(path)
        told = json.loads((file.schema_arrow.metadata or {})[SETTINGS])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StoreError(
            f"{path.name}: a shard that cannot be read, or was not made by this program ({error}), so what is done cannot "
            "be told; use another output"
        ) from error
    if told["shard_count"] != shard_count:
        raise SettingsChanged(
            f"{path.name}: was made with other settings: --shard-count is {shard_count} and was {told['shard_count']}. "
            "Use the same settings, or another output"
        )
    return told["settings"], _rows(file, shard_count)


def _rows(file: pq.ParquetFile, shard_count: int) -> Iterator[Settled]:
    names = file.schema_arrow.names
    kept = [name for name in names[: names.index("url")] if name != "caption"]
    wanted = [*kept, *(name for name in ("caption", *THEIRS, *OURS) if name in names)]
    for batch in file.iter_batches(_ROWS, columns=wanted, use_threads=False):
        for row in batch.to_pylist():
            yield _settled(row, kept, shard_count)


def _settled(row: dict[str, Any], kept: list[str], shard_count: int) -> Settled:
    index, key = row["index"], row["key"]
    own = "" if key == sample_key(index, shard_count) else key
    values = {name: plain(row[name]) for name in kept}
    extra = Extra(own, row.get("caption"), values) if own or values or row.get("caption") is not None else NO_EXTRA
    reason = row["reason"] or ""
    detail = (row["error_message"] or "").removeprefix(reason).removeprefix(": ") if reason else ""
    return Settled(
        index, row["url"], reason, row["attempts"], row["seconds"], row["ended_at"], row["http_status"],
        (row["final_url"] or "") if reason else "", detail, row["origin"] or "", row["same_as"], extra,
        None if reason else _record(row, key, extra, shard_count),
    )  # fmt: skip


def _record(row: dict[str, Any], key: str, extra: Extra, shard_count: int) -> Record:
    extension = row["file_ending"]
    files = tuple(
        CompanionFile(**file | {"digest": bytes.fromhex(file["digest"])}) for file in json.loads(row["files"] or "[]")
    )
    return Record(
        f"{shard_name(row['index'] // shard_count)}/{key}.{extension}", row["index"], row["url"], row["final_url"],
        bytes.fromhex(row["sha256"]), bytes.fromhex(row["digest"]), row["width"], row["height"], row["original_width"],
        row["original_height"], row["format"], row["bytes"], row["content_type"] or "", row["ended_at"], row["etag"] or "",
        row["last_modified"] or "", row["frames"], tuple(filter(None, (row["notes"] or "").split("; "))), files,
        row["exif"], json.loads(row["values"] or "{}"), extra,
    )  # fmt: skip
