"""Pictures in shards: each a fixed slice of the input, written when all of its targets have ended.

Until then they wait in the spool, and the journal knows where. What a kill leaves half done is made again from both; a
shard that is published is only written again if one of its pictures has come later or has changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from crawler.batcher import Batcher
from crawler.disk import disk_errors
from crawler.errors import StoreError
from crawler.model import CompanionFile, Picture, Receipt, Record, Settled
from crawler.ports import Shelf
from crawler.store.adopt import table_of
from crawler.store.kept import as_text, from_text, types_of
from crawler.store.parquet import ParquetShard
from crawler.store.places import Place
from crawler.store.shard import Counts, Plan, Writer
from crawler.store.shard_names import sample_key, shard_name, shard_of_stats, stats_name
from crawler.store.spool import Spool
from crawler.store.stored import OldShard, cut, old_name, open_old
from crawler.store.webdataset import WebDatasetShard

_BATCH = 32
_KEPT = "kept"

Columns = Callable[[], tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]] | None]
"""Types and first values of the kept columns; None while they are not known."""


class Built(NamedTuple):
    """A shard that is written and not published.

    Attributes:
        lost: targets whose pictures are not where they should be.
        limit: size of the spool when it was read.
    """

    files: list[Path]
    targets: int
    limit: int
    lost: list[int]


class ShardStore:
    """A Store of shards.

    Args:
        form: of the shards.
        place: where they go.
        home: folder of the journal, with room for the spool.
        shelf: what the journal knows of the targets of a shard.
        plan: of all shards; the types of the kept columns are added.
        columns: tells what is known of the kept columns.
        by_key: samples have keys of their own, and lie in their order.
        most: bytes that may wait before no more input is read.
        uploads: shards on their way at once.
    """

    def __init__(
        self,
        form: Literal["webdataset", "parquet"],
        place: Place,
        home: Path,
        shelf: Shelf,
        plan: Plan,
        *,
        columns: Columns = lambda: None,
        by_key: bool = False,
        most: int = 1 << 40,
        uploads: int = 2,
        durable: bool = False,
    ) -> None:
        self._form = form
        self._place = place
        self._home = home
        self._shelf = shelf
        self._plan = plan
        self._columns = columns
        self._by_key = by_key
        self._most = most
        self._uploads = uploads
        self._durable = durable
        self._planned = False
        self._counts: Counter[int] = Counter()
        self._published: set[int] = set()
        self._pending: dict[int, set[int]] = {}  # put and not yet in the journal, by shard
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None

    async def __aenter__(self) -> ShardStore:
        self._loop = asyncio.get_running_loop()
        self._building = asyncio.Semaphore(1)
        self._moving = asyncio.Semaphore(self._uploads)
        self._threads = ThreadPoolExecutor(1 + self._uploads, "crawler-publish")
        self._batcher: Batcher[Picture, Receipt] = Batcher("crawler-store", self._write, _BATCH)
        try:
            self._spool = await self._batcher.call(self._prepare)
            await self._adopt()
            self._counts.update(await self._shelf.counts(self._plan.shard_count))
            self._published.update(await self._shelf.published())
        except BaseException:
            await self._batcher.close()
            self._threads.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._place.stop()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self._batcher.close(self._close)
        await asyncio.to_thread(self._threads.shutdown)

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        self._check()
        index = picture.target.index
        self._pending.setdefault(index // self._plan.shard_count, set()).add(index)
        return await self._batcher.do(picture)

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await self._shelf.stale(index // self._plan.shard_count)
        await forget()

    def has_room(self, index: int) -> bool:
        self._check()
        first = self._spool.first
        # What completes the oldest shard is always let in: there would be no other way to empty the spool.
        return self._spool.size <= self._most or first is None or index // self._plan.shard_count <= first

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    async def finish(self, total: int | None) -> None:
        self._pending.clear()  # everything that was put has been settled
        await self._all_published()
        for shard in await self._shelf.unfinished(self._plan.shard_count, total):
            self._start(shard)
        await self._all_published()

    def committed(self, indexes: Iterable[int]) -> None:
        """The journal has these targets. Called from its thread."""
        with suppress(RuntimeError):  # the loop is closed: the next run counts anew
            self._loop.call_soon_threadsafe(self._count, list(indexes))

    # On the loop.

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _count(self, indexes: list[int]) -> None:
        size = self._plan.shard_count
        for index in indexes:
            if (pending := self._pending.get(index // size)) is not None:
                pending.discard(index)
        for shard, count in Counter(index // size for index in indexes).items():
            if shard not in self._published:
                self._counts[shard] += count
                if self._counts[shard] >= size:
                    self._start(shard)

    def _start(self, shard: int) -> None:
        if shard not in self._tasks and self._failure is None:
            task = asyncio.create_task(self._publish(shard), name=f"crawler-shard-{shard}")
            self._tasks[shard] = task
            task.add_done_callback(lambda done: self._ended(shard, done))

    def _ended(self, shard: int, task: asyncio.Task[None]) -> None:
        del self._tasks[shard]
        if not task.cancelled():
            self._failure = self._failure or task.exception()

    async def _all_published(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks.values())
            await asyncio.sleep(0)  # for `_ended`
        self._check()

    async def _publish(self, shard: int) -> None:
        async with self._building:
            first = shard * self._plan.shard_count
            last = first + self._plan.shard_count - 1
            if self._pending.get(shard):
                return  # one of its targets is being done again: in the end it is published
            await self._complete_plan(first, last)
            built: Built | None = await self._in_thread(lambda: self._build(shard, first, last))
        if built is None:
            return
        if built.lost:
            await self._shelf.lose(built.lost)
            raise StoreError(
                f"{len(built.lost)} pictures of shard {shard_name(shard)} are no longer where they were stored; "
                "run the same command again, they are fetched anew"
            )
        async with self._moving:
            names = [(path, path.name) for path in built.files]
            await self._in_thread(lambda: self._place.publish(names))
        settled = not self._pending.get(shard) and self._spool.size_of(shard) == built.limit
        await self._shelf.publish(shard, built.targets, first, last, settled)
        self._published.add(shard)
        self._counts.pop(shard, None)
        if settled:
            await self._batcher.call(lambda: self._spool.remove(shard))

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        """Runs to its end even if we are cancelled: nothing may be written behind our back."""
        work = self._loop.run_in_executor(self._threads, function)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()
            raise

    async def _complete_plan(self, first: int, last: int) -> None:
        """Settle the types of the kept columns, once for the whole output."""
        if self._planned:
            return
        told = await self._shelf.recall(_KEPT)
        if told:
            kept = from_text(told)
        else:
            known = self._columns() or ({}, await self._in_thread(lambda: self._values(first, last)))
            kept = types_of(*known)
            await self._shelf.keep(_KEPT, as_text(kept))
        self._plan = Plan(**{**vars(self._plan), "kept": kept})
        self._planned = True

    async def _adopt(self) -> None:
        """Tell an empty journal of the shards that are published."""
        if not await self._shelf.empty():
            return
        found = await self._in_thread(self._place.names)
        shards = sorted(shard for name in found if (shard := shard_of_stats(name)) is not None)
        for shard in shards:
            name = f"{shard_name(shard)}.parquet"
            told, rows = await self._in_thread(partial(self._told, name))
            await self._shelf.adopt(shard, told, rows)
            self._place.release(name)

    # In the publisher's threads.

    def _told(self, name: str) -> tuple[Mapping[str, Any], Iterator[Settled]]:
        """What the table of a published shard says."""
        return table_of(self._place.fetch(name), self._plan.shard_count)

    def _values(self, first: int, last: int) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for one in self._shelf.settled(first, last):
            for name, value in one.extra.kept.items():
                found.setdefault(name, []).append(value)
        return found

    def _build(self, shard: int, first: int, last: int) -> Built:
        staging = self._place.staging
        with disk_errors(self._home):
            staging.mkdir(parents=True, exist_ok=True)
            base, counts = staging / shard_name(shard), Counts()
            writer: Writer = (WebDatasetShard if self._form == "webdataset" else ParquetShard)(base, self._plan)
            lost: list[int] = []
            targets, limit = 0, self._spool.size_of(shard)
            try:
                with self._reading(shard) as read:
                    for one in self._shelf.settled(first, last, self._by_key):
                        targets += 1
                        key = one.extra.key or sample_key(one.index, self._plan.shard_count)
                        data = read(one, key) if one.record is not None else []
                        if data is None:
                            lost.append(one.index)
                        elif not lost:
                            writer.add(one, key, data)
                            counts.add(one)
                writer.end()
            except BaseException:
                writer.discard()
                raise
            if lost:
                writer.discard()
            stats = staging / stats_name(shard)
            stats.write_bytes(counts.as_json())
            return Built([*writer.files, stats], targets, limit, lost)

    @contextmanager
    def _reading(self, shard: int) -> Iterator[Callable[[Settled, str], list[bytes] | None]]:
        """Gives what reads the bytes of a stored target: from the spool, or from what was published before."""
        old: OldShard | None = None
        path = self._spool.path(shard)
        spool = os.open(path, os.O_RDONLY) if path.exists() else None

        def read(one: Settled, key: str) -> list[bytes] | None:
            nonlocal old
            record = one.record
            assert record is not None, "only what is stored is read"
            if record.place is not None:
                return None if spool is None else cut(spool, record)
            if old is None:
                old = open_old(self._form, self._place, shard)
            return old.read(record, key) if old else None

        try:
            yield read
        finally:
            if spool is not None:
                os.close(spool)
            if old is not None:
                old.close()
                self._place.release(old_name(self._form, shard))

    # In the store's thread.

    def _prepare(self) -> Spool:
        with disk_errors(self._home):
            for path in self._place.staging.glob("*") if self._place.staging.is_dir() else ():
                path.unlink(missing_ok=True)
            self._place.staging.mkdir(parents=True, exist_ok=True)
            return Spool(self._home / "spool", self._durable)

    def _close(self) -> None:
        self._spool.close()
        shutil.rmtree(self._place.staging, ignore_errors=True)

    def _write(self, pictures: list[Picture]) -> list[Receipt]:
        with disk_errors(self._home):
            receipts = [self._keep(picture) for picture in pictures]
            self._spool.flush(sorted({picture.target.index // self._plan.shard_count for picture in pictures}))
        return receipts

    def _keep(self, picture: Picture) -> Receipt:
        target, size = picture.target, self._plan.shard_count
        shard = target.index // size
        place = self._spool.append(shard, [picture.data, *(one.data for one in picture.companions)])
        stem = f"{shard_name(shard)}/{target.extra.key or sample_key(target.index, size)}"
        digest = picture.sha256 if picture.untouched else hashlib.sha256(picture.data).digest()
        companions = tuple(
            CompanionFile(
                one.label, f"{stem}.{one.label}.{one.extension}", one.width, one.height, one.format, len(one.data),
                hashlib.sha256(one.data).digest(),
            )
            for one in picture.companions
        )  # fmt: skip
        return Receipt(f"{stem}.{picture.extension}", len(picture.data), digest, companions, place)


class ShardLedger:
    """The Ledger of a ShardStore, which is told what the journal has; there is nothing to write in step with it."""

    dirty = False

    def __init__(self) -> None:
        self.store: ShardStore | None = None

    def rewind(
        self, mark: int, recorded: Callable[[], Iterable[Record]], held: Callable[[Iterable[str]], set[str]]
    ) -> int:
        return 0

    def append(self, records: Sequence[Record]) -> int:
        return 0

    def committed(self, indexes: Sequence[int]) -> None:
        if self.store is not None:
            self.store.committed(indexes)

    def rebuild(self, recorded: Iterable[Record]) -> int:
        return 0

    def close(self, finished: bool) -> None:
        return None
