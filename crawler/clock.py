"""Time as an argument: what the parts read and wait on, so that tests can replace it and run at once."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Three views of time. Durations and deadlines use `monotonic`; only records for people use `wall`."""

    def monotonic(self) -> float:
        """Seconds that never go back; the zero has no meaning."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""
        ...


class SystemClock:
    """The real time."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
