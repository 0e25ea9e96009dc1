"""The end of a run for a person: what was stored, what was missed and why, how fast, and where it is."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crawler.found import CUTS
from crawler.progress import Summary
from crawler.report.rates import clock_face, milliseconds

_ENOUGH = 20
"""Pictures from which on it says something how long they took."""


def print_summary(summary: Summary, console: Console) -> None:
    """Print the table of a run."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row("stored", f"{summary.stored:,}", _where(summary))
    table.add_row("skipped", f"{summary.skipped:,}", "done by an earlier run" if summary.skipped else "")
    table.add_row("missed", f"{summary.missed:,}", "")
    for reason, count in summary.reasons.items():
        example = summary.examples[reason]
        table.add_row(f"  {reason}", f"{count:,}", escape(visible(f"{example.url[:200]} ({example.detail})")))
    if summary.pages:
        waiting = f"{summary.pages_waiting:,} known and not visited" if summary.pages_waiting else ""
        table.add_row("pages", f"{summary.pages:,}", waiting)
    for why, (count, address) in summary.cuts.items():
        table.add_row(f"  {why}", f"{count:,}", escape(visible(f"{CUTS.get(why, 'left out')}: {address[:200]}")))
    table.add_row("time", clock_face(summary.seconds), _speed(summary))
    console.print(table)
    if summary.stored >= _ENOUGH:
        console.print(_times(summary))
    if summary.bottleneck:
        console.print(f"slowest: {summary.bottleneck}", soft_wrap=True)
    if summary.ended == "stopped":
        console.print("Stopped before the end. Run the same command again to go on where it was.", style="bold")


def _times(summary: Summary) -> Table:
    """How long the stages took, a column for each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("ms")
    for name in summary.stages:
        table.add_column(name.replace("_", " "), justify="right")
    for label in ("p50", "p99"):
        table.add_row(label, *(milliseconds(getattr(time, label)) for time in summary.stages.values()))
    return table


def visible(text: str) -> str:
    """Text of others without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _where(summary: Summary) -> str:
    if not summary.output:
        return ""
    metadata = f", metadata in {summary.output.rstrip('/')}/{summary.metadata}" if summary.metadata else ""
    return escape(f"{summary.bytes_stored / 1e6:,.1f} MB in {summary.output}{metadata}")


def _speed(summary: Summary) -> str:
    seconds = summary.seconds or 1.0
    return f"{summary.images_per_second:,.1f} pictures/s, {summary.bytes_fetched / 1e6 / seconds:,.1f} MB/s fetched"
