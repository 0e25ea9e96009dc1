"""Targets queued by host: hosts take turns, none gets more than its slots, and who waits occupies none."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from itertools import count

from crawler import urls
from crawler.clock import Clock
from crawler.model import Target

WINDOW = 1024
"""Targets held at once. Bounds the memory: the input is read only as fast as targets leave."""


class _Host:
    __slots__ = ("active", "key", "queue", "turning")

    def __init__(self, key: str) -> None:
        self.key = key
        self.queue: deque[Target] = deque()
        self.active = 0
        self.turning = False  # stands in the line of hosts that can give a target


class HostFrontier:
    """The Frontier: round robin over hosts with at most `per_host` targets out at once for each (0: no limit)."""

    def __init__(self, per_host: int, clock: Clock, window: int = WINDOW) -> None:
        self._per_host = per_host or 1 << 30
        self._clock = clock
        self._window = window
        self._hosts: dict[str, _Host] = {}
        self._turns: deque[_Host] = deque()
        self._taken: dict[int, _Host] = {}
        self._later: list[tuple[float, int, Target]] = []
        self._order = count()
        self._queued = 0
        self._closed = self._stopped = False
        self._room: set[asyncio.Future[None]] = set()
        self._change: set[asyncio.Future[None]] = set()
        self._alarm: asyncio.Task[None] | None = None

    async def add(self, target: Target) -> None:
        while self._queued + len(self._later) >= self._window and not self._stopped:
            await _woken(self._room)
        if not self._stopped:
            self._enqueue(target)

    def close(self) -> None:
        self._closed = True
        _wake(self._change)

    def stop(self) -> None:
        self._stopped = True
        self._silence()
        _wake(self._change)
        _wake(self._room)

    async def take(self) -> Target | None:
        while not self._stopped:
            self._wake_due()
            if self._turns:
                return self._next()
            if self._closed and not (self._taken or self._later):
                break
            await self._wait()
        self._silence()
        return None

    def release(self, target: Target) -> None:
        host = self._taken.pop(target.index)
        host.active -= 1
        self._line_up(host)
        if not host.active and not host.queue:
            del self._hosts[host.key]  # a million hosts pass by; only those with work are kept
        _wake(self._change)

    def retry(self, target: Target, delay: float) -> None:
        heapq.heappush(self._later, (self._clock.monotonic() + delay, next(self._order), target))
        self._silence()  # the new one may be due before the one the alarm waits for
        _wake(self._change)

    def waiting(self) -> int:
        return self._queued + len(self._later)

    def _enqueue(self, target: Target) -> None:
        key = urls.host_key(urls.parse(target.url))
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = _Host(key)
        host.queue.append(target)
        self._queued += 1
        self._line_up(host)
        _wake(self._change)

    def _line_up(self, host: _Host) -> None:
        if host.queue and host.active < self._per_host and not host.turning:
            host.turning = True
            self._turns.append(host)

    def _next(self) -> Target:
        host = self._turns.popleft()
        host.turning = False
        target = host.queue.popleft()
        host.active += 1
        self._queued -= 1
        self._taken[target.index] = host
        self._line_up(host)
        _wake(self._room)
        return target

    def _wake_due(self) -> None:
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            self._enqueue(heapq.heappop(self._later)[2])

    async def _wait(self) -> None:
        if self._later and self._alarm is None:
            self._alarm = asyncio.create_task(self._ring(self._later[0][0]), name="crawler-frontier-alarm")
        try:
            await _woken(self._change)
        except asyncio.CancelledError:
            self._silence()
            _wake(self._change)  # another that waits sets the alarm again
            raise

    async def _ring(self, when: float) -> None:
        await self._clock.sleep(max(0.0, when - self._clock.monotonic()))
        self._alarm = None
        _wake(self._change)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


async def _woken(waiting: set[asyncio.Future[None]]) -> None:
    future = asyncio.get_running_loop().create_future()
    waiting.add(future)
    try:
        await future
    finally:
        waiting.discard(future)


def _wake(waiting: set[asyncio.Future[None]]) -> None:
    """Everybody looks again for himself."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
