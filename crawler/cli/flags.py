"""The settings as flags: the same classes, with what only a command line needs (short names, sizes in words)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence  # noqa: F401
from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import Parameter, Token

from crawler.checks import parse_header
from crawler.discover_settings import Caption, DiscoverSettings, Scope  # noqa: F401
from crawler.errors import SettingsError
from crawler.picture_settings import (  # noqa: F401 - cyclopts resolves inherited annotations in this module
    FORMATS,
    Check,
    Encode,
    Executor,
    Filter,
    Fit,
    Gravity,
    Mode,
    ProcessSettings,
    Subsampling,
    Truncated,
)
from crawler.settings import (  # noqa: F401
    DEFAULT_NAME,
    GROUPS,
    FetchSettings,
    FrontierSettings,
    InputFormat,
    InputSettings,
    Metadata,
    PictureColumn,
    Resolver,
    Settings,
    StoreFormat,
    StoreSettings,
)
from crawler.urls import MASK, masked

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)(?:[bB]|[pP])?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_amount(text: str) -> int:
    """A number with a unit: `50MB`, `1.5GB`, `64MP`, `512KiB` or plain.

    Raises:
        ValueError: it is none of these.
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} given, must be a number with or without a unit: 50MB, 200KB, 1GB")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])


def parse_size(text: str) -> int | tuple[int, int]:
    """`N` or `WxH`, in pixels.

    Raises:
        ValueError: it is neither.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() for side in sides):
        raise ValueError(f"{text!r} given, must be a size in pixels: N or WxH")
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else int(sides[0])


def _amount(_: object, tokens: Sequence[Token]) -> int:
    return parse_amount(tokens[0].value)


def _size(_: object, tokens: Sequence[Token]) -> int | tuple[int, int]:
    return parse_size("x".join(token.value for token in tokens))


def _whole(_: object, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} given, must be a whole number") from None


Whole = Annotated[int, Parameter(converter=_whole, n_tokens=1)]
Amount = Annotated[int, Parameter(converter=_amount, n_tokens=1)]
Size = Annotated[int | tuple[int, int], Parameter(converter=_size, n_tokens=1, negative="")]


def _lines(_: object, value: str, delimiter: str | None = None) -> list[str]:
    """In an environment variable each text has a line of its own: it may hold blanks."""
    return [line for line in value.splitlines() if line.strip()]


Texts = Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False, env_var_split=_lines)]


Names = Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False)]


@dataclass(frozen=True)
class InputFlags(InputSettings):
    # Positional: they stand in the signature of the command.
    sources: Annotated[tuple[str, ...], Parameter(parse=False)] = ()
    keep_columns: Names = ()
    repeat: Whole = InputSettings.repeat
    limit: Annotated[int | None, Parameter(converter=_whole, n_tokens=1)] = None


@dataclass(frozen=True)
class FrontierFlags(FrontierSettings):
    concurrency: Whole = FrontierSettings.concurrency
    per_host: Whole = FrontierSettings.per_host
    retries: Whole = FrontierSettings.retries


@dataclass(frozen=True)
class FetchFlags(FetchSettings):
    max_redirects: Whole = FetchSettings.max_redirects
    min_speed: Amount = FetchSettings.min_speed
    max_bytes: Amount = FetchSettings.max_bytes
    memory: Amount = FetchSettings.memory
    header: Texts = ()
    allow_net: Texts = ()
    name_server: Texts = ()


@dataclass(frozen=True)
class ProcessFlags(ProcessSettings):
    variant: Names = ()
    quality: Whole = ProcessSettings.quality
    compression: Whole = ProcessSettings.compression
    frames: str = "first"
    keep: Names = ()
    formats: Names = FORMATS
    min_bytes: Amount = ProcessSettings.min_bytes
    transform: str = ""
    workers: Whole = ProcessSettings.workers
    size: Size = ProcessSettings.size
    min_size: Size = ProcessSettings.min_size
    max_size: Size = ProcessSettings.max_size
    max_pixels: Amount = ProcessSettings.max_pixels
    worker_memory: Amount = ProcessSettings.worker_memory


@dataclass(frozen=True)
class DiscoverFlags(DiscoverSettings):
    depth: Whole = DiscoverSettings.depth
    max_pages: Whole = DiscoverSettings.max_pages
    max_pages_per_host: Whole = DiscoverSettings.max_pages_per_host
    max_pages_per_pattern: Whole = DiscoverSettings.max_pages_per_pattern
    include: Texts = ()
    exclude: Texts = ()
    include_images: Texts = ()
    exclude_images: Texts = ()
    max_data_url: Amount = DiscoverSettings.max_data_url
    max_page_bytes: Amount = DiscoverSettings.max_page_bytes
    extractor: str = ""


@dataclass(frozen=True)
class StoreFlags(StoreSettings):
    output: Annotated[str, Parameter(alias="-o")] = ""
    name: str = DEFAULT_NAME
    sidecar: Names = ()
    shard_count: Whole = StoreSettings.shard_count
    row_group: Whole = StoreSettings.row_group
    spool: Amount = StoreSettings.spool
    uploads: Whole = StoreSettings.uploads


def plain(**groups: Any) -> Settings:
    """Settings from the groups as flags gave them."""
    return Settings(**{
        name: GROUPS[name](**{field.name: getattr(group, field.name) for field in fields(GROUPS[name])})
        for name, group in groups.items()
    })  # fmt: skip


def as_toml(settings: Settings) -> str:
    """The settings as a configuration file that gives them again."""
    return "".join(_toml_lines(settings))


def _toml_lines(settings: Settings) -> Iterator[str]:
    for group in GROUPS:
        values = getattr(settings, group)
        yield f"# {(type(values).__doc__ or group).strip()}\n"
        for field in fields(values):
            key, value = field.name.replace("_", "-"), getattr(values, field.name)
            shown = _without_secrets(field.name, value)
            line = f"{key} = {_toml(field.name, shown)}"
            # Sources stand on the command line, and what is masked cannot be read again: these are only told.
            told = key == "sources" or shown != value
            yield f"# {key} is not set\n" if value is None else f"# {line}\n" if told else f"{line}\n"
        yield "\n"


def _without_secrets(name: str, value: Any) -> Any:
    """A setting as it may be shown to anybody who looks over a shoulder or into a log."""
    if name == "header":
        return tuple(map(_masked_header, value))
    if name == "sources" and isinstance(value, tuple):
        return tuple(masked(source) for source in value)
    if name in ("proxy", "referer"):
        return masked(value)
    return value


def _masked_header(given: str) -> str:
    host, name, _ = parse_header(given)
    open_ = name.lower().startswith("accept") or name.lower() in _NO_SECRETS
    return given if open_ else f"{host} {name}: {MASK}".lstrip()


_NO_SECRETS = frozenset({"dnt", "from", "origin", "priority", "referer", "sec-gpc", "upgrade-insecure-requests", "via"})


def _toml(name: str, value: Any) -> str:
    if name in ("size", "min_size", "max_size") and isinstance(value, tuple):
        return f'"{value[0]}x{value[1]}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(name, one) for one in value)}]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


__all__ = ["FetchFlags", "InputFlags", "ProcessFlags", "SettingsError", "StoreFlags", "as_toml", "plain"]
