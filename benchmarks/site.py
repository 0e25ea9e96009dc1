"""A whole site: 10,000 pages and 50,000 pictures by nginx, crawled once undisturbed and once with a kill in the middle. Every
page and every picture has to be asked for once and stored once, and memory must not grow with the site.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import psutil
from PIL import Image

from benchmarks import server

_FOLDERS = 100
_EVERY = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=5, help="pictures of its own that a page has")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for site and output, such as /dev/shm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        home = Path(name)
        make_site(home / "site", arguments.pages, arguments.each)
        with server.serve(home / "site", 1, log=home / "access.log") as (base,):
            whole = crawl(base, home / "whole", [])
            report("undisturbed", whole, home / "whole", home / "access.log", arguments.pages, arguments.each, 0)
            (home / "access.log").write_text("")
            stops = [random.Random(7).uniform(0.3, 0.6) * whole[0]]
            killed = crawl(base, home / "killed", stops)
            report(
                "with a kill", killed, home / "killed", home / "access.log", arguments.pages, arguments.each, len(stops)
            )


def make_site(folder: Path, pages: int, each: int) -> None:
    """Pages in a tree of ten branches, in folders of a hundred, each with a menu that all have."""
    menu = "".join(f'<li><a href="/{number % _FOLDERS}/{number}.html">Section {number}</a>' for number in range(1, 11))
    for number in range(pages):
        place = folder / str(number % _FOLDERS)
        place.mkdir(parents=True, exist_ok=True)
        children = [child for child in range(10 * number + 1, 10 * number + 11) if child < pages]
        links = "".join(f'<a href="/{child % _FOLDERS}/{child}.html">Page {child}</a>' for child in children)
        images = "".join(
            f'<img src="/{number % _FOLDERS}/{number}-{one}.jpg" alt="{number}, {one}">' for one in range(each)
        )
        (place / f"{number}.html").write_text(f"<!doctype html><title>{number}</title><ul>{menu}</ul>{links}{images}")
        for one in range(each):
            body = BytesIO()
            Image.new("RGB", (16, 16), (number % 256, number // 256 % 256, one * 40)).save(body, "JPEG")
            (place / f"{number}-{one}.jpg").write_bytes(body.getvalue())


def crawl(base: str, output: Path, stops: list[float]) -> tuple[float, list[float]]:
    """Crawl to the end, killed after each of `stops` seconds. Returns seconds and the MiB of the process along the way."""
    call = [
        sys.executable, "-m", "crawler", "run", f"{base}/0/0.html", "-o", str(output), "--follow", "--depth", "9",
        "--allow-private", "--per-host", "0", "--encode", "original", "--quiet", "--concurrency", "32",
    ]  # fmt: skip
    began, memory = time.perf_counter(), list[float]()
    for stop in [*stops, float("inf")]:
        started = time.perf_counter()
        with subprocess.Popen(call, start_new_session=True) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                try:
                    memory.append(watched.memory_info().rss / 2**20)
                except psutil.Error:
                    break
                if time.perf_counter() - started > stop:
                    os.killpg(process.pid, signal.SIGKILL)
                    break
                time.sleep(_EVERY)
            if process.wait() not in (0, -signal.SIGKILL):
                raise RuntimeError(f"the crawl ended with exit code {process.returncode}")
    return time.perf_counter() - began, memory


def report(
    what: str, run: tuple[float, list[float]], output: Path, log: Path, pages: int, each: int, kills: int
) -> None:
    seconds, memory = run
    rows = [json.loads(line)["url"] for line in (output / "metadata.jsonl").read_text().splitlines()]
    asked = Counter(line.split(" ")[0] for line in log.read_text().splitlines() if line.endswith(" 200"))
    html = {path: count for path, count in asked.items() if path.endswith(".html")}
    jpeg = {path: count for path, count in asked.items() if path.endswith(".jpg")}
    again = sum(count - 1 for count in asked.values())
    quarter = max(1, len(memory) // 4)
    early, late = max(memory[quarter : 2 * quarter]), max(memory[-quarter:])
    print(
        f"{what}: {len(html)} of {pages} pages and {len(jpeg)} of {pages * each} pictures asked for, {again} requests more than "
        f"once ({kills} kills); {len(set(rows))} stored, {len(rows) - len(set(rows))} twice; {seconds:.0f} s, "
        f"{(pages + pages * each) / seconds:.0f} a second; memory {early:.0f} MiB in the second quarter, {late:.0f} in the last"
    )


if __name__ == "__main__":
    main()
