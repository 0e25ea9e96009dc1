"""The static checks, each a process of its own that starts with the session: most tests leave a core idle."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

ROOT: Final = Path(__file__).parents[1]
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "imports": ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"),
    "ruff": ("-m", "ruff", "check", "."),
    "format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
}
LIMIT: Final = 180.0
"""Below what a test may take, see tests/lanes.py."""


@cache
def started(checker: str) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """The process of a check, and the file it writes to."""
    said = TemporaryFile()  # noqa: SIM115 - closed by result_of
    command = [sys.executable, *COMMANDS[checker]]
    nicer = None if os.name == "nt" else lambda: os.nice(10)
    return subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, preexec_fn=nicer), said


def result_of(checker: str) -> tuple[str, int]:
    """What a check says, and its exit code."""
    process, said = started(checker)
    code = process.wait(LIMIT)
    with said:
        said.seek(0)
        return said.read().decode("utf-8", "replace"), code


def start() -> None:
    """Begin with all of them."""
    for checker in COMMANDS:
        started(checker)


def stop() -> None:
    """End those that nobody has asked for the result of."""
    for checker in COMMANDS if started.cache_info().currsize else ():
        process, said = started(checker)
        if process.poll() is None:
            process.kill()
            process.wait()
        said.close()
