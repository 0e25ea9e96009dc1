"""One lane of two, see tests/lanes.py: a process of pytest that runs the modules it is given and reports what comes."""

from __future__ import annotations

import os
import pickle
import warnings
from collections import deque
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Final, NoReturn

import pytest

CHANNEL: Final = "CRAWLER_TEST_LANE"
"""In the environment of a lane: its number, and the descriptor that it hears from and reports to."""


class Lane:
    """Runs modules as they come, in a process that was started for it."""

    def __init__(self, config: pytest.Config, channel: str) -> None:
        number, descriptor = map(int, channel.split())
        self.is_first = number == 1
        os.set_inheritable(descriptor, False)
        self._pipe = Connection(descriptor)
        self._config = config
        self._output_is_known = False
        # By this name plugins of pytest know that another process keeps the books: what failed last, and the like.
        config.workerinput = {}  # type: ignore[attr-defined]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:
            return None  # pytest ends the session, and says what it could not collect
        by_id = {item.nodeid: item for item in session.items}
        items = self._more(by_id)
        while items:
            item = items.popleft()
            if not items:  # before the last one of a module: what comes next decides which fixtures stay
                items = self._more(by_id)
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=items[0] if items else None)
        self._tell("ended")
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """What a test prints is captured from here on: whoever started us can read it, should we not come back."""
        if not self._output_is_known:
            self._output_is_known = True
            self._tell("output")
            for descriptor in (1, 2):
                reduction.send_handle(self._pipe, descriptor, 0)

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._tell("logstart", nodeid, location)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._tell("logreport", data)

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._tell("logfinish", nodeid, location)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str, nodeid: str) -> None:
        if when == "runtest":  # those of the collection are known
            what: Warning | str = warning_message.message
            try:
                pickle.loads(pickle.dumps(what))
            except Exception:
                what = UserWarning(f"{type(what).__name__}: {what}")
            self._tell("warning", what, warning_message.filename, warning_message.lineno, nodeid)

    def _more(self, by_id: dict[str, pytest.Item]) -> deque[pytest.Item]:
        self._tell("more")
        try:
            names = self._pipe.recv()
        except (EOFError, OSError):
            self._leave()
        if missing := [name for name in names if name not in by_id]:
            raise pytest.UsageError(f"a lane has collected something else: {', '.join(missing)} is not there")
        return deque(by_id[name] for name in names)

    def _tell(self, *words: object) -> None:
        try:
            self._pipe.send(words)
        except OSError:
            self._leave()

    def _leave(self) -> NoReturn:
        """Nobody listens any more: the session was ended, or its process."""
        pytest.exit("nobody hears this lane any more", pytest.ExitCode.INTERRUPTED)
