"""What a worker does that does nothing: it takes the bodies and gives pictures of 30 KB back."""

from __future__ import annotations

from crawler.process.done import Done, Results, Told

_DATA = bytes(30_000)


def work(bodies: list[bytes], samples: list[Told] | None = None) -> Results:
    """As `crawler.process.worker.work`."""
    return [Done(_DATA, "jpeg", "jpg", 341, 256, 1024, 768, "jpeg", bytes(32), (0.0, 0.0, 0.0)) for _ in bodies]
