"""The values that pass between the stages: what goes in (Target), what comes out (Outcome), and why not (Miss)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from crawler.found import FoundPicture, Origin


class Reason(Enum):
    """Why a target gave no picture. The value is the name that users see; `later` says whether trying again can help."""

    # The address itself
    BAD_URL = "bad_url"
    BAD_ROW = "bad_row"
    BLOCKED_ADDRESS = "blocked_address"
    DUPLICATE = "duplicate"
    # What the site does not want
    ROBOTS = "robots"
    ROBOTS_UNREACHABLE = "robots_unreachable"
    OPTED_OUT = "opted_out"
    # The way to the server: these get better by themselves
    DNS = "dns"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    TIMEOUT = "timeout"
    TOO_SLOW_BODY = "slow_body"
    RESET = "reset"
    INCOMPLETE = "incomplete"
    TLS = "tls"
    PROXY = "proxy"
    HOST_DOWN = "host_down"
    BAD_HTTP = "bad_http"
    # What the server said
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    HTTP_STATUS = "http_status"
    REDIRECT = "redirect"
    # What the server sent
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_IMAGE = "not_image"
    NOT_PAGE = "not_page"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    TOO_BIG = "too_big"
    WRONG_ASPECT = "wrong_aspect"
    TOO_FEW_BYTES = "too_few_bytes"
    WRONG_HASH = "wrong_hash"
    TRUNCATED = "truncated"
    DECODE = "decode"
    # What the user's own functions said
    EXTRACTOR_FAILED = "extractor_failed"
    DROPPED = "dropped"
    TRANSFORM_FAILED = "transform_failed"
    # What it did to the worker
    WORKER_CRASHED = "worker_crashed"
    TOO_SLOW = "too_slow"
    OUT_OF_MEMORY = "out_of_memory"

    @property
    def later(self) -> bool:
        """True for what can get better by itself, False for what is permanent."""
        return self in _LATER


_LATER = frozenset(
    {
        Reason.ROBOTS_UNREACHABLE,
        Reason.DNS,
        Reason.CONNECT,
        Reason.CONNECT_TIMEOUT,
        Reason.TIMEOUT,
        Reason.TOO_SLOW_BODY,
        Reason.RESET,
        Reason.INCOMPLETE,
        Reason.PROXY,
        Reason.HOST_DOWN,
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
        Reason.WORKER_CRASHED,
        Reason.OUT_OF_MEMORY,
    }
)


class Row(NamedTuple):
    """One row of a table that holds targets.

    Attributes:
        at: its line in a text file, else its number, from 1.
        values: by column; those of a CSV file are texts.
        flaw: why it cannot be read; its text is then in `text`.
    """

    at: int
    values: dict[str, Any]
    flaw: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Extra:
    """What goes with a target from the input to the output.

    Attributes:
        key: of its sample; empty for one that is made from its position.
        caption: None if there is none.
        kept: other columns of its row, under the names that they have in the output; values that JSON has.
    """

    key: str = ""
    caption: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


NO_EXTRA = Extra()


@dataclass(frozen=True, slots=True)
class Target:
    """One position of the input.

    Attributes:
        index: position in the input, from 0; bad lines count, blank lines and comments do not.
        url: the address as it was given; a password in it is masked.
        origin: where it stood, for people: `urls.txt:12`, `argument 1`.
        credentials: user and password that stood in the address.
        columns: what else stood in its row, for functions that look at it.
        extra: what goes with it into the output.
        flaw: what is wrong with its row: it is missed for that, and nothing is asked for.
        found: how it came to be known; None for what stood in a list of pictures.
    """

    index: int
    url: str
    origin: str = ""
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra: Extra = NO_EXTRA
    flaw: str = ""
    found: Origin | None = None

    @property
    def readable(self) -> bool:
        """It may be a page."""
        return self.found is not None and self.found.readable


PAGE_COLUMNS = ("page", "alt", "title", "figcaption", "link", "depth", "position")
"""What is kept of a picture that was found in a page, beside the picture: columns of the output."""


def found_target(
    index: int, picture: FoundPicture, page: str, depth: int, position: int, caption: str, root: str
) -> Target:
    """The target behind a picture of a page.

    Args:
        position: of the picture in its page, from 0.
        caption: which of its texts is the caption; empty for none.
    """
    texts = {"alt": picture.alt, "title": picture.title, "figcaption": picture.figcaption, "link": picture.link}
    kept = {
        **({"page": page} if page else {}),
        **{name: text for name, text in texts.items() if text},
        "depth": depth,
        "position": position,
    }
    extra = Extra("", texts[caption] if caption else None, kept)
    origin = Origin("picture", page, picture.rule, depth, root, picture.fallbacks, picture.data)
    return Target(index, picture.url, page, None, kept, extra, "", origin)


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a target that has not ended in this run.

    Attributes:
        same_as: an earlier position of the input with the same address.
        file_name, sha256: of the picture that an earlier run stored, which is asked for again: empty if there is none.
        etag, last_modified: what the server said of it (RFC 9110 8.8).
        final_url: the address that it came from, for which alone these are good.
        companions: names of the files that go with that picture.
    """

    same_as: int | None = None
    file_name: str = ""
    sha256: bytes = b""
    etag: str = ""
    last_modified: str = ""
    final_url: str = ""
    companions: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Everything that is stored of it."""
        return (self.file_name, *self.companions)


NO_PAST = Past()


@dataclass(slots=True, eq=False)
class Visit:
    """What is asked next for one target, and what it took so far. It belongs to the target until that has ended.

    Attributes:
        url: where it is asked for: its own address, or where a redirect led.
        host: name under which the limits of that server are counted.
        attempts: tries so far; the hops of a redirect are one try.
        failures: tries so far that count against `--retries`.
        began: first try, on the clock of the run.
        redirects: hops of this try.
        spent: seconds that the earlier hops of this try took.
        waited: seconds servers have asked it to wait, in all.
        crawl_delay: seconds between two requests that the host's robots.txt asks for.
        taken_at: when it was given out last, on the clock of the run.
        unsent: it was given out, and no request has left yet.
        sent_at: when its last request left, on the clock of the run; 0 if none has.
        latency: seconds from its last request to the headers of the answer; None if there was none.
        paced: its host has a pace: when each request leaves has to be told to the moment.
        refused: why it is not asked for at all: its host is parked.
        referer: the page it was found on, if there is one.
        version: which of the target's versions is asked for, 0 the best.
        jar: cookies that were set on the way of this try, by whoever fetches.
    """

    target: Target
    url: str = ""
    host: str = ""
    attempts: int = 0
    failures: int = 0
    began: float = 0.0
    redirects: int = 0
    spent: float = 0.0
    waited: float = 0.0
    crawl_delay: float = 0.0
    taken_at: float = 0.0
    unsent: bool = False
    sent_at: float = 0.0
    latency: float | None = None
    past: Past = NO_PAST
    paced: bool = False
    refused: Miss | None = None
    referer: str = ""
    version: int = 0
    jar: Any = None

    def __post_init__(self) -> None:
        self.url = self.url or self.target.url
        if self.target.found is not None:
            self.referer = self.target.found.page

    @property
    def fresh(self) -> bool:
        """True while nothing has happened to it, so that its target and its past are all there is to know."""
        target = self.target
        inline = target.found is not None and target.found.data is not None
        return not (self.began or inline or self.version) and self.url == target.url and target.credentials is None

    def start_over(self) -> None:
        """Back to the target's own address, or that of its version, for another try."""
        self.url, self.redirects, self.spent, self.jar = self.address, 0, 0.0, None

    @property
    def has_other_version(self) -> bool:
        """There is another version of its picture, which has not been tried yet."""
        found = self.target.found
        return found is not None and self.version < len(found.fallbacks)

    @property
    def address(self) -> str:
        """Where this version of the target is asked for."""
        found = self.target.found
        return self.target.url if not self.version or found is None else found.fallbacks[self.version - 1]


class Fetched(NamedTuple):
    """The bytes of one target, as they came, before anybody looked into them.

    Attributes:
        content_type: what the server said, which proves nothing; empty if it said nothing.
        etag, last_modified: validators for a later conditional request, empty if there are none.
        fetched_at: seconds since the epoch, when the last byte came.
        seconds: from the request to the last byte.
        directives: what the X-Robots-Tag of a page says, for us.
    """

    target: Target
    body: bytes
    final_url: str
    status: int
    content_type: str
    fetched_at: float
    seconds: float
    etag: str = ""
    last_modified: str = ""
    directives: tuple[str, ...] = ()

    def emptied(self) -> Fetched:
        """The same without its bytes: whoever holds a picture does not hold its source too."""
        return self._replace(body=b"")


@dataclass(frozen=True, slots=True)
class Moved:
    """A redirect: the target is to be asked for at `url`, which belongs to `host`."""

    target: Target
    url: str
    host: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """Nothing was asked for the target itself: its host's robots.txt was read first. Its turn comes again."""

    target: Target


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The server says that what is stored is still right (304)."""

    target: Target


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known of one picture beside its pixels: for a worker, and for the user's own function in it.

    Attributes:
        index, url: of the target; `columns`: what else stood in its row of the input.
        width, height: as a viewer shows the source, in pixels.
        format: of the bytes that came, lower case.
        values: what the function wants to be stored with the picture, by name; values that JSON has.
    """

    index: int
    url: str
    columns: Mapping[str, Any]
    width: int = 0
    height: int = 0
    format: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Companion:
    """A further picture from the same source: a variant, or a later frame.

    Attributes:
        label: name of the variant, or number of the frame (`0001` is the second); part of the name of its file.
    """

    label: str
    data: bytes
    format: str
    extension: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """What tells that two pictures are the same. Only what was asked for is known.

    Attributes:
        pixels: 64 bits of a hash over the decoded pixels, upright and in sRGB; signed.
        look: 64-bit perceptual hash (DCT), unsigned; see `crawler.process.likeness`.
    """

    pixels: int | None = None
    look: int | None = None


NO_LIKENESS = Likeness()
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Picture(NamedTuple):
    """One picture, ready to be stored.

    Attributes:
        data: the encoded picture; with `encode="original"` the very bytes that came.
        format: of `data`, lower case: `jpeg`, `png`, `webp`, `gif`...
        extension: that belongs to `format`, without a dot.
        width, height: of `data`, in pixels.
        original_width, original_height: as a viewer shows the source, in pixels (orientation applied).
        original_format: of the bytes that came.
        sha256: of the bytes that came.
        untouched: `data` is what came.
        fetched: how it came, without the body.
        frames: of the source; 1 for a still picture.
        notes: what was odd about it and did not stop it: warnings of the decoder, a profile that could not be used.
        companions: variants and further frames, in order.
        exif: tags by name, where they were asked for.
        values: what the user's function gave.
    """

    fetched: Fetched
    data: bytes
    format: str
    extension: str
    width: int
    height: int
    original_width: int
    original_height: int
    original_format: str
    sha256: bytes
    untouched: bool = False
    frames: int = 1
    notes: tuple[str, ...] = ()
    companions: tuple[Companion, ...] = ()
    likeness: Likeness = NO_LIKENESS
    exif: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = NOTHING

    @property
    def target(self) -> Target:
        return self.fetched.target


@dataclass(frozen=True, slots=True)
class Miss:
    """A target that gave no picture, and why. A value: one bad picture never raises.

    Attributes:
        detail: the cause in words, for people.
        status: the last HTTP status, 0 if there was none.
        final_url: the address that failed, where it differs from the target's; else empty.
        retry_after: seconds the server asked us to wait, if it did.
        asked: a request was made; False for what was decided without one.
        same_as: the target that holds the same picture, if that is why.
    """

    target: Target
    reason: Reason
    detail: str = ""
    status: int = 0
    final_url: str = ""
    retry_after: float | None = None
    asked: bool = True
    same_as: int | None = None


Answer = Fetched | Moved | Postponed | Unchanged | Miss
"""What one request for a target can end in."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A target that holds the same picture as another.

    Attributes:
        likeness: in what they are the same, for people.
        settled: its record is in the journal; False while its picture is still on its way to the disk.
    """

    index: int
    url: str
    likeness: str
    settled: bool


@dataclass(frozen=True, slots=True)
class CompanionFile:
    """A companion of a picture as it was stored: a variant, a frame, or a text beside it, which has no size in pixels.

    Fields as in `Companion` and `Receipt`.
    """

    label: str
    file_name: str
    width: int
    height: int
    format: str
    size: int
    digest: bytes
    place: int | None = None

    @property
    def is_picture(self) -> bool:
        """False for a text that goes with a picture."""
        return self.width > 0


class Receipt(NamedTuple):
    """Proof that a picture is where it belongs.

    Attributes:
        file_name: path below the output folder, with `/`; empty for a store that keeps nothing.
        size: of what was stored, in bytes.
        digest: SHA-256 of what was stored; empty for a store that keeps nothing.
        companions: where its companions are.
        place: where it begins in the spool, while its shard is not published.
    """

    file_name: str
    size: int
    digest: bytes = b""
    companions: tuple[CompanionFile, ...] = ()
    place: int | None = None


class Outcome(NamedTuple):
    """How one target ended: stored (`receipt` and `picture` are set), missed (`miss` is set), or a page (`pictures` is set).

    Attributes:
        attempts: requests made for it, retries included; 0 if it never reached the network.
        seconds: from its first request to its end, waiting for retries included.
        bytes_fetched: size of the body it ended with, 0 if there was none.
        pictures: found in it, new ones; None for what is no page.
    """

    target: Target
    picture: Picture | None = None
    receipt: Receipt | None = None
    miss: Miss | None = None
    attempts: int = 0
    seconds: float = 0.0
    bytes_fetched: int = 0
    pictures: int | None = None

    @property
    def stored(self) -> bool:
        return self.miss is None and self.pictures is None


class Record(NamedTuple):
    """What is kept of one stored picture: a line of metadata and a row of the journal. Fields as in `Picture`.

    Attributes:
        size: of the stored picture in bytes; `digest` is its SHA-256, while `sha256` is that of the bytes that came.
        fetched_at: seconds since the epoch.
        exif: as JSON; None where it was not asked for.
        extra: what came with its target.
    """

    file_name: str
    index: int  # type: ignore[assignment]
    url: str
    final_url: str
    sha256: bytes
    digest: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    format: str
    size: int
    content_type: str
    fetched_at: float
    etag: str = ""
    last_modified: str = ""
    frames: int = 1
    notes: tuple[str, ...] = ()
    companions: tuple[CompanionFile, ...] = ()
    exif: str | None = None
    values: Mapping[str, Any] = NOTHING
    extra: Extra = NO_EXTRA
    place: int | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of everything that is stored of it."""
        return (self.file_name, *(companion.file_name for companion in self.companions))

    @classmethod
    def of(cls, outcome: Outcome) -> Record:
        """The record of a stored target."""
        picture, receipt = outcome.picture, outcome.receipt
        assert picture is not None and receipt is not None, "only what is stored has a record"
        return cls.made(picture, receipt)

    @classmethod
    def made(cls, picture: Picture, receipt: Receipt) -> Record:
        """The record of a picture and of where it is."""
        fetched, target = picture.fetched, picture.target
        exif = None if picture.exif is None else json.dumps(picture.exif, ensure_ascii=False)
        return cls(  # by position, in the order of the fields: this happens once a picture
            receipt.file_name, target.index, target.url, fetched.final_url, picture.sha256, receipt.digest,
            picture.width, picture.height, picture.original_width, picture.original_height, picture.format,
            receipt.size, fetched.content_type, fetched.fetched_at, fetched.etag, fetched.last_modified,
            picture.frames, picture.notes, receipt.companions, exif, picture.values, target.extra, receipt.place,
        )  # fmt: skip


PAGE = "page"
"""In the place of a reason: the target was a page, and its pictures are targets of their own."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What the journal holds of one target, stored (`record` is set) or missed (`reason` is set).

    Attributes:
        reason: value of a `Reason`, or what a newer version of this program wrote; empty if it is stored.
        status: the last HTTP status, None if there was none.
        origin, same_as, detail: as in `Target` and `Miss`; of a miss only.
        ended_at: seconds since the epoch.
    """

    index: int
    url: str
    reason: str
    attempts: int
    seconds: float
    ended_at: float
    status: int | None
    final_url: str
    detail: str
    origin: str
    same_as: int | None
    extra: Extra
    record: Record | None
