"""Values and types of columns: what texts look like, and values as columns of pyarrow, where what does not fit is null."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]?\d{1,3})?")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Convert = Callable[[Any], Any]


def conversion_of(texts: Sequence[str | None]) -> Convert | None:
    """What makes values of the texts of a column: what all of the first rows look like. None: they stay texts."""
    given = [text for text in texts if text]
    if not given or not all(isinstance(text, str) for text in given):
        return None
    if all(map(_WHOLE.fullmatch, given)):
        return _whole
    if all(map(_NUMBER.fullmatch, given)):
        return _number
    return _truth if all(text in _TRUTH for text in given) else None


def _whole(text: Any) -> Any:
    return int(text) if isinstance(text, str) and _WHOLE.fullmatch(text) else None if text == "" else text


def _number(text: Any) -> Any:
    return float(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else None if text == "" else text


def _truth(text: Any) -> Any:
    return _TRUTH.get(text, text) if isinstance(text, str) and text else None if text == "" else text


def plain(value: Any) -> Any:
    """A value as JSON has it: moments and decimals become texts, bytes become base64."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def finite(value: Any) -> Any:
    """A value of JSON without what JSON has no word for: NaN and the infinities become null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, list):
        return [finite(one) for one in value]
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    return value


def as_text(value: Any) -> str:
    """A value as text; bytes are UTF-8, as some programs write texts into Parquet."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(plain(value))


def json_text(value: Any) -> str | None:
    """What stands in a column of texts: a value that is none is told as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_column(values: Sequence[Any], kind: Any) -> Any:
    """As `fitted`; but a column of texts takes all values."""
    import pyarrow as pa

    return fitted([json_text(value) for value in values] if pa.types.is_string(kind) else values, kind)


def fitted(values: Sequence[Any], kind: Any) -> Any:
    """Values as JSON has them as a `pyarrow.Array` of a type; null for those that do not fit."""
    import pyarrow as pa

    test = pa.types
    if not (test.is_string(kind) or test.is_integer(kind) or test.is_floating(kind) or test.is_boolean(kind)):
        values = [_restored(value, kind) for value in values]
    elif test.is_integer(kind):  # pyarrow would cut a fraction off
        values = [_whole_or_none(value) if isinstance(value, float) else value for value in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([_fit(value, kind) for value in values], kind)


def _whole_or_none(value: float) -> int | None:
    return int(value) if value.is_integer() else None


def _moment(text: str, kind: Any) -> Any:
    import pyarrow as pa

    for unit in ("us", "ns"):  # the first has all years, the second all digits
        try:
            return pa.scalar(text).cast(pa.timestamp(unit, kind.tz)).cast(kind, safe=False).as_py()
        except pa.ArrowException:
            continue
    return datetime.fromisoformat(text)  # zones with seconds, as there were once


def _fit(value: Any, kind: Any) -> Any:
    import pyarrow as pa

    for cast in (False, True):
        try:
            found: Any = pa.scalar(value).cast(kind) if cast else pa.scalar(value, kind)
            return found.as_py()
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return None


def _restored(value: Any, kind: Any) -> Any:
    """What `plain` made of a value of some type, back; None if it cannot be."""
    import pyarrow as pa

    test = pa.types
    try:
        if value is None:
            return None
        if test.is_binary(kind) or test.is_large_binary(kind) or test.is_fixed_size_binary(kind):
            return base64.b64decode(value, validate=True)
        if test.is_list(kind):
            return [_restored(one, kind.value_type) for one in value]
        if test.is_struct(kind):
            parts = dict(zip((field.name for field in kind), value, strict=True)) if isinstance(value, list) else value
            return {field.name: _restored(parts.get(field.name), field.type) for field in kind}
        if test.is_decimal(kind):
            return Decimal(value)
        if test.is_duration(kind):
            return timedelta(seconds=value)
        if test.is_time(kind):
            return time.fromisoformat(value)
        if test.is_date(kind):
            return date.fromisoformat(value)
        if test.is_timestamp(kind):
            return _moment(value, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError, AttributeError):
        return None
    return value
