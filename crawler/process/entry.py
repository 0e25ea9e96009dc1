"""A worker by name: what the process that fetches asks of it. What does the work is imported over there, so that the one that
fetches starts without Pillow.
"""

from __future__ import annotations

from crawler.picture_settings import ProcessSettings
from crawler.process.done import Results, Told


def setup(settings: ProcessSettings) -> None:
    """Prepare the process this runs in."""
    from crawler.process import worker

    worker.setup(settings)


def ready() -> tuple[int, str]:
    """As `worker.ready`."""
    from crawler.process import worker

    return worker.ready()


def work(bodies: list[bytes], samples: list[Told] | None = None) -> Results:
    """As `worker.work`."""
    from crawler.process import worker

    return worker.work(bodies, samples)
