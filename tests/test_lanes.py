"""Two lanes come to what one process comes to, whatever happens in them: small suites, run by pytest as ours is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Final

import psutil
import pytest

from tests.cli import CHECKOUT, LIMIT, wait_until

PASSING: Final = "def test_one(): pass\ndef test_two(): pass\n"
MIXED: Final = {
    "test_a.py": """
        import os, pytest, warnings
        @pytest.fixture(scope="module")
        def shared():
            yield [os.getpid()]
        @pytest.mark.parametrize("n", range(5))
        def test_in_order(shared, n):
            shared.append(n)
            assert shared == [os.getpid(), *range(n + 1)]
        def test_with_a_folder(tmp_path): assert (tmp_path / "a").mkdir() is None
        def test_skipped(): pytest.skip("there is no reason")
        @pytest.mark.xfail
        def test_expected_to_fail(): assert False
        """,
    "test_b.py": """
        import os, pytest, warnings
        @pytest.fixture
        def broken():
            yield
            raise OSError("cannot be cleaned up")
        def test_that_fails(): print("said before"); assert [1, 2] == [1, 3]
        def test_that_leaves_something(broken): pass
        def test_with_a_folder(tmp_path): assert (tmp_path / "a").mkdir() is None
        def test_that_warns(): warnings.warn("mind this", UserWarning)
        """,
    "test_c.py": PASSING,
}


def project(folder: Path, files: Mapping[str, str], silence: float = 60) -> Path:
    limits = f"from tests import lanes\nlanes.WORTH_IT, lanes.SILENCE, lanes.STOP_LIMIT = 4, {silence}, 3\n"
    for name, text in {"pytest.ini": "[pytest]\naddopts = -ra -p tests.lanes", "conftest.py": limits, **files}.items():
        (folder / name).write_text(dedent(text))
    return folder


def started(folder: Path, *words: str, lanes: int = 2) -> subprocess.Popen[str]:
    extra = {"PYTHONPATH": str(CHECKOUT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CRAWLER_LANES": str(lanes)}
    extra["PYTEST_DEBUG_TEMPROOT"] = str(folder)  # or it would clean up what other sessions have left
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | extra,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(folder: Path, *words: str, lanes: int = 2) -> tuple[int, str]:
    """The exit code of a run and what it has said."""
    with started(folder, *words, lanes=lanes) as process:
        try:
            said, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    return process.returncode, said


def closing(said: str) -> str:
    """The last line, without the time."""
    return re.sub(r" in [0-9.]+s.*", "", said.splitlines()[-1]).strip("= ")


def test_two_lanes_come_to_what_one_process_comes_to(tmp_path: Path) -> None:
    project(tmp_path, MIXED)
    words = "--durations=3", f"--basetemp={tmp_path / 'folders'}"
    (one, alone), (two, both) = (ended(tmp_path, f"--junitxml={n}", *words, lanes=n) for n in (1, 2))
    assert "in 2 lanes" in both
    assert "in 2 lanes" not in alone
    assert one == two == 1
    assert closing(both) == closing(alone) == "1 failed, 11 passed, 1 skipped, 1 xfailed, 1 warning, 1 error"
    for text in (alone, both):
        assert "SKIPPED [1] test_a.py:11: there is no reason" in text
        assert "said before" in text
        assert "At index 1 diff: 2 != 3" in text
        assert "UserWarning: mind this" in text
        assert "slowest 3 durations" in text
    cases = [sorted(each) for each in (cases_of(tmp_path / "1"), cases_of(tmp_path / "2"))]
    assert cases[0] == cases[1]
    assert len(cases[0]) == 14


def cases_of(path: Path) -> Iterator[tuple[str, ...]]:
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        yield (case.get("classname", ""), case.get("name", ""), *(child.tag for child in case))


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("pytest.exit('last words')", "exit code 2"),
    ],
)
def test_a_lane_that_dies_fails_its_test_and_the_others_are_run(tmp_path: Path, end: str, told: str) -> None:
    fatal = (
        f"import os, pytest\n{PASSING}def test_fatal():\n    print('last words')\n    {end}\ndef test_three(): pass\n"
    )
    project(tmp_path, {"test_a.py": PASSING, "test_b.py": fatal, "test_c.py": PASSING})
    code, said = ended(tmp_path)
    assert code == 1
    assert closing(said) == "1 failed, 7 passed"
    assert f"ended with {told} in test_b.py::test_fatal" in said
    assert "last words" in said
    assert "FAILED test_b.py::test_fatal" in said


def test_a_lane_that_does_not_go_on_fails_its_test_and_says_where_it_is(tmp_path: Path) -> None:
    hangs = "import time\ndef test_that_hangs():\n    time.sleep(600)\ndef test_three(): pass\n"
    project(tmp_path, {"test_a.py": PASSING, "test_b.py": hangs, "test_c.py": PASSING}, silence=1.5)
    code, said = ended(tmp_path)
    assert code == 1
    assert closing(said) == "1 failed, 5 passed"
    assert "SIGABRT in test_b.py::test_that_hangs" in said
    assert 'test_b.py", line 3 in test_that_hangs' in said


def test_lanes_that_never_come_up_end_the_session_with_what_they_say(tmp_path: Path) -> None:
    broken = "import os\nif os.environ.pop('PYTEST_IN_LANE', ''): raise OSError('no room')\n"
    files = {"test_a.py": broken + PASSING, "test_b.py": PASSING, "test_c.py": PASSING}
    late = "def pytest_collection_finish(): import os; os.environ['PYTEST_IN_LANE'] = '1'\n"
    project(tmp_path, files)
    with (tmp_path / "conftest.py").open("a") as file:
        file.write(late)
    code, said = ended(tmp_path)
    assert code == 1
    assert closing(said) == "2 errors"
    assert "OSError: no room" in said
    assert "no lane is left, 6 tests have not run" in said


def test_the_first_failure_ends_all_lanes_if_it_should(tmp_path: Path) -> None:
    project(tmp_path, MIXED | {f"test_d{n}.py": "import time\ndef test_slow(): time.sleep(0.5)\n" for n in range(40)})
    code, said = ended(tmp_path, "-x")
    assert code == 1
    assert "stopping after 1 failures" in said
    assert "1 failed" in closing(said)


def test_what_failed_is_run_again(tmp_path: Path) -> None:
    project(tmp_path, MIXED)
    ended(tmp_path)
    code, said = ended(tmp_path, "--lf")
    assert (code, closing(said)) == (1, "1 failed, 1 passed, 1 error")


def test_what_cannot_be_collected_is_told_once(tmp_path: Path) -> None:
    project(tmp_path, MIXED | {"test_e.py": "import there_is_no_such_module"})
    code, said = ended(tmp_path)
    assert code == 2
    assert closing(said) == "1 error"
    assert "there_is_no_such_module" in said


def test_a_name_that_differs_between_processes_is_refused(tmp_path: Path) -> None:
    project(
        tmp_path,
        {"test_a.py": "import pytest\n@pytest.mark.parametrize('n', [object()], ids=repr)\ndef test(n): ...\n"},
    )
    code, said = ended(tmp_path)
    assert code == 4
    assert "names with an address in them" in said


@pytest.mark.parametrize("words", [("--pdb",), ("-s",), ("test_a.py",), ("-k", "test_a"), ("--co",), ("--stepwise",)])
def test_some_runs_have_no_lanes(tmp_path: Path, words: tuple[str, ...]) -> None:
    project(
        tmp_path,
        {"test_a.py": "".join(f"def test_{n}(): pass\n" for n in range(6)), "test_b.py": PASSING, "test_c.py": PASSING},
    )
    code, said = ended(tmp_path, *words)
    assert code == 0
    assert "in 2 lanes" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_lanes_end_with_the_process_that_was_called(tmp_path: Path, number: int) -> None:
    waits = "import time\nfrom pathlib import Path\ndef test_wait():\n    Path('begun').touch()\n    time.sleep({})\n"
    files = {
        "test_a.py": PASSING,
        "test_b.py": waits.format(600 if number == signal.SIGINT else 1),
        "test_c.py": PASSING,
    }
    with started(project(tmp_path, files), "-p", "no:cacheprovider") as process:
        try:
            wait_until((tmp_path / "begun").exists, "the test")
            lanes = psutil.Process(process.pid).children()
            began = time.monotonic()
            os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()
            said, _ = process.communicate(timeout=LIMIT)
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    assert len(lanes) >= 1
    wait_until(lambda: not any(map(goes_on, lanes)), "the end of the lanes", 10)
    assert time.monotonic() - began < 20
    if number == signal.SIGINT:
        assert process.returncode == 2
        assert "KeyboardInterrupt" in said
        assert closing(said) in ("2 passed", "4 passed")


def goes_on(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
