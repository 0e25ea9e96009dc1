"""How glibc's malloc keeps what is freed (mallopt(3)). Elsewhere these do nothing."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGE = 1 << 20
_KEPT = 128 << 20
_PAD = 32 << 20


def give_back() -> None:
    """For the process that fetches: bodies go back to the system when they are freed. Left alone, glibc raises the size
    from which it does that with every one.
    """
    _tell((_M_MMAP_THRESHOLD, _LARGE))


def keep() -> None:
    """For a worker: the memory of one picture serves the next. Without it every buffer of some megabytes is mapped, its
    pages are cleared one by one, and all is given back, a dozen times a picture. At most 128 MiB are kept.
    """
    _tell((_M_MMAP_THRESHOLD, _KEPT), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _PAD))


def _tell(*settings: tuple[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    for name, value in settings:
        mallopt(name, value)
