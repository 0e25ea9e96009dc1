"""What a server may write into Retry-After, and how long that makes us wait."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.fetch.retry_after import retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("1", 1), ("120", 120), ("  7 ", 7), ("007", 7), ("99999999999999999999", 1e12 - 1)]
)
def test_a_number_is_seconds(text: str, seconds: float) -> None:
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 01 Mar 2026 12:01:30 GMT",  # IMF-fixdate, the form to be sent
        "Sunday, 01-Mar-26 12:01:30 GMT",  # RFC 850
        "Sun Mar  1 12:01:30 2026",  # asctime: GMT without saying so
        "Sun, 01 Mar 2026 12:01:30 +0000",
        "Sun, 01 Mar 2026 12:01:30 -0000",
        "Sun, 01 Mar 2026 07:01:30 -0500",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_date_is_the_time_until_then_wherever_we_are(text: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        seconds = retry_after(text, NOW)
    time.tzset()
    assert seconds == 91.0, "a date is cut to whole seconds: the next one is sure to be late enough"


def test_a_date_that_has_passed_means_now() -> None:
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT", NOW) == 0.0


NUMBERS_OF_A_KIND = ("-5", "+5", "1.5", "1e3", "\u0661\u0662", "\u00b2", "5, 10", "0x10", "nan", "inf", "12 seconds")
DATES_OF_A_KIND = ("Sun, 99 Mar 2026 12:00:00 GMT", "Sun, 01 Mar 99999 12:00:00 GMT", "Sun, 01 Mar 2026 12:00:00 +9999")


@pytest.mark.parametrize("text", ["", " ", "soon", "GMT", *NUMBERS_OF_A_KIND, *DATES_OF_A_KIND])
def test_anything_else_says_nothing(text: str) -> None:
    assert retry_after(text, NOW) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,3}:\d\d:\d\d [+-]?\w{1,5}"))
@example("Mon, 01 Jan 0001 00:00:00 +2300")
@example("Mon, 01 Jan 0000 00:00:00 GMT")
@example("Fri, 31 Dec 9999 23:59:60 -2359")
@example("1" * 5000)
def test_no_text_raises_or_makes_us_wait_for_a_negative_time(text: str) -> None:
    seconds = retry_after(text, NOW)
    assert seconds is None or 0.0 <= seconds < 1e12


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)).map(lambda moment: moment.replace(microsecond=0)))
def test_every_date_comes_back(moment: datetime) -> None:
    then = moment.replace(tzinfo=UTC)
    assert retry_after(format_datetime(then, usegmt=True), NOW) == max(0.0, then.timestamp() + 1.0 - NOW)
