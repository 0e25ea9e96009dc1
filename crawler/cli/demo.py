"""The command `demo`: serves a small site on loopback in a process of its own and crawls it for real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from crawler.cli.run import run_to_end
from crawler.errors import CrawlerError
from crawler.settings import Settings

_STOP_SECONDS = 10


def run_demo(output: str, *, quiet: bool = False, json_summary: bool = False) -> int:
    """Crawl the demo site into `output`. Returns the exit code."""
    with demo_site() as address:
        settings = Settings.of(_addresses(address), output=output, allow_private=True)
        return run_to_end(settings, quiet=quiet, json_summary=json_summary)


@contextmanager
def demo_site() -> Iterator[str]:
    """The address of a demo site that lives as long as the block."""
    site = subprocess.Popen(
        [sys.executable, "-m", "crawler.demo.site"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the crawl: the site must outlive it to let it drain
    )
    assert site.stdin is not None and site.stdout is not None
    try:
        address = site.stdout.readline().strip()
        if not address:
            raise CrawlerError("the demo site did not start")
        yield address
    finally:
        site.stdin.close()
        site.stdout.close()
        try:
            site.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            site.kill()
            site.wait()


def _addresses(address: str) -> list[str]:
    with urlopen(f"{address}/urls.txt", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
