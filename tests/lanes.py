"""The whole suite in two lanes: most tests wait for a clock or a process, so two at a time take little more than half.

A plugin of pytest. The process that was called collects, hands one module after the other to two processes of the same
command line, its lanes (tests/lane.py), and passes on what they report. A module stays in one lane, in its order, with its
fixtures. A test in which a lane dies, or does not go on, fails with what the lane has said; another lane does the rest.
A small part of the suite, or a debugger, runs without lanes; so does everything with CRAWLER_LANES=1.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable
from itertools import groupby
from multiprocessing.connection import wait
from typing import Any, Final

import pytest

from tests.lane import CHANNEL, Lane
from tests.started_lane import StartedLane

WORTH_IT = 500
"""Fewer tests are done before two lanes have come up."""
SILENCE = 240.0
"""A test of which nothing is heard for so long hangs: none takes a quarter of it."""
BETWEEN: Final = 120.0
"""The same outside of tests: a lane that comes up, or comes to its end."""
STOP_LIMIT = 10.0
"""A session that is stopped lets the tests that run come to their end, but not for longer."""
DEATHS: Final = 3
"""So many lanes that died are replaced, then there is something wrong with all of them."""

LONG: Final = (
    *(
        "remote",
        "shards",
        "site_crawl",
        "pages_run",
        "witnesses",
        "patience",
        "cli_run",
        "sites",
        "robots",
        "kill",
        "pace",
        "bombs",
        "faults",
        "refresh",
        "bad_input",
    ),
    *(
        "twins",
        "custom",
        "pool",
        "outputs",
        "demo_site",
        "run_state",
        "resolver",
        "duplicates",
        "pixels",
        "peek",
        "tables",
    ),
    "beside",
)
"""These take longest, and begin first: the lanes end together if what comes last is short."""
OF_THE_FIRST: Final = ("tests/test_house.py", "tests/test_corpus.py")
"""What these ask for begins with the session, beside the tests, in the first lane: they wait for it there, and late."""

Module = list[str]


def pytest_configure(config: pytest.Config) -> None:
    if channel := os.environ.pop(CHANNEL, None):
        config.pluginmanager.register(Lane(config, channel), "lane")


def pytest_collection_finish(session: pytest.Session) -> None:
    """A name is the same in every process, or a test could neither be handed out nor be chosen again."""
    if passing := [item.nodeid for item in session.items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"names with an address in them, give `ids`: {', '.join(passing)}")


def wanted(config: pytest.Config, items: list[pytest.Item]) -> int:
    """How many lanes; 1 is none but this process."""
    chosen = config.option
    alone = ("collectonly", "usepdb", "trace", "setuponly", "setupshow", "setupplan", "stepwise", "log_file")
    if (
        config.pluginmanager.has_plugin("lane")
        or os.name != "posix"
        or getattr(chosen, "capture", "no") == "no"
        or any(getattr(chosen, name, None) for name in alone)
        or len(items) < WORTH_IT
    ):
        return 1
    lanes = int(os.environ.get("CRAWLER_LANES") or min(2, os.cpu_count() or 1))
    return max(1, min(lanes, len(by_file(item.nodeid for item in items))))


def begins_what_runs_beside(session: pytest.Session) -> bool:
    """Whether it is this process that begins with what the modules `OF_THE_FIRST` ask for later."""
    lane = session.config.pluginmanager.get_plugin("lane")
    return lane.is_first if isinstance(lane, Lane) else wanted(session.config, session.items) == 1


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    session = config.pluginmanager.get_plugin("session")
    lanes = 1 if session is None or session.testsfailed else wanted(config, items)
    return [f"in {lanes} lanes (with CRAWLER_LANES=1 in one process)"] if lanes > 1 else []


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Hand out, if that is worth it; None lets pytest go on as always."""
    lanes = wanted(session.config, session.items)
    if lanes == 1 or session.testsfailed:
        return None
    Dispatcher(session).run(lanes)
    return True


def file_of(name: str) -> str:
    return name.partition("::")[0]


def by_file(names: Iterable[str]) -> list[Module]:
    return [list(module) for _, module in groupby(names, file_of)]


def modules(session: pytest.Session) -> list[Module]:
    """In the order in which they are handed out."""
    chosen = session.config.option
    found = by_file(item.nodeid for item in session.items)
    if getattr(chosen, "failedfirst", False) or getattr(chosen, "newfirst", False):
        return found
    place = {f"tests/test_{name}.py": at for at, name in enumerate(LONG)}
    found.sort(key=lambda module: place.get(file_of(module[0]), len(place)))
    late = [module for module in found if is_of_the_first(module)]
    early = [module for module in found if not is_of_the_first(module)]
    cut = len(early) * 3 // 4
    return early[:cut] + late + early[cut:]


def is_of_the_first(module: Module) -> bool:
    return file_of(module[0]) in OF_THE_FIRST


class Dispatcher:
    """A module to whichever lane asks for one, until all are done and all lanes have ended."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._hook = session.config.hook
        self._left = modules(session)
        self._lanes: list[StartedLane] = []
        self._deaths = 0

    def run(self, count: int) -> None:
        try:
            for number in range(1, count + 1):
                self._lanes.append(StartedLane(self._session.config, number))
            while self._lanes:
                wait([lane.pipe for lane in self._lanes], timeout=0.5)
                for lane in tuple(self._lanes):
                    self._look_at(lane)
                    self._stop_if_told()
        finally:
            for lane in self._lanes:
                lane.pipe.close()
            limit = time.monotonic() + STOP_LIMIT
            for lane in self._lanes:
                lane.end(limit - time.monotonic())
                lane.close()
        if self._left:
            tests = sum(map(len, self._left))
            self._session.shouldfail = f"no lane is left, {tests} tests have not run"
            self._stop_if_told()

    def _look_at(self, lane: StartedLane) -> None:
        """Hear one thing that it says; see to it if it has ended, or does not go on."""
        try:
            heard = lane.hear() if lane.pipe.poll() else None
            over = heard is None and lane.process.poll() is not None and not lane.pipe.poll()
        except (EOFError, OSError):
            heard, over = None, True
        if heard:
            self._pass_on(lane, heard)
        elif over or lane.silent_for() >= (SILENCE if lane.is_in_test else BETWEEN):
            self._lanes.remove(lane)
            if not over:
                lane.note(f"Nothing was heard of it for {lane.silent_for():.0f} s.")
                lane.abort()
            self._see_off(lane)

    def _pass_on(self, lane: StartedLane, heard: tuple[Any, ...]) -> None:
        match heard:
            case ("more",):
                lane.give(self._next_for(lane))
            case "logreport", data:
                report = self._hook.pytest_report_from_serializable(config=self._session.config, data=data)
                lane.has_reported(report)
                self._hook.pytest_runtest_logreport(report=report)
            case "logstart", name, location:  # nobody is told: of two lines that are begun none can be finished
                lane.begins(name, location)
            case "logfinish", name, location:
                lane.finishes(name)
                self._hook.pytest_runtest_logfinish(nodeid=name, location=location)
            case "warning", what, file, line, name:
                message = warnings.WarningMessage(what, type(what), file, line)
                told = {"warning_message": message, "when": "runtest", "nodeid": name, "location": None}
                self._hook.pytest_warning_recorded.call_historic(kwargs=told)

    def _next_for(self, lane: StartedLane) -> Module:
        at = next((at for at, each in enumerate(self._left) if lane.number == 1 or not is_of_the_first(each)), None)
        return [] if at is None else self._left.pop(at)

    def _see_off(self, lane: StartedLane) -> None:
        """If it died, the test that it was in fails; what it had not begun is done by a lane that takes its place."""
        try:
            lane.end(BETWEEN)
            trouble = lane.trouble()
            report = lane.last_report(trouble)
        finally:
            lane.close()
        if not trouble:
            return
        self._left[:0] = by_file(lane.left)
        self._hook.pytest_runtest_logreport(report=report)
        self._hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        self._deaths += 1
        self._stop_if_told()
        if lane.has_begun and self._left and self._deaths <= DEATHS:
            self._lanes.append(StartedLane(self._session.config, lane.number))

    def _stop_if_told(self) -> None:
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)
