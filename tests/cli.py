"""Runs the command line, as a user does in a process of its own or inside of ours; its output taken apart."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from crawler import Summary
from crawler.cli.app import main

LIMIT: Final = 60.0
CHECKOUT: Final = Path(__file__).resolve().parents[1]
BOOKKEEPING: Final = ".crawler"


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line on stdout."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


def as_flags(settings: Mapping[str, Any]) -> list[object]:
    """Settings from Python as flags of a command."""
    found: list[object] = []
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        found += [flag] if value is True else [flag, value]
    return found


def counts(done: Summary) -> tuple[int, int, int]:
    """Stored, skipped, missed."""
    return done.stored, done.skipped, done.missed


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "crawler", *map(str, words)]


def environment(**extra: str) -> dict[str, str]:
    """Ours without the crawler's settings, in a terminal so wide that no line of a report is folded."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRAWLER_")}
    return kept | {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "always::ResourceWarning", "COLUMNS": "1000"} | extra


def crawler(
    *words: object,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: float = LIMIT,
) -> Ended:
    """Run `python -m crawler WORDS` to its end; a run that goes on after `limit` seconds is an error."""
    done = subprocess.run(
        command(*words),
        input=stdin,
        env=environment(**(env or {})),
        cwd=cwd,
        timeout=limit,
        capture_output=True,
        text=True,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def inside(*words: object) -> Ended:
    """The same in this process, for tests of what is done and said: there is no interpreter to start, nothing to import.

    What is about the process itself (signals, standard input, the environment, limits, kills) needs `crawler`.
    """
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Running:
    """A command that goes on, leader of a process group as a shell would have it; what it says is in files."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def signal(self, number: int) -> None:
        """To the whole group, as a terminal does it. After SIGKILL nobody of it is left: on a busy machine one that was just
        being started dies later than its parent, and holds the lock of the folder until then.
        """
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            wait_until(lambda: not members(self.process.pid), "the end of all processes of the group")

    def said(self, words: str) -> bool:
        return words in self.err.read_text(encoding="utf-8")

    def ended(self, limit: float = LIMIT) -> Ended:
        code = self.process.wait(limit)
        return Ended(code, self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8"))


def members(group: int) -> list[psutil.Process]:
    """Those of a process group that are not dead."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def started(*words: object, stdin: int = subprocess.DEVNULL, **extra: str) -> Iterator[Running]:
    """The command while the block lasts."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        with (
            out.open("wb") as stdout,
            err.open("wb") as stderr,
            subprocess.Popen(
                command(*words),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=environment(**extra),
                start_new_session=True,
            ) as process,
        ):
            try:
                yield Running(process, out, err)
            finally:
                process.kill()


def wait_until(true: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    """Look again and again until it is true; after `limit` seconds it is an error."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {limit:g} s"
        time.sleep(0.02)


def metadata(folder: Path) -> list[dict[str, Any]]:
    """The lines of metadata.jsonl, none if there is no file."""
    path = folder / "metadata.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def pictures(folder: Path) -> list[str]:
    """Every file below `folder` but metadata and bookkeeping, sorted."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if path.parts[0] not in (BOOKKEEPING, "metadata.jsonl"))


def check_agreement(folder: Path) -> None:
    """Files and metadata are the same set, one to one, and nothing half done is left."""
    named = [row["file_name"] for row in metadata(folder)]
    assert sorted(named) == pictures(folder)
    assert not list((folder / BOOKKEEPING).glob("tmp/*"))


@contextlib.contextmanager
def demo_site() -> Iterator[str]:
    """The address of a running demo site."""
    pipe = subprocess.PIPE
    site = [sys.executable, "-m", "crawler.demo.site"]
    with subprocess.Popen(site, stdin=pipe, stdout=pipe, env=environment(), text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], LIMIT)
            assert ready, "the demo site did not print its address in time"
            yield process.stdout.readline().strip()
        finally:
            process.kill()
