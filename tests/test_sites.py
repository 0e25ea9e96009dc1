"""What a site asks of a crawler besides the address: headers, cookies, credentials, proxies, certificates, redirects.

Whole runs against servers on loopback. What is secret goes where it was meant to go, and stands nowhere afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import trustme

from crawler import Crawler, Outcome, Reason, Settings, SettingsError
from crawler.checks import parse_header
from crawler.cli.inspect import print_misses, show_status
from crawler.errors import CrawlerError
from crawler.frontier import backoff
from crawler.settings import VERSION
from tests import cli
from tests.servers import pictures
from tests.servers.dns import LIMIT as SERVER_LIMIT
from tests.servers.dns import Answer, Listener, running_dns, serving
from tests.servers.faults import bind
from tests.servers.handle import Faults, authority
from tests.servers.proxy import running_proxy
from tests.servers.tls import running_tls

LIMIT: Final = 20.0
ONE, TWO, THREE = HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SECRET: Final = "s3cr3t-hunter2"
PICTURE: Final = pictures.jpeg(32, 32, seed=3)
PUBLIC: Final = "93.184.216.34"


# A site that says what it is told ----------------------------------------------------------------


@dataclass(frozen=True)
class Says:
    """An answer. In headers `{port}` is the port of the site."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    delay: float = 0.0


def moved(to: str, *cookies: str, delay: float = 0.0, status: int = 302) -> Says:
    return Says(status, [("Location", to), *(("Set-Cookie", cookie) for cookie in cookies)], delay)


@dataclass(frozen=True)
class Asked:
    local: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Site:
    """A running site; a path without an answer of its own is a picture, other bytes for each."""

    port: int
    says: dict[str, Says]
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)

    def url(self, path: str, host: str = ONE, user: str = "") -> str:
        return f"{self.scheme}://{user and user + '@'}{authority(host, self.port)}/{path.lstrip('/')}"

    def at(self, host: str, path: str = "") -> list[Asked]:
        """What was asked of a host, all of it or one path."""
        return [one for one in self.asked if one.local == host and path in ("", one.path)]

    def headers(self, path: str, host: str = ONE) -> Mapping[str, str]:
        """The headers of the one request for a path."""
        (found,) = self.at(host, path)
        return found.headers


@contextmanager
def running_site(says: Mapping[str, Says] | None = None, tls: trustme.CA | None = None) -> Iterator[Site]:
    sockets = bind(HOSTS)
    site = Site(sockets[0].getsockname()[1], dict(says or {}), "https" if tls else "http")
    servers = [_Server(sock, _Handler) for sock in sockets]
    for server in servers:
        server.site, server.context = site, None
        if tls is not None:
            server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.issue_cert(*HOSTS).configure_cert(server.context)
    with serving(*servers):
        yield site


class _Server(Listener):
    site: Site
    context: ssl.SSLContext | None

    def get_request(self) -> tuple[Any, Any]:
        sock, client = super().get_request()
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, client


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = SERVER_LIMIT

    def do_GET(self) -> None:
        site = self.server.site
        headers = {key.lower(): value for key, value in self.headers.items()}
        assert len(headers) == len(self.headers), "a header was sent twice"
        site.asked.append(Asked(str(self.server.server_address[0]), self.path, headers))
        default = Says(404) if self.path == "/robots.txt" else Says()
        key = self.path if self.path in site.says else self.path.partition("?")[0]
        says = site.says.get(key, default)
        time.sleep(says.delay)
        body = pictures.stamped(PICTURE, self.path) if says.status == 200 else b""
        self.send_response(HTTPStatus(says.status))
        for name, value in says.headers:
            self.send_header(name, value.replace("{port}", str(site.port)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def crawl(urls: Sequence[str], **options: Any) -> list[Outcome]:
    """Every outcome in the order of the list."""
    given: dict[str, Any] = {"robots": False, "retries": 0, "allow_private": True, "workers": 1, "size": 16} | options
    if "output" not in given:
        given["store"] = "none"
    async with asyncio.timeout(LIMIT), Crawler(Settings.of(iter(urls), **given)) as run:
        return sorted([outcome async for outcome in run], key=lambda one: one.target.index)


def ends(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.miss.reason.value if outcome.miss else "stored" for outcome in outcomes]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# Headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("robots", [True, False])
async def test_headers_are_sent_to_the_hosts_they_were_given_for(robots: bool) -> None:
    with running_site() as site:
        header = (
            "X-All: for all", f"{TWO} X-Two: for two", f"{THREE}:{site.port} X-Port: for a port", "X-Empty:",
            f"{THREE}:{site.port + 1} X-Other: for another port", "accept: image/png", f"{TWO} x-all: for two alone",
        )  # fmt: skip
        outcomes = await crawl([site.url("a", host) for host in HOSTS], header=header, robots=robots)
        assert ends(outcomes) == ["stored"] * 3
        for host, expected in (
            (ONE, {"x-all": "for all", "x-empty": ""}),
            (TWO, {"x-all": "for two alone", "x-empty": "", "x-two": "for two"}),
            (THREE, {"x-all": "for all", "x-empty": "", "x-port": "for a port"}),
        ):
            asked = site.at(host)
            assert [one.path for one in asked] == (["/robots.txt"] if robots else []) + ["/a"]
            for one in asked:
                assert {name: value for name, value in one.headers.items() if name.startswith("x-")} == expected
                assert one.headers["accept"] == "image/png"
                assert one.headers["accept-encoding"] == "identity"
                assert THREE not in one.headers


SECRET_HEADERS: Final = (
    f"Authorization: Bearer {SECRET}", f"cookie: a={SECRET}", f"X-API-Key: {SECRET}", f"x-auth-token: {SECRET}",
)  # fmt: skip


@pytest.mark.parametrize("robots", [True, False])
async def test_secrets_for_all_hosts_are_not_carried_on_by_a_redirect(robots: bool) -> None:
    says = {
        "/away": moved(f"http://{TWO}:{{port}}/middle"),
        "/middle": moved(f"http://{ONE}:{{port}}/home"),
    }
    header = (*SECRET_HEADERS, "X-Plain: shown", f"{TWO} X-Auth-Token: meant for two")
    with running_site(says) as site:
        assert ends(await crawl([site.url("away")], header=header, robots=robots)) == ["stored"]
        for path in ("/away", "/home"):
            at_home = site.headers(path)
            assert at_home["authorization"] == f"Bearer {SECRET}"
            assert at_home["x-api-key"] == at_home["x-auth-token"] == SECRET
            assert at_home["cookie"] == f"a={SECRET}"
        assert site.headers("/middle", TWO)["x-plain"] == "shown"
        assert site.headers("/middle", TWO)["x-auth-token"] == "meant for two"
        leaked = [(one.path, name) for one in site.at(TWO) for name, value in one.headers.items() if SECRET in value]
        assert leaked == []


async def test_secrets_for_all_hosts_do_not_follow_to_another_port() -> None:
    with running_site() as other, running_site({"/away": moved(other.url("b"))}) as site:
        assert ends(await crawl([site.url("away")], header=SECRET_HEADERS)) == ["stored"]
        assert SECRET in str(site.headers("/away"))
        assert SECRET not in str(other.asked)


async def test_a_secret_that_moves_on_with_a_robots_txt_stays_at_home() -> None:
    with running_site({"/robots.txt": moved(f"http://{TWO}:{{port}}/rules.txt")}) as site:
        site.says["/rules.txt"] = Says(404)
        assert ends(await crawl([site.url("a")], header=SECRET_HEADERS, robots=True)) == ["stored"]
        assert len(site.at(TWO, "/rules.txt")) == 1
        assert SECRET not in str(site.at(TWO))


BAD_HEADERS: Final = (
    f"Authorization Bearer {SECRET}", f"Cookie={SECRET}", f"{SECRET}", f"Authorization\t{SECRET}",
    f"Authorization: Bearer\r\nX: {SECRET}", f"Authorization: {SECRET}\0", f"X-Key: {SECRET}\u20ac", f": {SECRET}",
    f"Host: {SECRET}", f"User-Agent: {SECRET}", f"Content-Length: {SECRET}", f"{ONE} Range: {SECRET}",
    f"X Y Z: {SECRET}", f"X(Y): {SECRET}", f"{ONE}:80 X Y: {SECRET}", f"\u00e9: {SECRET}", f"{ONE} : {SECRET}",
)  # fmt: skip


def test_a_bad_header_is_refused_without_telling_its_value() -> None:
    for header in BAD_HEADERS:
        with pytest.raises(SettingsError, match=r"^--header: ") as refused:
            print("taken:", repr(Settings.of(header=(header,)).fetch.header))
        assert SECRET not in str(refused.value), header


def test_a_header_is_for_all_hosts_or_for_one() -> None:
    for given, expected in {
        "X-A: b": ("", "X-A", "b"),
        "X-A:b": ("", "X-A", "b"),
        "X-A:b c": ("", "X-A", "b c"),
        "X-A:1 2": ("", "X-A", "1 2"),
        " X-A:  b ": ("", "X-A", "b"),
        "X-Time: 12:30: now": ("", "X-Time", "12:30: now"),
        "Referer: http://a.test:80/ b: c": ("", "Referer", "http://a.test:80/ b: c"),
        "a.test X-A: b": ("a.test", "X-A", "b"),
        "A.Test   X-A: b": ("a.test", "X-A", "b"),
        "a.test X-A:b": ("a.test", "X-A", "b"),
        "a.test X-A:b c": ("a.test", "X-A", "b c"),
        "a.test X-A: b: c": ("a.test", "X-A", "b: c"),
        "a.test:8080 X-A: b": ("a.test:8080", "X-A", "b"),
        "a.test:8080 X-A: b: c": ("a.test:8080", "X-A", "b: c"),
        "a.test:8080 X-A:b": ("a.test:8080", "X-A", "b"),
        "[::1] X-A: b": ("[::1]", "X-A", "b"),
        "[::1]:80 X-A: b": ("[::1]:80", "X-A", "b"),
    }.items():
        assert parse_header(given) == expected, given


async def test_every_request_says_who_asks() -> None:
    with running_site({"/go": moved(f"http://{TWO}:{{port}}/a")}) as site:
        for options, agent in (
            ({}, f"crawler/{VERSION}"),
            ({"contact": "https://a.test/bot"}, f"crawler/{VERSION} (+https://a.test/bot)"),
            ({"user_agent": "Mine/2"}, "Mine/2"),
            ({"user_agent": "Mine/2", "contact": "me@a.test"}, "Mine/2 (+me@a.test)"),
        ):
            site.asked.clear()
            assert ends(await crawl([site.url("go")], robots=True, **options)) == ["stored"]
            assert len(site.asked) == 4
            assert {one.headers["user-agent"] for one in site.asked} == {agent}


def test_a_command_line_says_it_all(tmp_path: Path) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text(NETSCAPE + cookie(ONE, "plain", SECRET))
    words = ["-o", tmp_path / "out", "--allow-net", f"{ONE}/32", "--workers", 1, "--retries", 0, "--json"]
    with running_site({"/two": moved(f"http://{TWO}:{{port}}/a")}) as site:
        ended = cli.crawler(
            "run", site.url("a"), site.url("two"), *words, "--header", f"Authorization: Bearer {SECRET}",
            "--header", f"{ONE} X-One: 1", "--cookies", jar, "--referer", "auto", "--contact", "me@a.test",
        )  # fmt: skip
        sent = site.headers("/a")
    assert (ended.code, ended.summary["reasons"]) == (0, {"blocked_address": 1}), ended.err
    assert ended.summary["stored"] == 1
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert sent["cookie"] == f"plain={SECRET}"
    assert sent["referer"] == f"http://{ONE}:{site.port}/"
    assert sent["user-agent"] == f"crawler/{VERSION} (+me@a.test)"
    assert sent["x-one"] == "1"
    assert SECRET not in ended.out + ended.err
    held = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path for path in held if SECRET.encode() in path.read_bytes()] == []
    for wrong in (["--header", f"Authorization {SECRET}"], ["--proxy", f"me:{SECRET}@{ONE}:1"]):
        ended = cli.crawler("run", site.url("a"), *words, *wrong)
        assert ended.code == 2
        assert ended.err.startswith(f"crawler: {wrong[0]}: ")
        assert len(ended.err.splitlines()) == 1
        assert SECRET not in ended.out + ended.err


async def test_the_referer_is_the_site_an_address_or_none() -> None:
    with running_site({"/go": moved(f"http://{TWO}:{{port}}/a")}) as site:
        for referer, header, expected in (
            ("", (), None),
            ("auto", (), f"http://{ONE}:{site.port}/"),
            ("https://a.test/page", (), "https://a.test/page"),
            ("auto", ("Referer: https://b.test/",), "https://b.test/"),
            ("auto", ("referer: https://b.test/",), "https://b.test/"),
            ("auto", (f"{ONE} Referer: https://c.test/", f"{TWO} Referer: https://c.test/"), "https://c.test/"),
        ):
            site.asked.clear()
            url = site.url("go", user=f"ann:{SECRET}")
            assert ends(await crawl([url], referer=referer, header=header)) == ["stored"]
            assert [one.headers.get("referer") for one in site.asked] == [expected] * 2
    for bad in ("a.test", "ftp://a.test/", "Auto", "none"):
        with pytest.raises(SettingsError, match="--referer: "):
            Settings.of(referer=bad)


# Cookies ----------------------------------------------------------------------------------------

NETSCAPE: Final = "# Netscape HTTP Cookie File\n"
LATER: Final = "4102444800"


def cookie(host: str, name: str, value: str, path: str = "/", secure: str = "FALSE", until: str = LATER) -> str:
    return "\t".join((host, str(host.startswith(".")).upper(), path, secure, until, name, value)) + "\n"


def cookies_sent(headers: Mapping[str, str]) -> set[str]:
    return {one for one in headers.get("cookie", "").split("; ") if one}


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    path = tmp_path / "cookies.txt"
    path.write_text(
        NETSCAPE
        + "# a remark\n\n"
        + cookie(ONE, "plain", "1")
        + cookie(ONE, "below", "2", path="/below")
        + cookie(ONE, "safe", "3", secure="TRUE")
        + cookie(ONE, "old", "4", until="1000000000")
        + "#HttpOnly_"
        + cookie(ONE, "hidden", "5")
        + cookie(TWO, "two", "6")
        + cookie(ONE, "no_end", "7", until=""),
        encoding="utf-8",
    )
    return path


async def test_cookies_of_a_file_go_to_their_own_host_only(jar: Path) -> None:
    with running_site({"/go": moved(f"http://{TWO}:{{port}}/b")}) as site:
        urls = [site.url("a"), site.url("below/a"), site.url("go"), site.url("a", THREE)]
        assert ends(await crawl(urls, cookies=str(jar))) == ["stored"] * 4
        assert cookies_sent(site.headers("/a")) == {"plain=1", "hidden=5", "no_end=7"}
        assert cookies_sent(site.headers("/below/a")) == {"plain=1", "below=2", "hidden=5", "no_end=7"}
        assert cookies_sent(site.headers("/b", TWO)) == {"two=6"}
        assert "cookie" not in site.headers("/a", THREE)


async def test_cookies_of_a_file_go_also_to_an_address_with_a_user(jar: Path) -> None:
    with running_site() as site:
        assert ends(await crawl([site.url("a", user="ann:x")], cookies=str(jar))) == ["stored"]
        assert "plain=1" in cookies_sent(site.headers("/a"))


async def test_cookies_of_a_session_are_sent_however_their_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(NETSCAPE + cookie(ONE, "zero", "1", until="0") + cookie(ONE, "none", "2", until=""))
    with running_site() as site:
        assert ends(await crawl([site.url("a")], cookies=path)) == ["stored"]
        assert cookies_sent(site.headers("/a")) == {"zero=1", "none=2"}


async def test_cookies_join_a_header_of_cookies(jar: Path) -> None:
    with running_site() as site:
        for number, name in enumerate(("Cookie", "cookie")):
            assert ends(await crawl([site.url(f"{number}")], cookies=jar, header=(f"{name}: mine=0",))) == ["stored"]
            sent = cookies_sent(site.headers(f"/{number}"))
            assert sent == {"mine=0", "plain=1", "hidden=5", "no_end=7"}


async def test_a_file_that_holds_no_cookies_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    for text in (
        b"", b"plain=" + SECRET.encode(), b"\x00\xff\xfe\x80", NETSCAPE.encode() + f"{ONE} FALSE / {SECRET}".encode(),
        NETSCAPE.encode() + cookie(ONE, "a", SECRET, until="soon").encode(), b'[{"name": "a"}]', b"\xff" * 4096,
        NETSCAPE.encode() + cookie(ONE, "a", "\xff").encode("latin-1"),
    ):  # fmt: skip
        path.write_bytes(text)
        with pytest.raises(SettingsError, match=r"^--cookies: ") as refused:
            await crawl([], cookies=str(path))
        assert str(path) in str(refused.value)
        assert SECRET not in str(refused.value)
    for missing in (tmp_path / "not-there.txt", tmp_path):
        with pytest.raises(SettingsError, match=r"^--cookies: ") as refused:
            await crawl([], cookies=missing)
        assert str(missing) in str(refused.value)


async def test_a_host_without_a_dot_may_stand_for_all_below_it(tmp_path: Path) -> None:
    """Some add-ons write TRUE behind a host that has no leading dot."""
    path = tmp_path / "cookies.txt"
    path.write_text(NETSCAPE + cookie(ONE, "a", "1").replace("FALSE", "TRUE", 1))
    with running_site() as site:
        assert ends(await crawl([site.url("a")], cookies=path)) == ["stored"]
        assert cookies_sent(site.headers("/a")) == {"a=1"}


async def crawl_by_name(names: Sequence[str], urls: Sequence[str], **options: Any) -> list[Outcome]:
    """With a name server that gives these names the first host."""
    with running_dns({name: [Answer((ONE,))] for name in names}) as dns:
        return await crawl(urls, resolver="aiodns", name_server=(dns.address,), proxy="none", **options)


async def test_a_cookie_of_one_host_does_not_go_to_hosts_below_or_above_it(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(
        NETSCAPE
        + cookie("a.test", "only", "1")
        + cookie(".a.test", "wide", "2")
        + cookie("www.a.test", "www", "3")
        + cookie(".test", "all", "4")
    )
    with running_site() as site:
        names = ("a.test", "www.a.test", "nota.test", "b.test")
        urls = [f"http://{name}:{site.port}/{name}" for name in names]
        assert ends(await crawl_by_name(names, urls, cookies=path)) == ["stored"] * 4
        sent = {name: cookies_sent(site.headers(f"/{name}")) - {"all=4"} for name in names}
    assert sent == {
        "a.test": {"only=1", "wide=2"},
        "www.a.test": {"wide=2", "www=3"},
        "nota.test": set(),
        "b.test": set(),
    }


async def test_a_cookie_set_on_the_way_for_one_host_does_not_go_to_hosts_below_it() -> None:
    says = {
        "/go": moved("http://www.a.test:{port}/below", "one=1", "all=2; Domain=a.test", "evil=3; Domain=b.test"),
        "/below": moved("http://b.test:{port}/other", "up=4; Domain=a.test", "www=5"),
        "/other": moved("http://a.test:{port}/end"),
    }
    with running_site(says) as site:
        names = ("a.test", "www.a.test", "b.test")
        assert ends(await crawl_by_name(names, [f"http://a.test:{site.port}/go"])) == ["stored"]
        assert cookies_sent(site.headers("/below")) == {"all=2"}
        assert cookies_sent(site.headers("/other")) == set()
        assert cookies_sent(site.headers("/end")) == {"one=1", "all=2", "up=4"}


async def test_a_host_without_a_dot_has_cookies_too(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(NETSCAPE + cookie("localhost", "near", "1"))
    with running_site({"/go": moved("/end", "way=2")}) as site:
        assert ends(await crawl_by_name((), [f"http://localhost:{site.port}/go"], cookies=path)) == ["stored"]
        assert cookies_sent(site.headers("/go")) == {"near=1"}
        assert cookies_sent(site.headers("/end")) == {"near=1", "way=2"}


async def test_cookies_set_on_the_way_stay_with_their_target_and_their_host() -> None:
    says = {
        "/one": moved(
            "/two", "sid=1", "wide=2; Path=/", f"evil=3; Domain={TWO}", "safe=4; Secure", "gone=5; Max-Age=0"
        ),
        "/two": moved(f"http://{TWO}:{{port}}/three"),
        "/three": moved(f"http://{ONE}:{{port}}/four", "sid=other"),
        "/four": moved("/five", "wide=; Max-Age=0", "late=6"),
    }
    with running_site(says) as site:
        outcomes = await crawl([site.url("one"), site.url("five?2"), site.url("two?2")], per_host=1)
        assert ends(outcomes) == ["stored"] * 3
        assert cookies_sent(site.headers("/one")) == set()
        assert cookies_sent(site.headers("/two")) == {"sid=1", "wide=2"}
        first, second = site.at(TWO, "/three")
        assert "cookie" not in first.headers
        assert "cookie" not in second.headers
        assert sorted(map(sorted, (cookies_sent(one.headers) for one in site.at(ONE, "/four")))) == [
            [],
            ["sid=1", "wide=2"],
        ]
        assert sorted(map(sorted, (cookies_sent(one.headers) for one in site.at(ONE, "/five")))) == [
            ["late=6"],
            ["late=6", "sid=1"],
        ]
        assert "cookie" not in site.headers("/five?2"), "another target"


async def test_a_site_that_goes_round_in_circles_without_its_cookie_is_had() -> None:
    class Circle(dict[str, Says]):
        def get(self, key: str, default: Any = None) -> Any:
            cookie = site.asked[-1].headers.get("cookie")
            return default if cookie else moved(key, "seen=yes")

    with running_site() as site:
        site.says = Circle()
        urls = [site.url("a"), site.url("b", user=f"ann:{SECRET}")]
        assert ends(await crawl(urls, per_host=1)) == ["stored", "stored"]
        assert len(site.asked) == 4


async def test_a_try_starts_without_the_cookies_of_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.02)
    says = {"/go": moved("/busy", "sid=1"), "/busy": Says(503)}
    with running_site(says) as site:
        assert ends(await crawl([site.url("go")], retries=1, adapt=False)) == ["server_error"]
        assert [cookies_sent(one.headers) for one in site.asked] == [set(), {"sid=1"}, set(), {"sid=1"}]


ODD_COOKIES: Final = (
    "", "=", ";;;", "a", "a=\xff\xfe", "a=b; Max-Age=" + "9" * 400, "a=b; Max-Age=-" + "9" * 5000, "a=b; Domain=[::1",
    "a=b; Expires=Thu, 99-Foo-99999 99:99:99 GMT", "a=b; Path", "a=b; Domain", "a=b; Version=x; Port=x", "\xc3\xa9=\xc3\xa9",
    "a=b;\xff=c", "a=\"b; c", "a=" + "b" * 7000, "$Version=1; a=b",
)  # fmt: skip


async def test_no_cookie_of_a_server_breaks_its_redirect() -> None:
    says = {f"/{number}": moved(f"/to/{number}", cookie) for number, cookie in enumerate(ODD_COOKIES)}
    with running_site(says) as site:
        outcomes = await crawl([site.url(path) for path in says])
        odd = {ODD_COOKIES[at][:30]: end for at, end in enumerate(ends(outcomes)) if end != "stored"}
        assert odd == {}


# Credentials in addresses -----------------------------------------------------------------------


async def test_credentials_of_an_address_go_to_its_host_and_no_further() -> None:
    says = {
        "/near": moved("/b"),
        "/far": moved(f"http://{TWO}:{{port}}/c"),
        "/c": moved(f"http://{ONE}:{{port}}/d"),
        "/named": moved(f"http://bob:{SECRET}@{TWO}:{{port}}/e"),
    }
    user = f"an%40n:{SECRET}%3A%2F%C3%A9"
    with running_site(says) as site:
        outcomes = await crawl([site.url(path, user=user) for path in ("a", "near", "far", "named")], robots=True)
        assert ends(outcomes) == ["stored"] * 4
        mine = basic("an@n", f"{SECRET}:/\xe9")
        for path in ("/a", "/near", "/b", "/far", "/d", "/named"):
            assert site.headers(path)["authorization"] == mine
        assert all("authorization" not in one.headers for one in site.at(TWO)), "nor what a redirect names itself"
        assert "authorization" not in site.headers("/robots.txt")
        assert all("@" not in one.path and "@" not in one.headers["host"] for one in site.asked)
        for outcome in outcomes:
            assert outcome.target.url.startswith(f"http://an%40n:***@{ONE}")
            assert SECRET not in repr(outcome)


async def test_a_user_alone_and_an_empty_password_are_credentials_too() -> None:
    with running_site() as site:
        outcomes = await crawl([site.url("a", user="ann"), site.url("b", user="ann:"), site.url("c", user=":x")])
        assert ends(outcomes) == ["stored"] * 3
        sent = [site.headers(path)["authorization"] for path in ("/a", "/b", "/c")]
        assert sent == [basic("ann", ""), basic("ann", ""), basic("", "x")]


async def test_credentials_of_an_address_win_over_a_header_for_all() -> None:
    for name in ("Authorization", "authorization"):
        with running_site() as site:
            await crawl([site.url("a", user="ann:x")], header=(f"{name}: Bearer y",))
            assert site.headers("/a")["authorization"] == basic("ann", "x")


async def test_get_takes_credentials_as_well() -> None:
    with running_site({"/missing": Says(404)}) as site:
        settings = Settings.of(store="none", allow_private=True, workers=1, robots=False)
        async with asyncio.timeout(LIMIT), Crawler(settings) as run:
            good = await run.get(site.url("a", user=f"ann:{SECRET}"))
            bad = await run.get(site.url("missing", user=f"ann:{SECRET}"))
        assert good.stored
        assert site.headers("/missing")["authorization"] == basic("ann", SECRET)
        assert SECRET not in repr((good, bad))


async def test_a_password_in_an_odd_place_is_told_to_nobody() -> None:
    urls = [
        f" http://ann:{SECRET}@{ONE}:1/a", f"\thttp://ann:{SECRET}@{ONE}:1/b", f"\ufeffhttp://ann:{SECRET}@{ONE}:1/c",
        f"//ann:{SECRET}@{ONE}:1/d", f"http:ann:{SECRET}@{ONE}:1/e", f"http:\\\\ann:{SECRET}@{ONE}:1/f",
        f"ftp://ann:{SECRET}@{ONE}:1/g", f"http://ann:{SECRET}@{ONE}:99999/h", f"http://ann:{SECRET}@[::1/i",
        f"http://ann:{SECRET}@/j", f"http://ann:{SECRET}@ex\u2100mple.test/k", f"http://ann:@{SECRET}@{ONE}:1/l",
        f"HTTP://ann:{SECRET}@{ONE}:1/m n", f"http://{SECRET}:{SECRET}@{ONE}:1/n".replace(SECRET, "ann", 1),
    ]  # fmt: skip
    outcomes = await crawl(urls)
    assert not [outcome for outcome in outcomes if outcome.stored]
    assert [outcome.target.index for outcome in outcomes if SECRET in repr(outcome)] == []


LEAKY: Final = (
    f"http://bob:{SECRET}@{TWO}:{{port}}/found", f"http://bob:{SECRET}@{TWO}:{{port}}/missing",
    f"//bob:{SECRET}@{TWO}:{{port}}/found2", f"http://bob:{SECRET}@{TWO}:99999/", f"//bob:{SECRET}@{TWO}:99999/",
    f"http://bob:{SECRET}@{TWO}:x/", f"//bob:{SECRET}@[::1/", f"http://bob:{SECRET}@ex\xe2\x84\x80mple.test/",
    f"ftp://bob:{SECRET}@{TWO}/", f"http://bob:{SECRET}@256.1.1.1/", f"http:\\\\bob:{SECRET}@{TWO}:99999/",
    f"http://bob:{SECRET}@{TWO}:1/", f"http://bob:{SECRET}@{TWO}:{{port}}/loop", f"\\\\bob:{SECRET}@{TWO}:x/",
)  # fmt: skip


def leaky_site() -> dict[str, Says]:
    says = {f"/leak/{number}": moved(to) for number, to in enumerate(LEAKY)}
    return says | {"/missing": Says(404), "/loop": moved(f"http://bob:{SECRET}@{TWO}:{{port}}/loop")}


async def test_a_password_in_a_redirect_is_told_to_nobody() -> None:
    with running_site(leaky_site()) as site:
        for most in (3, 0):
            outcomes = await crawl([site.url(f"leak/{number}") for number in range(len(LEAKY))], max_redirects=most)
            if most:
                assert ends(outcomes)[:3] == ["stored", "not_found", "stored"]
            told = [(LEAKY[one.target.index], one.miss and one.miss.detail) for one in outcomes if SECRET in repr(one)]
            assert told == []


def test_a_password_stands_nowhere_in_or_about_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user, out = f"ann:{SECRET}", tmp_path / "out"
    with running_site({"/missing": Says(404), "/far": moved(f"http://bob:{SECRET}@{TWO}:{{port}}/c")}) as site:
        urls = [
            site.url("a", user=user), site.url("b", user=f"ann:{quote(SECRET)}%21"), site.url("missing", user=user),
            site.url("far", user=user), f"http://{user}@{ONE}:1/closed", f"http://{user}@256.1.1.1/bad-host",
            f"http://{user}@{ONE}:99999/bad-port", f"http://{user}@[::1/bad", f"gopher://{user}@{ONE}/bad-scheme",
            site.url("a", user=user), site.url("a", user=f"bob:{SECRET}"),
        ]  # fmt: skip
        (tmp_path / "list.txt").write_text("\n".join(urls))
        words = ["run", tmp_path / "list.txt", "-o", out, "--allow-private", "--workers", 1, "--retries", 0, "--json"]
        first = cli.crawler(*words)
        assert (first.code, first.summary["stored"], first.summary["missed"]) == (0, 3, 8), first.err
        asked = len(site.asked)
        second = cli.inside(*words)
        assert (second.code, second.summary["skipped"], second.summary["stored"]) == (0, 11, 0), second.err
        assert len(site.asked) == asked, "nothing is asked for twice"
        for form in ("txt", "jsonl", "csv"):
            print_misses(out, None, form)
        show_status(out, as_json=True)
        show_status(out, as_json=False)
    said = capsys.readouterr()
    assert "ann:***@" in said.out
    for text in (first.out, first.err, second.out, second.err, said.out, said.err):
        assert SECRET not in text
    held = [path for path in out.rglob("*") if path.is_file()]
    assert {"journal.sqlite", "metadata.jsonl"} <= {path.name for path in held}
    assert [path for path in held if SECRET.encode() in path.read_bytes() or SECRET in path.name] == []
    rows = {row["url"]: row["final_url"] for row in cli.metadata(out)}
    assert rows[f"http://ann:***@{ONE}:{site.port}/far"] == f"http://bob:***@{TWO}:{site.port}/c"


# Proxies ----------------------------------------------------------------------------------------


async def test_a_proxy_is_asked_and_told_no_more_than_it_must() -> None:
    with (
        running_site() as site,
        running_dns({"public.test": [Answer((PUBLIC,))]}) as dns,
        running_proxy(
            "me", SECRET, {"pictures.test:80": (TWO, site.port), "public.test:80": (TWO, site.port)}
        ) as proxy,
    ):
        outcomes = await crawl(
            ["http://ann:x@pictures.test/a", "http://public.test/b", site.url("c")],
            proxy=proxy.url.replace("//", f"//me:{SECRET}@"),
            resolver="aiodns", name_server=(dns.address,), allow_private=False, allow_net=(f"{ONE}/32",),
        )  # fmt: skip
        assert ends(outcomes) == ["stored"] * 3
        assert {one["target"] for one in proxy.log()} == {
            "http://pictures.test/a", "http://public.test/b", site.url("c")
        }  # fmt: skip
        for one in proxy.log():
            assert one["headers"]["proxy-authorization"] == basic("me", SECRET)
        assert SECRET not in str([one.headers for one in site.asked])
        assert site.headers("/a", TWO)["authorization"] == basic("ann", "x")
        assert "authorization" not in site.headers("/b", TWO)


async def test_https_goes_through_a_tunnel() -> None:
    with (
        running_tls(certificate_for=("pictures.test",)) as tls,
        running_dns({}) as dns,
        running_proxy("me", SECRET, {"pictures.test:443": (ONE, tls.port)}) as proxy,
    ):
        named = {"resolver": "aiodns", "name_server": (dns.address,), "allow_private": False}
        through = proxy.url.replace("//", f"//me:{SECRET}@")
        urls = ["https://ann:x@pictures.test/a.jpg"]
        assert ends(await crawl(urls, proxy=through, ca_file=tls.ca_file, **named)) == ["stored"]
        assert [(one["method"], one["target"]) for one in proxy.log()] == [("CONNECT", "pictures.test:443")]
        (seen,) = tls.log()
        assert seen["headers"]["authorization"] == basic("ann", "x")
        assert "proxy-authorization" not in seen["headers"]
        assert ends(await crawl(urls, proxy=through, **named)) == ["tls"], "a proxy does not vouch for a certificate"


async def test_a_proxy_that_refuses_or_is_not_there_is_said_to_be_the_reason() -> None:
    urls = ["http://pictures.test/a.jpg", "https://pictures.test/b.jpg"]
    with running_dns({}) as dns, running_proxy("me", SECRET) as proxy:
        named: dict[str, Any] = {"resolver": "aiodns", "name_server": (dns.address,), "adapt": False}
        for given in (proxy.url, proxy.url.replace("//", f"//me:{SECRET}x@"), f"http://me:{SECRET}@{ONE}:1"):
            for robots in (False, True):
                outcomes = await crawl(urls, proxy=given, robots=robots, **named)
                assert ends(outcomes) == ["proxy", "proxy"], [one.miss and one.miss.detail for one in outcomes]
                assert all(one.miss is not None and one.miss.reason.later for one in outcomes)
                assert SECRET not in repr(outcomes)


async def test_a_proxy_is_no_way_to_what_is_private() -> None:
    names = {"loop.test": ONE, "ten.test": "10.0.0.1", "public.test": PUBLIC}
    with (
        running_site(
            {"/away": moved(f"http://{ONE}:{{port}}/b"), "/named": moved("http://loop.test:{port}/b")}
        ) as site,
        running_dns({name: [Answer((address,))] for name, address in names.items()}) as dns,
        running_proxy(reroute={f"public.test:{site.port}": (TWO, site.port)}) as proxy,
    ):
        hosts = (
            ONE,
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1",
            "169.254.169.254",
            "loop.test",
            "ten.test",
        )
        urls = [f"http://{host}:{site.port}/a" for host in hosts] + [f"{proxy.url}/a", f"https://{ONE}:{site.port}/a"]
        urls += [f"http://public.test:{site.port}/{path}" for path in ("away", "named")]
        for robots in (False, True):
            proxy.reset()
            site.asked.clear()
            outcomes = await crawl(
                urls, proxy=proxy.url, allow_private=False, resolver="aiodns", name_server=(dns.address,), robots=robots
            )
            assert ends(outcomes) == ["blocked_address"] * len(urls)
            assert {one["target"].split("/")[2] for one in proxy.log()} == {f"public.test:{site.port}"}
            assert site.at(ONE) == []


async def test_the_port_of_a_proxy_is_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is opened for our own connections to it, not for what a list or a redirect names."""
    with running_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        outcomes = await crawl([f"{proxy.url}/admin"], allow_private=False)
        assert proxy.log() == []
        assert ends(outcomes) == ["blocked_address"]


async def test_the_environment_names_proxies_and_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_site() as site, running_proxy() as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            for value in (proxy.url, proxy.url.removeprefix("http://")):
                with monkeypatch.context() as patch:
                    patch.setenv(name, value)
                    patch.setenv("no_proxy", f"{TWO},example.test")
                    proxy.reset()
                    urls = [site.url(f"a?{name}{value[0]}"), site.url(f"b?{name}{value[0]}", TWO, user="ann:x")]
                    assert ends(await crawl(urls)) == ["stored", "stored"]
                    assert [one["target"] for one in proxy.log()] == urls[:1]
                    proxy.reset()
                    assert ends(await crawl([site.url("c")], proxy="none")) == ["stored"]
                    assert proxy.log() == []
        monkeypatch.setenv("HTTP_PROXY", f"http://{ONE}:1")
        assert ends(await crawl([site.url("d")], proxy=proxy.url)) == ["stored"]
        assert ends(await crawl([site.url("d")])) == ["proxy"]
        monkeypatch.setenv("NO_PROXY", "*")
        assert ends(await crawl([site.url("d")])) == ["stored"]


async def test_a_bad_proxy_of_the_environment_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (f"http://me:{SECRET}@{ONE}:x", f"http://me:{SECRET}@[::1", f"http://me:{SECRET}@{ONE}:99999"):
        monkeypatch.setenv("HTTP_PROXY", value)
        with pytest.raises(CrawlerError) as refused:
            await crawl([f"http://{ONE}:1/a"])
        assert SECRET not in str(refused.value)


def test_a_bad_proxy_is_refused_without_telling_its_password() -> None:
    for given in (
        f"me:{SECRET}@{ONE}:1", f"//me:{SECRET}@{ONE}:1", f"ftp://me:{SECRET}@{ONE}:1", f"socks5://me:{SECRET}@{ONE}:1",
        f"https://me:{SECRET}@{ONE}:1", f"http://me:{SECRET}@{ONE}:1/path", f"http://me:{SECRET}@{ONE}:x",
        f"http://me:{SECRET}@{ONE}:99999", f"http://me:{SECRET}@[::1", f"http://me:{SECRET}@", f" http://me:{SECRET}@a.test",
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=r"^--proxy: ") as refused:
            Settings.of(proxy=given)
        assert SECRET not in str(refused.value), given


def test_the_password_of_a_proxy_stands_nowhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running_site() as site, running_proxy("me", SECRET) as proxy:
        given = proxy.url.replace("//", f"//me:{SECRET}@")
        urls = [site.url("a"), site.url("b")]
        words = ["run", *urls, "-o", out, "--allow-private", "--workers", 1, "--retries", 0, "--json", "--proxy"]
        wrong = cli.crawler(*words, given.replace("me:", "you:"))
        right = cli.inside(*words, given, "--retry-missed")
        shown = cli.inside("run", "--show-settings", "--proxy", given)
    assert (wrong.code, wrong.summary["reasons"]) == (0, {"proxy": 2}), wrong.err
    assert (right.code, right.summary["stored"]) == (0, 2), right.err
    assert shown.code == 0
    for ended in (wrong, right, shown):
        assert SECRET not in ended.out
        assert SECRET not in ended.err
    held = [path for path in out.rglob("*") if path.is_file()]
    assert len(held) > 3
    assert [path for path in held if SECRET.encode() in path.read_bytes()] == []


# Certificates -----------------------------------------------------------------------------------


async def test_a_certificate_has_to_be_vouched_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with running_tls() as tls:
        url = tls.url("a.jpg")
        for robots in (False, True):
            (outcome,) = await crawl([url], robots=robots)
            assert outcome.miss is not None
            assert outcome.miss.reason is Reason.TLS
            assert not outcome.miss.reason.later
            assert "certificate" in outcome.miss.detail
        assert tls.log() == []
        assert ends(await crawl([url], ca_file=tls.ca_file)) == ["stored"]
        assert caplog.messages == []
        assert ends(await crawl([url], insecure=True)) == ["stored"]
        assert [message for message in caplog.messages if "certificates" in message] == caplog.messages
        assert len(caplog.messages) == 1


async def test_a_certificate_for_another_host_or_of_yesterday_is_refused() -> None:
    for options in ({"certificate_for": ("a.test", TWO)}, {"expired": True}):
        with running_tls(**options) as tls:
            assert ends(await crawl([tls.url("a.jpg")], ca_file=tls.ca_file)) == ["tls"]
            assert tls.log() == []
            assert ends(await crawl([tls.url("a.jpg")], insecure=True)) == ["stored"]


async def test_a_file_that_holds_no_certificates_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    for text in (
        b"", b"hello\n", b"\x30\x82\x01\x00" * 10, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n",
    ):  # fmt: skip
        path.write_bytes(text)
        with pytest.raises(SettingsError, match=r"^--ca-file: ") as refused:
            await crawl([], ca_file=path)
        assert str(path) in str(refused.value)
    for missing in (tmp_path / "not-there.pem", tmp_path):
        with pytest.raises(SettingsError, match=r"^--ca-file: ") as refused:
            await crawl([], ca_file=str(missing))
        assert str(missing) in str(refused.value)


async def test_a_redirect_may_leave_https_and_come_back(tmp_path: Path) -> None:
    ca, path = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    with running_site() as plain, running_site({"/down": moved(plain.url("up"), "a=1; Secure", "b=2")}, tls=ca) as safe:
        plain.says["/up"] = moved(safe.url("end"))
        (outcome,) = await crawl([safe.url("down", user="ann:x")], ca_file=path, header=SECRET_HEADERS)
        assert ends([outcome]) == ["stored"]
        assert outcome.picture is not None
        assert outcome.picture.fetched.final_url == safe.url("end")
        in_the_clear = plain.headers("/up")
        assert "authorization" not in in_the_clear
        assert SECRET not in str(in_the_clear)
        assert "a=1" not in in_the_clear.get("cookie", "")
        assert safe.headers("/end")["authorization"] == basic("ann", "x")


# Redirects --------------------------------------------------------------------------------------


async def test_every_hop_waits_for_the_turn_of_its_host(faults: Faults) -> None:
    to = [quote(f"http://{TWO}:{faults.port}/slow?delay=0.01&n={number}", safe="") for number in range(50)]
    urls = [faults.url(f"redirect?to={one}", (ONE, THREE)[number % 2]) for number, one in enumerate(to)]
    assert ends(await crawl(urls, per_host=1)) == ["stored"] * 50
    stats = await asyncio.to_thread(faults.stats)
    assert stats["concurrent"] == {ONE: 1, TWO: 1, THREE: 1}
    assert stats["total"] == 100


async def test_every_hop_keeps_the_pace_of_its_host(faults: Faults) -> None:
    to = [quote(f"http://{TWO}:{faults.port}/tiny/{number}.jpg", safe="") for number in range(6)]
    urls = [faults.url(f"redirect?to={one}", (ONE, THREE)[number % 2]) for number, one in enumerate(to)]
    assert ends(await crawl(urls, delay=0.1)) == ["stored"] * 6
    log = await asyncio.to_thread(faults.log)
    for host in HOSTS:
        starts = sorted(entry["start"] for entry in log if entry["local"] == host)
        assert min(later - sooner for sooner, later in pairwise(starts)) > 0.06


async def test_a_hop_asks_the_robots_txt_of_its_host() -> None:
    says = {"/go": moved(f"http://{TWO}:{{port}}/a"), "/ok": moved(f"http://{THREE}:{{port}}/a")}
    with running_site(says) as site:
        outcomes = await crawl([site.url("go"), site.url("ok")], robots=True)
        assert ends(outcomes) == ["stored", "stored"]
        for host in HOSTS:
            assert site.at(host)[0].path == "/robots.txt"
            assert len(site.at(host, "/robots.txt")) == 1


async def test_redirects_are_counted(faults: Faults) -> None:
    for most, stored in ((0, 0), (1, 1), (3, 3)):
        urls = [faults.url(f"redirect-chain/{hops}") for hops in range(6)]
        outcomes = await crawl(urls, max_redirects=most)
        assert ends(outcomes) == ["stored"] * (stored + 1) + ["redirect"] * (5 - stored)
    faults.reset()
    (outcome,) = await crawl([faults.url("redirect-loop")], max_redirects=4, retries=2)
    assert outcome.miss is not None
    assert (outcome.miss.reason, outcome.miss.status) == (Reason.REDIRECT, 302)
    assert (await asyncio.to_thread(faults.stats))["total"] == 5, "no loop is tried twice"


ODD_WAYS: Final = {
    # Location as it is sent: host and path that are asked for
    "/plain": (ONE, "/plain"),
    "relative": (ONE, "/odd/relative"),
    "../up": (ONE, "/up"),
    "../../../top": (ONE, "/top"),
    "./here/../there": (ONE, "/odd/there"),
    "?query=1": (ONE, "/odd/{n}?query=1"),
    "/with space": (ONE, "/with%20space"),
    "/with?a query": (ONE, "/with?a%20query"),
    "  /blanks \t": (ONE, "/blanks"),
    "/tab\tbed": (ONE, "/tabbed"),
    "/fragment#part": (ONE, "/fragment"),
    "\\back\\slash": (ONE, "/back/slash"),
    "/query?a\\b": (ONE, "/query?a%5Cb"),
    f"//{TWO}:{{port}}/scheme-less": (TWO, "/scheme-less"),
    f"\\\\{TWO}:{{port}}\\both": (TWO, "/both"),
    f"/\\{TWO}:{{port}}/mixed": (TWO, "/mixed"),
    f"http:\\\\{TWO}:{{port}}\\http-back": (TWO, "/http-back"),
    f"HTTP://{TWO}:{{port}}/upper": (TWO, "/upper"),
    f"http:/{TWO}:{{port}}/one-slash": (ONE, f"/{TWO}:{{port}}/one-slash"),
    "http:same-scheme": (ONE, "/odd/same-scheme"),
    f"///{TWO}:{{port}}/three": (TWO, "/three"),
    "/caf\xc3\xa9": (ONE, "/caf%C3%A9"),
    "/caf%c3%a9%2Fx": (ONE, "/caf%C3%A9%2Fx"),
    "/100%": (ONE, "/100%25"),
    "/a%20b%zz": (ONE, "/a%20b%25zz"),
    f"http://{TWO}:{{port}}": (TWO, "/"),
    f"http://{TWO}.:{{port}}/dot": None,
}


async def test_a_location_is_understood_however_it_is_spelt() -> None:
    says = {f"/odd/{number}": moved(to) for number, to in enumerate(ODD_WAYS)}
    pictures = {f"{path}?query=1": Says() for path in says}
    with running_site(says | pictures) as site:
        outcomes = await crawl([site.url(path) for path in says], concurrency=4)
        asked = {(one.local, one.path) for one in site.asked if one.path not in says}
        odd = []
        for outcome, (number, (to, expected)) in zip(outcomes, enumerate(ODD_WAYS.items()), strict=True):
            where = expected and (expected[0], expected[1].format(port=site.port, n=number))
            if where is not None and (where not in asked or not outcome.stored):
                odd.append((to, where, outcome.miss))
            asked.discard(where or ("", ""))
        assert odd == []
        assert not asked, "and nothing else was asked for"


REFUSED: Final = (
    "ftp://127.0.0.1/a", "file:///etc/passwd", "javascript:alert(1)", "data:image/png;base64,AAAA", "mailto:a@b.test",
    "about:blank", "ws://127.0.0.1/", "htp://127.0.0.1/", "http://", "http:///", "https://:80/", "http://[::1/", "//",
    "http://127.0.0.1:99999/", "http://127.0.0.1:x/", "http://127.1/", "http://0x7f000001/", "/bad\xffbyte",
    "http://a b.test/", "/" + "x" * 8180, "http://-.test:0/",
)  # fmt: skip


async def test_a_redirect_to_what_cannot_be_asked_for_ends_there() -> None:
    says = {f"/{number}": moved(to) for number, to in enumerate(REFUSED)}
    with running_site(says) as site:
        outcomes = await crawl([site.url(path) for path in says])
        odd = {REFUSED[one.target.index]: one.miss and one.miss.reason for one in outcomes}
        assert {to: reason for to, reason in odd.items() if reason is not Reason.REDIRECT} == {}
        assert len(site.asked) == len(REFUSED)
        for one in outcomes:
            assert one.miss is not None
            assert one.miss.status == 302


async def test_a_redirect_to_a_private_address_ends_there() -> None:
    hosts = (TWO, "10.0.0.1", "[::1]", "[::ffff:127.0.0.2]", "localhost", "169.254.169.254")
    says = {f"/{number}": moved(f"http://{host}:{{port}}/a") for number, host in enumerate(hosts)}
    with running_site(says) as site:
        for robots in (False, True):
            outcomes = await crawl(
                [site.url(path) for path in says], allow_private=False, allow_net=(f"{ONE}/32",), robots=robots
            )
            ended = dict(zip(hosts, ends(outcomes), strict=True))
            assert ended.pop("localhost") in ("blocked_address", "not_found", "stored"), (
                "it may be the one that is open"
            )
            assert set(ended.values()) == {"blocked_address"}
            assert site.at(TWO) == []
            for outcome in outcomes:
                if outcome.miss is not None:
                    assert outcome.miss.final_url.endswith("/a"), "the miss says where it ended"


async def test_the_timeout_is_for_all_hops_of_a_try() -> None:
    says = {
        "/1": moved("/2", delay=0.1),
        "/2": moved("/3", delay=0.1),
        "/3": moved("/4", delay=0.1),
        "/4": Says(delay=0.1),
    }
    with running_site(says) as site:
        began = time.monotonic()
        (outcome,) = await crawl([site.url("1")], timeout=0.25)
        assert ends([outcome]) == ["timeout"]
        assert time.monotonic() - began < 2
        assert site.at(ONE, "/4") == []
        assert ends(await crawl([site.url("1")], timeout=3)) == ["stored"]


async def test_waiting_for_a_turn_is_not_counted() -> None:
    says = {f"/{number}": moved(f"http://{TWO}:{{port}}/to/{number}") for number in range(4)}
    says |= {f"/to/{number}": Says(delay=0.15) for number in range(4)}
    with running_site(says) as site:
        assert (
            ends(await crawl([site.url(f"{number}") for number in range(4)], timeout=0.5, per_host=1)) == ["stored"] * 4
        )


async def test_a_hop_that_fails_sends_the_next_try_to_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.02)

    class Flaky(dict[str, Says]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "/go":
                return moved("/busy")
            return Says(503) if len(site.asked) < 4 else default

    with running_site() as site:
        site.says = Flaky()
        (outcome,) = await crawl([site.url("go")], retries=1, adapt=False)
        assert ends([outcome]) == ["stored"]
        assert outcome.attempts == 2
        assert [one.path for one in site.asked] == ["/go", "/busy", "/go", "/busy"]
