"""Tar files whose bytes depend on nothing but their members: no time, no owner (POSIX.1-1988 ustar)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_BLOCK = 512
_RECORD = 20 * _BLOCK
_LONGEST = 100
_SMALL = 8192  # cheaper to copy than to write by itself
_LARGEST = 8**11 - 1
_PADDING = bytes(_BLOCK)
_BEFORE_SUM = b"0000644\0" + b"0000000\0" * 2
_AFTER_SUM = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
_SUM = sum(_BEFORE_SUM + b" " * 8 + _AFTER_SUM)


class TarWriter:
    """Writes members one after the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0

    def add(self, name: str, data: bytes | memoryview) -> None:
        head, gap = header(name, len(data)), -len(data) % _BLOCK
        if len(data) < _SMALL:
            self._file.write(b"".join((head, data, _PADDING[:gap])))
        else:
            self._file.write(head)
            self._file.write(data)
            self._file.write(_PADDING[:gap])
        self._size += len(head) + len(data) + gap

    def end(self) -> None:
        """Two empty blocks, and up to a whole record, as tar has it."""
        self._file.write(bytes(-(self._size + 2 * _BLOCK) % _RECORD + 2 * _BLOCK))


def header(name: str, size: int) -> bytes:
    """The block before a member; more than one if its name does not fit."""
    raw = name.encode()
    if len(raw) > _LONGEST or not name.isascii() or size > _LARGEST:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.PAX_FORMAT)
    told = b"%011o\x0000000000000\0" % size
    total = sum(raw) + sum(told) + _SUM
    return raw.ljust(100, b"\0") + _BEFORE_SUM + told + b"%06o\0 " % total + _AFTER_SUM


class TarReader:
    """Members of a tar file by name.

    Raises:
        OSError, tarfile.TarError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                self._places[member.name] = member.offset_data, member.size
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        self._file = path.open("rb", buffering=0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def read(self, name: str) -> bytes | None:
        """The bytes of a member, None if there is none of that name."""
        found = self._places.get(name)
        return None if found is None else os.pread(self._file.fileno(), found[1], found[0])

    def close(self) -> None:
        self._file.close()
