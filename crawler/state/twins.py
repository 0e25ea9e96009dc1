"""Which stored picture is the same as a new one: by its bytes, its pixels or its look. Asks the table of the journal.

Looks are compared by multi-index hashing (Norouzi, Punjani, Fleet, 2012): 64 bits are cut into four pieces of 16. If two
hashes differ in at most 4r + a bits, one of the first a + 1 pieces differs in at most r, or one of the others in at most
r - 1. So a few exact lookups in an index for each piece find all that can be meant, and only those are counted out.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import combinations

from crawler.model import Picture, Twin

_PIECES, _BITS = 4, 16
_ALL = (1 << _PIECES * _BITS) - 1
_MASK = (1 << _BITS) - 1


@dataclass(frozen=True, slots=True)
class _Claim:
    url: str
    sha256: bytes
    pixels: int | None
    look: int | None


class Claims:
    """Who stands for a picture that comes more than once, seen from the event loop.

    Args:
        ask: runs a question in the thread that `twins` belongs to.
    """

    def __init__(self, twins: Twins, ask: Callable[[Callable[[], Twin | None]], Awaitable[Twin | None]]) -> None:
        self._twins = twins
        self._ask = ask
        self._under_way: dict[int, asyncio.Future[None]] = {}

    async def claim(self, picture: Picture) -> Twin | None:
        """The twin of a picture, once it is settled; None if the picture stands for itself, which is then settled later."""
        found = await self._ask(lambda: self._twins.claim(picture))
        if found is None:
            self._under_way[picture.target.index] = asyncio.get_running_loop().create_future()
        elif not found.settled and (other := self._under_way.get(found.index)) is not None:
            # The twin's own record comes first: none may point at a picture that a kill has lost.
            await asyncio.wait({other})
        return found

    def settled(self, index: int) -> None:
        """The outcome of a target is on its way into the table, before all that come later."""
        if (waiting := self._under_way.pop(index, None)) is not None:
            waiting.set_result(None)


class Twins:
    """Finds twins among the rows of `targets` that are stored, and among those that will be. All calls from one thread.

    Args:
        by: `bytes`, `pixels` or `near`.
        distance: bits in which looks may differ.
    """

    def __init__(self, db: sqlite3.Connection, by: str, distance: int) -> None:
        self._db = db
        self._by = by
        self._distance = distance
        self._claims: dict[int, _Claim] = {}
        self._probes = [_within(_radius(piece, distance)) for piece in range(_PIECES)]
        db.execute("CREATE INDEX IF NOT EXISTS by_bytes ON targets (sha256) WHERE sha256 IS NOT NULL")
        if by == "pixels":
            db.execute("CREATE INDEX IF NOT EXISTS by_pixels ON targets (pixels) WHERE pixels IS NOT NULL")
        if by == "near":
            for piece in range(_PIECES):
                db.execute(
                    f"CREATE INDEX IF NOT EXISTS by_look_{piece} ON targets ({_piece(piece)}, look) WHERE look IS NOT NULL"
                )

    def claim(self, picture: Picture) -> Twin | None:
        """The twin of a picture, or None: then the picture stands for all that come after it."""
        index, likeness = picture.target.index, picture.likeness
        claim = _Claim(picture.target.url, picture.sha256, likeness.pixels, likeness.look)
        found = self._claimed(index, claim) or self._stored(index, claim)
        if found is None:
            self._claims[index] = claim
        return found

    def drop(self, index: int) -> None:
        """The picture of that target is in the table now, or has come to nothing."""
        self._claims.pop(index, None)

    def _claimed(self, index: int, claim: _Claim) -> Twin | None:
        for other, its in self._claims.items():
            if other != index and (likeness := self._alike(claim, its)):
                return Twin(other, its.url, likeness, settled=False)
        return None

    def _alike(self, one: _Claim, other: _Claim) -> str:
        if one.sha256 == other.sha256:
            return "the same bytes"
        if one.pixels is not None and one.pixels == other.pixels:
            return "the same pixels"
        if one.look is None or other.look is None:
            return ""
        apart = (one.look ^ other.look).bit_count()
        return f"looks the same (distance {apart})" if apart <= self._distance else ""

    def _stored(self, index: int, claim: _Claim) -> Twin | None:
        found = self._row("sha256 = ?", claim.sha256, index)
        if found:
            return Twin(*found, "the same bytes", settled=True)
        if claim.pixels is not None and (found := self._row("pixels = ?", claim.pixels, index)):
            return Twin(*found, "the same pixels", settled=True)
        return self._looking_alike(index, claim.look) if claim.look is not None else None

    def _looking_alike(self, index: int, look: int) -> Twin | None:
        best: tuple[int, int] | None = None
        for piece, probes in enumerate(self._probes):
            if not probes:
                continue
            mine = look >> _BITS * piece & _MASK
            rows = self._db.execute(
                f"SELECT look, id FROM targets WHERE look IS NOT NULL AND {_piece(piece)} IN ({','.join('?' * len(probes))})",
                [mine ^ probe for probe in probes],
            )
            for other, at in rows:
                apart = ((other ^ look) & _ALL).bit_count()
                if apart <= self._distance and at != index and (best is None or (apart, at) < best):
                    best = apart, at
        if best is None:
            return None
        (url,) = self._db.execute("SELECT url FROM targets WHERE id = ?", (best[1],)).fetchone()
        return Twin(best[1], url, f"looks the same (distance {best[0]})", settled=True)

    def _row(self, condition: str, value: object, index: int) -> tuple[int, str] | None:
        found: tuple[int, str] | None = self._db.execute(
            f"SELECT id, url FROM targets WHERE {condition} AND reason IS NULL AND id != ? ORDER BY id LIMIT 1",
            (value, index),
        ).fetchone()
        return found


def signed(look: int | None) -> int | None:
    """A look as SQLite holds it: 64 bits with a sign."""
    return None if look is None else look - (1 << 64) if look >> 63 else look


def _piece(number: int) -> str:
    return f"((look >> {_BITS * number}) & {_MASK})"


def _radius(piece: int, distance: int) -> int:
    """Bits in which this piece has to be looked up; -1 if it need not be."""
    whole, rest = divmod(distance, _PIECES)
    return whole if piece <= rest else whole - 1


def _within(radius: int) -> list[int]:
    """What a piece is changed by to reach all pieces that differ in at most `radius` bits."""
    return [sum(1 << bit for bit in bits) for count in range(radius + 1) for bits in combinations(range(_BITS), count)]
