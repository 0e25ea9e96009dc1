"""Outcomes on their way from the run to whoever looks at them."""

from __future__ import annotations

import asyncio

from crawler.model import Outcome


class Outbox:
    """Outcomes on their way to the loop of the caller, at most `most` ahead of it."""

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._closed = False

    async def put(self, outcome: Outcome) -> None:
        """Waits while the caller is behind; once closed, nobody looks at outcomes and none is kept."""
        if not self._closed:
            await self._room.acquire()
            self._queue.put_nowait(outcome)

    async def take(self) -> Outcome | None:
        """The next outcome, None after the last."""
        outcome = await self._queue.get()
        self._room.release()
        return outcome

    def close(self) -> None:
        """No more outcomes are taken, or none will come."""
        self._closed = True
        self._queue.put_nowait(None)
        while self._room.locked():
            self._room.release()
