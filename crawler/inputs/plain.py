"""Values of a table as JSON has them: a target carries its columns through the journal."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa


def as_plain(kind: pa.DataType, values: list[Any]) -> list[Any]:
    """Values of a column: numbers, texts, truth values and lists as they are, moments and decimals as text, bytes in base64."""
    return values if _is_plain(kind) else [plain(value) for value in values]


def _is_plain(kind: pa.DataType) -> bool:
    test = pa.types
    return bool(
        test.is_string(kind) or test.is_large_string(kind) or test.is_integer(kind) or test.is_floating(kind)
        or test.is_boolean(kind) or test.is_null(kind)
    )  # fmt: skip


def plain(value: Any) -> Any:
    """One value, and those in it."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
