"""What one picture costs, in counts and not in time: whoever makes it dearer is told, and by which calls.

The figures stand in docs/performance.md; a change that is worth more may raise them here, with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crawler.bench.server import serving
from crawler.process import worker
from crawler.settings import ProcessSettings
from tests.cli import CHECKOUT, environment
from tests.costs import Calls
from tests.servers.pictures import jpeg

MOST_CALLS = 400
"""Python functions called once a picture in the process that fetches, all libraries included: 343 when this was written."""
MOST_OWN_CALLS = 240
"""Of those our own: 209."""
MOST_WRITES, MOST_READS = 9.0, 6.0
"""System calls that write (3.9: the request goes another way) and read (2.4); up to 6.6 on a busy machine, which makes smaller
batches.
"""
MOST_COPIES = 2.3
"""Bytes read and written for each byte of a body: in from the network, out to a worker (2.07)."""
MOST_IN_WORKER = 410
"""Python functions called in a worker, those of Pillow included: 368."""

pytestmark = pytest.mark.skipif(
    sys.gettrace() is not None, reason="a debugger or a measure of coverage counts here too"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pictures")
    for seed in range(8):
        (found / f"{seed}.jpeg").write_bytes(jpeg(400, 300, seed))
    return found


@pytest.fixture(scope="module")
def costs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(folder) as base:
        command = [sys.executable, "-m", "tests.costs", base, str(tmp_path_factory.mktemp("costs"))]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_picture_costs_the_loop_no_more_calls_than_it_did(costs: dict[str, Any]) -> None:
    assert costs["calls"] <= MOST_CALLS, costs["most"]
    assert costs["own"] <= MOST_OWN_CALLS, costs["most"]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts system calls for everybody")
def test_a_body_is_not_copied_once_more_and_no_system_call_is_added(folder: Path, costs: dict[str, Any]) -> None:
    body = sum(path.stat().st_size for path in folder.iterdir()) / 8
    assert costs["syscw"] <= MOST_WRITES
    assert costs["syscr"] <= MOST_READS
    assert (costs["rchar"] + costs["wchar"]) / body <= MOST_COPIES


def test_a_picture_costs_a_worker_no_more_calls_than_it_did() -> None:
    before = worker.use(ProcessSettings(size=64))
    bodies = [jpeg(400, 300, seed) for seed in range(20)]
    try:
        worker.work(bodies)
        calls = Calls()
        with calls.counted():
            worker.work(bodies)
    finally:
        worker.use(before)
    assert sum(calls.made.values()) / len(bodies) <= MOST_IN_WORKER, calls.made.most_common(20)
