"""How long targets spend in each stage: a histogram for each, whose memory does not grow with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STAGES = ("dns", "connect", "first_byte", "body", "queue", "decode", "resize", "encode", "store")
"""In the order in which a target meets them. `dns` and `connect` are counted once a look-up and a connection, the others once
a picture. `first_byte` is from the request to the headers of its answer.
`queue` is all that a body waits around the work of the workers: for its turn, on its way, for its batch.
"""

_FINE = 3
"""Bits behind the highest: eight buckets an octave, so that a quantile is right to 6%."""
_STEPS = 1 << _FINE
_MOST_MICROSECONDS = (1 << 36) - 1
_BUCKETS = (36 - _FINE) * _STEPS + _STEPS


class Histogram:
    """Counts of durations, in buckets that grow with them, from a microsecond to 19 hours."""

    __slots__ = ("_buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        micros = int(seconds * 1e6)
        if micros >= _STEPS:
            shift = micros.bit_length() - _FINE - 1
            micros = shift * _STEPS + (micros >> shift) if micros <= _MOST_MICROSECONDS else _BUCKETS - 1
        elif micros < 0:  # a clock that was set back
            micros = 0
        self._buckets[micros] += 1
        self.count += 1
        self.total += seconds
        if seconds > self.longest:
            self.longest = seconds

    def quantile(self, share: float) -> float:
        """Seconds that `share` of all durations do not exceed, to 6%; 0 if there are none."""
        left = share * self.count
        for at, count in enumerate(self._buckets):
            left -= count
            if count and left <= 0:
                return min(_middle(at), self.longest)
        return self.longest


def _middle(bucket: int) -> float:
    """Seconds in the middle of a bucket."""
    if bucket < _STEPS:
        return bucket / 1e6
    shift, step = divmod(bucket - _STEPS, _STEPS)
    return (_STEPS + step + 0.5) * (1 << shift) / 1e6


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage took: `count` durations; all others in seconds."""

    count: int
    total: float
    p50: float
    p99: float
    longest: float

    def as_json(self) -> dict[str, Any]:
        """In milliseconds, as names say."""
        told: dict[str, Any] = {"count": self.count, "mean_ms": round(self.mean * 1000, 3)}
        for name in ("p50", "p99", "longest"):
            told[f"{name}_ms"] = round(getattr(self, name) * 1000, 3)
        return told

    @property
    def mean(self) -> float:
        return self.total / self.count


class Stopwatch:
    """A histogram for each stage, as an attribute of its name. All calls from the loop."""

    def __init__(self) -> None:
        self.dns = Histogram()
        self.connect = Histogram()
        self.first_byte = Histogram()
        self.body = Histogram()
        self.queue = Histogram()
        self.decode = Histogram()
        self.resize = Histogram()
        self.encode = Histogram()
        self.store = Histogram()

    def times(self) -> Mapping[str, StageTime]:
        """By stage, those that were met at all."""
        found = {name: getattr(self, name) for name in STAGES}
        return {
            name: StageTime(one.count, one.total, one.quantile(0.5), one.quantile(0.99), one.longest)
            for name, one in found.items()
            if one.count
        }
