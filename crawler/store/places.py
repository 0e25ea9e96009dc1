"""Where finished files go: a folder here, or a store behind fsspec. A file is whole when its name appears."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, Protocol, TypeVar, cast

from crawler.disk import disk_errors, flush
from crawler.errors import StoreError, StoreStopped, in_one_line
from crawler.urls import masked

Value = TypeVar("Value")

_WHOLE_AT_ONCE = frozenset({
    "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2", "hf", "memory", "ocis", "swift", "oci",
})  # fmt: skip
"""Stores in which an object appears when all of it is there. Elsewhere a file gets its name when it is whole."""
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_LOOK_EVERY, _GRACE = 0.5, 5.0
_PERMANENT = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Place(Protocol):
    """All calls block, from any thread.

    Raises: StoreError, if it cannot be reached or written.
    """

    staging: Path
    """A folder on this machine where files are made."""

    def names(self) -> list[str]:
        """The files that lie directly in it."""
        ...

    def publish(self, files: Sequence[tuple[Path, str]]) -> None:
        """Move finished files to their names, one after the other."""
        ...

    def fetch(self, name: str) -> Path:
        """A published file as one that can be read here; if it is not there, neither is that."""
        ...

    def release(self, name: str) -> None:
        """A fetched file is not needed any more."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """A published file, of which only parts may be read."""
        ...

    def stop(self) -> None:
        """Give up what is being tried again."""
        ...

    def close(self) -> None:
        """End the connections to it."""
        ...


class LocalPlace:
    """A folder of this machine."""

    def __init__(self, folder: Path, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        self.staging = folder / ".crawler/tmp"

    def names(self) -> list[str]:
        with disk_errors(self._folder):
            return [entry.name for entry in os.scandir(self._folder) if entry.is_file()]

    def publish(self, files: Sequence[tuple[Path, str]]) -> None:
        with disk_errors(self._folder):
            for path, name in files:
                if self._durable:
                    flush(path)
                os.replace(path, self._folder / name)
            if self._durable:
                flush(self._folder)

    def fetch(self, name: str) -> Path:
        return self._folder / name

    def release(self, name: str) -> None:
        return None

    def open(self, name: str) -> IO[bytes]:
        with disk_errors(self._folder):
            return (self._folder / name).open("rb")

    def stop(self) -> None:
        return None

    def close(self) -> None:
        return None


class RemotePlace:
    """An address in a store.

    Args:
        address: as the user gave it.
        home: a folder of this machine for what is under way.
        patience: seconds that the store may fail before that is an error.
        say: is told when it fails and when it works again.
    """

    def __init__(self, address: str, home: Path, patience: float, say: Callable[[str], None] = lambda _: None) -> None:
        import fsspec

        self._shown = masked(address)
        self.staging = home / "tmp"
        self._patience = patience
        self._say = say
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._failing = False
        scheme = address.partition("://")[0].lower()
        self._atomic = scheme in _WHOLE_AT_ONCE
        try:
            self.system, path = fsspec.core.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise StoreError(f"{self._shown}: {error}") from None
        except Exception as error:
            raise StoreError(f"{self._shown}: cannot be opened: {_told(error)}") from None
        self._root = path.rstrip("/")
        # The same in every run of this journal, so that what a kill leaves of the probe goes with the next one.
        self._mark = blake2b(os.fsencode(home.absolute()), digest_size=4).hexdigest()
        if hasattr(self.system, "retries"):  # s3fs: it waits here, where it can be stopped
            self.system.retries = 1

    def check(self) -> None:
        """Find out now whether it can be written, by writing an empty file and removing it."""
        if not self._atomic:
            self._try("make the folder", lambda: self.system.makedirs(self._root, exist_ok=True), patience=0.0)
        self._try("write", lambda: self._probe(f"{self._root}/.crawler-{self._mark}"), patience=0.0)

    def _probe(self, path: str) -> None:
        self.system.pipe_file(path, b"crawler")
        self.system.rm_file(path)

    def names(self) -> list[str]:
        found = self._try("list", lambda: self.system.ls(self._root, detail=True), missing_ok=True) or []
        return [entry["name"].rpartition("/")[2] for entry in found if entry.get("type") != "directory"]

    def publish(self, files: Sequence[tuple[Path, str]], keep: bool = False) -> None:
        for path, name in files:
            self._try(f"upload {name}", lambda path=path, name=name: self._upload(path, name))  # type: ignore[misc]
            if not keep:
                path.unlink(missing_ok=True)

    def _upload(self, path: Path, name: str) -> None:
        self._whole(name, lambda address: self.system.put_file(str(path), address))

    def write(self, name: str, data: bytes) -> None:
        """A small file."""
        self._try(f"upload {name}", lambda: self._whole(name, lambda address: self.system.pipe_file(address, data)))

    def _whole(self, name: str, send: Callable[[str], None]) -> None:
        """Send a file so that it has its name when it is whole, and not before."""
        whole = f"{self._root}/{name}"
        if self._atomic:
            send(whole)
            return
        folder, _, last = whole.rpartition("/")
        temporary = f"{folder}/.{last}.part"
        self.system.makedirs(folder, exist_ok=True)
        send(temporary)
        self.system.mv(temporary, whole)

    def exists(self, name: str) -> bool:
        return bool(self._try(f"look for {name}", lambda: self.system.exists(f"{self._root}/{name}")))

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None if it is not there."""
        found: bytes | None = self._try(
            f"read {name}", lambda: self.system.cat_file(f"{self._root}/{name}"), missing_ok=True
        )
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are left out."""
        for name in names:
            self._try(f"remove {name}", lambda name=name: self.system.rm_file(f"{self._root}/{name}"), missing_ok=True)  # type: ignore[misc]

    def fetch(self, name: str) -> Path:
        path = self._fetched(name)
        with disk_errors(self.staging):
            self.staging.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        self._try(f"read {name}", lambda: self.system.get_file(f"{self._root}/{name}", str(path)), missing_ok=True)
        return path

    def open(self, name: str) -> IO[bytes]:
        found = self._try(f"read {name}", lambda: self.system.open(f"{self._root}/{name}", "rb"))
        assert found is not None
        return cast("IO[bytes]", found)

    def release(self, name: str) -> None:
        self._fetched(name).unlink(missing_ok=True)

    def _fetched(self, name: str) -> Path:
        return self.staging / f"published-{name}"

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        """End the connections: left to the garbage collector they would be closed in another loop's time."""
        session = getattr(self.system, "_s3", None) or getattr(self.system, "_session", None)
        closing = getattr(self.system, "close_session", None)
        if session is not None and closing is not None and self.system.loop is not None:
            with suppress(Exception):
                closing(self.system.loop, session)

    def _try(
        self, what: str, function: Callable[[], Value], missing_ok: bool = False, patience: float | None = None
    ) -> Value | None:
        """Again and again, at growing distances, while the store fails in a way that can pass."""
        limit = self._patience if patience is None else patience
        delay, began = _FIRST_DELAY, 0.0
        found: Value | None = None
        while True:
            try:
                found = self._unless_stopped(function)
                break
            except Exception as error:  # whatever the library behind the scheme says
                if missing_ok and isinstance(error, FileNotFoundError):
                    break
                now = time.monotonic()
                began = began or now
                if self._stopped.is_set() and not isinstance(error, _PERMANENT):
                    raise StoreStopped(f"{self._shown}: cannot {what}: {_told(error)}") from error
                if isinstance(error, _PERMANENT) or now - began + delay > limit:
                    raise self._failed(what, error, now - began) from error
                if self._changed(failing=True):
                    self._say(f"{self._shown}: cannot {what} ({_told(error)}); trying again for {limit:g} s")
                self._stopped.wait(delay)
                delay = min(delay * 2, _LONGEST_DELAY)
        if began and self._changed(failing=False):
            self._say(f"{self._shown}: works again after {time.monotonic() - began:.0f} s")
        return found

    def _unless_stopped(self, function: Callable[[], Value]) -> Value:
        """Call it, and do not wait for ever for a store that says nothing once the run is being stopped."""
        ended: Future[Value] = Future()

        def work() -> None:
            try:
                ended.set_result(function())
            except BaseException as error:
                ended.set_exception(error)

        threading.Thread(target=work, name="fsspec-call", daemon=True).start()
        since = 0.0
        while True:
            try:
                return ended.result(_LOOK_EVERY)
            except TimeoutError:
                if ended.done():
                    raise
                if self._stopped.is_set():
                    since = since or time.monotonic()
                    if time.monotonic() - since > _GRACE:
                        raise StoreStopped(f"{self._shown}: does not answer") from None

    def _changed(self, failing: bool) -> bool:
        """Note how it goes. True if that is news: of several files that wait for the same store one tells."""
        with self._lock:
            before, self._failing = self._failing, failing
            return before != failing

    def _failed(self, what: str, error: Exception, seconds: float) -> StoreError:
        tried = f" after {seconds:.0f} s of trying" if seconds else ""
        advice = "check the bucket and your rights" if isinstance(error, _PERMANENT) else "see that it works"
        return StoreError(
            f"{self._shown}: cannot {what}{tried}: {_told(error)}; {advice} "
            "and run the same command again, it goes on where it was"
        )


def _told(error: BaseException) -> str:
    return masked(in_one_line(error))[:300]
