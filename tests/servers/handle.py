"""Starts the fault server for a test, asks what it saw, and ends it.

Blocking throughout: call it outside of the loop or from a thread. Every wait has a limit.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

START_LIMIT: Final = 20.0
CONTROL_LIMIT: Final = 10.0
STOP_LIMIT: Final = 5.0

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
# A proxy in the environment must not stand between a test and its own server.
_opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Faults:
    """A running fault server."""

    port: int
    hosts: tuple[str, ...]
    pid: int

    def url(self, path: str, host: str | None = None) -> str:
        """The address of a fault, on the first host unless another is named."""
        return f"http://{authority(host or self.hosts[0], self.port)}/{path.lstrip('/')}"

    def log(self, robots: bool = False) -> list[dict[str, Any]]:
        """Requests so far, in order of arrival; those for a robots.txt only if they are asked for.

        Each has `start` and `end` (`time.monotonic`; `end` is None while it runs), `method`, `path` (with its
        query), `host` (the header), `local` (the address connected to), `connection` (its number),
        `sent` (bytes) and `headers` (names in lower case).
        """
        entries: list[dict[str, Any]] = self._ask("_log")
        return [entry for entry in entries if robots or entry["path"] != "/robots.txt"]

    def stats(self) -> dict[str, Any]:
        """`total` requests, `connections`; by local address `concurrent` (the most at once) and `active`."""
        counts: dict[str, Any] = self._ask("_stats")
        return counts

    def reset(self) -> None:
        """Forget the log, the counters, and how often a flaky path has failed."""
        self._ask("_reset")

    def _ask(self, name: str) -> Any:
        with _opener.open(self.url(name), timeout=CONTROL_LIMIT) as answer:
            return json.load(answer)


def authority(host: str, port: int) -> str:
    """host:port as in a URL (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def running_faults(hosts: Sequence[str] = ("127.0.0.1",)) -> Iterator[Faults]:
    """A fault server on one port of all `hosts`, which must be loopback addresses."""
    options = [part for host in hosts for part in ("--host", host)]
    command = [sys.executable, "-m", "tests.servers.faults", *options]
    with subprocess.Popen(command, cwd=_CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = json.loads(_first_line(process))["port"]
            yield Faults(port, tuple(hosts), process.pid)
        finally:
            _end(process)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_LIMIT)
    line = process.stdout.readline() if ready else ""
    if not line:
        raise RuntimeError(f"the fault server did not start within {START_LIMIT:.0f} s; its stderr says why")
    return line


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT)
