"""What the values of settings must be. Every error names the setting, what was given and what is allowed.

Workers read this file too: what only the front end needs is imported where it is needed.
"""

from __future__ import annotations

import re
from string import Formatter
from types import ModuleType
from typing import Any

from crawler.errors import SettingsError

KB, MB, GB = 1000, 1000**2, 1000**3
_FRACTIONS = (
    "timeout", "connect_timeout", "process_timeout", "progress_every", "delay", "rate", "max_wait", "min_aspect", "max_aspect",
    "store_patience",
)  # fmt: skip


LONGEST = 10_000_000
"""Seconds, four months: timers of the system take no more than some years."""
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Files that lie beside the first folders."""
NAME_FIELDS = ("index", "folder", "host", "stem", "sha256", "width", "height", "key")


def check_switch(settings: Any, name: str) -> None:
    if not isinstance(getattr(settings, name), bool):
        raise SettingsError(name, f"{getattr(settings, name)!r} given, must be true or false")


def check_range(settings: Any, name: str, low: float, high: float | None = None) -> None:
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


def check_choice(settings: Any, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(settings, name)
    if value not in choices:
        raise SettingsError(name, f"{value!r} given, must be one of {', '.join(choices)}")


def check_choices(settings: Any, name: str, choices: tuple[str, ...], default: tuple[str, ...] = ()) -> None:
    """Some of `choices`, given as texts or as one text with commas; `default` stands for those names."""
    given = getattr(settings, name)
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise SettingsError(name, f"{given!r} given, must be some of {', '.join(choices)}")
    names = [part.strip().lower() for one in given for part in one.split(",") if part.strip()]
    found = [known for one in names for known in (default if default and one == "default" else (one,))]
    if unknown := [one for one in found if one not in choices]:
        raise SettingsError(name, f"{', '.join(unknown)} given, must be some of {', '.join(choices)}")
    if default and not found:
        raise SettingsError(name, f"nothing given, must be some of {', '.join(choices)}")
    object.__setattr__(settings, name, tuple(dict.fromkeys(found)))


def check_colour(settings: Any, name: str) -> None:
    given = getattr(settings, name)
    if given == "white":
        return  # the common case needs no Pillow
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(given)
        if len(colour) != 3:
            raise ValueError("it has an alpha")
    except (ValueError, AttributeError, TypeError):
        raise SettingsError(name, f"{given!r} given, must be a colour: a name such as black, or #rrggbb") from None


def check_function(settings: Any, name: str) -> None:
    """`package.module:function`; a function itself is turned into that, for it has to be found in a worker."""
    given = getattr(settings, name)
    if callable(given) and isinstance(getattr(given, "__self__", None), type | ModuleType | None):
        given = f"{getattr(given, '__module__', '')}:{getattr(given, '__qualname__', repr(given))}"
        object.__setattr__(settings, name, given)
    if not isinstance(given, str) or (given and not _FUNCTION.fullmatch(given)):
        raise SettingsError(
            name, f"{given!r} given, must be package.module:function, a function that a worker process can import"
        )


_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_size(value: object) -> bool:
    sides = value if isinstance(value, tuple) else (value, value)
    return len(sides) == 2 and all(type(side) is int and 1 <= side <= 65_535 for side in sides)


def check_text(settings: Any, name: str) -> None:
    if not isinstance(getattr(settings, name), str):
        raise SettingsError(name, f"{getattr(settings, name)!r} given, must be text")


def check_columns(settings: Any, name: str) -> None:
    """Names of columns, given as texts or as one text with commas."""
    given = getattr(settings, name)
    given = (given,) if isinstance(given, str) else given
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise SettingsError(name, f"{given!r} given, must be names of columns")
    names = tuple(dict.fromkeys(part.strip() for one in given for part in one.split(",") if part.strip()))
    object.__setattr__(settings, name, ("all",) if "all" in names else names)


def check_ascii(settings: Any, name: str) -> None:
    value = getattr(settings, name)
    if not isinstance(value, str) or (value and (not value.isascii() or not value.isprintable() or not value.strip())):
        raise SettingsError(name, f"{value!r} given, must be printable ASCII text")


def check_strings(settings: Any, name: str) -> None:
    value = getattr(settings, name)
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise SettingsError(name, "must be a list of texts")
    object.__setattr__(settings, name, tuple(value))


def check_network(given: str) -> None:
    from ipaddress import ip_network

    try:
        ip_network(given)
    except ValueError as error:
        raise SettingsError("allow_net", f"{given!r} given, must be a network such as 10.1.0.0/16: {error}") from None


def check_name_servers(settings: Any) -> None:
    from ipaddress import ip_address

    for given in settings.name_server:
        address, _, port = given.rpartition(":") if given.count(":") == 1 else (given, "", "53")
        try:
            ip_address(address)
            if not 0 < int(port) < 65_536:
                raise ValueError("no such port")
        except ValueError:
            raise SettingsError(
                "name_server", f"{given!r} given, must be an address such as 1.2.3.4 or 1.2.3.4:53"
            ) from None
    if settings.name_server and settings.resolver != "aiodns":
        raise SettingsError("name_server", "needs --resolver aiodns; the system's resolver has its own")


def check_proxy(given: str, where: str = "") -> None:
    """An HTTP proxy; `where` says where it stood, for people."""
    from crawler import urls

    if given in ("", "none"):
        return
    why = ""
    try:
        url = urls.parse(given)
        if url.scheme == "http" and url.path == "/" and not url.query_string:
            return
    except urls.BadURL as error:
        why = "" if "@" in given else f": {error}"
    raise SettingsError("proxy", f"{where}{_without_password(given)!r} given, must be http://host:port{why}")


def _without_password(given: str) -> str:
    """What can be shown of an address that may be malformed: what stands behind its last @."""
    _, at, behind = given.rpartition("@")
    return f"***@{behind}" if at else given


def check_address(settings: Any, name: str) -> None:
    from crawler import urls

    try:
        urls.parse(getattr(settings, name))
    except urls.BadURL as error:
        raise SettingsError(name, f"{getattr(settings, name)!r} given: {error}") from None


def parse_header(given: str) -> tuple[str, str, str]:
    """Host (empty for all), name and value of a `--header`.

    Raises:
        SettingsError: it is none; at most its name is told, for the value may be a secret.
    """
    found = _HEADER.fullmatch(given.strip())
    if found is None:
        raise SettingsError("header", "a header is `Name: value`, or `HOST Name: value` for one host only")
    host, name, value = (found["host"] or "").lower(), found["name"], found["value"].strip()
    if "." in name or (name == "localhost" and value[:1].isdigit()):
        raise SettingsError("header", "a host with a port is followed by a header: `HOST:PORT Name: value`")
    if not _HEADER_VALUE.fullmatch(value):
        raise SettingsError("header", f"the value of {name} holds a character that no header can hold")
    if name.lower() in _OWN_HEADERS:
        raise SettingsError("header", f"{name} is set by the crawler itself{_OWN_HEADERS[name.lower()]}")
    return host, name, value


_HEADER = re.compile(
    r"(?:(?P<host>(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::\d+)?)\s+)?"
    r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):(?P<value>.*)",
    re.DOTALL,
)


_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")


_OWN_HEADERS = {
    "host": "", "connection": "", "content-length": "", "transfer-encoding": "", "range": "", "accept-encoding": "",
    "if-none-match": "; see --refresh", "if-modified-since": "; see --refresh", "user-agent": "; see --user-agent",
}  # fmt: skip


def check_name(template: str) -> None:
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
        or pieces[0] in METADATA
        or any(piece in ("", ".", "..") or piece.startswith(".") for piece in pieces)
        or "\0" in sample
    ):
        raise SettingsError("name", f"{template!r} must use at least one of {allowed} and stay inside the folder")


_SPEC = re.compile(r"([^{}]?[<>=^])?0?[0-9]{0,3}d?|\.[0-9]{1,3}")
