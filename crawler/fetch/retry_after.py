"""The Retry-After header (RFC 9110 10.2.3): a number of seconds or an HTTP date, to seconds from now."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

_SECOND = 1.0
"""A date is cut to whole seconds: what is meant may be up to a second later."""


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait from `now` (since the epoch), never negative; None if the header says nothing usable."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # asctime, and -0000: a date of HTTP is in UTC (RFC 9110 5.6.7)
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() + _SECOND - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
