"""What the figures mean: which stage holds a run back on this machine, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

from crawler.bench.plan import Report

_FAR = 0.70
_CLEAR = 1.15


def verdict(report: Report) -> list[str]:
    """Sentences, the most important first."""
    return list(_sentences(report))


def _sentences(report: Report) -> Iterator[str]:
    results = report.results
    whole, floor, fetch, store = (results[name] for name in ("whole", "floor", "fetch", "store"))
    share = report.ratio("whole", "floor")
    by_stage = {"workers": floor.rate, "front end": 1000 / _parent(report), "disk": store.rate}
    slowest = min(by_stage, key=lambda name: by_stage[name])
    yield (
        f"A whole run makes {whole.rate:,.0f} pictures/s of pictures like these, {share:.0%} of what the codecs alone "
        f"make on {report.workers} cores ({floor.rate:,.0f}/s)."
    )
    if slowest == "workers":
        yield (
            "The workers are the bottleneck: they decode, scale and encode. What helps: more cores, a smaller --size, "
            "--format and --quality that are cheaper to encode, or pillow-simd. More --concurrency does not."
        )
    elif slowest == "front end":
        yield (
            f"The process that fetches is the bottleneck: {_parent(report):.2f} ms of its core a picture. "
            "Cut the list in parts and run them side by side; more --workers do not help."
        )
    else:
        yield (
            f"The disk is the bottleneck: {store.rate:,.0f} pictures/s ({store.megabytes:,.0f} MB/s). What helps: "
            "--format webdataset, another disk for -o, no --durable."
        )
    if share < _FAR and slowest == "workers":
        yield f"Under {_FAR:.0%} of the codecs: something else on this machine takes the cores while a run goes on."
    gain = report.ratio("processes", "threads")
    if gain > _CLEAR:
        yield f"Processes make {gain:.2f} times what threads make; leave --executor as it is."
    else:
        yield (
            f"Threads make about as much as processes here ({1 / gain:.2f} of it), but one bad picture takes the "
            "whole run with it; leave --executor as it is."
        )
    yield f"Fetching alone would give {fetch.rate:,.0f} pictures/s; a line of {_line(report):,.1f} Gbit/s feeds a whole run."


def _parent(report: Report) -> float:
    """Milliseconds of the leading process a picture, in a whole run."""
    whole = report.results["whole"]
    return 1000 * whole.cpu / whole.count


def _line(report: Report) -> float:
    """Gbit/s that a whole run takes in."""
    whole = report.results["whole"]
    return whole.size * 8 / 1e9 / whole.seconds
