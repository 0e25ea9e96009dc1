"""Bodies that come too slowly, or can no longer come, are given up. One task looks at all of them once a second, so that
a chunk costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from aiohttp import ClientPayloadError

from crawler.clock import Clock
from crawler.model import Miss, Reason, Target

if TYPE_CHECKING:
    from crawler.fetch.exchange import Response

GRACE = 5.0
"""Seconds over which the speed is measured, and before which nobody is judged."""


class BrokenOff(ClientPayloadError):
    """The connection ended in the middle of a body at something that is not HTTP."""


class _Reading:
    __slots__ = ("bytes_at_mark", "connection", "deadline", "mark", "response", "target")

    def __init__(self, target: Target, response: Response, deadline: asyncio.Timeout, now: float) -> None:
        self.target = target
        self.response = response
        self.connection = response.connection
        self.deadline = deadline
        self.mark = now
        self.bytes_at_mark = response.content.total_bytes

    def wake_if_lost(self) -> None:
        """End the wait for a body whose connection is gone: a malformed chunk that comes later than the headers ends
        the connection, and aiohttp tells nobody who reads (seen in 3.14.5).
        """
        content = self.response.content
        protocol = self.connection.protocol
        lost = (
            protocol is not None and protocol.transport is None
        )  # no truth value of its own: it is a queue, and empty
        if lost and not content.is_eof() and content.exception() is None:
            content.set_exception(BrokenOff("the connection ended at something that is not HTTP"))


class SpeedWatch:
    """Ends the deadline of every body that brought less than `floor` bytes a second over the last `GRACE` seconds.

    A body that waits for our own memory is not judged: its deadline is off at that moment. With a floor of 0 only
    bodies that can no longer come are ended.
    """

    def __init__(self, floor: int, clock: Clock) -> None:
        self._floor = floor
        self._clock = clock
        self._readings: dict[int, _Reading] = {}
        self._verdicts: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_every_second(), name="crawler-speed")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def reading(self, target: Target, response: Response, deadline: asyncio.Timeout) -> Iterator[None]:
        """Watch one body while it is read."""
        self._verdicts.pop(target.index, None)  # of an earlier try that ended by itself at the last moment
        self._readings[target.index] = _Reading(target, response, deadline, self._clock.monotonic())
        try:
            yield
        finally:
            del self._readings[target.index]

    def verdict(self, target: Target) -> Miss | None:
        """The miss of a body that this watch gave up, None for any other."""
        words = self._verdicts.pop(target.index, None)
        return Miss(target, Reason.TOO_SLOW_BODY, words, 200) if words else None

    async def _look_every_second(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            self.look()

    def look(self) -> None:
        """Judge every body that has been read for long enough."""
        now = self._clock.monotonic()
        for reading in self._readings.values():
            reading.wake_if_lost()
            if reading.deadline.when() is None:  # it waits for our memory: its time begins anew
                reading.mark, reading.bytes_at_mark = now, reading.response.content.total_bytes
            if now - reading.mark < GRACE or reading.deadline.expired():
                continue
            speed = (reading.response.content.total_bytes - reading.bytes_at_mark) / (now - reading.mark)
            if speed < self._floor:
                words = f"{speed:.0f} bytes/s for {now - reading.mark:.0f} s, {self._floor} wanted"
                self._verdicts[reading.target.index] = words
                reading.deadline.reschedule(0)
            reading.mark, reading.bytes_at_mark = now, reading.response.content.total_bytes
