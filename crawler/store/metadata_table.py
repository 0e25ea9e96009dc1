"""`metadata.parquet`: a row for each stored picture, in order of their positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crawler.fitting import as_column
from crawler.model import Record
from crawler.store.facts import told

_ROWS = 5000
_NUMBERS = {"index": pa.int64(), "bytes": pa.int64()} | dict.fromkeys(
    ("width", "height", "original_width", "original_height", "frames"), pa.int32()
)
_TEXTS = ("file_name", "url", "final_url", "sha256", "format", "content_type", "fetched_at", "notes")
_LAST = ("key", "files", "exif", "values")


def write_table(path: Path, records: Iterable[Record], captions: bool, kept: Mapping[str, Any]) -> None:
    """Write the file, some rows at a time.

    Args:
        kept: types of the kept columns (`pyarrow.DataType`).
    """
    columns: dict[str, Any] = {"file_name": pa.string(), **_NUMBERS, **dict.fromkeys(_TEXTS, pa.string())}
    if captions:
        columns["caption"] = pa.string()
    columns |= {**kept, **dict.fromkeys(_LAST, pa.string())}
    schema = pa.schema(list(columns.items()))
    rows = iter(records)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := [told(record, captions) for record in islice(rows, _ROWS)]:
            found = [as_column([row.get(name) for row in some], kind) for name, kind in columns.items()]
            writer.write_table(pa.Table.from_arrays(found, schema=schema))
