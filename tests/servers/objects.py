"""An object store in a process of its own (moto's S3), behind a proxy on loopback that fails as it is told.

moto has its objects in memory, so it stays alive while the proxy is "down": to who uses it the store was killed and came
back with everything it had acknowledged. One rule: faults are of the proxy only, what is stored is moto's own matter.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from tests.servers.dns import LIMIT, LOOPBACK, POLL, Listener

START_LIMIT: Final = 60.0
BUCKET: Final = "pictures"
KEY_ID, SECRET = "AKIATHEKEYOFTHETEST", "the-secret-of-the-test"
_PASSED_ON: Final = frozenset({"connection", "expect", "transfer-encoding"})
_CODES: Final = {403: "AccessDenied", 404: "NoSuchBucket", 500: "InternalError", 503: "SlowDown"}


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of being served.

    Attributes:
        status: it is refused with this; 0 serves it.
        cut: so many bytes of what is sent are read, then the connection ends without an answer; -1 is off.
        swallow: it is served, and the connection ends without an answer.
        short: so many bytes of the answer are sent, then the connection ends; -1 is off.
        wait: seconds before anything else.
        hold: before anything else, or with `swallow` when it is served, wait until `Objects.release`.
    """

    status: int = 0
    cut: int = -1
    swallow: bool = False
    short: int = -1
    wait: float = 0.0
    hold: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came: `key` is the path behind the bucket, unquoted."""

    method: str
    bucket: str
    key: str
    query: str
    size: int
    at: float


Rule: TypeAlias = Callable[[Asked], Fault | None]


@dataclass
class Objects:
    """A running store. `rule` says which requests fail; it may be replaced at any time."""

    moto: int
    port: int = 0
    rule: Rule = field(default=lambda _: None)
    entries: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    _server: _Server | None = None
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._held = _bound(0)  # and never listening: the port is ours while nobody listens there
        self.port = self._held.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads the libraries here, and lets them try once: the retries looked at are the crawler's own."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url, "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    # As somebody else sees it, past the proxy.

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self.moto, timeout=LIMIT)
        with contextlib.closing(connection):
            scope = f"Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request"
            signed = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"
            connection.request(method, path, body, {"Authorization": signed})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects below the prefix, without it."""
        found: list[str] = []
        after = ""
        while True:
            query = f"list-type=2&prefix={quote(prefix, safe='')}&start-after={quote(after, safe='')}"
            status, body = self.ask("GET", f"/{BUCKET}?{query}")
            assert status == HTTPStatus.OK, body
            tree = ElementTree.fromstring(body)
            keys = [key.text or "" for key in tree.iterfind(".//{*}Contents/{*}Key")]
            found += keys
            if not keys or tree.findtext("{*}IsTruncated") != "true":
                return sorted(name.removeprefix(prefix).lstrip("/") for name in found)
            after = keys[-1]

    def read(self, name: str) -> bytes:
        status, body = self.ask("GET", f"/{BUCKET}/{quote(name)}")
        assert status == HTTPStatus.OK, (name, status, body)
        return body

    def tree(self, prefix: str) -> dict[str, bytes]:
        """All objects below the prefix."""
        return {name: self.read(f"{prefix}/{name}") for name in self.names(f"{prefix}/")}

    def write(self, name: str, body: bytes) -> None:
        status, said = self.ask("PUT", f"/{BUCKET}/{quote(name)}", body)
        assert status == HTTPStatus.OK, (name, status, said)

    def remove(self, name: str) -> None:
        self.ask("DELETE", f"/{BUCKET}/{quote(name)}")

    # What it is told.

    def fail(self, fault: Fault, method: str = "", key: str = "", times: int = 1 << 30) -> list[Asked]:
        """From now on so many requests with that method and that part of a key fail. Returns those that did."""
        failed: list[Asked] = []
        lock = threading.Lock()

        def rule(asked: Asked) -> Fault | None:
            with lock:
                if len(failed) >= times or method not in ("", asked.method) or key not in asked.key:
                    return None
                failed.append(asked)
                return fault

        self.rule = rule
        return failed

    def mend(self) -> None:
        """Nothing fails any more; whoever is held goes on."""
        self.rule = lambda _: None
        self.release()

    def release(self) -> None:
        self.released.set()
        self.released = threading.Event()

    def reset(self) -> None:
        """Mended, up, with an empty log."""
        self.mend()
        self.up()
        self.entries.clear()

    @property
    def is_up(self) -> bool:
        return self._thread is not None

    def up(self) -> None:
        """Connections are taken (again, at the same port)."""
        if self._thread is not None:
            return
        self._server = _Server(_bound(self.port), _Handler)
        self._server.objects = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL,), name="test server")
        self._thread.start()

    def down(self) -> None:
        """Every connection ends now, and new ones are refused. The port stays taken: nobody else can get it."""
        if self._thread is None or self._server is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._thread = None
        self.release()
        self._server.cut()
        self._server.server_close()  # waits for the thread of every connection

    def close(self) -> None:
        self.ended.set()
        self.down()
        self._held.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    return sock


class _Server(Listener):
    objects: Objects


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        return True  # `_serve` says so, when it is known that what is announced is wanted

    def _serve(self) -> None:
        objects = self.server.objects
        released = objects.released
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.lstrip("/").partition("/")
        size = int(self.headers.get("Content-Length") or 0)
        asked = Asked(self.command, bucket, unquote(key), parts.query, size, time.monotonic())
        objects.entries.append(asked)
        fault = objects.rule(asked) or Fault()
        if fault.wait:
            objects.ended.wait(fault.wait)
        if fault.hold and not fault.swallow:
            released.wait(LIMIT)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        if fault.cut >= 0:
            self.rfile.read(min(fault.cut, size))
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True
            return
        if fault.status:
            self._answer(fault.status, [("Content-Type", "application/xml")], _refusal(fault.status))
            return
        status, headers, answer = self._ask_moto(body)
        if fault.swallow or self.server.ended:
            if fault.hold:
                released.wait(LIMIT)
            self.close_connection = True
        else:
            self._answer(status, headers, answer, fault.short)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names the standard library looks for

    def _ask_moto(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(LOOPBACK, self.server.objects.moto, timeout=LIMIT)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _PASSED_ON:
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, short: int = -1) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of HEAD: there is no body
            elif name.lower() not in _PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if 0 <= short < len(body):
            body, self.close_connection = body[:short], True
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


def _refusal(status: int) -> bytes:
    code = _CODES.get(status, "InternalError")
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told to fail with {status}</Message></Error>".encode()
    )


@contextlib.contextmanager
def running_objects() -> Iterator[Objects]:
    """A store with one empty bucket."""
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "moto.server", "-p", str(port), "-H", LOOPBACK]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(call, stdin=quiet, stdout=quiet, stderr=quiet, cwd=Path(__file__).parents[2]) as process:
        objects = Objects(port)
        try:
            _wait_for(process, port)
            objects.up()
            status, said = objects.ask("PUT", f"/{BUCKET}")
            assert status == HTTPStatus.OK, said
            yield objects
        finally:
            objects.close()
            process.kill()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_LIMIT
    while True:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1.0).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("moto's server did not start") from None
            time.sleep(POLL)
