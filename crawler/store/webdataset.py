"""Shards as tar files that WebDataset loaders read: `KEY.jpg`, `KEY.json`, `KEY.txt`, in order of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crawler.model import Record, Settled
from crawler.store.sample import as_json, told_of
from crawler.store.shard import Plan
from crawler.store.table_file import TableFile
from crawler.store.tar import TarReader, TarWriter

_BUFFER = 1 << 20


class WebDatasetShard:
    """Writes one shard. Fed with the targets of its slice in order of their keys, then ended.

    Args:
        base: path of the files without ending.
    """

    def __init__(self, base: Path, plan: Plan) -> None:
        self._plan = plan
        self.files = [Path(f"{base}.tar"), Path(f"{base}.parquet")]
        self._tar_file = self.files[0].open("wb", buffering=_BUFFER)
        self._tar = TarWriter(self._tar_file)
        try:
            self._table = TableFile(self.files[1], plan, {}, plan.rows_at_once)
        except BaseException:
            self._tar_file.close()  # nobody has this shard, to discard it
            raise

    def add(self, one: Settled, key: str, data: Sequence[bytes], told: bytes | None = None) -> None:
        record = one.record
        if record is not None:
            members = {record.file_name.rpartition(".")[2]: data[0]}
            for companion, its in zip(record.companions, data[1:], strict=True):
                members[f"{companion.label}.{companion.file_name.rpartition('.')[2]}"] = its
            members["json"] = told or as_json(told_of(one, key, self._plan.captions))
            if self._plan.captions:
                members["txt"] = (one.extra.caption or "").encode()
            for ending in sorted(members):
                self._tar.add(f"{key}.{ending}", members[ending])
        self._table.add(one, key, {})

    def end(self) -> None:
        self._tar.end()
        self._tar_file.close()
        self._table.end()

    def discard(self) -> None:
        """Close and remove what was written."""
        self._tar_file.close()
        self._table.discard()
        for path in self.files:
            path.unlink(missing_ok=True)


class OldTar:
    """Pictures in a published tar."""

    def __init__(self, path: Path) -> None:
        self._tar = TarReader(path)

    def read(self, record: Record, key: str) -> list[bytes] | None:
        """A picture and its companions; None if they are not there."""
        names = [f"{key}.{record.file_name.rpartition('.')[2]}"]
        names += [f"{key}.{one.label}.{one.file_name.rpartition('.')[2]}" for one in record.companions]
        found = [self._tar.read(name) for name in names]
        return None if any(data is None for data in found) else [data for data in found if data is not None]

    def told(self, key: str) -> bytes | None:
        return self._tar.read(f"{key}.json")

    def close(self) -> None:
        self._tar.close()
