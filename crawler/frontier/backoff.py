"""How long to wait before a target is asked for again: longer each time, never in step with others."""

from __future__ import annotations

import random

from crawler.model import Miss, Visit

FIRST = 0.5
LONGEST = 60.0
_LEAST_ASKED = 1.0
"""What an asked-for wait counts at least, so that a server that always says "now" is not asked for ever."""


class Backoff:
    """Delay before the next try, None when there is none: the reason is permanent, or all tries are used.

    A server that says how long to wait (Retry-After) is given that time, and such a try does not count; but all such
    waits of one target together are no longer than `max_wait` seconds.
    """

    def __init__(self, retries: int, max_wait: float = 300.0, draw: random.Random | None = None) -> None:
        self._retries = retries
        self._max_wait = max_wait
        self._draw = draw or random.Random()

    def __call__(self, miss: Miss, visit: Visit) -> float | None:
        """Seconds to wait after a visit that ended in `miss`."""
        if not miss.reason.later:
            return None
        if miss.retry_after is not None and self._retries:
            wait = max(miss.retry_after, _LEAST_ASKED)
            visit.waited += wait
            return wait if visit.waited <= self._max_wait else None
        visit.failures += 1
        if visit.failures > self._retries:
            return None
        grown: float = min(LONGEST, FIRST * 2 ** (visit.failures - 1))
        return grown * self._draw.uniform(0.5, 1.0)
