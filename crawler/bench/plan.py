"""All measures of one benchmark, in rounds: a minute in which the machine is busy then slows none of them every time."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crawler.bench.child import measure
from crawler.bench.material import make
from crawler.bench.measures import Result
from crawler.bench.server import serving

STORED_BYTES = 30_000
_TRIAL = 60
_FETCHES, _STORES = 1500, 1500
_MOST = 40_000
_LONGER = 4


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a measure takes, about, in seconds, and how often each is taken."""

    seconds: float
    rounds: int


QUICK, FULL = Effort(1.5, 1), Effort(4.0, 3)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, by the name of the measure: the median round of each."""

    workers: int
    results: Mapping[str, Result]

    def ratio(self, name: str, of: str) -> float:
        """How fast one is beside another."""
        return self.results[name].rate / self.results[of].rate


def run(effort: Effort, scratch: Path | None, tell: Tell) -> Report:
    """Measure everything. Files are written below `scratch`, the system's folder for temporary files if there is none, and
    removed again.

    Raises:
        CrawlerError: a measure failed.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="crawler-bench-", dir=scratch) as home:
        pictures, output = Path(home) / "pictures", Path(home) / "output"
        tell("making pictures")
        make(pictures)
        with serving(pictures) as base:
            rounds: dict[str, list[Result]] = {}
            measures = _measures(effort, pictures, output, base, workers)
            for number in range(effort.rounds):
                for name, one in measures.items():
                    tell(f"{name} ({number + 1} of {effort.rounds})")
                    rounds.setdefault(name, []).append(one())
                    shutil.rmtree(output, ignore_errors=True)
    return Report(workers, {name: _median(found) for name, found in rounds.items()})


def _measures(
    effort: Effort, pictures: Path, output: Path, base: str, workers: int
) -> Mapping[str, Callable[[], Result]]:
    folder = str(pictures)
    trial = measure("floor", folder=folder, count=_TRIAL * workers, workers=workers)
    count = _enough(trial.rate, effort)
    fetches, stores = _enough(_FETCHES, effort), _enough(_STORES, effort)
    return {
        "floor": lambda: measure("floor", folder=folder, count=count, workers=workers),
        "processes": lambda: measure("process", folder=folder, count=count, executor="process", workers=workers),
        "threads": lambda: measure("process", folder=folder, count=count, executor="thread", workers=workers),
        "aiohttp": lambda: measure("bare_fetch", folder=folder, base=base, count=fetches),
        "fetch": lambda: measure("fetch", folder=folder, base=base, count=fetches),
        "store": lambda: measure("store", folder=str(output), count=stores, size=STORED_BYTES),
        # Longer than the others: the start of its workers is in it, and would be half of a short one.
        "whole": lambda: measure("whole", folder=folder, base=base, count=_LONGER * count, output=str(output)),
    }


def _enough(rate: float, effort: Effort) -> int:
    """Pictures for as long as a measure should take."""
    return max(_TRIAL, min(_MOST, round(rate * effort.seconds)))


def _median(found: list[Result]) -> Result:
    middle = statistics.median_low(one.rate for one in found)
    return next(one for one in found if one.rate == middle)
