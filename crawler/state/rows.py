"""What a target comes to as a row of the journal, and back. What can be told from another column is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from crawler import urls
from crawler.model import NO_EXTRA, PAGE, CompanionFile, Extra, Outcome, Record, Settled, Target
from crawler.state.twins import signed

_LONGEST_DETAIL = 300
INSERT = f"INSERT OR REPLACE INTO targets VALUES ({', '.join('?' * 29)})"
FORGET = "DELETE FROM targets WHERE id = ?1 OR same_as = ?1"
"""Takes a picture out, and those that were not stored because they are the same."""
RECORD_COLUMNS = (
    "file_name, id, url, coalesce(final_url, url), sha256, coalesce(digest, sha256), width, height, "
    "original_width, original_height, format, bytes, coalesce(content_type, 'image/jpeg'), ended_at, "
    "coalesce(etag, ''), coalesce(last_modified, ''), coalesce(frames, 1), place, more"
)
SETTLED_COLUMNS = (
    "id, url, coalesce(reason, ''), attempts, seconds, ended_at, status, coalesce(final_url, ''), coalesce(detail, ''), "
    f"coalesce(origin, ''), same_as, {RECORD_COLUMNS}"
)
_PLAIN = 11


def record_of(values: Sequence[Any]) -> Record:
    """The record behind a row of RECORD_COLUMNS."""
    *plain, place, more = values
    if more is None:
        return Record(*[*plain, (), (), None, {}, NO_EXTRA, place])
    told = json.loads(more)
    files = tuple(CompanionFile(**file | {"digest": bytes.fromhex(file["digest"])}) for file in told.get("files", ()))
    return Record(*plain)._replace(
        notes=tuple(told.get("notes", ())),
        companions=files,
        exif=told.get("exif"),
        values=told.get("values", {}),
        extra=_extra(told),
        place=place,
    )


def settled_of(values: Sequence[Any]) -> Settled:
    """What is behind a row of SETTLED_COLUMNS."""
    plain, more = values[:_PLAIN], values[-1]
    if plain[2]:
        return Settled(*[*plain, _extra(json.loads(more)) if more else NO_EXTRA, None])
    record = record_of(values[_PLAIN:])
    return Settled(*[*plain, record.extra, record])


def row_of(one: Settled) -> tuple[Any, ...]:
    """The row behind what another place tells of a target: SETTLED_COLUMNS the other way round."""
    record = one.record
    head = (one.index, one.url, one.reason or None, one.attempts, one.seconds, one.ended_at, one.status)
    if record is None:
        told = (one.final_url or None, one.detail, one.origin)
        return (
            *head,
            *told,
            *(None,) * 10,
            urls.fingerprint(one.url),
            *(None,) * 5,
            one.same_as,
            _more(None, one.extra),
            None,
        )
    return (
        *head,
        *_stored(record),
        urls.fingerprint(one.url),
        *_rest(record),
        None,
        None,
        None,
        _more(record, one.extra),
        None,
    )


def _stored(record: Record) -> tuple[Any, ...]:
    """From `final_url` to `content_type`."""
    return (
        record.final_url if record.final_url != record.url else None,
        None,
        None,
        record.file_name,
        record.sha256,
        record.digest if record.digest != record.sha256 else None,
        record.width,
        record.height,
        record.original_width,
        record.original_height,
        record.format,
        record.size,
        record.content_type if record.content_type != "image/jpeg" else None,
    )


def _rest(record: Record) -> tuple[Any, ...]:
    """From `etag` to `frames`. The ETag is enough (RFC 9110 13.1.3)."""
    modified = None if record.etag else record.last_modified or None
    return record.etag or None, modified, record.frames if record.frames != 1 else None


def _extra(told: Mapping[str, Any]) -> Extra:
    found = told.get("extra")
    return Extra(**json.loads(found)) if found else NO_EXTRA


def _more(record: Record | None, extra: Extra) -> str | None:
    """What few targets have, as JSON."""
    told: dict[str, Any] = {}
    if extra is not NO_EXTRA:
        given = {"key": extra.key or None, "caption": extra.caption, "kept": dict(extra.kept) or None}
        if given := {name: value for name, value in given.items() if value is not None}:
            told["extra"] = json.dumps(given)  # as text: it may hold NaN, at which SQLite's JSON stumbles
    if record is None:
        return json.dumps(told) if told else None
    if record.notes:
        told["notes"] = record.notes
    if record.companions:
        told["files"] = [asdict(file) | {"digest": file.digest.hex()} for file in record.companions]
    if record.exif is not None:
        told["exif"] = record.exif
    if record.values:
        told["values"] = dict(record.values)
    return json.dumps(told) if told else None


def key_of(more: str | None) -> str:
    """The key of a sample that the column `more` tells of, empty if there is none."""
    return _extra(json.loads(more)).key if more else ""


def names_of(more: str | None) -> tuple[str, ...]:
    """The names of the companions that the column `more` tells of."""
    return tuple(file["file_name"] for file in json.loads(more).get("files", ())) if more else ()


def fingerprints(targets: Sequence[Target]) -> list[tuple[int, int]]:
    """Fingerprint of the address and position of every target that has an address."""
    found = ((urls.fingerprint(target.url), target.index) for target in targets)
    return [(address, index) for address, index in found if address is not None]


SAME_AS = 26
"""Place of `same_as` in a row."""


def row(outcome: Outcome, record: Record | None, now: float) -> tuple[Any, ...]:
    """The row of one target. What can be told from another column is left out: a row stays under 300 bytes."""
    target, miss = outcome.target, outcome.miss
    head = (target.index, target.url, miss and miss.reason.value, outcome.attempts, round(outcome.seconds, 3))
    if outcome.pictures is not None:
        words = f"{outcome.pictures} pictures were found in it"
        head = (*head[:2], PAGE, *head[3:])
        return (*head, now, 200, None, words, target.origin, *(None,) * 10, urls.fingerprint(target.url), *(None,) * 8)
    if miss is not None or record is None or outcome.picture is None:
        assert miss is not None
        told = (miss.status or None, miss.final_url or None, miss.detail[:_LONGEST_DETAIL], target.origin)
        return (
            *head,
            now,
            *told,
            *(None,) * 10,
            urls.fingerprint(target.url),
            *(None,) * 5,
            miss.same_as,
            _more(None, target.extra),
            None,
        )
    likeness = outcome.picture.likeness
    return (
        *head,
        record.fetched_at,
        outcome.picture.fetched.status,
        *_stored(record),
        urls.fingerprint(target.url),
        *_rest(record),
        likeness.pixels,
        signed(likeness.look),
        None,
        _more(record, target.extra),
        record.place,
    )
