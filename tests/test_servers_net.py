"""The DNS, HTTPS and proxy servers of the tests do what they say, seen through the standard library only."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.servers.dns import NXDOMAIN, SERVFAIL, Answer, Delay, Dns, Silence, Step, running_dns
from tests.servers.handle import Faults
from tests.servers.proxy import Proxy, running_proxy
from tests.servers.tls import PICTURE, Tls, running_tls

LIMIT: Final = 10.0
LOOPBACK: Final = "127.0.0.1"
A, AAAA, TXT = 1, 28, 16
MANY: Final = tuple(f"127.0.1.{number}" for number in range(1, 61))


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """These servers are threads of the test's own process; all of them end with it."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def question(name: str, kind: int, number: int = 7) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


def read(reply: bytes, asked: bytes) -> tuple[int, bool, list[tuple[str, int]]]:
    """The code, whether it was truncated, and address and TTL of every record."""
    number, flags, _, count, _, _ = struct.unpack_from(">6H", reply)
    assert number == struct.unpack_from(">H", asked)[0]
    assert flags & 0x8000
    assert reply[12 : len(asked)] == asked[12:]
    records, at = [], len(asked)
    for _ in range(count):
        pointer, kind, _, ttl, size = struct.unpack_from(">HHHIH", reply, at)
        assert pointer == 0xC00C
        family = socket.AF_INET if kind == A else socket.AF_INET6
        records.append((socket.inet_ntop(family, reply[at + 12 : at + 12 + size]), ttl))
        at += 12 + size
    assert at == len(reply)
    return flags & 0xF, bool(flags & 0x0200), records


def over_udp(dns: Dns, name: str, kind: int = A, limit: float = LIMIT) -> tuple[int, bool, list[tuple[str, int]]]:
    asked = question(name, kind)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(limit)
        sock.sendto(asked, (LOOPBACK, dns.port))
        return read(sock.recv(4096), asked)


def over_tcp(dns: Dns, name: str, kind: int = A) -> tuple[int, bool, list[tuple[str, int]]]:
    asked = question(name, kind)
    with socket.create_connection((LOOPBACK, dns.port), timeout=LIMIT) as sock, sock.makefile("rb") as stream:
        sock.sendall(struct.pack(">H", len(asked)) + asked)
        return read(stream.read(int.from_bytes(stream.read(2))), asked)


@pytest.mark.parametrize("ask", [over_udp, over_tcp])
def test_dns_answers_each_family_and_type(ask: Callable[..., tuple[int, bool, list[tuple[str, int]]]]) -> None:
    answers: dict[str, list[Step]] = {
        "both.test": [Answer(("127.0.0.1", "::1", "127.0.0.2"), ttl=90)],
        "four.test": [Answer(("127.0.0.1",))],
        "broken.test": [SERVFAIL],
        "gone.test": [NXDOMAIN],
    }
    with running_dns(answers) as dns:
        assert ask(dns, "both.test") == (0, False, [("127.0.0.1", 90), ("127.0.0.2", 90)])
        assert ask(dns, "Both.TEST", AAAA) == (0, False, [("::1", 90)])
        assert ask(dns, "four.test", AAAA) == (0, False, [])
        assert ask(dns, "four.test", TXT) == (0, False, [])
        assert ask(dns, "broken.test") == (2, False, [])
        assert ask(dns, "gone.test") == ask(dns, "unknown.test") == (3, False, [])
        assert [entry[:2] for entry in dns.log()][1:4] == [
            ("both.test", "AAAA"),
            ("four.test", "AAAA"),
            ("four.test", "TYPE16"),
        ]
        assert dns.address == f"127.0.0.1:{dns.port}"


def test_dns_walks_a_script_and_starts_again_after_a_reset() -> None:
    with running_dns({"a.test": [SERVFAIL, Answer(("127.0.0.1",), 1), Answer(("127.0.0.2",), 0)]}) as dns:
        walk = [over_udp(dns, "a.test") for _ in range(4)]
        assert walk == [(2, False, []), (0, False, [("127.0.0.1", 1)]), *[(0, False, [("127.0.0.2", 0)])] * 2]
        assert over_udp(dns, "a.test", AAAA)[0] == 2  # a walk of its own
        dns.reset()
        assert dns.log() == []
        assert over_udp(dns, "a.test")[0] == 2


def test_dns_keeps_silent_and_ignores_what_is_no_question() -> None:
    with running_dns({"a.test": [Silence(), Answer(("127.0.0.1",))]}) as dns:
        with pytest.raises(TimeoutError):
            over_udp(dns, "a.test", limit=0.2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for junk in (b"", b"\0", bytes(11), bytes(12), question("a.test", A)[:-1]):
                sock.sendto(junk, (LOOPBACK, dns.port))
        assert over_udp(dns, "a.test")[2] == [("127.0.0.1", 60)]
        assert len(dns.log()) == 2


def test_dns_truncates_over_udp_and_not_over_tcp() -> None:
    with running_dns({"many.test": [Answer(MANY)]}) as dns:
        assert over_udp(dns, "many.test") == (0, True, [])
        assert over_tcp(dns, "many.test") == (0, False, [(address, 60) for address in MANY])


def test_dns_counts_the_delayed_questions() -> None:
    answers = {f"{number}.test": [Delay(0.5, Answer(("127.0.0.1",)))] for number in range(5)}
    with running_dns(answers) as dns, ThreadPoolExecutor(5) as pool:
        start = time.monotonic()
        assert {code for code, _, _ in pool.map(lambda name: over_udp(dns, name), answers)} == {0}
        assert time.monotonic() - start >= 0.5
        assert dns.most_at_once() == 5
        assert all(entry.at >= start for entry in dns.log())
        dns.reset()
        assert dns.most_at_once() == 0


def test_dns_ends_while_questions_wait() -> None:
    with contextlib.ExitStack() as sockets:
        with running_dns({"slow.test": [Delay(60, NXDOMAIN)]}) as dns:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = sockets.enter_context(socket.socket(socket.AF_INET, kind))
                sock.connect((LOOPBACK, dns.port))
                asked = question("slow.test", A)
                sock.sendall(asked if kind == socket.SOCK_DGRAM else struct.pack(">H", len(asked)) + asked)
            end = time.monotonic() + LIMIT
            while dns.most_at_once() < 2 and time.monotonic() < end:
                time.sleep(0.01)
            start = time.monotonic()
        assert time.monotonic() - start < 5


def fetch(tls: Tls, path: str, name: str = LOOPBACK, trusted: bool = True) -> tuple[int, bytes]:
    """One GET from `name`, whose address is the server's."""
    context = ssl.create_default_context(cafile=str(tls.ca_file) if trusted else None)
    with (
        socket.create_connection((tls.hosts[0], tls.port), timeout=LIMIT) as plain,
        context.wrap_socket(plain, server_hostname=name) as sock,
    ):
        return get(sock, path)


def get(sock: socket.socket, target: str, *lines: str, method: str = "GET") -> tuple[int, bytes]:
    sock.sendall("\r\n".join([f"{method} {target} HTTP/1.1", "Host: a.test", *lines, "", ""]).encode())
    answer = http.client.HTTPResponse(sock, method=method)
    answer.begin()
    with answer:
        tunnel = method == "CONNECT" and answer.status == 200  # what follows is not an answer's body
        return answer.status, b"" if tunnel else answer.read()


def test_tls_serves_a_picture_to_who_trusts_its_ca() -> None:
    with running_tls(hosts=("127.0.0.1", "127.0.0.2")) as tls:
        assert tls.url("/a.jpg", "127.0.0.2") == f"https://127.0.0.2:{tls.port}/a.jpg"
        assert fetch(tls, "/a.jpg?b=1") == (200, PICTURE)
        assert fetch(tls, "/robots.txt") == (404, b"")
        assert [(entry["method"], entry["path"]) for entry in tls.log()] == [
            ("GET", "/a.jpg?b=1"),
            ("GET", "/robots.txt"),
        ]
        assert tls.log()[0]["headers"]["host"] == "a.test"
        tls.reset()
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
            fetch(tls, "/a.jpg", trusted=False)
        assert tls.log() == []
    assert not tls.ca_file.exists()


def test_tls_for_another_host_is_good_for_that_host_only() -> None:
    with running_tls(certificate_for=("other.test",)) as tls:
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            fetch(tls, "/a.jpg")
        assert fetch(tls, "/a.jpg", "other.test") == (200, PICTURE)


def test_tls_can_be_expired() -> None:
    with running_tls(expired=True) as tls, pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        fetch(tls, "/a.jpg")


def test_tls_ends_with_connections_open() -> None:
    """One in the middle of its handshake, one between two requests."""
    with contextlib.ExitStack() as sockets:
        with running_tls() as tls:
            context = ssl.create_default_context(cafile=str(tls.ca_file))
            plain = sockets.enter_context(socket.create_connection((LOOPBACK, tls.port), timeout=LIMIT))
            idle = sockets.enter_context(socket.create_connection((LOOPBACK, tls.port), timeout=LIMIT))
            kept = sockets.enter_context(context.wrap_socket(idle, server_hostname=LOOPBACK))
            assert get(kept, "/a.jpg") == get(kept, "/b.jpg") == (200, PICTURE)
            start = time.monotonic()
        assert time.monotonic() - start < 5
        assert plain.recv(1) == b""


def through(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=LIMIT)


def test_proxy_passes_a_get_on(faults: Faults) -> None:
    with running_proxy(reroute={"pictures.test:80": (LOOPBACK, faults.port)}) as proxy:
        with through(proxy) as sock:
            status, body = get(sock, "http://pictures.test/good.jpg?a=b", "X-Mark: 1", "Proxy-Connection: keep-alive")
        assert (status, body[:2]) == (200, b"\xff\xd8")
        with through(proxy) as sock:
            assert get(sock, faults.url("good.jpg"))[0] == 200
        assert proxy.url == f"http://127.0.0.1:{proxy.port}"
        assert [(entry["method"], entry["target"]) for entry in proxy.log()] == [
            ("GET", "http://pictures.test/good.jpg?a=b"),
            ("GET", faults.url("good.jpg")),
        ]
        seen = faults.log()[0]
        assert seen["path"] == "/good.jpg?a=b"
        assert seen["headers"]["x-mark"] == "1"
        assert "proxy-connection" not in seen["headers"]
        proxy.reset()
        assert proxy.log() == []


def test_proxy_reaches_loopback_only() -> None:
    with running_proxy() as proxy, through(proxy) as sock, socket.socket() as bound:
        bound.bind((LOOPBACK, 0))  # nobody listens
        assert get(sock, "http://pictures.test/") == (502, b"")
        assert get(sock, "http://192.0.2.1/") == (502, b"")
        assert get(sock, f"http://127.0.0.1:{bound.getsockname()[1]}/") == (502, b"")
        assert get(sock, "pictures.test:443", method="CONNECT") == (502, b"")
        assert get(sock, "/no-host") == (400, b"")


def test_proxy_tunnels_tls_and_wants_credentials() -> None:
    secret = "Proxy-Authorization: Basic " + base64.b64encode(b"me:pass:word").decode()
    with (
        running_tls(certificate_for=("pictures.test",)) as tls,
        running_proxy("me", "pass:word", {"pictures.test:443": (LOOPBACK, tls.port)}) as proxy,
        through(proxy) as sock,
    ):
        assert get(sock, "pictures.test:443", method="CONNECT") == (407, b"")
        assert get(sock, "http://pictures.test/", "Proxy-Authorization: Basic bm8=") == (407, b"")
        assert get(sock, "pictures.test:443", secret, method="CONNECT") == (200, b"")
        context = ssl.create_default_context(cafile=str(tls.ca_file))
        with context.wrap_socket(sock, server_hostname="pictures.test") as inner:
            assert get(inner, "/a.jpg") == get(inner, "/b.jpg") == (200, PICTURE)
        assert [entry["method"] for entry in proxy.log()] == ["CONNECT", "GET", "CONNECT"]
        assert "proxy-authorization" in proxy.log()[2]["headers"]
        assert "proxy-authorization" not in tls.log()[0]["headers"]


def test_proxy_ends_with_a_tunnel_open() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent, contextlib.ExitStack() as sockets:
        port = silent.getsockname()[1]
        with running_proxy() as proxy:
            sock = sockets.enter_context(through(proxy))
            assert get(sock, f"127.0.0.1:{port}", method="CONNECT") == (200, b"")
            waiting = sockets.enter_context(through(proxy))
            waiting.sendall(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            start = time.monotonic()
        assert time.monotonic() - start < 5


async def test_servers_run_beside_a_loop() -> None:
    with running_dns({"a.test": [Answer(("127.0.0.1",))]}) as dns, running_tls() as tls, running_proxy() as proxy:
        assert len({dns.port, tls.port, proxy.port}) == 3
