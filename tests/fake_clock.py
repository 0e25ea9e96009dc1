"""A clock that stands still until it is told to move, or jumps to the next deadline when nothing else has work to do."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

_TURNS = 30
"""Turns of the loop after which it counts as idle where nobody can tell: uvloop does not say whether anything is ready."""


class FakeClock:
    """A `Clock` for tests that wait on nothing but clocks and each other.

    Args:
        auto: jump to the next deadline whenever the loop is idle. Off, time moves only by `advance`. Work in threads
            and on sockets is not seen: with those, move it by hand, or tell of it by `busy`.
        busy: true while somebody works whom the loop does not see; time stands still.
    """

    def __init__(
        self,
        now: float = 1000.0,
        epoch: float = 1_700_000_000.0,
        auto: bool = True,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._now = now
        self._epoch = epoch - now
        self._auto = auto
        self._busy = busy
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._watching = False

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._epoch + self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), alarm))
        if self._auto and not self._watching:
            self._watching = True
            self._watch(0)
        await alarm

    @property
    def sleeping(self) -> int:
        """How many wait on this clock."""
        return sum(not alarm.done() for _, _, alarm in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, past every deadline on the way in its order, and let everybody do what is then due."""
        await settle()
        end = self._now + seconds
        while (due := self._next()) is not None and due <= end:
            self._jump(due)
            await settle()
        self._now = end

    def _next(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _jump(self, due: float) -> None:
        self._now = max(self._now, due)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            alarm = heapq.heappop(self._sleepers)[2]
            if not alarm.done():
                alarm.set_result(None)

    def _watch(self, quiet: int) -> None:
        """Come round with the loop, a callback and not a task: there is nothing to cancel when a test ends."""
        due = self._next()
        self._watching = due is not None
        if due is None:
            return
        loop = asyncio.get_running_loop()
        ready = getattr(loop, "_ready", None)
        if quiet >= (_TURNS if ready is None else 2):
            self._jump(due)
            quiet = 0
        loop.call_soon(self._watch, 0 if ready or self._busy() else quiet + 1)


async def settle(turns: int = _TURNS) -> None:
    """Let everything that is ready run, and what becomes ready by it."""
    for _ in range(turns):
        await asyncio.sleep(0)
