"""Rates over the last seconds, time left, and which stage holds the others up: figures for a person who watches."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crawler.progress import Progress

WINDOW = 10.0
"""Seconds that a rate looks back."""


@dataclass(frozen=True, slots=True)
class Rates:
    """pictures: stored or missed a second; megabytes: fetched a second (10^6); left: seconds, None if not known."""

    pictures: float
    megabytes: float
    left: float | None


class RateWindow:
    """Turns states into rates. A few dozen states are kept, whatever the length of the run."""

    def __init__(self) -> None:
        self._states: deque[Progress] = deque(maxlen=64)

    def add(self, now: Progress) -> Rates:
        """The rates at `now`, compared with the oldest state of the window."""
        while self._states and now.seconds - self._states[0].seconds > WINDOW:
            self._states.popleft()
        self._states.append(now)
        then = self._states[0] if len(self._states) > 1 else None
        since = now.seconds - (then.seconds if then else 0.0)
        if since <= 0:
            return Rates(0.0, 0.0, None)
        ended = now.stored + now.missed - (then.stored + then.missed if then else 0)
        fetched = now.bytes_fetched - (then.bytes_fetched if then else 0)
        rate = ended / since
        left = None if now.total is None or not rate else max(0, now.total - now.done) / rate
        return Rates(rate, fetched / since / 1e6, left)


def bottleneck(now: Progress) -> str:
    """The stage that most targets are in or wait for: the network, the workers or the disk."""
    stages = {"network": now.fetching, "workers": now.processing, "disk": now.storing}
    name, most = max(stages.items(), key=lambda stage: stage[1])
    return name if most else "none"


def clock_face(seconds: float) -> str:
    """`1:02:03` or `02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def reasons_line(now: Progress, most: int = 4) -> str:
    """The most frequent reasons of misses with their counts."""
    ranked = sorted(now.reasons.items(), key=lambda item: -item[1])
    told = ", ".join(f"{reason.value} {count:,}" for reason, count in ranked[:most])
    return told + (f", {len(ranked) - most} more reasons" if len(ranked) > most else "")
