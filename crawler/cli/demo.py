"""The command `demo`: serves a small site on loopback in a process of its own and crawls it for real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from crawler.children import site
from crawler.cli.run import run_to_end
from crawler.errors import CrawlerError
from crawler.settings import Settings

_PORT_FILE = ".crawler/demo-port"


def run_demo(output: str, *, quiet: bool = False, json_summary: bool = False) -> int:
    """Crawl the demo site into `output`. Returns the exit code."""
    port_file = Path(output) / _PORT_FILE
    with demo_site(_earlier_port(port_file)) as address:
        settings = Settings.of(_addresses(address), output=output, allow_private=True, proxy="none")
        code = run_to_end(settings, quiet=quiet, json_summary=json_summary)
    port_file.write_text(address.rpartition(":")[2])
    return code


def _earlier_port(port_file: Path) -> int:
    """The port of the last demo in this folder, so that a rerun finds the same addresses and has nothing left to do."""
    try:
        return int(port_file.read_text())
    except (OSError, ValueError):
        return 0


@contextmanager
def demo_site(port: int = 0) -> Iterator[str]:
    """The address of a demo site that lives as long as the block.

    Raises:
        CrawlerError: it did not start.
    """
    with site("crawler.demo.site", str(port)) as address:
        if not address:
            where = f" on port {port}, which this folder's addresses have; use another folder" if port else ""
            raise CrawlerError(f"the demo site did not start{where}")
        yield address


def _addresses(address: str) -> list[str]:
    with urlopen(f"{address}/urls.txt", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
