"""Rates over the last seconds, time left, and which stage holds the others back: figures for a person who watches."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crawler.progress import Progress
from crawler.report.bottleneck import load

WINDOW = 10.0
"""Seconds that a rate looks back."""


@dataclass(frozen=True, slots=True)
class Rates:
    """pictures: stored or missed a second; megabytes: fetched a second (10^6); left: seconds, None if not known; slowest: the
    stage that the others wait for, empty while that cannot be told.
    """

    pictures: float
    megabytes: float
    left: float | None
    slowest: str = ""


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
        found = load(now, then)
        return Rates(rate, fetched / since / 1e6, left, found.stage if found else "")


def milliseconds(seconds: float) -> str:
    """`0.42`, `7.3`, `1,250`: three figures are enough."""
    found = seconds * 1000
    return f"{found:,.0f}" if found >= 100 else f"{found:.1f}" if found >= 1 else f"{found:.2f}"


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
