"""The command `bench`: measures this machine and says what holds a run back on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from crawler.bench import plan
from crawler.bench.measures import Result
from crawler.bench.plan import FULL, QUICK, Report
from crawler.bench.verdict import verdict
from crawler.errors import SettingsError

_LABELS = {
    "floor": "codecs alone", "processes": "workers: processes", "threads": "workers: threads",
    "aiohttp": "fetch: aiohttp alone", "fetch": "fetch", "store": "store: files and journal", "whole": "whole run",
}  # fmt: skip


def run_bench(output: str, *, quick: bool = False, as_json: bool = False) -> int:
    """Measure, print and return the exit code."""
    scratch = Path(output) if output else None
    if scratch is not None and not scratch.is_dir():
        raise SettingsError("output", f"{output} is no folder; name one on the disk that is to be measured")
    console = Console(stderr=True, emoji=False, highlight=False)
    if console.is_terminal:
        with console.status("") as status:
            report = plan.run(QUICK if quick else FULL, scratch, status.update)
    else:
        report = plan.run(QUICK if quick else FULL, scratch, lambda _: None)
    if as_json:
        print(json.dumps(told(report)))
    else:
        _print(report, Console(emoji=False, highlight=False))
    return 0


def told(report: Report) -> dict[str, Any]:
    """The report as one JSON-ready object; a stable interface for scripts."""
    return {
        "workers": report.workers,
        "measures": {
            name: {key: value for key, value in asdict(one).items() if key != "slowest"} | {"rate": round(one.rate, 2)}
            for name, one in report.results.items()
        },
        "ratios": {
            "whole_to_floor": round(report.ratio("whole", "floor"), 3),
            "processes_to_floor": round(report.ratio("processes", "floor"), 3),
            "processes_to_threads": round(report.ratio("processes", "threads"), 3),
            "fetch_to_aiohttp": round(report.ratio("fetch", "aiohttp"), 3),
        },
        "bottleneck": report.results["whole"].slowest,
        "verdict": verdict(report),
    }


def _print(report: Report, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for column in ("pictures/s", "MB/s", "ms of CPU: here", "in workers", "MiB", "start, s"):
        table.add_column(column, justify="right")
    for name, one in report.results.items():
        table.add_row(_LABELS[name], *_cells(one))
    console.print(table)
    console.print()
    for sentence in verdict(report):
        console.print(sentence)


def _cells(one: Result) -> list[str]:
    return [
        f"{one.rate:,.0f}",
        f"{one.megabytes:,.0f}" if one.size else "",
        f"{1000 * one.cpu / one.count:.2f}" if one.cpu else "",
        f"{1000 * one.workers_cpu / one.count:.2f}" if one.workers_cpu else "",
        f"{one.memory / 2**20:,.0f}" if one.memory else "",
        f"{one.start:.2f}" if one.start else "",
    ]
