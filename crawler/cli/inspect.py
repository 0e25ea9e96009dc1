"""The commands that look at a run and change nothing (but for `verify --repair`): status, misses, verify."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crawler.errors import SettingsError
from crawler.found import CUTS
from crawler.model import Reason
from crawler.report.rates import clock_face
from crawler.report.summary import visible
from crawler.state.reader import MissRow, RunReader, Status
from crawler.verify import fault_lines, verify

_BARS = " ▁▂▃▄▅▆▇█"


def show_status(folder: str | Path, *, as_json: bool) -> int:
    """Print the state of a run. Returns the exit code."""
    status = RunReader(folder).status()
    if as_json:
        print(json.dumps(_status_json(status)))
    else:
        _print_status(status, Console())
    return 0


def print_misses(folder: str | Path, reason: str | None, form: str) -> int:
    """Print missed targets as addresses, JSON lines or CSV. Returns the exit code."""
    known = [one.value for one in Reason]
    if reason is not None and reason not in known:
        raise SettingsError("reason", f"{reason!r} given, must be one of {', '.join(known)}")
    rows = RunReader(folder).misses(reason)
    try:
        if form == "csv":
            table = csv.writer(sys.stdout)
            table.writerow(field.name for field in fields(MissRow))
            table.writerows(asdict(row).values() for row in rows)
        else:
            for row in rows:
                print(row.url if form == "txt" else json.dumps(asdict(row), ensure_ascii=False))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough, such as `head`
        sys.stdout = None
    return 0


def verify_folder(folder: str | Path, *, repair: bool, as_json: bool) -> int:
    """Check the pictures of a run. Returns 0 if all are as they were stored, else 1."""
    checked = asyncio.run(verify(folder, repair))
    if as_json:
        faults = [{"kind": f.kind, "file_name": f.file_name, "detail": f.detail} for f in checked.faults]
        print(json.dumps({"records": checked.records, "faults": faults, "repaired": repair and bool(faults)}))
    else:
        for line in fault_lines(checked.faults):
            print(line)
        faulty = len({fault.record.index for fault in checked.faults})
        wrong = f"{faulty:,} of {checked.records:,} stored pictures are not as they were stored"
        print(
            wrong if checked.faults else f"all {checked.records:,} stored pictures are as they were stored",
            file=sys.stderr,
        )
        if repair and checked.faults:
            print("they are marked: run the crawl again to fetch them", file=sys.stderr)
    return 1 if checked.faults else 0


def _status_json(status: Status) -> dict[str, Any]:
    told = asdict(status)
    told["targets"] = status.stored + status.missed
    told["seconds"] = (status.last or 0.0) - (status.first or 0.0)
    told["hosts"] = [{"host": host, "missed": missed, "targets": total} for host, missed, total in status.hosts]
    told["rates"] = [{"start": start, "seconds": span, "targets": count} for start, span, count in status.rates]
    return told


def _print_status(status: Status, console: Console) -> None:
    seconds = (status.last or 0.0) - (status.first or 0.0)
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row("stored", f"{status.stored:,}", f"{status.bytes_stored / 1e6:,.1f} MB in {escape(status.folder)}")
    table.add_row(
        "missed", f"{status.missed:,}", f"{status.later:,} can get better (--retry-missed)" if status.later else ""
    )
    for reason in status.reasons:
        kind = "later" if reason.later else "permanent"
        table.add_row(
            f"  {reason.reason}", f"{reason.count:,}", escape(visible(f"{kind}: {reason.url[:200]} ({reason.detail})"))
        )
    table.add_row(
        "time", clock_face(seconds), f"{(status.stored + status.missed) / seconds:,.1f} targets/s" if seconds else ""
    )
    if status.depths:
        table.add_row("pages", f"{sum(one.pages for one in status.depths):,}", escape(_frontier(status)))
    for cut in status.cuts:
        table.add_row(
            f"  {cut.why}", f"{cut.count:,}", escape(visible(f"{CUTS.get(cut.why, 'left out')}: {cut.example[:200]}"))
        )
    if status.rates:
        table.add_row("rate", "", _bars([count for _, _, count in status.rates]))
    for host, missed, total in status.hosts:
        table.add_row(
            "worst hosts" if host == status.hosts[0][0] else "",
            f"{missed:,}",
            f"of {total:,} missed at {escape(visible(host))}",
        )
    table.add_row("running", "", escape(status.running or "no"))
    console.print(table)
    if status.depths:
        console.print(_depths(status))


def _frontier(status: Status) -> str:
    waiting = sum(one.pages_waiting for one in status.depths)
    return f"{waiting:,} known and not visited" if waiting else ""


def _depths(status: Status) -> Table:
    """Pages and pictures by their distance from what was given."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("depth", "pages", "missed", "to visit", "pictures", "missed", "to fetch"):
        table.add_column(name, justify="right")
    for one in status.depths:
        numbers = (one.depth, one.pages, one.pages_missed, one.pages_waiting, one.pictures, one.missed, one.waiting)
        table.add_row(*(f"{number:,}" for number in numbers))
    return table


def _bars(counts: list[int]) -> str:
    most = max(counts) or 1
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)
