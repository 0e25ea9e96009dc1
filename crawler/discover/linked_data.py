"""The pictures that JSON-LD names (schema.org: image, contentUrl, thumbnailUrl, ...)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_KEYS = ("image", "images", "logo", "photo", "photos", "primaryImageOfPage", "associatedMedia", "screenshot")
_KEYS_OF_ONE = ("contentUrl", "url", "@id", "thumbnailUrl")
_DEEPEST = 32
_MOST = 1000
_WRAPPED = re.compile(r"^\s*(?:<!--|//<!\[CDATA\[|/\*<!\[CDATA\[\*/)|(?:-->|//\]\]>|/\*\]\]>\*/)\s*$")


def pictures(text: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Address, smaller versions and caption of every picture. What is no JSON has none."""
    try:
        value = json.loads(_WRAPPED.sub("", text), strict=False)
    except (ValueError, RecursionError):
        return
    found = 0
    for one in _objects(value, 0):
        for picture in _of_object(one):
            found += 1
            if found > _MOST:
                return
            yield picture


def _objects(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Every object, outer ones first."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        yield value
        for one in value.values():
            if isinstance(one, dict | list):
                yield from _objects(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict | list):
                yield from _objects(one, depth + 1)


def _of_object(value: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    kinds = str(value.get("@type") or "")
    is_picture = "ImageObject" in kinds or ("contentUrl" in value and (not kinds or "Image" in kinds))
    if is_picture:
        urls = [value[key] for key in _KEYS_OF_ONE if isinstance(value.get(key), str) and _is_address(key, value[key])]
        if urls:
            yield urls[0], tuple(dict.fromkeys(urls[1:])), _words(value.get("caption") or value.get("name"))
    for key in _KEYS if is_picture else (*_KEYS, "thumbnailUrl"):
        given = value.get(key)
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str):
                yield one, (), ""
            elif (
                isinstance(one, dict) and "ImageObject" not in str(one.get("@type")) and isinstance(one.get("url"), str)
            ):
                yield one["url"], (), _words(one.get("caption") or one.get("name"))


def _is_address(key: str, value: str) -> bool:
    """An `@id` is mostly a name within the page."""
    return key != "@id" or "#" not in value


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""
