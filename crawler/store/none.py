"""The store that keeps nothing: for callers that take the bytes themselves, and to find the bottleneck."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from crawler.model import Picture, Receipt


class NullStore:
    """A Store that says yes. Nothing touches the disk."""

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        return Receipt("", len(picture.data))

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await forget()

    def stop(self) -> None:
        return None

    def has_room(self, index: int, under_way: int) -> bool:
        return True

    @property
    def busy(self) -> bool:
        return False

    async def finish(self, total: int | None) -> None:
        return None

    async def __aenter__(self) -> NullStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
