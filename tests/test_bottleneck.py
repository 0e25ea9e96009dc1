"""Which stage holds a run back: from states of runs, and from real runs that are held back by one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler import Settings, crawl
from crawler.bench.server import serving
from crawler.progress import Progress
from crawler.report.bottleneck import ADVICE, bottleneck, load
from crawler.report.lines import line
from crawler.report.rates import RateWindow
from crawler.stages import StageTime
from tests.cli import command, environment
from tests.servers.pictures import jpeg


def state(seconds: float = 10.0, stages: dict[str, float] | None = None, **given: Any) -> Progress:
    """A run that has stored 1,000 pictures; `stages`: seconds that all of them spent there."""
    told: dict[str, Any] = {
        "total": 5000, "done": 1000, "stored": 1000, "skipped": 0, "missed": 0, "waiting": 500, "fetching": 0, "processing": 0,
        "storing": 0, "publishing": 0, "bytes_fetched": 0, "bytes_stored": 0, "reasons": {}, "workers": 2, "slots": 100,
    }  # fmt: skip
    times = {name: StageTime(1000, total, 0.0, 0.0, 0.0) for name, total in (stages or {}).items()}
    return Progress(**told | {"seconds": seconds, "stages": times} | given)


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        ({"busy_seconds": 19.0}, "workers"),
        ({"busy_seconds": 19.0, "loop_seconds": 9.9}, "workers"),
        ({"busy_seconds": 8.0, "loop_seconds": 9.5}, "front end"),
        ({"stages": {"first_byte": 900.0, "body": 80.0}}, "network"),
        ({"stages": {"first_byte": 300.0, "store": 400.0, "queue": 20.0}}, "disk"),
        ({"stages": {"first_byte": 300.0}}, "hosts"),
        ({"stages": {"first_byte": 300.0}, "waiting": 0}, "input"),
        ({"busy_seconds": 14.0, "waiting": 0, "total": 1000}, "workers"),
        ({"stages": {"first_byte": 600.0}, "waiting": 0, "total": 1000}, "network"),
        ({"stages": {"first_byte": 300.0}, "waiting": 0, "total": 1000}, "hosts"),
    ],
)
def test_the_stage_that_the_others_wait_for_is_named_with_what_to_change(given: dict[str, Any], stage: str) -> None:
    said = bottleneck(state(**given))
    assert said.startswith(f"{stage} (")
    assert said.endswith(ADVICE[stage])


def test_a_run_that_has_only_begun_is_not_judged() -> None:
    assert bottleneck(state(seconds=1.0, busy_seconds=2.0)) == ""
    assert bottleneck(state(stored=10, done=10, busy_seconds=19.0)) == ""
    assert "slowest" not in line(state(seconds=1.0), RateWindow())


def test_what_counts_is_the_time_since_the_earlier_state() -> None:
    then = state(busy_seconds=20.0)
    now = state(seconds=20.0, stored=2000, done=2000, busy_seconds=20.0, stages={"first_byte": 990.0})
    found = load(now, then)
    assert found is not None
    assert (found.workers, found.stage) == (0.0, "network")


def test_the_line_of_progress_names_it() -> None:
    window = RateWindow()
    window.add(state(seconds=0.0, stored=0, done=0))
    assert "slowest workers" in line(state(busy_seconds=19.8), window)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    found = tmp_path_factory.mktemp("pictures")
    for seed in range(8):
        (found / f"{seed}.jpeg").write_bytes(jpeg(1200, 900, seed))
    with serving(found) as address:
        yield address


COUNT = 250


async def test_a_run_of_large_pictures_is_held_back_by_its_workers_and_tells_every_stage(
    base: str, tmp_path: Path
) -> None:
    urls = [f"{base}/{number % 8}.jpeg?{number}" for number in range(COUNT)]
    settings = Settings.of(urls, output=tmp_path / "out", workers=1, per_host=0, allow_private=True, robots=False)
    summary = await crawl(settings)
    assert summary.stored == COUNT
    assert summary.bottleneck.startswith("workers"), summary.bottleneck
    assert summary.workers_busy > 0.75
    assert 0 < summary.parent_cpu_seconds < summary.seconds * 2
    met = ["connect", "first_byte", "body", "queue", "decode", "resize", "encode", "store"]
    assert list(summary.stages) == met
    assert {name: summary.stages[name].count for name in met[1:]} == dict.fromkeys(met[1:], COUNT)
    told = summary.as_json()["stages"]["decode"]
    assert 0 < told["p50_ms"] <= told["p99_ms"] <= told["longest_ms"]


def test_a_low_limit_of_open_files_is_raised_as_far_as_the_system_lets_it(base: str, tmp_path: Path) -> None:
    """A shell gives 1,024 on many systems, and a connection is kept for each of many hosts."""
    (tmp_path / "urls.txt").write_text("".join(f"{base}/{n % 8}.jpeg?{n}\n" for n in range(150)))
    words = command("run", tmp_path / "urls.txt", "-o", tmp_path / "out", "--concurrency", 140, "--per-host", 0)
    words += ["--allow-private", "--no-robots", "--json", "--size", "32"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -Sn 96 && exec "$@"', "bash", *words],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 150
