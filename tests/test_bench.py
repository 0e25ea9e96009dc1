"""The command `bench`: every measure is real, and what it says follows from the figures."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from crawler.bench.measures import Result
from crawler.bench.plan import Effort, Report
from crawler.bench.usage import usage_of
from crawler.bench.verdict import verdict
from crawler.cli import bench as cli_bench
from tests.cli import inside

MEASURES = ["floor", "processes", "threads", "aiohttp", "fetch", "store", "whole"]


def test_it_measures_this_machine_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_bench, "QUICK", Effort(0.3, 1))
    done = inside("bench", "--quick", "--json", "-o", tmp_path)
    assert done.code == 0, done.err
    told = done.summary
    assert list(told["measures"]) == MEASURES
    assert all(one["rate"] > 0 and one["count"] >= 60 for one in told["measures"].values())
    assert told["measures"]["processes"]["count"] == told["measures"]["floor"]["count"]
    assert told["measures"]["processes"]["memory"] > told["measures"]["threads"]["memory"] > 0
    assert set(told["ratios"]) == {"whole_to_floor", "processes_to_floor", "processes_to_threads", "fetch_to_aiohttp"}
    assert "the bottleneck" in " ".join(told["verdict"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    done = inside("bench", "-o", tmp_path / "nowhere")
    assert (done.code, done.out) == (2, "")
    assert "is no folder" in done.err


REPORT = Report(
    workers=2,
    results={
        "floor": Result(200, 1.0), "processes": Result(190, 1.0), "threads": Result(120, 1.0), "aiohttp": Result(3000, 1.0),
        "fetch": Result(2700, 1.0), "store": Result(5000, 1.0, size=150_000_000),
        "whole": Result(180, 1.0, cpu=0.1, size=28_000_000),
    },
)  # fmt: skip


def with_results(**results: Result) -> list[str]:
    return verdict(replace(REPORT, results={**REPORT.results, **results}))


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({}, "The workers are the bottleneck"),
        ({"whole": Result(180, 1.0, cpu=1.2)}, "The process that fetches is the bottleneck"),
        ({"store": Result(100, 1.0, size=3_000_000)}, "The disk is the bottleneck"),
        ({"whole": Result(100, 1.0, cpu=0.1)}, "something else on this machine"),
        ({}, "Processes make 1.58 times what threads make"),
        ({"threads": Result(195, 1.0)}, "Threads make about as much"),
    ],
)
def test_the_verdict_names_the_stage_and_what_to_change(results: dict[str, Result], words: str) -> None:
    assert words in " ".join(with_results(**results))


def test_the_use_of_a_process_that_is_gone_is_not_known() -> None:
    assert usage_of([2**22 + 1]) is None
    own = usage_of([os.getpid()])
    assert own is not None
    assert own.cpu > 0
    assert json.dumps(own.memory)
