"""Makes a shard out of the journal and the spool. Runs in a process of its own: a shard costs as much as its pictures do, and
all that has to cross are the names of files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from crawler.disk import disk_errors
from crawler.model import Settled
from crawler.store.kept import as_text, from_text, types_of
from crawler.store.order import Built, Order
from crawler.store.parquet import ParquetShard
from crawler.store.shard import Counts, Plan, Writer
from crawler.store.shard_names import sample_key, shard_name, stats_name
from crawler.store.stored import OldShard, cut, open_file
from crawler.store.webdataset import WebDatasetShard


def build(order: Order) -> Built:
    """Make a shard.

    Raises:
        StoreError: it cannot be written.
    """
    plan, kept = _planned(order)
    with disk_errors(order.folder):
        order.folder.mkdir(parents=True, exist_ok=True)
        base, counts = order.folder / shard_name(order.shard), Counts()
        writer: Writer = (WebDatasetShard if order.form == "webdataset" else ParquetShard)(base, plan)
        lost: list[int] = []
        targets = 0
        try:
            with _reading(order) as read:
                for one in order.rows():
                    targets += 1
                    key = one.extra.key or ("" if order.by_key else sample_key(one.index, plan.shard_count))
                    data, told = read(one, key) if one.record is not None else ([], None)
                    if data is None:
                        lost.append(one.index)
                    elif not lost:
                        writer.add(one, key, data, told)
                        counts.add(one)
            writer.end()
        except BaseException:
            writer.discard()
            raise
        if lost:
            writer.discard()
            return Built([], targets, lost, kept)
        stats = order.folder / stats_name(order.shard)
        stats.write_bytes(counts.as_json())
        return Built([*writer.files, stats], targets, [], kept)


def _planned(order: Order) -> tuple[Plan, str]:
    """The plan with the types of the kept columns."""
    if order.kept:
        return replace(order.plan, kept=from_text(order.kept)), order.kept
    if order.columns is None:
        head: dict[str, list[Any]] = {}
        for one in order.rows():
            for name, value in one.extra.kept.items():
                head.setdefault(name, []).append(value)
        kept = types_of({}, head)
    else:
        kept = types_of(*order.columns)
    return replace(order.plan, kept=kept), as_text(kept)


@contextmanager
def _reading(order: Order) -> Iterator[Callable[[Settled, str], tuple[list[bytes] | None, bytes | None]]]:
    """Gives what reads the bytes of a stored target, and its JSON: from the spool, or from what was published before."""
    old: OldShard | None = None
    broken = False
    spool = os.open(order.spool, os.O_RDONLY) if order.spool.exists() else None

    def read(one: Settled, key: str) -> tuple[list[bytes] | None, bytes | None]:
        nonlocal old, broken
        record = one.record
        assert record is not None, "only what is stored is read"
        if record.place is not None:
            return None if spool is None else cut(spool, record), None
        if order.old is None or broken:
            return None, None
        try:
            if old is None:
                old = open_file(order.form, order.old)
            return old.read(record, key), old.told(key)
        except Exception:  # whatever a damaged file makes of its readers
            broken = True
            return None, None

    try:
        yield read
    finally:
        if spool is not None:
            os.close(spool)
        if old is not None:
            old.close()
