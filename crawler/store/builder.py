"""The process that makes shards, seen from the one that crawls."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.abc import MetaPathFinder

from crawler.children import close_spare_ends, no_interrupt, obey_parent, worker_context
from crawler.errors import CrawlerError, StoreError
from crawler.store.order import Built, Order
from crawler.store.shard_names import shard_name

_TRIES = 3


class Builder:
    """Starts its process with the first shard; one that dies is started again."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def build(self, order: Order) -> Built:
        """Make a shard.

        Raises:
            StoreError: it cannot be written, or its process dies again and again.
        """
        for _ in range(_TRIES):
            future = await asyncio.to_thread(self._submit, order)
            try:
                return await asyncio.wrap_future(future)
            except BrokenProcessPool:
                await self.close()
            except CrawlerError:
                raise
            except Exception as error:
                raise StoreError(
                    f"shard {shard_name(order.shard)} cannot be made: {type(error).__name__}: {error}; what it is made of is "
                    "kept. Please report it"
                ) from error
        raise StoreError(
            f"the process that makes shards ended {_TRIES} times while it made shard {shard_name(order.shard)}: is memory short? "
            "Run the same command again, it goes on where it was"
        )

    async def close(self) -> None:
        """End the process, when it has done what it does."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown)

    def _submit(self, order: Order) -> Future[Built]:
        if self._executor is None:
            with no_interrupt():
                self._executor = ProcessPoolExecutor(1, worker_context(), begin)
                future = self._executor.submit(_build, order)
            close_spare_ends(self._executor)
            return future
        return self._executor.submit(_build, order)


def begin() -> None:
    """Called in the new process. pyarrow loads pandas, where there is one, to ask whether what it makes a column of is a
    series of it: half a second, and nothing here ever is.
    """
    obey_parent()
    sys.meta_path.insert(0, _WithoutPandas())


class _WithoutPandas(MetaPathFinder):
    """Says of pandas that it is not there."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(f"{fullname} is not wanted here", name=fullname)


def _build(order: Order) -> Built:
    """In the process: what it needs (pyarrow) is never loaded by the one that crawls."""
    from crawler.store.build import build

    return build(order)
