"""Pictures in shards: each a fixed slice of the input, written when all of its targets have ended.

Until then they wait in the spool, and the journal knows where. What a kill leaves half done is made again from both; a
shard that is published is only written again if one of its pictures has come later or has changed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from crawler.batcher import Batcher
from crawler.disk import disk_errors
from crawler.errors import StoreError, StoreStopped
from crawler.model import Picture, Receipt, Record
from crawler.ports import Shelf
from crawler.store.builder import Builder
from crawler.store.digests import digest_of, stored_companion
from crawler.store.order import Built, Order
from crawler.store.places import Place
from crawler.store.shard import Plan
from crawler.store.shard_names import sample_key, shard_name, shard_of_stats
from crawler.store.spool import Spool
from crawler.store.stored import old_name

_BATCH = 32
_KEPT = "kept"
_GUESSED_SIZE = 100_000  # bytes of a picture, before there is one

Columns = Callable[[], tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]] | None]
"""Types and first values of the kept columns; None while they are not known."""


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
        self._builder = Builder()
        self._counts: Counter[int] = Counter()
        self._published: set[int] = set()
        self._pending: dict[int, set[int]] = {}  # put and not yet in the journal, by shard
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._puts = self._bytes_put = 0
        self._closed = self._finishing = False

    async def __aenter__(self) -> ShardStore:
        self._loop = asyncio.get_running_loop()
        self._building = asyncio.Semaphore(1)
        self._moving = asyncio.Semaphore(self._uploads)
        self._threads = ThreadPoolExecutor(self._uploads, "crawler-publish")
        self._batcher: Batcher[Picture, Receipt] = Batcher("crawler-store", self._write, _BATCH)
        try:
            self._spool = await self._batcher.call(self._prepare)
            await self._adopt()
            waiting = await self._shelf.waiting(self._plan.shard_count)
            await self._batcher.call(lambda: self._spool.keep(waiting))
            for shard in waiting:
                await self._shelf.cut_off(*self._slice(shard), self._spool.size_of(shard))
            self._counts.update(await self._shelf.counts(self._plan.shard_count))
            self._published.update(await self._shelf.published())
        except BaseException:
            await self._batcher.close()
            self._threads.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._place.stop()
        for task in self._tasks.values():
            task.cancel()
        await self._builder.close()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self._batcher.close(self._close)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._place.close)

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        self._check()
        index = picture.target.index
        self._puts += 1
        self._bytes_put += len(picture.data)
        self._pending.setdefault(index // self._plan.shard_count, set()).add(index)
        return await self._batcher.do(picture)

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await self._shelf.stale(index // self._plan.shard_count)
        await forget()

    def stop(self) -> None:
        self._place.stop()

    def has_room(self, index: int, under_way: int) -> bool:
        self._check()
        coming = under_way * (self._bytes_put / self._puts if self._puts else _GUESSED_SIZE)
        if self._spool.size > self._most:
            for shard in self._spool.shards():
                if shard in self._published:  # what has come late for it
                    self._start(shard)
        first = self._spool.first
        # What completes the oldest shard is always let in: there would be no other way to empty the spool.
        return self._spool.size + coming <= self._most or (
            first is not None and index // self._plan.shard_count <= first
        )

    @property
    def publishing(self) -> int:
        return len(self._tasks)

    async def finish(self, total: int | None) -> None:
        self._pending.clear()  # everything that was put has been settled
        await self._all_published()
        self._finishing = True
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
            raise self._failure.with_traceback(None)

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
        if shard not in self._tasks and self._failure is None and not self._closed:
            task = asyncio.create_task(self._publish(shard), name=f"crawler-shard-{shard}")
            self._tasks[shard] = task
            task.add_done_callback(lambda done: self._ended(shard, done))

    def _ended(self, shard: int, task: asyncio.Task[None]) -> None:
        del self._tasks[shard]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StoreStopped):  # what is stopped waits in the spool
            self._failure = self._failure or error

    async def _all_published(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks.values())
            await asyncio.sleep(0)  # for `_ended`
        self._check()

    async def _publish(self, shard: int) -> None:
        """Make a shard and bring it to its place. What is made takes room here, so it is made when its turn to go is near."""
        size = self._plan.shard_count
        first, last = self._slice(shard)
        async with self._moving:
            async with self._building:
                if self._pending.get(shard):
                    return  # one of its targets is being done again: in the end it is published
                ended = await self._shelf.ended(first, last)
                if ended < (size if shard not in self._published else 1) and not self._finishing:
                    self._counts[shard] = ended
                    return
                limit = self._spool.size_of(shard)
                built = await self._build(shard, first, last)
            if built.lost:
                await self._shelf.lose(built.lost)
                raise StoreError(
                    f"{len(built.lost)} pictures of shard {shard_name(shard)} are no longer where they were stored; "
                    "run the same command again, they are fetched anew"
                )
            names = [(path, path.name) for path in built.files]
            await self._in_thread(lambda: self._place.publish(names))
        emptied = not self._pending.get(shard) and self._spool.size_of(shard) == limit
        await self._shelf.publish(shard, built.targets, first, last, emptied)
        self._published.add(shard)
        self._counts.pop(shard, None)
        if emptied:
            await self._batcher.call(lambda: self._spool.remove(shard))

    async def _build(self, shard: int, first: int, last: int) -> Built:
        kept = await self._shelf.recall(_KEPT) or ""
        old = None
        name = old_name(self._form, shard)
        if await self._shelf.published_before(first, last):
            old = await self._in_thread(lambda: self._place.fetch(name))
        rows = self._shelf.slice(first, last, self._by_key)
        order = Order(
            self._form, shard, self._plan, rows, self._spool.path(shard), old if old and old.exists() else None,
            self._staging, kept, None if kept else self._columns(), self._by_key,
        )  # fmt: skip
        built = await self._builder.build(order)
        if old is not None:
            await self._in_thread(lambda: self._place.release(name))
        if not kept:
            await self._shelf.keep(_KEPT, built.kept)
        return built

    def _slice(self, shard: int) -> tuple[int, int]:
        """First and last position of a shard."""
        size = self._plan.shard_count
        return shard * size, shard * size + size - 1

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

    async def _adopt(self) -> None:
        """Tell an empty journal of the shards that are published."""
        if not await self._shelf.empty():
            return
        found = await self._in_thread(self._place.names)
        shards = sorted(shard for name in found if (shard := shard_of_stats(name)) is not None)
        if shards:
            from crawler.store.adopt import Adopted

            adopted = Adopted(self._place, self._plan.shard_count, shards)
            await self._shelf.adopt(adopted)
            await self._shelf.keep(_KEPT, adopted.kept)

    # In the store's thread.

    def _prepare(self) -> Spool:
        with disk_errors(self._home):
            shutil.rmtree(self._place.staging, ignore_errors=True)
            # A name of its own: a process of a killed run may not have noticed yet that it is alone.
            self._staging = self._place.staging / f"{os.getpid()}-{time.time_ns():x}"
            self._staging.mkdir(parents=True)
            return Spool(self._home / "spool", self._durable)

    def _close(self) -> None:
        self._spool.close()
        shutil.rmtree(self._place.staging, ignore_errors=True)
        with suppress(OSError):
            self._place.staging.parent.rmdir()  # if nothing else is in it, as with a journal elsewhere

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
        companions = tuple(stored_companion(one, f"{stem}.{one.label}.{one.extension}") for one in picture.companions)
        return Receipt(f"{stem}.{picture.extension}", len(picture.data), digest_of(picture), companions, place)


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
