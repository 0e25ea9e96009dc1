"""Whether a media query holds for a large screen (Media Queries 4): which `source` of a `picture` a browser would take."""

from __future__ import annotations

import re

WIDTH, HEIGHT = 1920, 1080
"""The screen that pages are looked at with, in CSS pixels, one device pixel each."""

_EM = 16
_FEATURE = re.compile(r"\(\s*(min-|max-)?([a-z-]+)\s*(?::\s*([^()]+?)\s*)?\)")
_RANGE = re.compile(r"\(\s*(?:([\d.]+[a-z]*)\s*(<=?|>=?)\s*)?(width|height)\s*(?:(<=?|>=?|=)\s*([\d.]+[a-z]*)\s*)?\)")
_LENGTH = re.compile(r"(\d*\.?\d+)(px|r?em|pt|in|cm|mm|dppx|x|dpi)?")
_UNITS = {"px": 1, "em": _EM, "rem": _EM, "pt": 4 / 3, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4, "dpi": 1 / 96}
_SCREEN: dict[str, float | str] = {
    "width": WIDTH, "height": HEIGHT, "device-width": WIDTH, "device-height": HEIGHT, "resolution": 1.0,
    "-webkit-device-pixel-ratio": 1.0, "orientation": "landscape", "prefers-color-scheme": "light",
    "prefers-reduced-motion": "no-preference", "hover": "hover", "pointer": "fine", "any-hover": "hover", "any-pointer": "fine",
    "display-mode": "browser", "prefers-contrast": "no-preference", "scripting": "none", "dynamic-range": "standard",
}  # fmt: skip


def holds(text: str) -> bool:
    """True if the query, or one of a list of them, is true; also for one that is empty. What is not understood is not."""
    return not text.strip() or any(_query(one.strip().lower()) for one in text.split(","))


def _query(text: str) -> bool:
    negated = text.startswith("not ")
    text = text.removeprefix("not ").removeprefix("only ")
    return negated is not all(_part(one.strip()) for one in re.split(r"\sand\s", text))


def _part(text: str) -> bool:
    if not text.startswith("("):
        return text in ("all", "screen")
    compared = _RANGE.fullmatch(text)
    if compared is not None and (compared[2] or compared[4]):
        own = float(_SCREEN[compared[3]])
        before = compared[1] is None or _compare(_length(compared[1]), compared[2], own)
        return before and (compared[5] is None or _compare(own, compared[4], _length(compared[5])))
    found = _FEATURE.fullmatch(text)
    if found is None or found[2] not in _SCREEN:
        return False
    bound, value, own_value = found[1], found[3], _SCREEN[found[2]]
    if value is None:
        return True
    if isinstance(own_value, str):
        return value == own_value
    length = _length(value)
    if bound == "min-":
        return own_value >= length
    return own_value <= length if bound == "max-" else own_value == length


def _compare(one: float, sign: str, other: float) -> bool:
    if sign.startswith("<"):
        return one < other or (one == other and "=" in sign)
    if sign.startswith(">"):
        return one > other or (one == other and "=" in sign)
    return one == other


def _length(text: str) -> float:
    found = _LENGTH.fullmatch(text.strip())
    return float("nan") if found is None else float(found[1]) * _UNITS.get(found[2] or "px", 1)
