"""One measure in a process of its own, so that its CPU, its memory and its threads are: an order comes in on standard input, a
result goes out, both as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crawler.bench import measures
from crawler.bench.measures import Result
from crawler.errors import CrawlerError

_LIMIT = 600.0


def measure(name: str, **order: Any) -> Result:
    """Run one measure of `measures` in a child and give what it found.

    Raises:
        CrawlerError: it failed; what it said is in the text.
    """
    child = subprocess.run(
        [sys.executable, "-m", "crawler.bench.child"],
        input=json.dumps({"name": name} | order), capture_output=True, text=True, check=False, timeout=_LIMIT,
    )  # fmt: skip
    if child.returncode:
        said = [line.strip(" |") for line in child.stderr.splitlines() if "Error" in line]
        raise CrawlerError(f"the measure {name!r} failed: {said[-1] if said else f'exit code {child.returncode}'}")
    return Result(**json.loads(child.stdout))


def _run(order: dict[str, Any]) -> Result:
    name, folder = order["name"], Path(order["folder"])
    if name == "floor":
        return measures.floor(measures.bodies(folder, order["count"]), order["workers"])
    return _on_a_loop(_work(name, folder, order))


def _work(name: str, folder: Path, order: dict[str, Any]) -> Coroutine[Any, Any, Result]:
    count = order["count"]
    if name == "process":
        return measures.process(measures.bodies(folder, count), order["executor"], order["workers"])
    if name == "store":
        return measures.store(folder, count, order["size"])
    addresses = measures.addresses_of(folder, order["base"], count)
    if name == "whole":
        return measures.whole(addresses, Path(order["output"]))
    return (measures.fetch if name == "fetch" else measures.bare_fetch)(addresses)


def _on_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        from uvloop import new_event_loop
    except ImportError:  # none for Windows
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def main() -> None:
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    print(json.dumps(asdict(_run(json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
