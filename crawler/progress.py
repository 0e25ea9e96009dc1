"""How a run is going, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from crawler.model import Reason
from crawler.stages import StageTime


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run at one moment, for progress displays and callbacks.

    Attributes:
        total: targets in the input, None while it is not known.
        done: stored + skipped + missed.
        publishing: shards that are being made or uploaded.
        fetching, processing, storing: targets that are in or wait for that stage; the longest is the bottleneck.
        waiting: targets read from the input that wait for their turn: a free slot, their host, or a retry.
        bytes_fetched, bytes_stored: sums so far.
        reasons: misses by reason.
        seconds: since the start.
        workers, slots: how many there are: worker processes, and fetches under way at once.
        busy_seconds: that workers have had something to do, all together.
        loop_seconds: CPU time of the thread that fetches.
        stages: how long targets spent in each stage so far, by its name (see `crawler.stages`).
        pages, pages_waiting: visited so far, by this run and earlier ones in the same folder; known and not visited.
        found: pictures that were found in pages.
    """

    total: int | None
    done: int
    stored: int
    skipped: int
    missed: int
    waiting: int
    fetching: int
    processing: int
    storing: int
    publishing: int
    bytes_fetched: int
    bytes_stored: int
    reasons: Mapping[Reason, int]
    seconds: float
    workers: int = 0
    slots: int = 0
    busy_seconds: float = 0.0
    loop_seconds: float = 0.0
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    pages: int = 0
    pages_waiting: int = 0
    found: int = 0


@dataclass(frozen=True, slots=True)
class MissExample:
    """One target of a reason, to show what the reason means here."""

    url: str
    origin: str
    detail: str


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        targets: positions of the input that this run came to: stored + skipped + missed.
        stored: by this run; `skipped`: already settled by an earlier run in the same folder.
        reasons: misses of this run by reason name, most frequent first.
        ended: `finished`; `stopped` if it was asked to stop before its input was done.
        metadata: name of the file beside the pictures that tells of them; empty where there is none.
        peak_body_bytes: the most bytes of bodies held at once, from first read to end of processing.
        parent_cpu_seconds: CPU time of this process, without its workers.
        workers_busy: share of the time that workers had something to do, 0 to 1.
        stages: how long targets spent in each stage, by its name (see `crawler.stages`).
        bottleneck: which stage held the run back, why, and what to change; empty where it was too short to tell.
        pages, pages_waiting: visited, by this run and earlier ones in the same folder; known and not visited.
        cuts: what was found and left out on purpose, by why: how often, and an example.
    """

    targets: int
    stored: int
    skipped: int
    missed: int
    reasons: Mapping[str, int]
    examples: Mapping[str, MissExample]
    seconds: float
    bytes_fetched: int
    bytes_stored: int
    output: str
    ended: Literal["finished", "stopped"] = "finished"
    peak_body_bytes: int = 0
    metadata: str = ""
    parent_cpu_seconds: float = 0.0
    workers_busy: float = 0.0
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    bottleneck: str = ""
    pages: int = 0
    pages_waiting: int = 0
    cuts: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        return self.stored / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """The summary as one JSON-ready object; a stable interface for scripts."""
        return {
            "targets": self.targets,
            "stored": self.stored,
            "skipped": self.skipped,
            "missed": self.missed,
            "reasons": dict(self.reasons),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
            "bytes_fetched": self.bytes_fetched,
            "bytes_stored": self.bytes_stored,
            "output": self.output,
            "ended": self.ended,
            "parent_cpu_seconds": round(self.parent_cpu_seconds, 3),
            "workers_busy": round(self.workers_busy, 3),
            "bottleneck": self.bottleneck,
            "pages": self.pages,
            "pages_waiting": self.pages_waiting,
            "cuts": {why: {"count": count, "example": example} for why, (count, example) in self.cuts.items()},
            "stages": {name: stage.as_json() for name, stage in self.stages.items()},
        }
