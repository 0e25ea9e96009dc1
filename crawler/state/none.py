"""The journal of a run that keeps nothing: every target is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crawler.batcher import Batcher
from crawler.model import Outcome, Past, Target
from crawler.state.journal import fingerprints
from crawler.state.seen import Seen


class NullJournal:
    """A Journal that remembers nothing beyond its run.

    Args:
        unique: find out which addresses come more than once.
    """

    def __init__(self, unique: bool = False) -> None:
        self._unique = unique
        self._batcher: Batcher[None, None] | None = None
        self._seen: Seen | None = None

    async def __aenter__(self) -> NullJournal:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._batcher is not None:
            await self._batcher.close(self._seen.close if self._seen else None)

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        return ()

    async def past(self, targets: Sequence[Target]) -> Mapping[int, Past]:
        if not self._unique:
            return {}
        if self._batcher is None:
            self._batcher = Batcher("crawler-seen", lambda items: items)
        repeated = await self._batcher.call(lambda: self._first(targets))
        return {index: Past(same_as=first) for index, first in repeated.items()}

    async def settle(self, outcome: Outcome) -> None:
        return None

    async def forget(self, target: Target) -> None:
        return None

    async def recall_robots(self, origin: str) -> tuple[str, float] | None:
        return None

    async def keep_robots(self, origin: str, text: str, expires: float) -> None:
        return None

    def _first(self, targets: Sequence[Target]) -> dict[int, int]:
        if self._seen is None:
            self._seen = Seen()
        return self._seen.first(fingerprints(targets))
