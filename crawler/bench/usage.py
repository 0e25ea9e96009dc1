"""What other processes have used, as Linux tells it (proc(5)); elsewhere nobody says."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU, and the most bytes that were resident."""

    cpu: float
    memory: int

    @classmethod
    def own(cls) -> Usage:
        """Of this process. Raises OSError where nobody says."""
        return _usage(os.getpid())


def usage_of(pids: Sequence[int]) -> Usage | None:
    """Of some processes together, of this one if there are none; None where nobody says."""
    try:
        found = [_usage(pid) for pid in pids or [os.getpid()]]
    except OSError:
        return None
    return Usage(sum(one.cpu for one in found), sum(one.memory for one in found))


def _usage(pid: int) -> Usage:
    # The name of a process may hold blanks and brackets: fields are counted behind the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    ticks = int(fields[11]) + int(fields[12])  # utime and stime are the 14th and 15th of all
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(peak[1]) * 1024 if peak else 0)
