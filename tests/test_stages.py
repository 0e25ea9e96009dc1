"""Times of the stages: quantiles are right to some percent, whatever comes, and the memory of a histogram does not grow."""

from __future__ import annotations

import sys
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.stages import STAGES, Histogram, Stopwatch

SECONDS = st.floats(min_value=0, max_value=60_000, allow_nan=False)


def histogram(durations: list[float]) -> Histogram:
    found = Histogram()
    for seconds in durations:
        found.add(seconds)
    return found


@given(st.lists(SECONDS, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_that_of_the_sorted_durations_within_seven_percent(durations: list[float], share: float) -> None:
    at = max(0, -(-int(share * len(durations) * 1000) // 1000) - 1)
    ranked = sorted(durations)
    exact = ranked[min(at, len(ranked) - 1)]
    found = histogram(durations).quantile(share)
    nearest = min((abs(found - one) for one in (exact, ranked[min(at + 1, len(ranked) - 1)])), default=inf)
    assert nearest <= 0.07 * max(exact, found) + 2e-6


def test_counts_sums_and_the_longest_are_exact() -> None:
    found = histogram([0.001, 0.25, 0.003])
    assert (found.count, found.longest) == (3, 0.25)
    assert found.total == pytest.approx(0.254)


@pytest.mark.parametrize("seconds", [0.0, -0.5, 1e-7, 1e9])
def test_what_no_clock_should_tell_is_counted_and_breaks_nothing(seconds: float) -> None:
    found = histogram([seconds, 0.01])
    assert found.count == 2
    assert found.quantile(1.0) >= 0.0


def test_a_million_durations_take_no_more_memory_than_one() -> None:
    one, many = histogram([0.01]), histogram([number / 1e5 for number in range(100_000)])
    assert len(many._buckets) == len(one._buckets)
    assert sys.getsizeof(many._buckets) == sys.getsizeof(one._buckets)


def test_stages_that_were_never_met_are_left_out_and_the_others_come_in_their_order() -> None:
    watch = Stopwatch()
    watch.store.add(0.5)
    watch.dns.add(0.25)
    assert list(watch.times()) == ["dns", "store"]
    assert watch.times()["store"].as_json() == {
        "count": 1, "mean_ms": 500.0, "p50_ms": 500.0, "p99_ms": 500.0, "longest_ms": 500.0,
    }  # fmt: skip
    assert all(isinstance(getattr(watch, name), Histogram) for name in STAGES)
