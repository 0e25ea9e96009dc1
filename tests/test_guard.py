"""With default settings nothing but public addresses is connected to, whatever a list, a name or a redirect says.

Every connection that is tried is written down and refused, so that nothing ever leaves this machine.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import Crawler, Outcome, Settings
from crawler.fetch import connections
from crawler.fetch.budget import ByteBudget
from crawler.fetch.client import Client
from crawler.fetch.guard import BlockedAddress, Guard, is_public
from crawler.fetch.resolver import Address, NameMissing, Resolver
from crawler.model import Answer, Fetched, Miss, Moved, Reason, Target, Visit
from crawler.settings import MB, FetchSettings
from crawler.state.none import NullJournal
from tests.conftest import third_party
from tests.fake_clock import FakeClock
from tests.servers.handle import Faults

LIMIT = 20.0
PUBLIC = "93.184.216.34"
# Addresses --------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return text.split()


PRIVATE = words("127.0.0.1 10.0.0.1 169.254.169.254 ::1 fd00::1 fe80::1%2 ::ffff:127.0.0.1 64:ff9b::a00:1")
NOT_PUBLIC_V4 = words("""
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
""")
"""IANA special-purpose addresses that are not globally reachable, multicast and what is reserved."""

NOT_PUBLIC_V6 = words("""
    ::/128 ::1/128 ::/96 ::ffff:0:0:0/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/32 2001:2::/48 2001:10::/28
    2001:20::/28 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8 4000::/3 8000::/1
""")


def edges(network: str) -> list[str]:
    net = ip_network(network)
    return [str(net[0]), str(net[-1]), str(net[net.num_addresses // 2])]


def test_a_network_that_is_not_public_is_refused_from_end_to_end() -> None:
    for network in (*NOT_PUBLIC_V4, *NOT_PUBLIC_V6):
        assert [address for address in edges(network) if is_public(address)] == []


NEIGHBOURS = words("""
    1.1.1.1 8.8.8.8 93.184.216.34 1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0
    192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0
    223.255.255.255 2001:200:: 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1 2400:: 2003::
    3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::ffff:8.8.8.8 64:ff9b::808:808 2606:4700::5efe:808:808
    """)


def test_the_neighbours_of_such_networks_are_public() -> None:
    assert [address for address in NEIGHBOURS if not is_public(address)] == []


NO_ADDRESSES = words("""
    localhost 127.1 0x7f.0.0.1 2130706433 0177.0.0.1 8.8.8.8. 8.8.8.8:80 [::1] 1.1.1 1.1.1.1/32 \uff11.1.1.1 ::g : %
    1::2::3 unix:/run/a.sock fe80::1%eth0 ::1%lo
    """)


def test_what_is_no_address_in_its_usual_form_is_not_public() -> None:
    assert [text for text in ("", " ", "1.1.1.1 ", *NO_ADDRESSES) if is_public(text)] == []


def truth(address: IPv4Address) -> bool:
    return not any(address in ip_network(network) for network in NOT_PUBLIC_V4)


v4 = st.ip_addresses(v=4) | st.sampled_from(NOT_PUBLIC_V4).flatmap(lambda network: st.ip_addresses(network=network))


@given(v4)
def test_an_ipv4_address_is_public_or_not_in_every_form_that_is_in_use(address: IPv4Address) -> None:
    number = int(address)
    forms = [str(address), f"::ffff:{address}", str(IPv6Address((0x64FF9B << 96) | number))]
    assert [is_public(form) for form in forms] == [truth(address)] * 3


@given(v4, st.integers(0, 2**16 - 1))
def test_an_ipv4_address_in_a_form_out_of_use_is_never_public(address: IPv4Address, rest: int) -> None:
    number = int(address)
    compatible, translated = IPv6Address(number), IPv6Address((0xFFFF << 48) | number)
    six_to_four = IPv6Address((0x2002 << 112) | (number << 80) | rest)
    teredo = IPv6Address((0x20010000 << 96) | (rest << 32) | (number ^ 0xFFFF_FFFF))
    assert not any(is_public(str(one)) for one in (compatible, translated, six_to_four, teredo))
    if not truth(address):
        for prefix in (0x2606_4700 << 96, 0x2A00_1450 << 96):
            for mark in (0x0000_5EFE, 0x0200_5EFE):
                assert not is_public(str(IPv6Address(prefix | (mark << 32) | number)))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_and_translated_ipv4_are_public(address: IPv6Address) -> None:
    if is_public(str(address)):
        assert any(address in ip_network(one) for one in ("2000::/3", "::ffff:0:0/96", "64:ff9b::/96"))
        assert not any(address in ip_network(one) for one in NOT_PUBLIC_V6)


# The last gate ----------------------------------------------------------------------------------

WAYS_OUT = "--allow-net opens its network, --allow-private all"


@pytest.mark.parametrize("address", PRIVATE)
def test_no_socket_is_made_for_an_address_that_is_not_public(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(BlockedAddress) as blocked:
        Guard().socket((family, socket.SOCK_STREAM, 6, "", (address, 80)))
    assert str(blocked.value) == f"{address} is not a public address; {WAYS_OUT}"
    assert not Guard().permits(address)


def test_a_socket_for_a_public_address_is_of_the_kind_asked_for() -> None:
    with Guard().socket((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700:4700::1111", 80, 0, 0))) as made:
        assert (made.family, made.type) == (socket.AF_INET6, socket.SOCK_STREAM)


@pytest.mark.parametrize(
    ("net", "opened", "shut"),
    [
        ("127.0.0.0/8", "127.0.0.1 127.255.255.255 ::ffff:127.0.0.1", "10.0.0.1 0.0.0.0 ::1 ::ffff:10.0.0.1"),
        ("10.1.0.0/16", "10.1.0.0 10.1.255.255 ::ffff:a01:203", "10.0.255.255 10.2.0.0 ::ffff:a02:1 ::a01:203"),
        ("192.168.1.5", "192.168.1.5", "192.168.1.4 192.168.1.6"),
        ("fd00::/8", "fd00::1 fdff::1", "fc00::1 fe80::1 10.0.0.1 127.0.0.1"),
        ("fe80::/10", "fe80::1 fe80::1%2", "fec0::1"),
        ("::1/128", "::1", "::2 127.0.0.1 0.0.0.1"),
        ("10.0.0.0/8", "10.9.9.9", "64:ff9b::a00:1 2002:a00:1:: ::10.0.0.1 localhost 10.1 0xa000001"),
    ],
)
def test_a_network_that_was_opened_is_open_and_no_other(net: str, opened: str, shut: str) -> None:
    guard = Guard(nets=(net,))
    assert [address for address in words(opened) if not guard.permits(address)] == []
    assert [address for address in words(shut) if guard.permits(address)] == []
    assert guard.permits(PUBLIC)
    assert not guard.open


def test_an_address_that_was_exempted_is_open_at_that_port_only() -> None:
    guard = Guard()
    guard.exempt("127.0.0.1", 3128)
    guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 3128))).close()
    for address, port in (("127.0.0.1", 80), ("127.0.0.2", 3128), ("::ffff:127.0.0.1", 3128)):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with pytest.raises(BlockedAddress):
            guard.socket((family, socket.SOCK_STREAM, 6, "", (address, port)))


# Names ------------------------------------------------------------------------------------------


class Names:
    """Answers from a table, for every other name with addresses that are not public; numbers as the system reads them."""

    def __init__(self, table: Mapping[str, Callable[[], Sequence[str]]]) -> None:
        self._table = table
        self.closed = 0

    async def look_up(self, name: str) -> tuple[Sequence[Address], float | None]:
        await asyncio.sleep(0)
        return [_answer(address) for address in self._table.get(name, lambda: _by_number(name))()], None

    async def close(self) -> None:
        self.closed += 1


def _by_number(host: str) -> Sequence[str]:
    try:
        return (socket.inet_ntoa(socket.inet_aton(host)),)
    except OSError:
        return PRIVATE


def _answer(address: str) -> Address:
    return (socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class Network:
    """All there is of a network: names, the connections that were tried, and public addresses that lead to our server."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.names: dict[str, Callable[[], Sequence[str]]] = {"public.example": lambda: (PUBLIC,)}
        self.routes: dict[str, str] = {}

    async def fetch(self, *urls: str, clock: FakeClock | None = None, **options: Any) -> list[Answer]:
        """Fetch all at once with default settings but for robots.txt, and follow where they lead."""
        settings = FetchSettings(**({"robots": False} | options))
        client = Client(settings, ByteBudget(100 * MB), clock or FakeClock(auto=False), NullJournal())
        with self.instead():
            async with asyncio.timeout(LIMIT), client:
                outcomes = await asyncio.gather(*(self._follow(client, at, url) for at, url in enumerate(urls)))
                for outcome in outcomes:
                    if isinstance(outcome, Fetched):
                        client.done(outcome)
        return outcomes

    async def _follow(self, client: Client, at: int, url: str) -> Answer:
        visit = Visit(Target(at, url))
        while isinstance(answer := await client.fetch(visit, lambda _: None), Moved):
            visit.url, visit.host = answer.url, answer.host
        return answer

    async def crawl(self, urls: Sequence[str], **options: Any) -> dict[str, Outcome]:
        """A whole run with default settings."""
        settings = Settings.of(iter(urls), store="none", workers=1, retries=0, **options)
        with self.instead():
            async with asyncio.timeout(LIMIT), Crawler(settings) as run:
                return {outcome.target.url: outcome async for outcome in run}

    async def miss(self, url: str, **options: Any) -> Miss:
        (outcome,) = await self.fetch(url, **options)
        assert isinstance(outcome, Miss), outcome
        return outcome

    @contextmanager
    def instead(self) -> Iterator[None]:
        connect = socket.socket.connect

        def hook(this: socket.socket, address: Any) -> None:
            if this.family not in (socket.AF_INET, socket.AF_INET6):
                return connect(this, address)  # to our own workers
            self.tried.append(address[0])
            if (route := self.routes.get(address[0])) is None:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing leaves a test")
            return connect(this, (route, *address[1:]))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", hook)
            patch.setattr(connections, "lookup_for", lambda _: Names(self.names))
            yield


@pytest.fixture
def network() -> Network:
    return Network()


async def test_the_hook_sees_what_is_tried(network: Network) -> None:
    miss = await network.miss(f"http://{PUBLIC}/a.jpg")
    assert (miss.reason, network.tried) == (Reason.CONNECT, [PUBLIC])


async def test_nothing_is_tried_for_addresses_that_must_be_blocked(network: Network) -> None:
    rows = json.loads((third_party("ssrf") / "ssrf_vectors.json").read_text())["static"]
    blocked = [row["url"] for row in rows if row["expect"] == "block"]
    assert len(blocked) > 80
    reasons = {url: outcome for url in blocked for outcome in await network.fetch(url)}
    assert network.tried == []
    odd = {url: miss for url, miss in reasons.items() if not isinstance(miss, Miss) or miss.reason.later}
    assert not odd, "none of them gets better"


@pytest.mark.parametrize("robots", [True, False])
async def test_nothing_is_tried_by_a_whole_run_either(network: Network, robots: bool) -> None:
    rows = json.loads((third_party("ssrf") / "ssrf_vectors.json").read_text())["static"]
    blocked = [row["url"] for row in rows if row["expect"] == "block"]
    outcomes = await network.crawl(blocked, robots=robots)
    assert network.tried == []
    assert len(outcomes) > 80
    odd = {url: one for url, one in outcomes.items() if one.miss is None or one.miss.reason.later}
    assert not odd, "none of them gets better"


async def test_a_robots_txt_that_moves_leads_nowhere_private(network: Network) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        to = f"http://127.0.0.1:{port}/secret"
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    network.routes[PUBLIC] = "127.0.0.1"
    url = f"http://public.example:{port}/a.jpg"
    async with server:
        outcome = (await network.crawl([url]))[url]
    assert outcome.miss is not None
    assert outcome.miss.reason is Reason.BLOCKED_ADDRESS
    assert network.tried == [PUBLIC]


LOCAL_NAT64 = "http://[64:ff9b:1:808:8:800::]/a.jpg"  # RFC 8215: for use inside of a network, so it is not public


async def test_what_is_public_is_tried(network: Network) -> None:
    rows = json.loads((third_party("ssrf") / "ssrf_vectors.json").read_text())["static"]
    allowed = [row["url"] for row in rows if row["expect"] == "allow" and row["url"] != LOCAL_NAT64]
    assert len(allowed) >= 4
    for url in allowed:
        network.tried.clear()
        assert (await network.miss(url)).reason is Reason.CONNECT
        assert len(network.tried) == 1
        assert network.tried[0] in url


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_of_a_private_address_is_refused_with_all_that_explains_it(network: Network, address: str) -> None:
    network.names["intranet.example"] = lambda: (address,)
    miss = await network.miss("http://intranet.example/a.jpg")
    assert miss.reason is Reason.BLOCKED_ADDRESS
    assert miss.detail == f"intranet.example is {address}, which is not a public address; {WAYS_OUT}"
    assert network.tried == []


async def test_all_who_ask_for_a_private_name_at_once_are_refused(network: Network) -> None:
    outcomes = await network.fetch(*(f"http://intranet.example/{number}.jpg" for number in range(5)))
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Miss)] == [Reason.BLOCKED_ADDRESS] * 5
    assert network.tried == []


async def test_private_addresses_can_be_opened(network: Network) -> None:
    assert (await network.miss("http://127.0.0.1:9/a.jpg", allow_private=True)).reason is Reason.CONNECT
    assert network.tried == ["127.0.0.1"]


@pytest.mark.parametrize("answers", [(PUBLIC, "127.0.0.1"), ("::1", PUBLIC), ("10.0.0.1", PUBLIC, "fd00::1")])
async def test_of_several_addresses_only_the_public_ones_are_tried(network: Network, answers: tuple[str, ...]) -> None:
    network.names["both.example"] = lambda: answers
    miss = await network.miss("http://both.example/a.jpg")
    assert miss.reason is Reason.CONNECT
    assert set(network.tried) == {PUBLIC}


async def test_a_name_that_changes_its_address_leads_nowhere_private(network: Network, faults: Faults) -> None:
    answers = iter([(PUBLIC,), *[("127.0.0.1",)] * 20])
    network.names["rebind.example"] = lambda: next(answers)
    network.routes[PUBLIC] = faults.hosts[0]
    urls = [f"http://rebind.example:{faults.port}/good.jpg?seed={number}" for number in range(4)]
    await network.fetch(*urls)
    assert set(network.tried) == {PUBLIC}
    await network.fetch(*urls)
    assert set(network.tried) == {PUBLIC}


async def test_a_name_without_an_address_is_a_matter_of_names(network: Network) -> None:
    network.names["empty.example"] = lambda: ()
    assert (await network.miss("http://empty.example/a.jpg")).reason is Reason.DNS


async def test_a_name_that_does_not_exist_is_a_matter_of_names(network: Network) -> None:
    def fails() -> Sequence[str]:
        raise NameMissing(None, "Name or service not known")

    network.names["missing.example"] = fails
    miss = await network.miss("http://missing.example/a.jpg")
    assert miss.reason is Reason.DNS
    assert "Name or service not known" in miss.detail


async def test_an_error_of_the_resolver_is_a_matter_of_names(network: Network) -> None:
    def fails() -> Sequence[str]:
        raise OSError(None, "out of order")

    network.names["broken.example"] = fails
    (miss,) = await network.fetch("http://broken.example/a.jpg", clock=FakeClock())
    assert isinstance(miss, Miss)
    assert miss.reason is Reason.DNS
    assert "out of order" in miss.detail


def set_proxy(patch: pytest.MonkeyPatch, *names: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelling in (name, name.upper()):
            patch.delenv(spelling, raising=False)
    for name in names:
        patch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_a_proxy_of_the_environment_is_no_way_around(
    network: Network, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    set_proxy(monkeypatch, name)
    private = [
        f"http://{f'[{address}]' if ':' in address else address}/a.jpg" for address in PRIVATE if "%" not in address
    ]
    for url in [*private, "http://intranet.example/a.jpg", "http://localhost/a.jpg", "http://127.0.0.1:9/a.jpg"]:
        assert (await network.miss(url)).reason is Reason.BLOCKED_ADDRESS
    assert network.tried == []
    assert (await network.miss("http://public.example/a.jpg")).reason is Reason.PROXY
    assert network.tried == ["127.0.0.1"], "the user's own proxy, and nothing else"


async def test_proxies_of_the_environment_can_be_left_alone(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    set_proxy(monkeypatch, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    assert (await network.miss("http://public.example/a.jpg", proxy="none")).reason is Reason.CONNECT
    assert network.tried == [PUBLIC]
    assert (await network.miss("http://127.0.0.1:9/a.jpg", proxy="none")).reason is Reason.BLOCKED_ADDRESS
    assert network.tried == [PUBLIC]


async def test_the_resolver_closes_the_one_inside() -> None:
    inner = Names({})
    await Resolver(inner, Guard(), FakeClock()).close()
    assert inner.closed == 1


# Redirects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_to_a_private_address_ends_there(
    network: Network, faults: Faults, code: int
) -> None:
    network.routes[PUBLIC] = faults.hosts[0]
    to = quote(f"http://127.0.0.1:{faults.port}/good.jpg", safe="")
    miss = await network.miss(f"http://public.example:{faults.port}/redirect?code={code}&to={to}")
    assert (miss.reason, network.tried) == (Reason.BLOCKED_ADDRESS, [PUBLIC])


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://127.0.0.1:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("//127.0.0.1:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("http://public.example@127.0.0.1:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("http://[::1]/good.jpg", Reason.BLOCKED_ADDRESS),
        ("http://[::ffff:7f00:1]:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("http://169.254.169.254/latest/meta-data/", Reason.BLOCKED_ADDRESS),
        ("http://intranet.example:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("http://0x7f000001:{port}/good.jpg", Reason.REDIRECT),
        ("http://2130706433:{port}/good.jpg", Reason.REDIRECT),
        ("http://127.1:{port}/good.jpg", Reason.REDIRECT),
        ("http:\\\\127.0.0.1:{port}\\good.jpg", Reason.BLOCKED_ADDRESS),
        ("http:///127.0.0.1:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("\\\\127.0.0.1:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("http://public.example%5c@127.0.0.1:{port}/good.jpg", Reason.BLOCKED_ADDRESS),
        ("file:///etc/passwd", Reason.REDIRECT),
        ("ftp://127.0.0.1/a.jpg", Reason.REDIRECT),
        ("gopher://127.0.0.1:25/_MAIL", Reason.REDIRECT),
        ("mailto:user@example.com", Reason.REDIRECT),
        ("http://", Reason.REDIRECT),
        ("http://[::1/", Reason.REDIRECT),
    ],
)
async def test_a_redirect_to_where_nobody_may_go_ends_there(
    network: Network, faults: Faults, to: str, reason: Reason
) -> None:
    network.routes[PUBLIC] = faults.hosts[0]
    target = quote(to.format(port=faults.port), safe="")
    miss = await network.miss(f"http://public.example:{faults.port}/redirect?to={target}")
    assert network.tried == [PUBLIC]
    assert miss.reason is reason


async def test_what_follows_a_backslash_is_a_path(network: Network, faults: Faults) -> None:
    network.routes[PUBLIC] = faults.hosts[0]
    here = f"http://public.example:{faults.port}"
    to = quote(f"{here}\\@127.0.0.1:{faults.port}/good.jpg", safe="")
    miss = await network.miss(f"{here}/redirect?to={to}")
    assert (miss.reason, set(network.tried)) == (Reason.NOT_FOUND, {PUBLIC})


async def test_a_redirect_to_a_public_address_is_followed(network: Network, faults: Faults) -> None:
    network.routes[PUBLIC] = network.routes["8.8.8.8"] = faults.hosts[0]
    to = quote(f"http://8.8.8.8:{faults.port}/good.jpg", safe="")
    (fetched,) = await network.fetch(f"http://public.example:{faults.port}/redirect?to={to}")
    assert isinstance(fetched, Fetched)
    assert fetched.final_url == f"http://8.8.8.8:{faults.port}/good.jpg"
    assert network.tried == [PUBLIC, "8.8.8.8"]


async def test_a_chain_that_ends_in_private_ends_at_that_hop(network: Network, faults: Faults) -> None:
    network.routes[PUBLIC] = faults.hosts[0]
    here = f"http://public.example:{faults.port}"
    inner = quote(f"{here}/redirect?to={quote('http://10.0.0.1/a.jpg', safe='')}", safe="")
    miss = await network.miss(f"{here}/redirect?to={inner}")
    assert miss.reason is Reason.BLOCKED_ADDRESS
    assert "10.0.0.1" in miss.detail
    assert set(network.tried) == {PUBLIC}
