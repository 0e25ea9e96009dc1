"""What a run can be told: frozen values, checked when they are built. One definition makes the flag, the key
of the configuration file, the environment variable and the line in the documentation.

The text below a field is its help. A field `per_host` is the flag `--per-host`, the key `per-host` in a TOML
file and the variable `CRAWLER_PER_HOST`. Order: defaults < file < environment < flags.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from crawler.checks import (
    LONGEST,
    check_address,
    check_ascii,
    check_choice,
    check_columns,
    check_name_servers,
    check_network,
    check_proxy,
    check_range,
    check_strings,
    check_switch,
    check_text,
    parse_header,
)
from crawler.discover_settings import DiscoverSettings as DiscoverSettings
from crawler.errors import SettingsError
from crawler.model import Reason
from crawler.picture_settings import KB
from crawler.picture_settings import MB as MB
from crawler.picture_settings import ProcessSettings as ProcessSettings
from crawler.store_settings import DEFAULT_NAME as DEFAULT_NAME
from crawler.store_settings import OUTPUT_COLUMNS as OUTPUT_COLUMNS
from crawler.store_settings import Metadata as Metadata
from crawler.store_settings import PictureColumn as PictureColumn
from crawler.store_settings import StoreFormat as StoreFormat
from crawler.store_settings import StoreSettings as StoreSettings

VERSION = "0.1.0"

InputFormat = Literal["auto", "txt", "csv", "tsv", "json", "jsonl", "parquet", "run"]
Resolver = Literal["system", "aiodns"]
RETRY_CHOICES = ("later", "all", *(reason.value for reason in Reason))
TAKE_CHOICES = ("stored", "missed", "all", "later", *(reason.value for reason in Reason))


@dataclass(frozen=True)
class InputSettings:
    """Where the targets come from."""

    sources: tuple[str, ...] | Iterable[str] | AsyncIterable[str] = ()
    """URLs; lists of URLs: text files with one a line, tables (`.csv`, `.tsv`, `.json`, `.jsonl`, `.parquet`), folders of
    such files and patterns with `*`, also compressed (`.gz`, `.bz2`, `.xz`, `.zst`) and in stores (`s3://`...); `-` for
    standard input. A URL that turns out to be a page is searched for pictures. From Python also any iterable of URLs, or of
    mappings that have one: that is a list, of which pages are searched with `pages`."""
    input_format: InputFormat = "auto"
    """Format of the lists, where their endings do not tell. `run` takes the targets of an earlier run, by its folder."""
    url_column: str = ""
    """Column of a table that holds the addresses. Without it `url`, or the only one whose name or contents look like it."""
    caption_column: str = ""
    """Column that holds captions; they go into the output."""
    keep_columns: tuple[str, ...] = ()
    """Further columns that go into the output, with commas between them; `all` for all there are."""
    key_column: str = ""
    """Column that holds the key of each sample: its name in a shard, `{key}` in `--name`. Without it keys are numbers."""
    where: str = ""
    """Take only the rows of a table for which this is true, such as `width >= 512 and lang = 'en'` (extra `parquet`)."""
    take: str = "stored"
    """Which targets of an earlier run (`--input-format run`): `stored`, `missed`, `all`, `later` (missed, and can get
    better), or the name of a reason."""
    repeat: int = 1
    """Fetch every target this many times, each time as a target of its own."""
    limit: int | None = None
    """Stop after this many targets of the input."""

    def __post_init__(self) -> None:
        if isinstance(self.sources, str):
            object.__setattr__(self, "sources", (self.sources,))
        if isinstance(self.sources, bytes) or not isinstance(self.sources, Iterable | AsyncIterable):
            raise SettingsError("sources", f"{self.sources!r} given, must be URLs and names of files")
        check_choice(self, "input_format", get_args(InputFormat))
        for name in ("url_column", "caption_column", "key_column", "where"):
            check_text(self, name)
        if self.take not in TAKE_CHOICES:
            raise SettingsError("take", f"{self.take!r} given, must be one of {', '.join(TAKE_CHOICES)}")
        check_columns(self, "keep_columns")
        if self.key_column and self.repeat != 1:
            raise SettingsError("key_column", "cannot be used with --repeat: no two samples may have the same key")
        check_range(self, "repeat", 1)
        if self.limit is not None:
            check_range(self, "limit", 0)


@dataclass(frozen=True)
class FrontierSettings:
    """Which target is next, and how many at once."""

    concurrency: int = 128
    """Fetches under way at once, over all hosts."""
    per_host: int = 8
    """Fetches under way at once for one host; 0 is no limit."""
    delay: float = 0.0
    """Seconds between two requests to one host, from start to start. A longer Crawl-delay in its robots.txt is kept."""
    rate: float = 0.0
    """Requests a second to one host at most; 0 is no limit. The same as a delay of 1/rate."""
    max_wait: float = 300.0
    """Longest wait that a host is granted when it asks for one (Retry-After of 429 and 503), in seconds, and the longest
    Crawl-delay kept. What asks for more is missed, to be tried again by a later run."""
    adapt: bool = True
    """Ask a host for less at once while it fails or slows down, and for more again when it has recovered."""
    retries: int = 2
    """How often a target is asked for again after a failure that can get better: timeouts, resets, DNS, 429, 5xx."""

    def __post_init__(self) -> None:
        check_range(self, "concurrency", 1, 65_536)
        check_range(self, "per_host", 0)
        check_range(self, "delay", 0, LONGEST)
        check_range(self, "rate", 0)
        check_range(self, "max_wait", 0, LONGEST)
        check_switch(self, "adapt")
        check_range(self, "retries", 0, 100)
        if self.rate and 1 / self.rate > LONGEST:
            raise SettingsError("rate", f"{self.rate!r} given, must be 0 or at least {1 / LONGEST:g}")

    @property
    def gap(self) -> float:
        """Seconds from one request to a host to the next, as delay and rate say."""
        return max(self.delay, 1 / self.rate if self.rate else 0.0)


@dataclass(frozen=True)
class FetchSettings:
    """How bytes are fetched."""

    timeout: float = 30.0
    """Seconds for one try of one target in all: name, connection, redirects and body. Waiting for a turn is not counted."""
    connect_timeout: float = 10.0
    """Seconds for one connection."""
    min_speed: int = 1 * KB
    """Slowest body that is waited for, in bytes a second over five seconds; 0 waits for any."""
    max_bytes: int = 50 * MB
    """Largest body, after decompression; the rest is not read. `50MB`, `200KB` and plain numbers are understood."""
    max_redirects: int = 5
    """Redirects followed for one target; 0 is none."""
    robots: bool = True
    """Ask every host for its robots.txt first and keep to it (RFC 9309)."""
    ignore_x_robots: bool = False
    """Also take pictures whose server says noindex, noimageindex, noai or noimageai (X-Robots-Tag), or reserves them from
    text and data mining (tdm-reservation)."""
    user_agent: str = ""
    """What the crawler calls itself; its first word, up to a slash, is what robots.txt is searched for. Without it
    `crawler/VERSION`, with the contact behind it."""
    contact: str = ""
    """Address of a page or a mailbox where the owner of a site finds you; becomes a part of the User-Agent."""
    header: tuple[str, ...] = ()
    """A header for every request, `Name: value`; may be given several times. `HOST Name: value` is for one host only. In a
    TOML file also as tables: `[headers]` for all hosts, `[headers."example.org"]` for one."""
    cookies: str = ""
    """A file of cookies in Netscape format, as browsers' add-ons and curl write it; each goes to its own host only."""
    referer: str = ""
    """Referer of every request: an address, or `auto` for the page a picture was found on, or else its own site."""
    proxy: str = ""
    """Address of an HTTP proxy, `http://user:password@host:port`; `none` for no proxy. Without it the environment decides
    (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""
    ca_file: str = ""
    """A PEM file with certificates of authorities that are trusted besides those of the system."""
    insecure: bool = False
    """Do not check the certificates of servers."""
    allow_private: bool = False
    """Also connect to addresses that are not public: this machine, private networks, link-local."""
    allow_net: tuple[str, ...] = ()
    """Also connect to the addresses of this network, such as 10.1.0.0/16; may be given several times."""
    resolver: Resolver = "system"
    """Who looks names up: the system, or aiodns (extra `dns`), which keeps to the times that names are good for."""
    name_server: tuple[str, ...] = ()
    """Address of a name server, `1.2.3.4` or `1.2.3.4:53`, for aiodns; may be given several times."""
    memory: int = 512 * MB
    """Bytes of bodies held at once, from the first byte to the end of processing; fetching waits when it is spent."""

    def __post_init__(self) -> None:
        check_range(self, "timeout", 0.001, LONGEST)
        check_range(self, "connect_timeout", 0.001, LONGEST)
        check_range(self, "min_speed", 0)
        check_range(self, "max_bytes", 1)
        check_range(self, "memory", 1 * MB)
        check_range(self, "max_redirects", 0, 50)
        for name in ("robots", "ignore_x_robots", "insecure", "allow_private"):
            check_switch(self, name)
        for name in ("user_agent", "contact"):
            check_ascii(self, name)
        for name in ("header", "allow_net", "name_server"):
            check_strings(self, name)
        for name in ("cookies", "ca_file"):
            object.__setattr__(self, name, os.fspath(getattr(self, name)))
        check_choice(self, "resolver", get_args(Resolver))
        for given in self.header:
            parse_header(given)
        for given in self.allow_net:
            check_network(given)
        check_name_servers(self)
        check_proxy(self.proxy)
        if self.referer not in ("", "auto"):
            check_address(self, "referer")

    @property
    def agent(self) -> str:
        """The User-Agent header (RFC 9110 10.1.5)."""
        named = self.user_agent or f"crawler/{VERSION}"
        return f"{named} (+{self.contact})" if self.contact else named


@dataclass(frozen=True)
class StateSettings:
    """What is remembered."""

    state: str = ""
    """Folder for the journal and what waits. Without it `.crawler` in the output folder, and for a store a folder named
    after its address below `~/.local/state/crawler` (or XDG_STATE_HOME)."""
    durable: bool = False
    """Flush every picture and every commit to the disk at once: safe against a power loss, and slower."""
    retry_missed: str = ""
    """Try only targets again that an earlier run missed: `later` (what can get better; also without a value), `all`,
    or the name of a reason."""
    refresh: bool = False
    """Ask again for what is stored, and replace what has changed (If-None-Match, If-Modified-Since)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", os.fspath(self.state))
        check_switch(self, "durable")
        check_switch(self, "refresh")
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
        check_range(self, "progress_every", 0.05, LONGEST)


@dataclass(frozen=True)
class Settings:
    """All settings of a run, one group for each part. `Settings.of` takes them flat."""

    input: InputSettings = field(default_factory=InputSettings)
    frontier: FrontierSettings = field(default_factory=FrontierSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    process: ProcessSettings = field(default_factory=ProcessSettings)
    discover: DiscoverSettings = field(default_factory=DiscoverSettings)
    store: StoreSettings = field(default_factory=StoreSettings)  # or the name of a format
    state: StateSettings = field(default_factory=StateSettings)
    report: ReportSettings = field(default_factory=ReportSettings)

    def __post_init__(self) -> None:
        if isinstance(self.store, str):  # in short, for programs: Settings(store="none")
            object.__setattr__(self, "store", StoreSettings(format=self.store))
        for name, group in GROUPS.items():
            if not isinstance(getattr(self, name), group):
                raise SettingsError(name, f"{getattr(self, name)!r} given, must be {group.__name__}")
        self._check_together()

    def _check_together(self) -> None:
        """What only some settings can be with others."""
        store, process = self.store, self.process
        if store.sidecar and store.format != "files":
            raise SettingsError("sidecar", f"is for --format files; --format {store.format} was given")
        if "txt" in store.sidecar and not self.captions:
            raise SettingsError(
                "sidecar", "txt given, needs --caption-column or --caption: there are no captions to write"
            )
        self._check_pages()
        if store.remote and store.format == "none":
            raise SettingsError("output", "an address of a store was given, and --format none writes nothing")
        if store.format == "parquet":
            if process.frames not in ("first", 1) and process.encode not in ("original", "webp", "gif", "png"):
                raise SettingsError(
                    "frames", f"--encode {process.encode} makes a file of each, and a row has one picture"
                )
            if taken := {output.label for output in process.outputs if output.label in OUTPUT_COLUMNS}:
                raise SettingsError(
                    "variant", f"{', '.join(sorted(taken))} given, which is another column of the table"
                )

    def _check_pages(self) -> None:
        """What stands in the row of a page is not of its pictures."""
        given = self.input
        how = next((name for name in ("pages", "follow", "sitemap") if getattr(self.discover, name)), "")
        of_rows = ("caption_column", "keep_columns", "key_column")
        if how and (named := next((name for name in of_rows if getattr(given, name)), "")):
            raise SettingsError(
                named, f"cannot be used with --{how}: what is given are pages, and their rows are no pictures'"
            )
        if how and given.repeat != 1:
            raise SettingsError("repeat", f"cannot be used with --{how}: every page is visited once")
        if self.discover.caption and given.caption_column:
            raise SettingsError("caption", "cannot be used with --caption-column: a picture has one caption")

    @property
    def captions(self) -> bool:
        """There are captions to write."""
        return bool(self.input.caption_column or self.discover.caption)

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
    "discover": DiscoverSettings,
    "store": StoreSettings,
    "state": StateSettings,
    "report": ReportSettings,
}
"""The group of settings behind each field of `Settings`."""
