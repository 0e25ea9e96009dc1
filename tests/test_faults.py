"""Every fault a server can play, through a whole run: each ends in its reason, nothing hangs, nobody else suffers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohappyeyeballs
import pytest

from crawler import Crawler, Outcome, Reason, Settings
from crawler.fetch import guard, speed
from crawler.frontier import backoff, host
from tests.cli import check_agreement, metadata
from tests.conftest import third_party
from tests.servers.faults import CATALOGUE
from tests.servers.handle import Faults

LIMIT: Final = 60.0
MAX_BYTES: Final = 2_000_000
RETRIES: Final = 1
MAX_REDIRECTS: Final = 5

# Path on the fault server to the reason of the miss, None where a picture is stored.
EXPECTED: Final[dict[str, Reason | None]] = {
    "good.jpg": None,
    "good.png": None,
    "good.webp": None,
    "good.gif": None,
    "tiny/1.jpg": None,
    "big?bytes=1999999": None,
    "big?bytes=2000001": Reason.TOO_LARGE,
    "html": Reason.NOT_IMAGE,
    "html-as-jpeg": Reason.NOT_IMAGE,
    "wrong-type": None,
    "no-type": None,
    "empty": Reason.EMPTY,
    "truncated-file": Reason.TRUNCATED,
    "bomb.png": Reason.TOO_MANY_PIXELS,
    "big-pixels.png": Reason.TOO_MANY_PIXELS,
    "gzip-picture": None,
    "gzip-bomb": Reason.TOO_LARGE,
    "status/204": Reason.HTTP_STATUS,
    "status/301": Reason.REDIRECT,
    "status/400": Reason.HTTP_STATUS,
    "status/401": Reason.FORBIDDEN,
    "status/403": Reason.FORBIDDEN,
    "status/404": Reason.NOT_FOUND,
    "status/410": Reason.NOT_FOUND,
    "status/429": Reason.RATE_LIMITED,
    "status/451": Reason.FORBIDDEN,
    "status/500": Reason.SERVER_ERROR,
    "status/503": Reason.SERVER_ERROR,
    "status/999": Reason.HTTP_STATUS,
    "flaky/once": None,
    "flaky/once?code=reset": None,
    "flaky/once?code=429": None,
    "flaky/often?fails=9": Reason.SERVER_ERROR,
    "redirect?to=/good.jpg": None,
    "redirect?to=/good.jpg&code=308": None,
    "redirect?to=/status/404": Reason.NOT_FOUND,
    "redirect?to=ftp://127.0.0.1/a.jpg": Reason.REDIRECT,
    "redirect?to=http://": Reason.REDIRECT,
    "redirect-loop": Reason.REDIRECT,
    f"redirect-chain/{MAX_REDIRECTS}": None,
    f"redirect-chain/{MAX_REDIRECTS + 1}": Reason.REDIRECT,
    "redirect-no-location": Reason.REDIRECT,
    "redirect-mailto": Reason.REDIRECT,
    "redirect-file": Reason.REDIRECT,
    "close-at-once": Reason.RESET,
    "reset-at-once": Reason.RESET,
    "cut-body": Reason.INCOMPLETE,
    "cut-body-reset": Reason.INCOMPLETE,
    "cut-chunked": Reason.INCOMPLETE,
    "keepalive-close": None,
    "keepalive-drop": None,
    "not-http": Reason.BAD_HTTP,
    "no-answer": Reason.TIMEOUT,
    "slow?delay=0.3": None,
    "slow?delay=30": Reason.TIMEOUT,
    "stall-body": Reason.TIMEOUT,
    "drip": Reason.TOO_LARGE,
    "huge-length": Reason.TOO_LARGE,
    "endless-body": Reason.TOO_LARGE,
    "endless-headers": Reason.BAD_HTTP,
}

# error_class of the third-party table to ours.
CLASSES: Final[dict[str, Reason]] = {
    "truncated": Reason.INCOMPLETE,
    "reset": Reason.RESET,
    "timeout_headers": Reason.TIMEOUT,
    "timeout_body": Reason.TIMEOUT,
    "timeout_total": Reason.TIMEOUT,
    "body_too_large": Reason.TOO_LARGE,
    "decompress_bomb": Reason.TOO_LARGE,
    "header_limit": Reason.BAD_HTTP,
    "bad_http": Reason.BAD_HTTP,
    "http_status": Reason.HTTP_STATUS,
    "not_image": Reason.NOT_IMAGE,
    "empty_body": Reason.EMPTY,
    "too_many_redirects": Reason.REDIRECT,
    "redirect_invalid": Reason.REDIRECT,
    "redirect_scheme": Reason.REDIRECT,
}

# Rows where our reason is another one, and why.
DIFFERENT: Final[dict[str, tuple[Reason, str]]] = {
    "trunc-headers": (Reason.RESET, "without a whole header there is no answer that could be incomplete"),
    "trunc-cl-rst": (Reason.INCOMPLETE, "half a body is half a body, however the connection ended"),
    "status-300": (Reason.REDIRECT, "a redirect that names no target"),
    "status-401": (Reason.FORBIDDEN, "statuses that users meet have reasons of their own"),
    "status-403": (Reason.FORBIDDEN, "as 401"),
    "status-451": (Reason.FORBIDDEN, "as 401"),
    "status-404": (Reason.NOT_FOUND, "as 401"),
    "status-410": (Reason.NOT_FOUND, "as 401"),
    "status-500": (Reason.SERVER_ERROR, "as 401, and this one is tried again"),
    "status-502": (Reason.SERVER_ERROR, "as 500"),
    "status-504": (Reason.SERVER_ERROR, "as 500"),
    "status-408": (Reason.SERVER_ERROR, "as 500"),
}


async def outcomes(urls: list[str], **settings: Any) -> dict[str, Outcome]:
    """How each URL ended; a run that goes on after the limit is an error."""
    chosen = {"allow_private": True, "workers": 1, "size": 64, "per_host": 0, "max_bytes": MAX_BYTES, **settings}
    found = {}
    async with asyncio.timeout(LIMIT), Crawler(Settings.of(urls, **chosen)) as run:
        async for outcome in run:
            found[outcome.target.url] = outcome
    assert len(found) == len(urls), "every target ends, each once"
    return found


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests between two tries are half a second and more; what is shown here does not depend on how long they are."""
    monkeypatch.setattr(backoff, "FIRST", 0.05)
    monkeypatch.setattr(host, "FIRST_REST", 0.05)


def reason(outcome: Outcome) -> Reason | None:
    return outcome.miss.reason if outcome.miss else None


def test_the_table_names_every_fault_there_is() -> None:
    assert {path.partition("?")[0].partition("/")[0] for path in EXPECTED} == set(CATALOGUE) - {"wire"}


@pytest.mark.usefixtures("hurried")
async def test_each_fault_has_its_reason_and_the_others_are_stored(faults: Faults, tmp_path: Path) -> None:
    urls = {path: faults.url(path) for path in EXPECTED}
    alone, many = tmp_path / "alone", tmp_path / "many"
    # On connections that others have used it is dropped each time it is asked for: its run has none but its own.
    drop = urls["keepalive-drop"]
    late = [urls[path] for path, why in EXPECTED.items() if why is Reason.TIMEOUT]
    runs = await asyncio.gather(
        outcomes([url for url in urls.values() if url not in (drop, *late)], output=str(many), retries=RETRIES),
        outcomes([drop], output=str(alone), retries=RETRIES),
        outcomes(late, format="none", retries=0, timeout=1),
    )
    found = {url: outcome for run in runs for url, outcome in run.items()}
    assert {path: reason(found[url]) for path, url in urls.items()} == EXPECTED
    stored = {urls[path] for path, why in EXPECTED.items() if why is None}
    assert {row["url"] for row in [*metadata(many), *metadata(alone)]} == stored
    check_agreement(many)
    check_agreement(alone)


@pytest.mark.usefixtures("hurried")
async def test_what_can_get_better_is_tried_again_and_nothing_else(faults: Faults) -> None:
    paths = [path for path, why in EXPECTED.items() if why and why is not Reason.TIMEOUT]
    urls = {path: faults.url(path) for path in paths}
    found = await outcomes(list(urls.values()), format="none", retries=RETRIES, timeout=5)
    tries = {path: 1 + RETRIES if (why := EXPECTED[path]) and why.later else 1 for path in paths}
    assert {path: found[urls[path]].attempts for path in paths} == tries


async def test_every_explanation_is_one_line_of_words(faults: Faults) -> None:
    paths = [path for path, why in EXPECTED.items() if why and why is not Reason.TIMEOUT]
    found = await outcomes([faults.url(path) for path in paths], format="none", retries=0)
    for url, outcome in found.items():
        assert outcome.miss is not None
        detail = outcome.miss.detail
        assert detail, url
        assert detail.isprintable(), url
        assert "object at 0x" not in detail, url
        assert "<" not in detail.partition("starts with")[0], f"{url}: looks like the name of a Python class: {detail}"


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("path", ["reset-at-once", "close-at-once", "cut-body", "status/503"])
async def test_a_server_that_fails_is_asked_as_often_as_retries_say(faults: Faults, path: str) -> None:
    found = await outcomes([faults.url(path)], format="none", retries=RETRIES)
    assert [outcome.attempts for outcome in found.values()] == [1 + RETRIES]
    # A connection that is dropped without an answer is asked for once more by aiohttp itself, within the same try.
    assert 1 + RETRIES <= len(faults.log()) <= (1 + RETRIES) * (2 if path.endswith("at-once") else 1)


async def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(faults: Faults) -> None:
    url = faults.url("status/429?retry_after=600")
    found = await outcomes([url], format="none", retries=3)
    assert (reason(found[url]), found[url].attempts) == (Reason.RATE_LIMITED, 1)


@pytest.mark.parametrize("path", ["keepalive-drop", "keepalive-close"])
async def test_connections_that_die_between_two_requests_cost_nothing(faults: Faults, path: str) -> None:
    urls = [faults.url(f"{path}?n={number}") for number in range(6)]
    found = await outcomes(urls, format="none", retries=0, concurrency=1)
    assert {reason(outcome) for outcome in found.values()} == {None}


async def test_bodies_without_end_take_no_more_memory_than_one_may(faults: Faults) -> None:
    urls = [faults.url("gzip-bomb"), faults.url("endless-body"), faults.url("wire-is-not-here")]
    settings = Settings.of(
        urls, format="none", allow_private=True, workers=1, max_bytes=1_000_000, concurrency=1, retries=0
    )
    async with asyncio.timeout(LIMIT), Crawler(settings) as run:
        summary = await run.finish()
    assert summary.reasons == {"too_large": 2, "not_found": 1}
    assert summary.peak_body_bytes <= 1_000_000 + 2**20


async def test_a_body_that_trickles_is_given_up_before_its_time_is_over(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "GRACE", 0.5)
    url = faults.url("drip?every=0.2")
    found = await outcomes([url, faults.url("good.jpg")], format="none", retries=0, max_bytes=50_000_000)
    assert reason(found[url]) is Reason.TOO_SLOW_BODY
    assert found[url].seconds < 20


async def test_ports_where_nobody_speaks_http() -> None:
    closed = unused_port()
    with full_queue() as full:
        async with await asyncio.start_server(answer_plainly, "127.0.0.1", 0) as plain:
            urls = {
                f"http://127.0.0.1:{closed}/": Reason.CONNECT,
                f"http://127.0.0.1:{full}/": Reason.CONNECT_TIMEOUT,
                f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/": Reason.TLS,
            }
            found = await outcomes(list(urls), format="none", retries=0, connect_timeout=0.5)
    assert {url: reason(outcome) for url, outcome in found.items()} == urls


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def answer_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What an HTTP server says to a TLS greeting."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


@contextlib.contextmanager
def full_queue() -> Iterator[int]:
    """A port that listens and takes no more connections: the kernel drops what comes (listen(2), backlog)."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_private_addresses_are_refused_unless_allowed(faults: Faults) -> None:
    urls = [faults.url("good.jpg"), f"http://localhost:{faults.port}/good.jpg", f"http://[::1]:{faults.port}/good.jpg"]
    found = await outcomes(urls, format="none", allow_private=False)
    for outcome in found.values():
        assert outcome.miss is not None
        assert outcome.miss.reason is Reason.BLOCKED_ADDRESS
        assert "--allow-private" in outcome.miss.detail
    assert faults.log() == []


async def test_a_redirect_to_a_private_address_is_refused(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    third_party("faults")
    tried = only_connect_to(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.1")
    urls = [faults.url("wire/redirect-ssrf"), faults.url(f"redirect?to=http://127.0.0.2:{faults.port}/good.jpg")]
    found = await outcomes(urls, format="none", allow_private=False)
    assert {reason(outcome) for outcome in found.values()} == {Reason.BLOCKED_ADDRESS}
    assert set(tried) == {"127.0.0.1"}


def only_connect_to(monkeypatch: pytest.MonkeyPatch, allowed: str) -> list[str]:
    """Hooks aiohttp's one way to a socket: what gets as far as that is noted, and goes nowhere but to `allowed`."""
    tried: list[str] = []
    connect = aiohappyeyeballs.start_connection

    async def hooked(*, addr_infos: Any, socket_factory: Any, **options: Any) -> Any:
        def made(info: Any) -> Any:
            opened = socket_factory(info)
            tried.append(info[4][0])
            if info[4][0] != allowed:
                opened.close()
                raise AssertionError(f"a connection to {info[4]} was about to be made")
            return opened

        return await connect(addr_infos=addr_infos, socket_factory=made, **options)

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", hooked)
    return tried


# The third-party table ----------------------------------------------------------------------------

Row = dict[str, Any]


def rows() -> dict[str, Row]:
    """The scripted faults by id. `redirect-ssrf` has a test of its own, behind a hook that lets no connection out."""
    table = json.loads((third_party("faults") / "faults.json").read_text())["faults"]
    return {row["id"]: row for row in table if row.get("kind") != "environment" and row["id"] != "redirect-ssrf"}


def expected_reason(name: str, expect: Row) -> Reason | None:
    if name in DIFFERENT:
        return DIFFERENT[name][0]
    return CLASSES[expect["error_class"]] if expect["error_class"] else None


async def test_scripted_faults_end_as_the_table_says(faults: Faults, tmp_path: Path) -> None:
    table = rows()
    urls = {name: faults.url(f"wire/{name}") for name in table}
    late = [urls[name] for name, row in table.items() if str(row["expect"]["error_class"]).startswith("timeout")]
    in_turns = [urls[name] for name, row in table.items() if "sequence" in row["steps"][0]]
    prompt = [url for url in urls.values() if url not in (*late, *in_turns)]
    found = await asyncio.gather(
        outcomes(prompt, output=str(tmp_path), retries=RETRIES, max_redirects=MAX_REDIRECTS),
        outcomes(late, format="none", retries=RETRIES, timeout=0.7),
        outcomes(in_turns, format="none", retries=2),
    )
    check_agreement(tmp_path)
    ended = {outcome.target.url: outcome for some in found for outcome in some.values()}
    check_rows({name: row["expect"] for name, row in table.items()}, {name: ended[urls[name]] for name in table})
    check_requests(faults, table)


def check_rows(expected: dict[str, Row], ended: dict[str, Outcome]) -> None:
    decided = {name: expect for name, expect in expected.items() if expect["outcome"] != "either"}
    reasons = {name: expected_reason(name, expect) for name, expect in decided.items()}
    assert {name: reason(ended[name]) for name in decided} == reasons
    assert {name: ended[name].stored for name in decided} == {
        name: expect["outcome"] == "saved" for name, expect in decided.items()
    }
    again = {name: expect["retryable"] for name, expect in expected.items() if expect["retryable"] is not None}
    assert {name: ended[name].attempts > 1 for name in again} == again


def check_requests(faults: Faults, table: dict[str, Row]) -> None:
    """No row was asked for more often, or sooner again, than the table allows."""
    begun: dict[str, list[float]] = {}
    for entry in faults.log():
        begun.setdefault(entry["path"].removeprefix("/wire/"), []).append(entry["start"])
    for name in table:
        expect = table[name]["expect"]
        most = expect.get("max_requests", len(begun[name]))
        assert len(begun[name]) <= (MAX_REDIRECTS + 1 if most == "limit+1" else most), name
        if "min_gap_s" in expect:
            first, second = begun[name]
            assert second - first >= expect["min_gap_s"], name
