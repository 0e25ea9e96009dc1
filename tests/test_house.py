"""The house stays in order: import floors, types, style, what a worker loads, what the docs must tell."""

from __future__ import annotations

import ast
import importlib
import os
import pickle
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler.settings import GROUPS, ProcessSettings
from tests.checkers import result_of

ROOT = Path(__file__).parents[1]


def assert_finds_nothing(checker: str) -> None:
    said, code = result_of(checker)
    assert code == 0, said


def test_imports_go_down_only() -> None:
    assert_finds_nothing("imports")


def test_ruff_finds_nothing() -> None:
    assert_finds_nothing("ruff")
    assert_finds_nothing("format")


def test_mypy_strict_finds_nothing() -> None:
    assert_finds_nothing("mypy")


def test_a_worker_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from concurrent.futures import ProcessPoolExecutor as P;"
        "from crawler.children import worker_context; from crawler.process.worker import setup;"
        "from crawler.settings import ProcessSettings\n"
        "if __name__ == '__main__':\n"
        "    with P(1, worker_context(), setup, (ProcessSettings(),)) as pool:\n"
        "        print(pool.submit(eval, 'sorted(__import__(\"sys\").modules)').result())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    loaded = set(ast.literal_eval(done.stdout))
    assert "crawler.process.worker" in loaded
    heavy = {"aiohttp", "aiofiles", "asyncio", "cyclopts", "rich", "sqlite3", "ssl", "uvloop", "yarl", "crawler.api"}
    assert not loaded & heavy


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import crawler; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    loaded = ast.literal_eval(done.stdout)
    assert [name for name in loaded if name.partition(".")[0] in ("crawler", "aiohttp", "PIL", "asyncio")] == [
        "crawler"
    ]


def test_public_names_can_be_found_and_are_all_listed() -> None:
    for name in crawler.__all__:
        assert getattr(crawler, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        crawler.nonsense  # noqa: B018


def test_settings_cross_to_a_worker() -> None:
    settings = ProcessSettings(size=(10, 20))
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS.keys())
def test_every_setting_has_a_help_text(group: type[Any]) -> None:
    source = ast.parse(Path(importlib.import_module(group.__module__).__file__ or "").read_text())
    body = next(node.body for node in source.body if isinstance(node, ast.ClassDef) and node.name == group.__name__)
    for field in fields(group):
        at = next(n for n, node in enumerate(body) if isinstance(node, ast.AnnAssign) and node.target.id == field.name)  # type: ignore[union-attr]
        text = body[at + 1]
        assert isinstance(text, ast.Expr), f"{field.name} has no help text below it"


def test_settings_in_the_docs_are_those_of_the_program() -> None:
    from docs.make_settings import render

    assert (ROOT / "docs/settings.md").read_text() == render(), "run: python -m docs.make_settings"


def test_third_party_cases_are_there_in_ci() -> None:
    if os.environ.get("CI"):
        assert os.environ.get("CRAWLER_CASES"), "CI must have the third-party cases"


def test_every_flag_is_in_the_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crawler", "run", "--help"], capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"COLUMNS": "200"}, cwd=ROOT,
    )  # fmt: skip
    for group in GROUPS.values():
        for field in fields(group):
            if field.name != "sources":
                assert f"--{field.name.replace('_', '-')}" in done.stdout


def test_help_waits_for_no_heavy_import() -> None:
    code = (
        "import sys\nfrom crawler.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('aiohttp', 'PIL', 'uvloop', 'sqlite3', 'aiofiles') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
