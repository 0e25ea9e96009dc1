"""How long to wait before a target is asked for again: longer each time, never in step with others."""

from __future__ import annotations

import random

from crawler.model import Miss

FIRST = 0.5
LONGEST = 60.0
"""Seconds; a server that asks for more than this is not waited for in this run."""


class Backoff:
    """Delay before the next try, None when there is none: the reason is permanent or all tries are used."""

    def __init__(self, retries: int, draw: random.Random | None = None) -> None:
        self._retries = retries
        self._draw = draw or random.Random()

    def __call__(self, miss: Miss, attempts: int) -> float | None:
        """Seconds to wait after `attempts` tries that ended in `miss`."""
        if not miss.reason.later or attempts > self._retries:
            return None
        grown: float = min(LONGEST, FIRST * 2 ** (attempts - 1))
        delay = grown * self._draw.uniform(0.5, 1.0)
        if miss.retry_after is not None:
            delay = max(delay, miss.retry_after)
        return delay if delay <= LONGEST else None
