"""What every benchmark measures with: wall clock, CPU of this process and of its children, and rates from them."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """Seconds of one measured block: `wall`, CPU of this process (`parent`) and of the processes it waited for (`children`)."""

    wall: float = 0.0
    parent: float = 0.0
    children: float = 0.0

    def each(self, count: int) -> str:
        """Rate and costs per picture, as columns of a table."""
        return (
            f"{count / self.wall:8.1f} /s   parent {self.parent / count * 1000:6.3f} ms"
            f"   children {self.children / count * 1000:6.2f} ms"
        )


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure a block. Children count once they have ended inside it."""
    cost = Cost()
    began, own, others = time.perf_counter(), _cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)
    yield cost
    cost.wall = time.perf_counter() - began
    cost.parent = _cpu(resource.RUSAGE_SELF) - own
    cost.children = _cpu(resource.RUSAGE_CHILDREN) - others


def _cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
