"""What stores have in common that publish each picture as it comes."""

from __future__ import annotations


class AtOnce:
    """The parts of a Store that are for those that wait."""

    def stop(self) -> None:
        return None

    def has_room(self, index: int, under_way: int) -> bool:
        return True

    @property
    def publishing(self) -> int:
        return 0

    async def finish(self, total: int | None) -> None:
        return None
