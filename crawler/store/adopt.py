"""What the table of a published shard tells of its targets: enough to make the journal again when it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crawler.errors import SettingsChanged, StoreError
from crawler.fitting import plain
from crawler.model import NO_EXTRA, CompanionFile, Extra, Record, Settled
from crawler.store.kept import as_text
from crawler.store.places import Place
from crawler.store.shard_names import sample_key, shard_name
from crawler.store.table import OURS, THEIRS
from crawler.store.table_file import SETTINGS

_ROWS = 1000


class Adopted:
    """Published shards as a journal takes them over: number, settings and rows of each, one after the other.

    Attributes:
        kept: types of the kept columns, once the first shard has been opened.

    Raises, when iterated:
        StoreError: one cannot be read, or is not ours. SettingsChanged: its shards have another size.
    """

    def __init__(self, place: Place, shard_count: int, shards: Sequence[int]) -> None:
        self._place = place
        self._size = shard_count
        self._shards = shards
        self.kept = ""

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any], Iterator[Settled]]]:
        for shard in self._shards:
            name = f"{shard_name(shard)}.parquet"
            with _readable(name), self._place.open(name) as raw:
                file = pq.ParquetFile(raw)
                told = json.loads((file.schema_arrow.metadata or {})[SETTINGS])
                if told["shard_count"] != self._size:
                    raise SettingsChanged(
                        f"{name}: was made with other settings: --shard-count is {self._size} and was "
                        f"{told['shard_count']}. Use the same settings, or another output"
                    )
                schema = file.schema_arrow
                self.kept = self.kept or as_text({name: schema.field(name).type for name in _kept(schema)})
                yield shard, told["settings"], _rows(file, name, self._size)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, SettingsChanged):
            raise
        raise StoreError(
            f"{name}: a shard that cannot be read, or was not made by this program ({error}), so what is done cannot be "
            "told; put the journal back, or use another output"
        ) from error


def _kept(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names[: schema.get_field_index("url")] if name != "caption"]


def _rows(file: pq.ParquetFile, name: str, shard_count: int) -> Iterator[Settled]:
    names, kept = file.schema_arrow.names, _kept(file.schema_arrow)
    wanted = [*kept, *(one for one in ("caption", *THEIRS, *OURS) if one in names)]
    with _readable(name):
        for batch in file.iter_batches(_ROWS, columns=wanted, use_threads=False):
            for row in batch.to_pylist():
                yield _settled(row, kept, shard_count)


def _settled(row: dict[str, Any], kept: list[str], shard_count: int) -> Settled:
    index, key = row["index"], row["key"]
    own = "" if key is None or key == sample_key(index, shard_count) else key
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
