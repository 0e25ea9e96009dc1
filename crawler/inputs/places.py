"""What a source is: an address to be fetched, standard input, or lists: files here or in a store, and in which format."""

from __future__ import annotations

import os
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from crawler.errors import InputMissing
from crawler.extras import require
from crawler.urls import MASK, looks_like_url, masked

STDIN = "-"
_ENDINGS = {
    ".txt": "txt", ".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_PLAIN_WEB = ("http", "https")
_JOURNAL = ".crawler/journal.sqlite"


def format_of(name: str, chosen: str = "auto") -> str:
    """The format of a list: the chosen one, or what its ending says; `txt` if that says nothing."""
    return chosen if chosen != "auto" else _format_by_ending(name) or "txt"


def _format_by_ending(name: str) -> str | None:
    suffixes = [suffix.lower() for suffix in PurePosixPath(_path(name)).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return _ENDINGS.get(suffixes[-1]) if suffixes else None


def compression_of(name: str) -> str | None:
    """`.gz`, `.bz2`, `.xz` or `.zst`; None for what is not packed."""
    ending = PurePosixPath(_path(name)).suffix.lower()
    return ending if ending in COMPRESSED else None


def _path(name: str) -> str:
    """The part of a name that has its ending."""
    if is_on_the_web(name):
        return urlsplit(name).path
    return name.partition("://")[2].partition("::")[0] if looks_like_url(name) else name


def is_list(source: object, chosen: str = "auto") -> bool:
    """True for what holds targets, False for what is one.

    An address on the web is a picture unless a format is chosen: whoever gave it must not be able to give further ones.
    Addresses of other schemes are lists if they have the ending of one, a `*`, or a slash at their end.
    """
    if not isinstance(source, str):
        return False
    if not looks_like_url(source) or chosen != "auto":
        return True
    if is_on_the_web(source):
        return False
    return _format_by_ending(source) is not None or source.endswith("/") or has_magic(source)


def is_on_the_web(source: str) -> bool:
    return source.partition("://")[0].lower() in _PLAIN_WEB


def could_be_list(source: str) -> str | None:
    """The format that an address on the web would have, if it were a list."""
    return _format_by_ending(source) if is_on_the_web(source) else None


def is_remote(source: str) -> bool:
    return looks_like_url(source)


def files_of(source: str, chosen: str = "auto") -> list[str]:
    """The files behind a list: itself, those in a folder, or those that a pattern with `*` finds, in order. Blocks.

    Raises:
        InputMissing: there is none, or one cannot be read. MissingExtra: fsspec is not installed.
    """
    if source == STDIN:
        return [source]
    if is_remote(source) and chosen != "run":
        return _remote_files(source, chosen)
    path = Path(source)
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputMissing(f"{source[:100]}: cannot be a list: {getattr(error, 'strerror', None) or error}") from None
    if chosen == "run":
        return [source]  # whoever opens it says what it is
    if path.is_dir():
        return _in_folder(source, chosen)
    if not path.exists() and has_magic(source):
        if found := sorted(name for name in glob(source, recursive=True) if Path(name).is_file()):  # noqa: PTH207
            return [name for one in found for name in files_of(one, chosen)]
        raise InputMissing(f"{source}: no file has such a name")
    if not path.exists():
        raise InputMissing(f"{source}: no such file; give a text file with one URL a line, a URL with its scheme, or -")
    if not os.access(path, os.R_OK):
        raise InputMissing(f"{source}: cannot be read, permission denied")
    return [source]


def _in_folder(source: str, chosen: str) -> list[str]:
    if os.path.exists(os.path.join(source, _JOURNAL)):  # noqa: PTH110, PTH118 - a folder may refuse to be looked into
        raise InputMissing(f"{source}: is the folder of a run; to take its targets as input: --input-format run")
    try:
        with os.scandir(source or ".") as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
        names = sorted(entry.path for entry in seen if _format_by_ending(entry.name) and entry.is_file())
    except OSError as error:
        raise InputMissing(f"{source}: cannot be listed: {error.strerror or error}") from None
    wanted = [name for name in names if _belongs(name, chosen)]
    if not wanted:
        raise InputMissing(
            f"{source}: is a folder without {'lists' if chosen == 'auto' else f'{chosen} files'}; "
            f"give a file, or a folder with files that end in {', '.join(_ENDINGS)}"
        )
    return [name for one in wanted for name in files_of(one, chosen)]


def _belongs(name: str, chosen: str) -> bool:
    found = _format_by_ending(name)
    return found is not None and chosen in ("auto", found)


def _remote_files(source: str, chosen: str) -> list[str]:
    require("fsspec", "sources", masked(source))
    import fsspec

    if is_on_the_web(source):
        return [source]
    try:
        system, path = fsspec.core.url_to_fs(source)
        if has_magic(source) and not system.exists(path):
            found = [name for name in sorted(system.glob(path)) if not _hidden(name)]
        elif system.isdir(path):
            found = [
                name for name in sorted(system.ls(path, detail=False)) if _belongs(name, chosen) and not _hidden(name)
            ]
        else:
            found = [path] if system.exists(path) else []
    except Exception as error:  # whatever the library behind the scheme says
        raise InputMissing(f"{masked(source)}: cannot be read: {told(error, source)}") from None
    if not found:
        raise InputMissing(f"{masked(source)}: there is no such file, or no list in that folder")
    return [system.unstrip_protocol(name) for name in found]


def _hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def is_regular(name: str) -> bool:
    """True for a file of this machine that can be read more than once, which a pipe cannot."""
    return Path(name).is_file()


def told(error: BaseException, source: str = "") -> str:
    """What a library says, in one line and without the password that a source has in it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        text = "there is no such file"
    user, at, _ = source.partition("://")[2].partition("/")[0].rpartition("@")
    if at:
        for secret in filter(None, {user, user.partition(":")[2]}):
            text = text.replace(secret, MASK)
    return masked(" ".join(text.split()))[:300]
