"""The Retry-After header (RFC 9110 10.2.3): a number of seconds or an HTTP date, to seconds from now."""

from __future__ import annotations

from email.utils import parsedate_to_datetime


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait from `now` (since the epoch), never negative; None if the header says nothing usable."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
