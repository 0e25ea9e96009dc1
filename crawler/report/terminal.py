"""Progress on a terminal: a bar, the rates, what waits where, and the misses by reason. Drawn with rich."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crawler.progress import Progress
from crawler.report.rates import Rates, RateWindow, clock_face, milliseconds, reasons_line


class TerminalProgress:
    """A live display. Redrawn when it is shown a state; no thread of its own."""

    def __init__(self, console: Console) -> None:
        self._window = RateWindow()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> TerminalProgress:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, progress: Progress) -> None:
        self._live.update(render(progress, self._window), refresh=True)


def render(now: Progress, window: RateWindow) -> Group:
    """The display of one state."""
    rates = window.add(now)
    bar = Table.grid(padding=(0, 2))
    total = "?" if now.total is None else f"{now.total:,}"
    left = "" if rates.left is None else f"{clock_face(rates.left)} left"
    bar.add_row(
        Text(f"{now.done:,}/{total}", style="bold"),
        ProgressBar(total=now.total or None, completed=now.done, width=30),
        f"{rates.pictures:.1f} pictures/s",
        f"{rates.megabytes:.1f} MB/s",
        clock_face(now.seconds),
        left,
    )
    return Group(
        bar,
        _stages(now, rates),
        *([_times(now)] if now.stages else []),
        *([Text(f"missed {now.missed:,}: {reasons_line(now)}", style="yellow")] if now.missed else []),
    )


def _stages(now: Progress, rates: Rates) -> Text:
    text = Text(f"waiting {now.waiting:,}")
    for label, name, count in (
        ("fetching", "network", now.fetching),
        ("workers", "workers", now.processing),
        ("disk", "disk", now.storing),
    ):
        text.append(f"   {label} {count:,}", style="bold cyan" if name == rates.slowest else "")
    if now.pages or now.pages_waiting:
        text.append(f"   pages {now.pages:,} read {now.pages_waiting:,} to go")
    if now.publishing:
        text.append(f"   shards on their way {now.publishing:,}")
    return text.append(f"   slowest {rates.slowest}" if rates.slowest else "", style="dim")


def _times(now: Progress) -> Table:
    """Median and 99th percentile of every stage, in milliseconds."""
    table = Table.grid(padding=(0, 2))
    table.add_row("ms", *(name.replace("_", " ") for name in now.stages), style="dim")
    for label in ("p50", "p99"):
        table.add_row(label, *(milliseconds(getattr(time, label)) for time in now.stages.values()), style="dim")
    return table
