"""Pictures that wait for their shard to be complete: a file for each shard, on disk, so that a slow host costs no memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Container, Sequence
from io import FileIO
from pathlib import Path

from crawler.disk import write_all
from crawler.store.shard_names import shard_name

_OPEN = 64


class Spool:
    """Files that only grow. What a killed run left behind and no journal knows is a gap, gone with the file.

    All calls from one thread, but for `path`, `size`, `shards` and `first`.

    Attributes:
        size: bytes that wait, of all shards.
    """

    def __init__(self, folder: Path, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        self._files: OrderedDict[int, FileIO] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self.size = 0
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.spool"):
            if path.stem.isdecimal():
                self._sizes[int(path.stem)] = path.stat().st_size
        self.size = sum(self._sizes.values())

    def size_of(self, shard: int) -> int:
        return self._sizes.get(shard, 0)

    def shards(self) -> list[int]:
        """Those of which something waits."""
        return list(self._sizes)

    def keep(self, shards: Container[int]) -> None:
        """Remove what a killed run left behind of other shards."""
        for shard in self.shards():
            if shard not in shards:
                self.remove(shard)

    @property
    def first(self) -> int | None:
        """The first shard of which something waits."""
        return min(list(self._sizes), default=None)

    def path(self, shard: int) -> Path:
        return self._folder / f"{shard_name(shard)}.spool"

    def append(self, shard: int, data: Sequence[bytes]) -> int:
        """Write a picture and its companions one behind the other. Returns where they begin."""
        file = self._file(shard)
        start = self._sizes.get(shard, 0)
        whole = data[0] if len(data) == 1 else b"".join(data)
        try:
            write_all(file.fileno(), whole)
        except BaseException:
            self._files.pop(shard).close()
            os.truncate(self.path(shard), start)  # what a full disk took of it is no use
            raise
        self._sizes[shard] = start + len(whole)
        self.size += len(whole)
        return start

    def flush(self, shards: Sequence[int]) -> None:
        """Bring what was appended to the disk, if that is asked for."""
        if self._durable:
            for shard in shards:
                os.fsync(self._file(shard).fileno())

    def remove(self, shard: int) -> None:
        if (file := self._files.pop(shard, None)) is not None:
            file.close()
        self.size -= self._sizes.pop(shard, 0)
        self.path(shard).unlink(missing_ok=True)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _file(self, shard: int) -> FileIO:
        file = self._files.get(shard)
        if file is None:
            file = self._files[shard] = open(self.path(shard), "ab", buffering=0)  # noqa: SIM115
            if len(self._files) > _OPEN:
                self._files.popitem(last=False)[1].close()
        else:
            self._files.move_to_end(shard)
        return file
