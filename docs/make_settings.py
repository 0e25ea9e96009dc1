"""Writes docs/settings.md from the settings themselves: `python -m docs.make_settings`. A test keeps the two alike."""

from __future__ import annotations

import ast
import inspect
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from crawler import settings
from crawler.settings import GROUPS

HEAD = """# Settings

Written by `python -m docs.make_settings` from `crawler/settings.py` and its neighbours. Do not edit by hand.

Every setting is a flag, a key of the TOML file given with `--config`, an environment variable, and an argument of
`Settings.of(...)`: `per_host` is `--per-host 4`, `per-host = 4`, `CRAWLER_PER_HOST=4` and `per_host=4`.
Order: defaults < file < environment < flags. `python -m crawler run --show-settings` prints what they come to, as a
TOML file. Sizes take units on the command line, in files and in the environment: `50MB`, `512KiB`, `64MP`.
"""


def render() -> str:
    """The whole page."""
    return HEAD + "".join(_group(name, group) for name, group in GROUPS.items())


def _group(name: str, group: type[Any]) -> str:
    helps = _helps(group)
    rows = "".join(
        f"| `--{field.name.replace('_', '-')}` | {_default(field)} | {helps[field.name]} |\n" for field in fields(group)
    )
    table = f"\n| flag | default | |\n| --- | --- | --- |\n{rows}" if rows else ""
    return f"\n## {name}\n\n{(group.__doc__ or '').strip()}\n{table}"


def _helps(group: type[Any]) -> dict[str, str]:
    """The text below each field, in one line."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(group) or settings))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == group.__name__)
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is MISSING or value in (None, "", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(render())
