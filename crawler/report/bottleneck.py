"""What holds a run back, from where its time went: which stage, in words, and what to change about it."""

from __future__ import annotations

from dataclasses import dataclass

from crawler.progress import Progress

_FULL = 0.85
"""Share of its time that a part is at work from which it is what all others wait for."""
_HALF = 0.5
_LEAST_SECONDS = 2.0
_LEAST_PICTURES = 50

ADVICE = {
    "workers": "more cores, a smaller --size, or pillow-simd (docs/performance.md)",
    "front end": "one process fetches no faster: cut the list in parts and run them side by side (docs/scale.md)",
    "disk": "a faster disk, --format webdataset, or no --durable",
    "network": "a higher --concurrency, if the line has room",
    "hosts": "--per-host, --delay and --rate, if the sites allow it",
    "input": "a faster source for the list",
}
"""By stage: what to change."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the parts were over some time, 0 to 1: workers, the loop that fetches, the slots of `--concurrency`; and how many
    pictures were with the workers and the store on average. `waiting` targets wait; None once the run is over, when nobody can
    tell any more what free slots waited for.
    """

    workers: float
    loop: float
    slots: float
    processing: float
    storing: float
    waiting: int | None

    @property
    def stage(self) -> str:
        """Who the others wait for: workers, front end, disk, network, hosts or input."""
        if self.workers >= _FULL:
            return "workers"
        if self.loop >= _FULL:
            return "front end"
        if self.storing >= 1 and self.storing > self.processing:
            return "disk"
        if self.slots >= _FULL:
            return "network"
        if self.waiting is None and max(self.workers, self.slots) >= _HALF:  # not all of the time, but most of it
            return "workers" if self.workers >= self.slots else "network"
        return "input" if self.waiting == 0 else "hosts"

    @property
    def words(self) -> str:
        """The figure behind it."""
        told = {
            "workers": f"busy {self.workers:.0%} of the time",
            "front end": f"the loop is busy {self.loop:.0%} of the time",
            "disk": f"{self.storing:.0f} pictures wait to be written",
            "network": f"{self.slots:.0%} of all slots wait for servers",
            "hosts": f"{self.slots:.0%} of all slots taken, the rest waits for the turn of a host",
            "input": f"{self.slots:.0%} of all slots taken, and no target waits",
        }
        return told[self.stage]


def load(now: Progress, then: Progress | None = None) -> Load | None:
    """The load between two states, or since the start; None where too little has happened to tell."""
    seconds = now.seconds - (then.seconds if then else 0.0)
    ended = now.stored + now.missed - (then.stored + then.missed if then else 0)
    if seconds < _LEAST_SECONDS or ended < _LEAST_PICTURES:
        return None

    def spent(*stages: str) -> float:
        """Pictures in these stages, on average."""
        return (_total(now, stages) - (_total(then, stages) if then else 0.0)) / seconds

    return Load(
        workers=(now.busy_seconds - (then.busy_seconds if then else 0.0)) / seconds / max(1, now.workers),
        loop=(now.loop_seconds - (then.loop_seconds if then else 0.0)) / seconds,
        slots=spent("first_byte", "body") / max(1, now.slots),
        processing=spent("queue", "decode", "resize", "encode"),
        storing=spent("store"),
        waiting=None if now.done == now.total else now.waiting or (then.waiting if then else 0),
    )


def bottleneck(now: Progress, then: Progress | None = None) -> str:
    """One line: the stage, the figure behind it, and what to change; empty where too little has happened to tell."""
    found = load(now, then)
    return "" if found is None else f"{found.stage} ({found.words}): {ADVICE[found.stage]}"


def _total(state: Progress, stages: tuple[str, ...]) -> float:
    return sum(state.stages[name].total for name in stages if name in state.stages)
