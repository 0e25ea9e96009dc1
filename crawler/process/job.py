"""One body to a picture or the reason why not, as the settings say: what is checked of its bytes, and what is tried again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from crawler.model import Reason, Sample
from crawler.picture_settings import ProcessSettings
from crawler.process import custom
from crawler.process.decode import Refused, allow, load_rest, open_picture
from crawler.process.done import Done
from crawler.process.headers import check_head
from crawler.process.piece import Orders, Piece

_HASHES = {64: "sha256", 32: "md5"}
_HEX = re.compile(r"[0-9a-f]+")
_ABSENT = object()


class Job:
    """What is done to every picture under some settings. `trouble` says why it cannot be done at all."""

    def __init__(self, settings: ProcessSettings) -> None:
        self.settings = settings
        self.trouble = ""
        self._formats = allow(settings.formats, settings.max_pixels)
        function = None
        if settings.transform:
            try:
                function = custom.find(str(settings.transform))
            except ImportError as error:
                self.trouble = str(error)
        self._orders = Orders.of(settings, function)
        self._whole = self._orders.early or settings.filter == "nearest"
        self._notes: list[str] = []
        self._heard: Callable[[], list[str]] = list

    def hear(self, heard: Callable[[], list[str]]) -> None:
        """Take note also of what `heard` gives, which is what decoders have written to standard error."""
        self._heard = heard

    def note(self, message: object, category: type[Warning], *_: object, **__: object) -> None:
        """Take note of a warning that is given while a picture is worked on; has the form of `warnings.showwarning`."""
        if not issubclass(category, Image.DecompressionBombWarning):  # the limit is ours
            self._notes.append(f"{category.__name__}: {message}")

    def done(self, body: bytes, sample: Sample | None) -> Done:
        """Process one body.

        Raises:
            Refused: there is no picture in it, or none that is wanted.
            MemoryError: it needs more memory than this process may have.
        """
        self._notes.clear()
        self._heard()  # of the picture before, which was refused
        settings = self.settings
        if len(body) < settings.min_bytes:
            raise Refused(Reason.TOO_FEW_BYTES, f"{len(body)} bytes, at least {settings.min_bytes} wanted")
        digest = hashlib.sha256(body).digest()
        if settings.verify_hash and sample is not None:
            check_hash(body, digest, sample.columns, settings.verify_hash)
        check_head(body, settings.max_pixels)
        try:
            return self._made(body, digest, sample)
        except Refused as error:
            if error.reason is not Reason.TRUNCATED or settings.truncated != "keep":
                raise
            self._notes[:] = [f"cut off: {error}"]
        with load_rest():
            return self._made(body, digest, sample)

    def _made(self, body: bytes, digest: bytes, sample: Sample | None) -> Done:
        with self._opened(body) as picture:
            piece = Piece(self._orders, picture, body, sample, self._whole, self._notes, self._heard)
            try:
                return piece.made(digest)
            except Refused as error:
                if error.reason is not Reason.DECODE or not piece.shrunk:
                    raise
        with self._opened(body) as picture:  # a lossless JPEG cannot be decoded smaller (ITU T.81 H)
            return Piece(self._orders, picture, body, sample, True, self._notes, self._heard).made(digest)

    def _opened(self, body: bytes) -> Image.Image:
        return open_picture(body, self._formats, self.settings.max_pixels)


def check_hash(body: bytes, digest: bytes, columns: Mapping[str, Any], column: str) -> None:
    """Compare the body with the hash that its row of the input tells; an empty cell is not compared.

    Raises:
        Refused: they differ, or there is none to compare with.
    """
    given = columns.get(column, _ABSENT)
    if given is _ABSENT:
        raise Refused(Reason.WRONG_HASH, f"its row has no column {column!r}")
    expected = str(given if given is not None else "").strip().lower()
    if not expected:
        return
    name = _HASHES.get(len(expected))
    if name is None or not _HEX.fullmatch(expected):
        raise Refused(Reason.WRONG_HASH, f"{column} holds {expected[:80]!r}, which is neither SHA-256 nor MD5 in hex")
    found = digest.hex() if name == "sha256" else hashlib.md5(body, usedforsecurity=False).hexdigest()
    if found != expected:
        raise Refused(Reason.WRONG_HASH, f"{name} is {found}, {column} says {expected}")
