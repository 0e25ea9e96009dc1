"""A shard that is to be made, and one that was: what crosses to the process that makes them, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.model import Settled
from crawler.store.shard import Plan


@dataclass(frozen=True)
class Order:
    """A shard that is to be made.

    Attributes:
        rows: gives the targets of its slice, in order of their keys.
        spool: where pictures wait.
        old: what was published of it before, None if nothing was.
        folder: where it is made; `kept`: types of the kept columns as they were settled, empty if they were not.
        by_key: samples have keys of their own; a row whose key was bad has none.
        columns: what the input tells of them: their types, and first values; None if it does not.
    """

    form: str
    shard: int
    plan: Plan
    rows: Callable[[], Iterable[Settled]]
    spool: Path
    old: Path | None
    folder: Path
    kept: str = ""
    columns: tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]] | None = None
    by_key: bool = False


@dataclass(frozen=True)
class Built:
    """A shard that is made and not published.

    Attributes:
        files: in the order in which they are to be published.
        lost: targets whose pictures are not where they should be; there are no files then.
        kept: types of the kept columns, to be used for all shards.
    """

    files: list[Path]
    targets: int
    lost: list[int]
    kept: str
