"""The candidates of a `srcset` (HTML 4.8.4.3.13, "parse a srcset attribute") and which of them is wanted."""

from __future__ import annotations

import re
from typing import NamedTuple

_LONGEST = 100_000
"""Characters that are read: no real one has a hundredth."""
_BLANKS = "\t\n\f\r "
_FLOAT = re.compile(r"-?(?:\d+|\d*\.\d+)(?:[eE][+-]?\d+)?")
_DIGITS = re.compile(r"\d+", re.ASCII)


# Nearly all are written like this: addresses and widths.
_PLAIN_ONE = re.compile(r"([^\s,](?:\S*[^\s,])?)[\t\n\f\r ]+([1-9]\d*)w[\t\n\f\r ]*(?:,[\t\n\f\r ]*|$)", re.ASCII)
_PLAIN = re.compile(rf"[\t\n\f\r ]*(?:{_PLAIN_ONE.pattern})+", re.ASCII)


class Candidate(NamedTuple):
    """One version of a picture. `width` in pixels, `density` in pixels for each CSS pixel; None where it is not told."""

    url: str
    width: int | None = None
    density: float | None = None


def parse(text: str) -> list[Candidate]:
    """The candidates in the order in which they stand; those that are written wrongly are left out."""
    text = text[:_LONGEST]
    if _PLAIN.fullmatch(text):
        return [Candidate(url, int(width)) for url, width in _PLAIN_ONE.findall(text)]
    found: list[Candidate] = []
    at, end = 0, len(text)
    while True:
        while (at < end and text[at] in _BLANKS) or (at < end and text[at] == ","):
            at += 1
        if at >= end:
            return found
        begin = at
        while at < end and text[at] not in _BLANKS:
            at += 1
        url = text[begin:at]
        descriptors: list[str] = []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(text, at)
        candidate = _candidate(url, descriptors)
        if candidate is not None:
            found.append(candidate)


def _descriptors(text: str, at: int) -> tuple[list[str], int]:
    """The words up to the next comma that is in no parentheses, and where that ends."""
    words, word, depth, end = [], "", 0, len(text)
    while at < end:
        letter = text[at]
        at += 1
        if depth:
            word += letter
            depth -= letter == ")"
        elif letter in _BLANKS:
            if word:
                words.append(word)
            word = ""
        elif letter == ",":
            break
        else:
            word += letter
            depth += letter == "("
    if word:
        words.append(word)
    return words, at


def _candidate(url: str, descriptors: list[str]) -> Candidate | None:
    width: int | None = None
    density: float | None = None
    height: int | None = None
    for one in descriptors:
        kind, value = one[-1], one[:-1]
        if kind == "w" and _DIGITS.fullmatch(value) and width is None and density is None and int(value):
            width = int(value)
        elif kind == "x" and _FLOAT.fullmatch(value) and width is density is height is None and float(value) >= 0:
            density = float(value)
        elif kind == "h" and _DIGITS.fullmatch(value) and height is None and density is None and int(value):
            height = int(value)
        else:
            return None
    if height is not None and width is None:
        return None
    return Candidate(url, width, density)


def best_first(candidates: list[Candidate], width: int = 0) -> list[Candidate]:
    """Largest first. With a width as a browser chooses that shows the picture so wide (HTML 4.8.4.3.7): of each density the
    first, the smallest that is at least 1 before the larger ones, then the smaller ones.
    """
    if not width:
        return sorted(candidates, key=lambda one: (-(one.width or 0), -(1.0 if one.density is None else one.density)))
    by_density: dict[float, Candidate] = {}
    for one in candidates:
        density = one.width / width if one.width else 1.0 if one.density is None else one.density
        by_density.setdefault(density, one)
    return [by_density[density] for density in sorted(by_density, key=lambda one: (one < 1, one if one >= 1 else -one))]
