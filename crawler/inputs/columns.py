"""Which column of a table is what: the address, the caption, the key, what is kept. Decided from the settings and the
first rows, before anything is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crawler.errors import SettingsError
from crawler.fitting import Convert, as_text, conversion_of, plain
from crawler.inputs.rows import LONGEST_ROW
from crawler.model import NO_EXTRA, Extra, Row
from crawler.settings import OUTPUT_COLUMNS, InputSettings
from crawler.urls import as_text as clean

HEAD_ROWS = 1000
"""Rows that are looked at to learn what the columns hold."""
_WORDS = frozenset({"url", "uri", "link", "href"})
_WORD = re.compile(r"[A-Z]*[a-z]+|[A-Z]+")
_WEB = ("http://", "https://")
_LONGEST_KEY = 200  # bytes; an ending follows, and names of files have 255 at most
_BLANK, _ODD = re.compile(r"\s"), re.compile(r"[^\w\x20-\x7e]|$")
_NOT_IN_KEY = re.compile(r"[\x00-\x20\x7f/\\.:*?\"<>|\ud800-\udfff\ufffd]")


@dataclass(frozen=True)
class Columns:
    """The parts that columns play.

    Attributes:
        url, caption, key: names of columns, empty where there is none.
        kept: columns that go into the output, and their names there.
        looked_at: further columns for functions that look at a row; None for all.
        converts: what makes values of the texts of a CSV file, by kept column.
        head: values of the kept columns in the first rows, by their names in the output.
        types: their `pyarrow` types, where the format tells.
    """

    url: str
    caption: str = ""
    key: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)
    looked_at: Collection[str] | None = ()
    converts: Mapping[str, Convert] = field(default_factory=dict)
    head: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> set[str] | None:
        """All that has to be read; None for every column."""
        if self.looked_at is None:
            return None
        return {self.url, self.caption, self.key, *self.kept, *self.looked_at} - {""}

    def named(self) -> Iterator[tuple[str, str]]:
        """Settings and the columns that they name."""
        yield "url_column", self.url
        yield "caption_column", self.caption
        yield "key_column", self.key
        yield from (("keep_columns", name) for name in self.kept)

    def address(self, row: Row) -> str:
        """The address in a row, empty if there is none."""
        given = row.values.get(self.url)
        if isinstance(given, bytes):
            given = given.decode("utf-8", "replace")
        return clean(given).strip() if isinstance(given, str) else ""

    def others(self, row: Row) -> dict[str, Any]:
        """What functions may look at."""
        if self.looked_at is None:
            return {name: plain(value) for name, value in row.values.items() if name != self.url}
        return {name: plain(row.values[name]) for name in self.looked_at if name in row.values}

    def extra(self, row: Row) -> tuple[Extra, str]:
        """What goes with a target into the output, and what is wrong with that."""
        if not (self.caption or self.key or self.kept):
            return NO_EXTRA, ""
        values = row.values
        for name in (self.caption, self.key, *self.kept):
            value = values.get(name)
            if isinstance(value, str | bytes | list | dict) and len(value) > LONGEST_ROW:
                flaw = f"column {name!r} holds {len(value):,} characters or values; at most {LONGEST_ROW:,} are taken"
                return NO_EXTRA, flaw
        key, flaw = _key(values.get(self.key), self.key) if self.key else ("", "")
        caption = values.get(self.caption) if self.caption else None
        kept = {
            into: self.converts[name](values.get(name)) if name in self.converts else plain(values.get(name))
            for name, into in self.kept.items()
        }
        return Extra(key, caption if caption is None else clean(as_text(caption)), kept), flaw


def columns_of(
    settings: InputSettings, source: str, names: Sequence[str], types: Mapping[str, Any], head: Sequence[Row],
    looked_at: Collection[str] | None, texts: bool, taken: Collection[str] = (),
) -> Columns:  # fmt: skip
    """Decide for a table.

    Args:
        names: its columns, with those seen in its first rows.
        looked_at: columns besides that functions look at; None for all.
        taken: names of columns that the output has besides its usual ones.
        texts: all values are texts, as in CSV: those that look like numbers become numbers in the output.

    Raises:
        SettingsError: a column is missing, or is there twice; the error names the columns there are.
    """
    rows = [row for row in head if not row.flaw]
    url = settings.url_column or guessed(source, names, rows)
    if settings.keep_columns == ("all",):
        keep = tuple(dict.fromkeys(name for name in names if name and name not in (url, settings.caption_column)))
    else:
        keep = settings.keep_columns
    named = [("url_column", url), ("caption_column", settings.caption_column), ("key_column", settings.key_column)]
    named += [("keep_columns", name) for name in keep]
    check_others(source, names, named)
    kept = {name: f"input_{name}" if name in OUTPUT_COLUMNS or name in taken else name for name in keep}
    if len(set(kept.values())) < len(kept):
        raise SettingsError(
            "keep_columns", f"{source}: two of its columns would both become {_twice(kept)!r}; rename one"
        )
    values = {name: [row.values.get(name) for row in rows] for name in keep}
    converts = {name: found for name in keep if (found := conversion_of(values[name]))} if texts else {}
    read = {kept[name]: [converts[name](one) if name in converts else one for one in values[name]] for name in keep}
    return Columns(
        url, settings.caption_column, settings.key_column, kept, looked_at, converts, read,
        {kept[name]: types[name] for name in keep if name in types},
    )  # fmt: skip


def check_others(source: str, names: Sequence[str], needed: Iterable[tuple[str, str]]) -> None:
    """Look whether columns are there.

    Args:
        needed: settings, and the columns they name.

    Raises:
        SettingsError: one is missing, or is there twice; the error names those there are.
    """
    for setting, name in needed:
        if name and name not in names:
            raise SettingsError(setting, f"{source} has no column {name!r}; there are {listed(names)}")
        if name and names.count(name) > 1:
            raise SettingsError(setting, f"{source} has {names.count(name)} columns {name!r}; rename one of them")


def listed(names: Sequence[str]) -> str:
    """Names of columns, for people."""
    shown = ", ".join(dict.fromkeys(name for name in names[:100] if name))
    return f"{shown} and {len(names) - 100} more" if len(names) > 100 else shown or "none"


def guessed(source: str, names: Sequence[str], head: Sequence[Row]) -> str:
    """The column that holds the addresses: `url`, or the only one with such a name, or the only one that holds such.

    Raises:
        SettingsError: there is none, or more than one.
    """
    if "url" in names:
        return "url"
    distinct = list(dict.fromkeys(names))
    found = [name for name in distinct if _WORDS & {word.lower() for word in _WORD.findall(name)}]
    if len(found) != 1:
        held = [name for name in found or distinct if _holds_addresses(name, head)]
        found = held or found
    if len(found) == 1:
        return found[0]
    why = f"{listed(found)} could all hold the addresses" if found else "no column looks like it holds addresses"
    raise SettingsError("url_column", f"{source}: {why}; there are {listed(names)}. Name one")


def _holds_addresses(name: str, head: Sequence[Row]) -> bool:
    values = [value for row in head if (value := row.values.get(name)) not in (None, "")]
    return bool(values) and all(isinstance(value, str) and value.lstrip().startswith(_WEB) for value in values)


def _twice(kept: Mapping[str, str]) -> str:
    into = list(kept.values())
    return next(name for name in into if into.count(name) > 1)


def _key(given: object, column: str) -> tuple[str, str]:
    """The key in a cell, or what is wrong with it."""
    key = "" if given is None else as_text(given)
    if not key:
        return "", f"its key is missing (column {column!r})"
    if found := _NOT_IN_KEY.search(key) or _BLANK.search(key) or (None if key.isprintable() else _ODD.search(key)):
        allowed = "letters, digits and signs such as - _ + = are taken; a dot would end the key"
        return "", f"{key[:100]!r} cannot be a key: it has {found.group()!r} in it; {allowed}"
    if len(key.encode()) > _LONGEST_KEY:
        return "", f"{key[:40]!r}... cannot be a key: it is longer than {_LONGEST_KEY} bytes"
    return key, ""
