"""The commands that look for pictures and fetch none: find, urls."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crawler.api import Crawler
from crawler.cli.run import LOG_WIDTH, loop_factory
from crawler.found import CUTS, FoundPicture, Page
from crawler.model import Target
from crawler.progress import Summary
from crawler.report.summary import visible
from crawler.settings import Settings


def show_found(settings: Settings, *, as_json: bool) -> int:
    """Print what would be fetched from one page, and why. Returns the exit code."""
    pages: list[tuple[Target, Page]] = []

    async def look() -> Summary:
        async def leave(_: Target) -> None:
            return None

        run = Crawler(settings, listing=leave, seen=lambda target, page: pages.append((target, page)))
        async with run:
            return await run.finish()

    summary = _run(look())
    if not pages:
        return _complain(summary, str(settings.input.sources[0]) if isinstance(settings.input.sources, tuple) else "")
    if as_json:
        print(json.dumps([_page_json(target, page) for target, page in pages], ensure_ascii=False))
    else:
        console = Console(soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
        for target, page in pages:
            _print_page(target, page, console)
    return 0


def print_urls(settings: Settings, *, form: str) -> int:
    """Print the addresses of all pictures found, as they are found. Returns the exit code."""
    counts = {"printed": 0, "inline": 0}

    async def look() -> Summary:
        async def tell(target: Target) -> None:
            if target.found is not None and target.found.data is not None:
                counts["inline"] += 1  # there is no address to fetch it from
                return
            counts["printed"] += 1
            print(target.url if form == "txt" else json.dumps(_target_json(target), ensure_ascii=False), flush=True)

        run = Crawler(settings, listing=tell)
        async with run:
            return await run.finish()

    try:
        summary = _run(look())
    except BrokenPipeError:  # whoever reads has enough, such as `head`
        sys.stdout = None
        return 0
    inline = f", {counts['inline']:,} more stand in pages themselves" if counts["inline"] else ""
    print(f"{counts['printed']:,} pictures in {summary.pages:,} pages{inline}", file=sys.stderr)
    for why, (count, example) in summary.cuts.items():
        print(f"left out {count:,}: {CUTS.get(why, why)} ({visible(example[:200])})", file=sys.stderr)
    for reason, count in summary.reasons.items():
        print(f"missed {count:,}: {reason} ({visible(summary.examples[reason].url[:200])})", file=sys.stderr)
    return 0 if summary.pages or not summary.missed else 1


def looking(settings: Settings) -> Settings:
    """The settings of a run that stores nothing."""
    return replace(settings, store=replace(settings.store, format="none", output=""))


def _run(look: Any) -> Summary:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        summary: Summary = runner.run(look)
        return summary


def _complain(summary: Summary, url: str) -> int:
    for reason, example in summary.examples.items():
        print(f"crawler: {visible(url)}: {reason} ({visible(example.detail)})", file=sys.stderr)
    if not summary.examples:
        print(f"{visible(url)} is a picture itself")
    return 1 if summary.examples else 0


def _page_json(target: Target, page: Page) -> dict[str, Any]:
    return {
        "page": target.url,
        "charset": page.charset,
        "pictures": [_picture_json(picture) for picture in page.pictures],
        "links": [{"url": link.url, "rule": link.rule, "kind": link.kind} for link in page.links],
        "passed_over": [one._asdict() for one in page.passed_over],
        "cuts": {why: {"count": count, "example": example} for why, (count, example) in page.cuts.items()},
        "notes": list(page.notes),
    }


def _picture_json(picture: FoundPicture) -> dict[str, Any]:
    told = picture._asdict()
    return told | {"data": None if picture.data is None else len(picture.data)}


def _target_json(target: Target) -> dict[str, Any]:
    found = asdict(target.found) if target.found is not None else {}
    return {"url": target.url, "rule": found.get("rule", ""), "fallbacks": found.get("fallbacks", ()), **target.columns}


def _print_page(target: Target, page: Page, console: Console) -> None:
    console.print(f"[bold]{escape(visible(target.url))}[/]  {page.charset}")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("", "rule", "address", "text"):
        table.add_column(heading, overflow="fold")
    for number, picture in enumerate(page.pictures):
        text = picture.alt or picture.figcaption or picture.title or picture.link
        table.add_row(str(number), picture.rule, escape(visible(picture.url)), escape(visible(text[:80])))
        for other in picture.fallbacks:
            table.add_row("", "[dim]or else", f"[dim]{escape(visible(other))}", "")
    console.print(table)
    for one in page.passed_over:
        console.print(f"[dim]not taken: {escape(visible(one.url[:200]))} ({one.rule}): {escape(visible(one.detail))}")
    for why, (count, example) in page.cuts.items():
        console.print(f"[dim]left out {count:,}: {CUTS.get(why, why)}, such as {escape(visible(example))}")
    for note in page.notes:
        console.print(f"[dim]{escape(visible(note))}")
    console.print(f"{len(page.pictures):,} pictures, {len(page.links):,} links that would be followed")
