"""The store that keeps nothing: for callers that take the bytes themselves, and to find the bottleneck."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from crawler.model import Picture, Receipt
from crawler.store.at_once import AtOnce


class NullStore(AtOnce):
    """A Store that says yes. Nothing touches the disk."""

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        return Receipt("", len(picture.data))

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await forget()

    async def __aenter__(self) -> NullStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
