"""Which keys of samples the input has held so far: no two samples may have the same."""

from __future__ import annotations

from hashlib import blake2b
from unicodedata import normalize

from crawler.seen import Seen


class Keys:
    """On disk once there are many. All calls from one thread at a time."""

    def __init__(self) -> None:
        self._seen: Seen | None = None
        self._count = 0

    def taken(self, key: str) -> bool:
        """True if an earlier row has the key, which is taken from now on."""
        if self._seen is None:
            self._seen = Seen()
        self._count += 1
        # Where the system does not tell small letters from large, or a script reads names so, neither may we.
        digest = blake2b(normalize("NFC", key).casefold().encode(), digest_size=8).digest()
        return bool(self._seen.first([(int.from_bytes(digest, "big", signed=True), self._count)]))

    def close(self) -> None:
        if self._seen is not None:
            self._seen.close()
            self._seen = None
