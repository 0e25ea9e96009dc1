"""What a server says in its headers about a picture being taken: X-Robots-Tag and the TDM Reservation Protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crawler.found import TDM, opt_out

_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
"""Rules that have a colon of their own: what stands before it is no agent."""


def opted_out(headers: Mapping[str, str], agent: str) -> str | None:
    """The header that keeps this picture from being taken, in words; None if it may be.

    Args:
        headers: of the answer, names in any case.
        agent: our product name in lower case; rules for other agents are not ours.
    """
    said = directives(headers, agent)
    return opt_out(said) if said else None


def directives(headers: Mapping[str, str], agent: str) -> tuple[str, ...]:
    """All that a page's headers ask of us, in lower case: `noindex`, `nofollow`... Arguments as in `opted_out`."""
    if "X-Robots-Tag" not in headers and "tdm-reservation" not in headers:
        return ()
    getall = getattr(headers, "getall", None)
    rules = _rules(getall("X-Robots-Tag", []) if getall else [headers.get("X-Robots-Tag", "")], agent)
    said = tuple(rule for rule in rules if rule != TDM)  # which is a header of its own
    return (*said, TDM) if headers.get("tdm-reservation", "").strip() == "1" else said


def _rules(values: Iterable[str], agent: str) -> Iterable[str]:
    """The rules of all values that are for everybody or for us, in lower case."""
    for value in values:
        ours = True
        for item in value.lower().split(","):
            before, colon, after = item.partition(":")
            name = before.strip()
            if colon and name not in _WITH_VALUE and len(name.split()) == 1:  # with blanks it is a date, no agent
                ours = name in (agent, "*")
                item = after
            if ours:
                yield item.strip()
