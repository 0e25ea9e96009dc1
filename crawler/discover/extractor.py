"""The user's own rule for pages: found by its name, called with every page, and held to what it may return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crawler.errors import words
from crawler.functions import find


class ExtractorFailed(Exception):
    """The user's function failed, or returned something else than it may; the text says what."""


class Extractor:
    """The function behind `package.module:function`.

    Raises:
        ImportError: there is none, or it cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self._function: Callable[..., Any] = find(name)

    def of(self, text: str, url: str) -> list[Mapping[str, Any]] | None:
        """What the function names, each a mapping with a `url`; None if it leaves the page to the rules.

        Raises:
            ExtractorFailed: it did, or returned something else.
        """
        try:
            given = self._function(text, url)
            return None if given is None else [_checked(one) for one in _several(given)]
        except (ExtractorFailed, MemoryError):
            raise
        except BaseException as error:  # also what would end this process: it is one page's fault
            raise ExtractorFailed(f"{type(error).__name__}: {words(error)}") from None


def _several(given: Any) -> Iterable[Any]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ExtractorFailed(
            f"returned {type(given).__name__}, must be addresses, or mappings that have a url, or None"
        )
    return given


def _checked(given: Any) -> Mapping[str, Any]:
    found = {"url": given} if isinstance(given, str) else given
    if not isinstance(found, Mapping) or not isinstance(found.get("url"), str):
        raise ExtractorFailed(f"returned {str(given)[:80]!r}, must be an address, or a mapping that has a url")
    fallbacks = found.get("fallbacks", ())
    if isinstance(fallbacks, str) or not all(isinstance(one, str) for one in fallbacks):
        raise ExtractorFailed("returned fallbacks that are no addresses")
    return found
