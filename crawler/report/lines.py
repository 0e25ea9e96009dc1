"""Progress where there is no terminal: one plain line every few seconds."""

from __future__ import annotations

from typing import TextIO

from crawler.progress import Progress
from crawler.report.rates import RateWindow, clock_face, reasons_line


class LineProgress:
    """Writes a line for every state it is shown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._window = RateWindow()

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: Progress) -> None:
        self._stream.write(line(progress, self._window) + "\n")
        self._stream.flush()


def line(now: Progress, window: RateWindow) -> str:
    """One state as one line."""
    rates = window.add(now)
    total = "?" if now.total is None else f"{now.total:,}"
    parts = [
        f"{clock_face(now.seconds)} {now.done:,}/{total}",
        f"{rates.pictures:.1f} pictures/s {rates.megabytes:.1f} MB/s",
        f"waiting {now.waiting:,} fetching {now.fetching:,} workers {now.processing:,} disk {now.storing:,}",
    ]
    if rates.slowest:
        parts.append(f"slowest {rates.slowest}")
    if now.pages or now.pages_waiting:
        parts.append(f"pages {now.pages:,} read {now.pages_waiting:,} to go")
    if now.publishing:
        parts.append(f"shards on their way {now.publishing:,}")
    if now.missed:
        parts.append(f"missed {now.missed:,}: {reasons_line(now)}")
    if rates.left is not None:
        parts.append(f"left {clock_face(rates.left)}")
    return " | ".join(parts)
