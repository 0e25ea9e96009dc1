"""Addresses: from what a list says to what can be asked for, its host and its name on disk. Pure and cached."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote

from yarl import URL

MAX_URL_LENGTH = 8192
"""Longest address taken, in characters. Servers refuse longer ones (RFC 9110 4.1 asks for at least 8000)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
_NAME_OF_HOST = re.compile(r"(?=.{1,253}\.?$)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.ASCII)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_PORT = re.compile(r"[^:]+://(?:[^/?#]*@)?(?:\[[^\]/?#]*\]|[^:/?#]*)(?::[0-9]*)?(?:[/?#]|$)", re.ASCII)
_USERINFO = re.compile(
    r"([\x00-\x20\ufeff]*(?:https?:[/\\]*|(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]+))([^/?#\\]*)@", re.ASCII | re.IGNORECASE
)
MASK = "***"
_CODED = "xn--"  # RFC 5890 2.3.1
_BLANKS = "".join(map(chr, range(33)))
_LINE_ENDS = re.compile(r"[\t\r\n]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SESSION_IN_PATH = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/?#]*", re.IGNORECASE)
_SESSION = re.compile(
    r"(?:^|(?<=&))(?:jsessionid|phpsessid|aspsessionid\w*|sessionid|session_id|sid|oscsid|zenid|cfid|cftoken|utm_\w+|gclid|"
    r"fbclid|msclkid|mc_[ce]id|_ga|igshid)=[^&]*(?:&|$)", re.IGNORECASE
)  # fmt: skip
_UNSAFE_IN_NAME = re.compile(r"[^\w.,=@+~-]+")


class BadURL(ValueError):
    """An address that cannot be fetched; the text says why."""


@lru_cache(maxsize=10_240)  # a target is parsed when it comes in and when it is fetched: all that wait in memory, 7 MB
def parse(text: str) -> URL:
    """Return the address behind `text`, ready to be asked for, without its fragment.

    Only `http` and `https` with a host are taken. Nothing is guessed or repaired.

    Raises:
        BadURL: another scheme, no host, a space or control character, a bad port, or more than `MAX_URL_LENGTH`.
    """
    if len(text) > MAX_URL_LENGTH:
        raise BadURL(f"longer than {MAX_URL_LENGTH} characters ({len(text)})")
    if found := _FORBIDDEN.search(text):
        raise BadURL(f"holds a space or control character ({found.group()!r})")
    if "\ufffd" in text or _SURROGATE.search(text):
        raise BadURL("is not UTF-8 text")
    scheme = _SCHEME.match(text)
    if scheme is None or "//" not in text[: scheme.end() + 2]:
        raise BadURL("is not an absolute address such as https://example.org/a.jpg")
    if scheme.group(1).lower() not in ("http", "https"):
        raise BadURL(f"scheme {scheme.group(1)!r} is not http or https")
    try:
        url = URL(text)
        if "[" in text.split("/", 3)[2] and ":" not in (url.raw_host or ""):
            raise BadURL("has an address in brackets that is not IPv6")
        host = url.raw_host or ""
        if not host or not url.port or (_CODED in host and not url.host):
            raise BadURL("has no usable port" if host else "has no host")
        _check_host(host)
        if _PORT.match(text) is None:
            raise BadURL("has a port that is no number")
        return url.with_fragment(None) if "#" in text else url
    except BadURL:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise BadURL(f"is not an address: {error}") from None


@lru_cache(maxsize=4096)
def _check_host(host: str) -> None:
    """Refuse what is no name and no address, also numbers that others would read as an address."""
    if ":" in host:
        if "%" in host and "%25" not in host:
            raise BadURL(f"{host!r} is not an address")
        IPv6Address(host.replace("%25", "%"))
    elif _NUMBER.fullmatch(host):
        IPv4Address(host)
    elif not _NAME_OF_HOST.fullmatch(host):
        raise BadURL(f"{host!r} cannot be the name of a host")


def join(base: URL, reference: str) -> str:
    """The absolute address behind a reference that stands in a page or a `Location` (WHATWG URL, with its tolerance:
    blanks around it are dropped, tabs and line ends in it too, and a backslash is a slash).

    Raises:
        BadURL: no address can be made of it.
    """
    text = _LINE_ENDS.sub("", reference.strip(_BLANKS))
    if "\ufffd" in text or _SURROGATE.search(text):
        raise BadURL("is not UTF-8 text")
    path, mark, rest = _cut(text)
    text = path.replace("\\", "/") + mark + rest
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme.group(1).lower() not in ("http", "https"):
        return text
    try:
        if scheme is not None:  # several slashes, or none, mean two
            rest = text[scheme.end() :]
            if not rest.startswith("//") and scheme.group(1).lower() == base.scheme:
                text = rest
            else:
                text = f"{scheme.group()}//{rest.lstrip('/')}"
        elif text.startswith("//"):
            text = f"//{text.lstrip('/')}"
        if text.rpartition(":")[2][:3] in ("//", "//?", "//#"):
            raise ValueError("it has no host")
        return str(base.join(URL(text.replace(" ", "%20"))))
    except (ValueError, TypeError, IndexError) as error:
        kind = "" if "@" in reference else f": {error}"  # what the library says may repeat a password
        raise BadURL(f"{masked(reference[:200])!r} is not an address{kind}") from None


def _cut(text: str) -> tuple[str, str, str]:
    """Path, mark and the rest, where the first of `?` and `#` begins the rest."""
    at = min((at for at in (text.find("?"), text.find("#")) if at >= 0), default=len(text))
    return text[:at], text[at : at + 1], text[at + 1 :]


def split_credentials(text: str) -> tuple[str, tuple[str, str] | None]:
    """The address with its password masked, and the user and password that stood in it.

    >>> split_credentials("https://ann:secret@example.org/a.jpg")
    ('https://ann:***@example.org/a.jpg', ('ann', 'secret'))
    """
    found = _USERINFO.match(text) if "@" in text else None
    if found is None:
        return text, None
    user, colon, password = found[2].partition(":")
    if password == MASK:
        return text, None
    masked = f"{found[1]}{user}{colon and ':' + MASK}@{text[found.end() :]}"
    return masked, (unquote(user), unquote(password))


def masked(text: str) -> str:
    """The address without its password."""
    return split_credentials(text)[0]


def normalised(url: URL) -> str:
    """The one spelling of an address, by which two are the same (RFC 3986 6.2.2): scheme and host in lower case, IDNA,
    no default port, no dot segments, percent-encoding in upper case. The query is neither sorted nor cut.
    """
    return f"{url.origin()}{url.raw_path_qs}"


def without_user(url: URL) -> URL:
    """The address without the user and password in it."""
    return url.with_user(None) if "@" in url.raw_authority else url


@lru_cache(maxsize=16_384)  # of what is in memory, so that it is found out once and not at both ends of the way
def fingerprint(text: str) -> int | None:
    """64 bits of the normalised address, signed; None if it is no address."""
    try:
        url = parse(text)
    except BadURL:
        return None
    return hash64(normalised(url))


def hash64(text: str) -> int:
    """64 bits of a text, signed."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big", signed=True)


def without_session(url: str) -> str:
    """The address without what only tells a visitor apart, or where he came from."""
    path, mark, query = url.partition("?")
    if ";" in path:
        path = _SESSION_IN_PATH.sub("", path)
    if mark and (kept := _SESSION.sub("", query)) != query:
        return f"{path}?{kept.rstrip('&')}".rstrip("?")
    return path + mark + query


def page_fingerprint(text: str) -> int:
    """64 bits that tell a page apart, whoever visits it; 0 for what is no address."""
    return fingerprint(without_session(text)) or 0


def origin(url: URL) -> str:
    """Scheme, host and port: what a robots.txt speaks for (RFC 9309 2.3)."""
    return str(url.origin())


def host_key(url: URL) -> str:
    """Name under which a host's limits are counted: host and port, one for each server."""
    host = url.raw_host or ""
    if _CODED in host:  # only then: names are decoded for people, and that takes longer than all the rest here
        host = url.host or ""
    return f"{host.removesuffix('.')}:{url.port}"


def looks_like_url(text: str) -> bool:
    """True for text with a scheme, such as an argument that is meant as an address and not as a file."""
    return "://" in text[:32]


def as_text(said: object) -> str:
    """What a list or a server said, as text that can be written anywhere: bytes that are no UTF-8 reach us as lone
    surrogates (PEP 383) and become U+FFFD.
    """
    if isinstance(said, str) and said.isascii():
        return said
    try:
        return str(said).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return str(said).encode("utf-8", "replace").decode()


def safe_name(text: str, limit: int = 100) -> str:
    """`text` as a part of a file name: no separator, no leading dot, at most `limit` bytes of UTF-8, never empty."""
    name = _UNSAFE_IN_NAME.sub("_", text).lstrip(".").encode()[:limit].decode(errors="ignore")
    return name or "_"


def stem(url: URL) -> str:
    """Last part of the path without its ending, safe as a file name: `/a/cat%20one.jpg` gives `cat_one`."""
    last = unquote(url.raw_name)
    return safe_name(last.rpartition(".")[0] or last)
