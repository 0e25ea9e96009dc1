"""A lane, see tests/lanes.py, as the process has it that has started it: what it was given, what it is in, how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import reduction
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.lane import CHANNEL

LAST_WORDS: Final = 10_000
"""So many bytes of the end of what it has said are shown."""
PHASES: Final = {None: "setup", "setup": "call", "call": "teardown"}


class StartedLane:
    """A process of the same command line that runs what it is given."""

    def __init__(self, config: pytest.Config, number: int) -> None:
        self.number = number
        self.left: list[str] = []
        self.has_begun = False
        self._now: str | None = None
        self._phase: str | None = None
        self._location: tuple[str, int | None, str] = ("", None, "")
        self._failures = 0
        self._has_ended = False
        self._heard = time.monotonic()
        self._notes: list[str] = []
        self._captured: list[int] = []
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self.pipe, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *config.invocation_params.args, *own_folder(config, number)],
                cwd=config.invocation_params.dir,
                env=os.environ | {CHANNEL: f"{number} {theirs.fileno()}"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=subprocess.STDOUT,
            )

    def give(self, module: list[str]) -> None:
        self.left += module
        with contextlib.suppress(OSError):  # its end is about to be seen
            self.pipe.send(module)

    def hear(self) -> tuple[Any, ...]:
        """A word and its values."""
        words: tuple[Any, ...] = self.pipe.recv()
        self._heard = time.monotonic()
        if words[0] == "output":
            self._captured += [reduction.recv_handle(self.pipe) for _ in range(2)]
        elif words[0] == "ended":
            self._has_ended = True
        return words

    @property
    def is_in_test(self) -> bool:
        return self._now is not None

    def silent_for(self) -> float:
        return time.monotonic() - self._heard

    def begins(self, name: str, location: Any) -> None:
        self.has_begun = True
        self._now, self._phase, self._location = name, None, location
        self.left.remove(name)

    def has_reported(self, report: pytest.TestReport) -> None:
        self._phase = report.when
        self._failures += report.failed and not hasattr(report, "wasxfail")

    def finishes(self, name: str) -> None:
        assert name == self._now
        self._now = None

    def note(self, text: str) -> None:
        """For those who will read how it ended."""
        self._notes.append(text)

    def abort(self) -> None:
        """Have it say where it is (faulthandler does), as it dies."""
        self.process.send_signal(signal.SIGABRT)
        self.end(5.0)

    def end(self, limit: float) -> None:
        """Wait for its end; after `limit` seconds end it, and all that it has started."""
        try:
            self.process.wait(max(0.0, limit))
        except subprocess.TimeoutExpired:
            self.note("It did not end.")
            lane = psutil.Process(self.process.pid)
            for process in [*lane.children(recursive=True), lane]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()

    def trouble(self) -> str:
        """What is wrong with how it ended; empty if its reports explain it."""
        code = self.process.returncode
        if self._has_ended and code == (pytest.ExitCode.TESTS_FAILED if self._failures else pytest.ExitCode.OK):
            return ""
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        where = f"in {self._now}" if self._now else "in no test" if self.has_begun else "before its first test"
        told = [f"Lane {self.number} ended with {how} {where}.", *self._notes]
        for title, file in (
            ("printed by the test to stdout", self._captured[:1]),
            ("printed by the test to stderr", self._captured[1:]),
            ("said by pytest in the lane", [self._said.fileno()]),
        ):
            words = "".join(map(end_of, file)).strip()
            told += [f"--- {title} ---", words] if words else []
        return "\n".join(told)

    def last_report(self, trouble: str) -> pytest.TestReport:
        """A failure of the test that it was in; outside of tests an error in its own name."""
        name, phase = f"tests/lanes.py::lane_{self.number}", "setup"
        location: tuple[str, int | None, str] = ("tests/lanes.py", None, f"lane_{self.number}")
        if self._now:
            name, phase, location = self._now, PHASES.get(self._phase, "teardown"), self._location
        return pytest.TestReport(name, location, {}, "failed", trouble, phase)  # type: ignore[arg-type]

    def close(self) -> None:
        self.pipe.close()
        self._said.close()
        while self._captured:
            os.close(self._captured.pop())


def own_folder(config: pytest.Config, number: int) -> list[str]:
    """A folder for temporary files is emptied by whoever uses it: each lane has its own."""
    given = config.option.basetemp
    if given is None:
        return []
    Path(given).mkdir(parents=True, exist_ok=True)
    return [f"--basetemp={Path(given, f'lane-{number}').resolve()}"]


def end_of(descriptor: int) -> str:
    """The end of a file, wherever others read or write it."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, LAST_WORDS, max(0, size - LAST_WORDS)).decode("utf-8", "replace")
