"""The test servers do what their catalogue says, seen through the standard library only."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from PIL import Image, ImageOps

from tests.servers import faults as catalogue
from tests.servers import pictures
from tests.servers.handle import Faults, running_faults
from tests.servers.nginx import find_nginx, running_nginx

LIMIT: Final = 10.0
HOSTS: Final = ("127.0.0.1", "127.0.0.2")

needs_cases = pytest.mark.skipif("CRAWLER_CASES" not in os.environ, reason="CRAWLER_CASES is not set")
needs_nginx = pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed")


@pytest.fixture(scope="module")
def running() -> Iterator[Faults]:
    with running_faults(HOSTS) as faults:
        yield faults


@pytest.fixture
def faults(running: Faults) -> Faults:
    running.reset()
    return running


def ask(faults: Faults, path: str, host: str = HOSTS[0]) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request on a connection of its own, redirects not followed."""
    connection = http.client.HTTPConnection(host, faults.port, timeout=LIMIT)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def opened(faults: Faults, path: str, limit: float = LIMIT) -> socket.socket:
    """A socket on which this path has been asked for; a read waits no longer than `limit`."""
    sock = socket.create_connection((HOSTS[0], faults.port), timeout=limit)
    sock.sendall(f"GET /{path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
    return sock


def wire(faults: Faults, path: str) -> bytes:
    """Every byte up to the end of the connection."""
    with opened(faults, path) as sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


def at_least(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(65536)):
        data += piece
    return data


@pytest.mark.parametrize("name", ["good.jpg", "good.png", "good.webp", "good.gif"])
def test_good_pictures_have_the_size_asked_for_and_never_change(faults: Faults, name: str) -> None:
    status, headers, body = ask(faults, f"{name}?w=60&h=40&seed=3")
    with Image.open(io.BytesIO(body)) as image:
        assert (status, image.size) == (200, (60, 40))
        assert headers["Content-Type"] == image.get_format_mimetype()
    assert ask(faults, f"{name}?w=60&h=40&seed=3")[2] == body
    assert ask(faults, f"{name}?w=60&h=40&seed=4")[2] != body


def test_tiny_pictures_differ_in_bytes_only(faults: Faults) -> None:
    one, two = ask(faults, "tiny/1.jpg")[2], ask(faults, "tiny/2.jpg")[2]
    assert one != two
    assert Image.open(io.BytesIO(one)).tobytes() == Image.open(io.BytesIO(two)).tobytes()


def test_a_connection_is_kept_for_the_next_request(faults: Faults) -> None:
    connection = http.client.HTTPConnection(HOSTS[0], faults.port, timeout=LIMIT)
    for path in ("/tiny/1.jpg", "/status/404", "/empty", "/status/204"):
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()
    assert len({entry["connection"] for entry in faults.log()}) == 1
    assert faults.stats()["connections"] == 1


@pytest.mark.parametrize("code", [403, 404, 410, 429, 500, 503, 999])
def test_status_is_the_one_asked_for(faults: Faults, code: int) -> None:
    status, headers, body = ask(faults, f"status/{code}?retry_after=7")
    assert (status, headers["Retry-After"], body) == (code, "7", catalogue.PAGE)


@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("html", "text/html", b"<!doctype"),
        ("html-as-jpeg", "image/jpeg", b"<!doctype"),
        ("wrong-type", "text/plain", b"\xff\xd8"),
        ("no-type", None, b"\xff\xd8"),
        ("empty", "image/jpeg", b""),
    ],
)
def test_mislabelled_bodies(faults: Faults, path: str, kind: str | None, start: bytes) -> None:
    status, headers, body = ask(faults, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert body.startswith(start)
    assert bool(body) == bool(start)


def test_truncated_file_is_a_whole_answer(faults: Faults) -> None:
    body = ask(faults, "truncated-file")[2]
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(body)).load()


def test_bomb_claims_more_pixels_than_pillow_accepts(faults: Faults) -> None:
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(ask(faults, "bomb.png")[2]))


def test_big_pixels_are_really_there(faults: Faults) -> None:
    with Image.open(io.BytesIO(ask(faults, "big-pixels.png?w=4000&h=3000")[2])) as image:
        image.load()
        assert image.size == (4000, 3000)


@pytest.mark.parametrize("path", ["cut-body", "cut-chunked"])
def test_cut_bodies_end_early(faults: Faults, path: str) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(faults, path)


@pytest.mark.parametrize("path", ["cut-body-reset", "reset-at-once"])
def test_resets_are_resets(faults: Faults, path: str) -> None:
    with pytest.raises(ConnectionResetError):
        wire(faults, path)


def test_close_at_once_sends_nothing_and_not_http_a_banner(faults: Faults) -> None:
    assert wire(faults, "close-at-once") == b""
    assert wire(faults, "not-http").startswith(b"SSH-")


def test_kept_connections_that_close(faults: Faults) -> None:
    assert wire(faults, "keepalive-close").count(b"HTTP/1.1 200") == 1
    connection = http.client.HTTPConnection(HOSTS[0], faults.port, timeout=LIMIT)
    connection.request("GET", "/keepalive-drop")
    assert connection.getresponse().read() == catalogue.reference()
    connection.request("GET", "/keepalive-drop")
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()


def test_no_answer_keeps_silent_until_the_client_leaves(faults: Faults) -> None:
    with opened(faults, "no-answer", limit=0.2) as sock, pytest.raises(TimeoutError):
        sock.recv(1)
    assert finished(faults)["sent"] == 0


def test_stall_body_stops_after_one_kilobyte(faults: Faults) -> None:
    with opened(faults, "stall-body", limit=0.2) as sock, pytest.raises(TimeoutError):
        at_least(sock, 10_000)
    assert 1024 < finished(faults)["sent"] < 1400  # type: ignore[operator]


def test_drip_sends_byte_by_byte(faults: Faults) -> None:
    with opened(faults, "drip?every=0.01") as sock:
        body = at_least(sock, 110).partition(b"\r\n\r\n")[2]
    assert catalogue.reference().startswith(body)


@pytest.mark.parametrize("path", ["endless-body", "endless-headers"])
def test_endless_answers_go_on_and_end_with_the_client(faults: Faults, path: str) -> None:
    with opened(faults, path) as sock:
        assert len(at_least(sock, 2_000_000)) >= 2_000_000
    assert finished(faults)["end"] is not None


def test_huge_length_promises_ten_terabytes(faults: Faults) -> None:
    with opened(faults, "huge-length") as sock:
        assert b"Content-Length: 10995116277760\r\n" in sock.recv(4096)


def test_big_is_a_picture_of_exactly_so_many_bytes(faults: Faults) -> None:
    body = ask(faults, "big?bytes=300001")[2]
    assert len(body) == 300_001
    Image.open(io.BytesIO(body)).load()


def test_gzip_picture_unpacks_to_a_picture(faults: Faults) -> None:
    _, headers, body = ask(faults, "gzip-picture")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == catalogue.reference()


def test_gzip_bomb_is_a_valid_gigabyte_in_a_megabyte(faults: Faults) -> None:
    body = ask(faults, "gzip-bomb")[2]
    assert len(body) < 2_000_000
    unpack, size, data = zlib.decompressobj(31), 0, body
    while not unpack.eof:
        size += len(unpack.decompress(data, 2**24))
        data = unpack.unconsumed_tail
    assert size == 2**30


def test_redirects(faults: Faults) -> None:
    assert ask(faults, "redirect?to=http://a.test/x&code=307")[:1] == (307,)
    locations = {
        path: ask(faults, path)[1]["Location"]
        for path in ("redirect-loop", "redirect-no-location", "redirect-mailto", "redirect-file")
    }
    assert locations == {
        "redirect-loop": "/redirect-loop",
        "redirect-no-location": None,
        "redirect-mailto": "mailto:user@example.com",
        "redirect-file": "file:///etc/passwd",
    }


def test_redirect_chain_ends_in_a_picture_after_so_many_hops(faults: Faults) -> None:
    with urllib.request.urlopen(faults.url("redirect-chain/3"), timeout=LIMIT) as answer:
        assert answer.read() == catalogue.reference()
    assert len(faults.log()) == 4


def test_flaky_fails_so_often_for_each_path_and_query(faults: Faults) -> None:
    seen = [ask(faults, "flaky/a?fails=2&retry_after=1") for _ in range(3)]
    assert [status for status, _, _ in seen] == [503, 503, 200]
    assert [headers["Retry-After"] for _, headers, _ in seen] == ["1", "1", None]
    assert ask(faults, "flaky/b?fails=2&code=429")[0] == 429
    with pytest.raises(ConnectionResetError):
        ask(faults, "flaky/a?fails=1&code=reset")
    assert ask(faults, "flaky/a?fails=1&code=reset")[0] == 200
    faults.reset()
    assert ask(faults, "flaky/a?fails=2&retry_after=1")[0] == 503


def test_slow_answers_after_its_delay(faults: Faults) -> None:
    assert ask(faults, "slow?delay=0.2")[0] == 200
    (entry,) = faults.log()
    assert entry["end"] - entry["start"] >= 0.2


def test_log_and_stats_tell_hosts_apart(faults: Faults) -> None:
    with ThreadPoolExecutor(4) as pool:
        hosts = [HOSTS[0], HOSTS[0], HOSTS[0], HOSTS[1]]
        list(pool.map(lambda host: ask(faults, "slow?delay=0.3", host), hosts))
    stats = faults.stats()
    assert (stats["total"], stats["connections"], stats["active"]) == (4, 4, {})
    assert stats["concurrent"] == {HOSTS[0]: 3, HOSTS[1]: 1}
    entry = faults.log()[0]
    assert entry["headers"]["host"] == entry["host"] == f"{entry['local']}:{faults.port}"
    assert entry["path"] == "/slow?delay=0.3"
    faults.reset()
    assert (faults.log(), faults.stats()["total"]) == ([], 0)


def test_what_is_not_in_the_catalogue_is_not_found(faults: Faults) -> None:
    assert ask(faults, "robots.txt")[0] == 404
    assert set(catalogue.CATALOGUE) <= {
        line.split()[0].lstrip("/") for line in ask(faults, "")[2].decode().splitlines()
    }


@needs_cases
def test_every_scripted_fault_uses_known_steps_and_starts(faults: Faults) -> None:
    silent = {"no-response", "rst-no-bytes", "reset-then-ok"}
    for name, steps in catalogue.scripts().items():
        assert {next(iter(step)) for step in steps} <= set(catalogue.STEPS)
        with opened(faults, f"wire/{name}", 0.1 if name in silent else LIMIT) as sock:
            try:
                assert not sock.recv(4096).startswith(b"HTTP/1.1 500 Internal"), name
            except (TimeoutError, ConnectionResetError):
                assert name in silent


@needs_cases
def test_scripted_faults_keep_to_their_script(faults: Faults) -> None:
    assert ask(faults, "wire/chunk-ext-trailers")[2] == catalogue.reference()
    assert gzip.decompress(ask(faults, "wire/gzip-ok")[2]) == catalogue.reference()
    assert ask(faults, "wire/slow-ok")[2] == catalogue.reference()
    assert [ask(faults, "wire/503-then-ok")[0] for _ in range(3)] == [503, 200, 200]
    assert ask(faults, "wire/redirect-self")[1]["Location"] == faults.url("wire/redirect-self")
    with pytest.raises(http.client.IncompleteRead):
        ask(faults, "wire/trunc-cl-fin")
    with pytest.raises(ConnectionResetError):
        wire(faults, "wire/trunc-cl-rst")


def test_the_server_ends_with_its_stdin_and_says_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "dev", "-m", "tests.servers.faults"]
    with (tmp_path / "stderr").open("w+b") as errors:
        pipes = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipes, stdout=pipes, stderr=errors) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            faults = Faults(json.loads(process.stdout.readline())["port"], HOSTS[:1], process.pid)
            with opened(faults, "no-answer"), opened(faults, "endless-body") as sock:
                assert sock.recv(1)
                process.stdin.close()
                assert process.wait(LIMIT) == 0
        errors.seek(0)
        assert errors.read() == b""


def test_only_loopback_is_served() -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        catalogue.bind(["0.0.0.0"])


@needs_nginx
def test_nginx_serves_a_folder_on_every_host(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg(40, 30))
    with running_nginx(tmp_path, HOSTS, access_log=True) as nginx:
        for host in HOSTS:
            with urllib.request.urlopen(nginx.url("a.jpg", host), timeout=LIMIT) as answer:
                assert answer.headers["Content-Type"] == "image/jpeg"
                assert answer.read() == pictures.jpeg(40, 30)
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            urllib.request.urlopen(nginx.url("missing"), timeout=LIMIT)
        missing.value.close()
        urllib.request.urlopen(nginx.url("a.jpg"), timeout=LIMIT).close()
        assert nginx.access_log is not None
        # The last line may not be written yet; those before it are, as one process answers one by one.
        lines = nginx.access_log.read_text().splitlines()[:3]
        assert [line.split('"')[4].strip() for line in lines] == ["200", "200", "404"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOSTS[0], nginx.port), timeout=LIMIT).close()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_png_has_the_mode_asked_for(mode: str) -> None:
    with Image.open(io.BytesIO(pictures.png(20, 10, mode=mode))) as image:
        assert (image.mode, image.size) == (mode, (20, 10))
        assert ("transparency" in image.info) == (mode == "P")


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_quadrants_are_upright_once_the_tag_is_obeyed(orientation: int | None) -> None:
    with Image.open(io.BytesIO(pictures.quadrants(64, 48, orientation))) as image:
        upright = ImageOps.exif_transpose(image)
        assert upright.size == (64, 48)
        assert pictures.quadrant_names(upright) == tuple(pictures.QUADRANTS)
        assert (pictures.quadrant_names(image) == tuple(pictures.QUADRANTS)) == (orientation in (None, 1))


def finished(faults: Faults) -> dict[str, object]:
    """The only request in the log, once it has ended: a server sees a client leave a moment after it did."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        (entry,) = faults.log()
        if entry["end"] is not None:
            return entry
    raise AssertionError("the request did not end")
