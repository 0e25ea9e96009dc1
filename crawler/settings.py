"""What a run can be told: frozen values, checked when they are built. One definition makes the flag, the key
of the configuration file, the environment variable and the line in the documentation.

The text below a field is its help. A field `per_host` is the flag `--per-host`, the key `per-host` in a TOML
file and the variable `CRAWLER_PER_HOST`. Order: defaults < file < environment < flags.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field, fields
from string import Formatter
from typing import Any, Literal, get_args

from crawler.errors import SettingsError
from crawler.model import Reason

VERSION = "0.1.0"

Fit = Literal["inside", "outside", "cover", "contain", "fill", "none"]
Encode = Literal["jpeg", "png", "webp", "original"]
StoreFormat = Literal["files", "none"]
RETRY_CHOICES = ("later", "all", *(reason.value for reason in Reason))
NAME_FIELDS = ("index", "folder", "host", "stem", "sha256", "width", "height")
DEFAULT_NAME = "{folder}/{index:08d}"

KB, MB, GB = 1000, 1000**2, 1000**3
_LONGEST = 10_000_000  # seconds, four months: timers of the system take no more than some years


_FRACTIONS = ("timeout", "connect_timeout", "process_timeout", "progress_every")


def _check_switch(settings: Any, name: str) -> None:
    if not isinstance(getattr(settings, name), bool):
        raise SettingsError(name, f"{getattr(settings, name)!r} given, must be true or false")


def _check_range(settings: Any, name: str, low: float, high: float | None = None) -> None:
    value = getattr(settings, name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not value >= low  # also nan
        or (high is not None and value > high)
        or (isinstance(value, float) and name not in _FRACTIONS and not value.is_integer())
    ):
        bound = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise SettingsError(name, f"{value!r} given, must be a number {bound}")


def _check_choice(settings: Any, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(settings, name)
    if value not in choices:
        raise SettingsError(name, f"{value!r} given, must be one of {', '.join(choices)}")


@dataclass(frozen=True)
class InputSettings:
    """Where the targets come from."""

    sources: tuple[str, ...] | Iterable[str] | AsyncIterable[str] = ()
    """URLs, text files with one URL a line, `-` for standard input. From Python also any iterable of URLs."""
    repeat: int = 1
    """Fetch every target this many times, each time as a target of its own."""
    limit: int | None = None
    """Stop after this many targets of the input."""

    def __post_init__(self) -> None:
        if isinstance(self.sources, str):
            object.__setattr__(self, "sources", (self.sources,))
        if isinstance(self.sources, bytes) or not isinstance(self.sources, Iterable | AsyncIterable):
            raise SettingsError("sources", f"{self.sources!r} given, must be URLs and names of files")
        _check_range(self, "repeat", 1)
        if self.limit is not None:
            _check_range(self, "limit", 0)


@dataclass(frozen=True)
class FrontierSettings:
    """Which target is next, and how many at once."""

    concurrency: int = 128
    """Fetches under way at once, over all hosts."""
    per_host: int = 8
    """Fetches under way at once for one host; 0 is no limit."""
    retries: int = 2
    """How often a target is asked for again after a failure that can get better: timeouts, resets, DNS, 429, 5xx."""

    def __post_init__(self) -> None:
        _check_range(self, "concurrency", 1, 65_536)
        _check_range(self, "per_host", 0)
        _check_range(self, "retries", 0, 100)


@dataclass(frozen=True)
class FetchSettings:
    """How bytes are fetched."""

    timeout: float = 30.0
    """Seconds for one try of one target in all: name, connection, redirects and body."""
    connect_timeout: float = 10.0
    """Seconds for one connection."""
    min_speed: int = 1 * KB
    """Slowest body that is waited for, in bytes a second over five seconds; 0 waits for any."""
    max_bytes: int = 50 * MB
    """Largest body, after decompression; the rest is not read. `50MB`, `200KB` and plain numbers are understood."""
    max_redirects: int = 5
    """Redirects followed for one target; 0 is none."""
    user_agent: str = f"crawler/{VERSION}"
    """What the crawler calls itself."""
    memory: int = 512 * MB
    """Bytes of bodies held at once, from the first byte to the end of processing; fetching waits when it is spent."""
    allow_private: bool = False
    """Also connect to addresses that are not public: this machine, private networks, link-local."""

    def __post_init__(self) -> None:
        _check_range(self, "timeout", 0.001, _LONGEST)
        _check_range(self, "connect_timeout", 0.001, _LONGEST)
        _check_range(self, "min_speed", 0)
        _check_range(self, "max_bytes", 1)
        _check_range(self, "memory", 1 * MB)
        _check_range(self, "max_redirects", 0, 50)
        _check_switch(self, "allow_private")
        if (
            not isinstance(self.user_agent, str)
            or not self.user_agent.isascii()
            or not self.user_agent.isprintable()
            or not self.user_agent.strip()
        ):
            raise SettingsError("user_agent", f"{self.user_agent!r} given, must be printable ASCII text")


@dataclass(frozen=True)
class ProcessSettings:
    """What is done to the pictures, in worker processes."""

    size: int | tuple[int, int] = 512
    """Target size in pixels: `N` is a square of N x N, or `WxH`."""
    fit: Fit = "inside"
    """How a picture meets the size: inside (longest side), outside (shortest side), cover (crop), contain (pad),
    fill (stretch), none (keep the size)."""
    upscale: bool = False
    """Also enlarge pictures that are smaller than the size."""
    encode: Encode = "jpeg"
    """Format of the stored pictures; `original` keeps the bytes exactly as they came."""
    quality: int = 90
    """Quality of JPEG and WebP, 1 to 100."""
    max_pixels: int = 64 * MB
    """Largest picture, in pixels; told from its header, before it costs memory. `64MP` and plain numbers are understood."""
    workers: int = 0
    """Worker processes; 0 is one for each core."""
    process_timeout: float = 20.0
    """Seconds for one picture in a worker; a picture that takes longer is missed as `too_slow`."""
    worker_memory: int = 2 * GB
    """Address space of one worker process; a picture that needs more is missed as `out_of_memory`."""

    def __post_init__(self) -> None:
        if not _is_size(self.size):
            raise SettingsError("size", f"{self.size!r} given, must be N or WxH with sides from 1 to 65535 pixels")
        _check_choice(self, "fit", get_args(Fit))
        _check_switch(self, "upscale")
        _check_choice(self, "encode", get_args(Encode))
        _check_range(self, "quality", 1, 100)
        _check_range(self, "max_pixels", 1)
        _check_range(self, "workers", 0, 1024)
        _check_range(self, "process_timeout", 0.01, _LONGEST)
        _check_range(self, "worker_memory", 256 * MB)

    @property
    def box(self) -> tuple[int, int]:
        """The size as width and height."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


def _is_size(value: object) -> bool:
    sides = value if isinstance(value, tuple) else (value, value)
    return len(sides) == 2 and all(type(side) is int and 1 <= side <= 65_535 for side in sides)


@dataclass(frozen=True)
class StoreSettings:
    """Where pictures go."""

    output: str = ""
    """Folder for the pictures; made if it is missing."""
    format: StoreFormat = "files"
    """`files` writes pictures and `metadata.jsonl`; `none` writes nothing: embedded, the bytes are handed over."""
    name: str = DEFAULT_NAME
    """Path of a picture below the folder, without ending: a template over index, folder (10,000 a folder), host,
    stem (of the URL), sha256 (of the bytes that came), width, height."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", os.fspath(self.output))
        _check_choice(self, "format", get_args(StoreFormat))
        _check_name(self.name)


_SPEC = re.compile(r"([^{}]?[<>=^])?0?[0-9]{0,3}d?|\.[0-9]{1,3}")


def _check_name(template: str) -> None:
    """A template names known fields, and its fixed parts cannot lead out of the folder."""
    allowed = ", ".join(NAME_FIELDS)
    try:
        parts = list(Formatter().parse(template))
        if any(not _SPEC.fullmatch(spec or "") for _, _, spec, _ in parts):
            raise ValueError("a format is a width such as 08d, or a length such as .2")
        used = [name for _, name, _, _ in parts if name is not None]
        sample = template.format(**dict.fromkeys(NAME_FIELDS, "a") | {"index": 1, "width": 1, "height": 1})
    except (KeyError, IndexError) as error:
        raise SettingsError("name", f"{template!r} has an unknown field {error}; there are {allowed}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError("name", f"{template!r} is not a template: {error}") from None
    if unknown := [name for name in used if name not in NAME_FIELDS]:
        raise SettingsError("name", f"{template!r} has an unknown field {unknown[0]!r}; there are {allowed}")
    pieces = sample.replace("\\", "/").split("/")
    if (
        not used
        or pieces[0] == "metadata.jsonl"
        or any(piece in ("", ".", "..") or piece.startswith(".") for piece in pieces)
        or "\0" in sample
    ):
        raise SettingsError("name", f"{template!r} must use at least one of {allowed} and stay inside the folder")


@dataclass(frozen=True)
class StateSettings:
    """What is remembered."""

    durable: bool = False
    """Flush every picture and every commit to the disk at once: safe against a power loss, and slower."""
    retry_missed: str = ""
    """Try only targets again that an earlier run missed: `later` (what can get better; also without a value), `all`,
    or the name of a reason."""

    def __post_init__(self) -> None:
        _check_switch(self, "durable")
        if self.retry_missed not in ("", *RETRY_CHOICES):
            raise SettingsError(
                "retry_missed", f"{self.retry_missed!r} given, must be one of {', '.join(RETRY_CHOICES)}"
            )


@dataclass(frozen=True)
class ReportSettings:
    """What is said while it runs."""

    progress_every: float = 2.0
    """Seconds between two lines of progress where there is no terminal."""

    def __post_init__(self) -> None:
        _check_range(self, "progress_every", 0.05, _LONGEST)


@dataclass(frozen=True)
class Settings:
    """All settings of a run, one group for each part. `Settings.of` takes them flat."""

    input: InputSettings = field(default_factory=InputSettings)
    frontier: FrontierSettings = field(default_factory=FrontierSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    process: ProcessSettings = field(default_factory=ProcessSettings)
    store: StoreSettings = field(default_factory=StoreSettings)  # or the name of a format
    state: StateSettings = field(default_factory=StateSettings)
    report: ReportSettings = field(default_factory=ReportSettings)

    def __post_init__(self) -> None:
        if isinstance(self.store, str):  # in short, for programs: Settings(store="none")
            object.__setattr__(self, "store", StoreSettings(format=self.store))
        for name, group in GROUPS.items():
            if not isinstance(getattr(self, name), group):
                raise SettingsError(name, f"{getattr(self, name)!r} given, must be {group.__name__}")

    @classmethod
    def of(cls, sources: str | Iterable[str] | AsyncIterable[str] = (), /, **flat: Any) -> Settings:
        """Settings from flat names, as the flags have them: `Settings.of(urls, output="pictures", size=256)`.

        Raises:
            SettingsError: an unknown name, or a value that is not allowed.
        """
        known = {setting.name: group for group in fields(cls) for setting in fields(GROUPS[group.name])}
        values: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
        if "store" in flat:
            flat["format"] = flat.pop("store")
        for name, value in flat.items():
            if name not in known:
                raise SettingsError(name, f"unknown setting; there are {', '.join(sorted(known))}")
            values[known[name].name][name] = value
        if sources != () and "sources" in flat:
            raise SettingsError("sources", "given twice")
        values["input"].setdefault("sources", sources)
        return cls(**{group: GROUPS[group](**given) for group, given in values.items()})


GROUPS: dict[str, type[Any]] = {
    "input": InputSettings,
    "frontier": FrontierSettings,
    "fetch": FetchSettings,
    "process": ProcessSettings,
    "store": StoreSettings,
    "state": StateSettings,
    "report": ReportSettings,
}
"""The group of settings behind each field of `Settings`."""
