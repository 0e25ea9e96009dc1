"""A thread that does blocking work in batches: what waits when it comes round is one batch.

One hop between loop and thread is paid once a batch, not once an item, and one thread owns what it works on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


class Batcher(Generic[Item, Result]):
    """Runs `work(items)` in a thread of its own and hands each item its result.

    Args:
        work: takes items in order of `do`, returns one result for each, or an exception; one that is raised goes to every
            item of the batch.
        most: items in a batch at most.
        linger: seconds to rest after a batch, so that the next one is larger; closing, `call` and a full batch cut it short.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Item]], Sequence[Result | BaseException]],
        most: int = 256,
        linger: float = 0.0,
    ) -> None:
        self._work = work
        self._most = most
        self._linger = linger
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._calls: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._condition = threading.Condition()
        self._closing = False
        self._idle = False
        self._pending = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Items given and not yet done."""
        return self._pending

    def do(self, item: Item) -> asyncio.Future[Result]:
        """Queue one item. The future has its result."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._pending += 1
        with self._condition:
            self._waiting.append((item, future))
            if self._idle or len(self._waiting) == self._most:
                self._condition.notify()  # else it looks by itself: one that is woken for nothing takes the interpreter away
        return future

    async def call(self, function: Callable[[], Value]) -> Value:
        """Run `function` in the thread, before the items that wait."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._pending += 1
        with self._condition:
            self._calls.append((function, future))
            self._condition.notify()
        result: Value = await future
        return result

    async def close(self, last: Callable[[], Any] | None = None) -> None:
        """Do what waits, then `last`, and end the thread. Raises what `last` raises."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        await asyncio.to_thread(self._thread.join)
        if last is not None:
            await asyncio.to_thread(last)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not (self._waiting or self._calls or self._closing):
                    self._idle = True
                    self._condition.wait()
                self._idle = False
                calls, self._calls = self._calls, []
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if not batch and not calls:
                return
            for function, future in calls:
                self._tell([future], *_attempt(_once, function))
            if batch:
                items = [item for item, _ in batch]
                self._tell([future for _, future in batch], *_attempt(self._work, items))
                del batch, items  # what was done is not kept alive until the next batch
                self._rest()

    def _rest(self) -> None:
        if self._linger:
            with self._condition:
                self._condition.wait_for(self._has_to_go_on, self._linger)

    def _has_to_go_on(self) -> bool:
        return bool(self._calls) or self._closing or len(self._waiting) >= self._most

    def _tell(
        self, futures: list[asyncio.Future[Any]], results: Sequence[Any] | None, error: BaseException | None
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, futures, results, error)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _resolve(
        self, futures: list[asyncio.Future[Any]], results: Sequence[Any] | None, error: BaseException | None
    ) -> None:
        """Good news first: who hears of an error may end everybody else before they have heard."""
        self._pending -= len(futures)
        failed: list[tuple[asyncio.Future[Any], BaseException]] = []
        for at, future in enumerate(futures):
            found = error if results is None else results[at]
            if future.done():
                continue
            if isinstance(found, BaseException):
                failed.append((future, found))
            else:
                future.set_result(found)
        for future, problem in failed:
            if not future.done():
                future.set_exception(problem)


def _once(function: Callable[[], Any]) -> list[Any]:
    return [function()]


def _attempt(function: Callable[[Any], Sequence[Any]], of: Any) -> tuple[Sequence[Any] | None, BaseException | None]:
    try:
        return function(of), None
    except BaseException as error:
        return None, error
