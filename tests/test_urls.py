"""Addresses as lists have them: what is refused and why, which host is meant, and names that are safe on disk."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from crawler.urls import (
    MAX_URL_LENGTH,
    BadURL,
    host_key,
    join,
    looks_like_url,
    masked,
    parse,
    safe_name,
    split_credentials,
    stem,
)
from tests.conftest import third_party

# What is taken ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("http://example.org/a.jpg", "http://example.org/a.jpg"),
        ("HTTPS://Example.ORG/A.jpg", "https://example.org/A.jpg"),
        ("http://example.org:80/", "http://example.org/"),
        ("https://example.org:443/", "https://example.org/"),
        ("http://example.org:8080/", "http://example.org:8080/"),
        ("http://example.org", "http://example.org"),
        ("http://example.org/a%20b", "http://example.org/a%20b"),
        ("http://example.org/?q=a,b&c='d'#there", "http://example.org/?q=a,b&c='d'"),
        ("http://example.org/#", "http://example.org/"),
        ("http://example.org/a#b#c", "http://example.org/a"),
        ("http://b\u00fccher.example/\u00fc", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://[2001:DB8::0:1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://a_b.example/", "http://a_b.example/"),
    ],
)
def test_an_address_is_taken_without_its_fragment(text: str, asked: str) -> None:
    assert str(parse(text)) == asked


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an absolute address"),
        ("a.jpg", "not an absolute address"),
        ("/a.jpg", "not an absolute address"),
        ("//example.org/a.jpg", "not an absolute address"),
        ("example.org/a.jpg", "not an absolute address"),
        ("http:/example.org/a.jpg", "not an absolute address"),
        ("http:example.org", "not an absolute address"),
        ("javascript:alert(1)", "not an absolute address"),
        ("data:image/png;base64,AAAA", "not an absolute address"),
        ('"http://example.org/"', "not an absolute address"),
        ("\ufeffhttp://example.org/", "not an absolute address"),
        ("ftp://example.org/a.jpg", "scheme 'ftp' is not http or https"),
        ("file:///etc/passwd", "scheme 'file' is not http or https"),
        ("http+unix://socket/a", "scheme 'http+unix' is not http or https"),
        ("http://", "no host"),
        ("http:///a.jpg", "no host"),
        ("http://?a", "no host"),
        ("http://example.org:0/", "no usable port"),
        ("http://example.org:65536/", "not an address"),
        ("http://example.org:http/", "not an address"),
        ("http://example.org:-80/", "not an address"),
        ("http://exa mple.org/", "space or control character (' ')"),
        ("http://example.org/a b.jpg", "space or control character (' ')"),
        ("http://example.org/a\tb.jpg", "space or control character ('\\t')"),
        ("http://example.org/\r\nX: y", "space or control character ('\\r')"),
        ("http://example.org/\x00", "space or control character ('\\x00')"),
        ("http://example.org/\x7f", "space or control character ('\\x7f')"),
        ("http://example.org/caf\ufffd.jpg", "not UTF-8"),
        ("http://example.org\\@evil.example/", "not an address"),
        ("http://[::1", "not an address"),
        ("http://[::1]x/", "not an address"),
        ("http://\u200b/", "not an address"),
        ("http://a\uff0fb/", "not an address"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadURL) as refused:
        parse(text)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "a%62c.example",
        "%31%32%37.0.0.1",
        "a|b.example",
        "a<b>.example",
        "a^b.example",
        "a\u3000b.example",
        "a\u00a0b.example",
        "a..example",
        ".example",
        "x" * 64 + ".example",
        "x." * 130 + "example",
        "[v1.example.org]",
        "[::1.2.3]",
        "[1::2::3]",
        "1.2.3.256",
        "1.2.3.4.5",
        "4294967296",
    ],
)
def test_a_host_that_cannot_be_is_refused(host: str) -> None:
    with pytest.raises(BadURL):
        parse(f"http://{host}/a.jpg")


@pytest.mark.parametrize("port", ["+80", "8_0", "\u0668\u0660", "0x50", "8 0"])
def test_a_port_is_written_in_digits(port: str) -> None:
    with pytest.raises(BadURL):
        parse(f"http://example.org:{port}/")


def test_a_letter_that_is_none_is_not_left_out() -> None:
    """A lone surrogate, as a program argument of other bytes than UTF-8 has them."""
    with pytest.raises(BadURL):
        parse("http://example.org/a\udcffb.jpg")


def test_the_longest_address_is_taken_and_a_longer_one_is_not() -> None:
    longest = "http://example.org/".ljust(MAX_URL_LENGTH, "a")
    assert len(str(parse(longest))) == MAX_URL_LENGTH
    with pytest.raises(BadURL, match=f"longer than {MAX_URL_LENGTH} characters \\({MAX_URL_LENGTH + 1}\\)"):
        parse(longest + "a")


addresses = st.text(max_size=60).map("http://{}".format) | st.text(max_size=40).map("https://example.org{}".format)


@settings(deadline=None)
@given(st.text() | addresses)
@example("http://[")
@example("http://xn--a/")
@example("http://xn--/")
@example("http://@/")
@example("http://:@:/")
@example("http://\u00ad/")
def test_any_text_is_an_address_that_can_be_asked_for_or_is_refused(text: str) -> None:
    try:
        url = parse(text)
    except BadURL:
        return
    assert url.scheme in ("http", "https")
    assert url.host
    assert url.port
    assert not url.raw_fragment
    assert str(url).isascii()
    assert parse(str(url)) == url, "what is asked for means the same when it is read again"


# The host that is meant -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("http://example.org/a", "example.org:80"),
        ("http://EXAMPLE.org:80/b", "example.org:80"),
        ("https://example.org/a", "example.org:443"),
        ("http://example.org:8080/a", "example.org:8080"),
        ("http://user:word@example.org/a", "example.org:80"),
        ("http://[0:0::1]/", "::1:80"),
        ("http://xn--bcher-kva.example/", "b\u00fccher.example:80"),
        ("http://b\u00fccher.example/", "b\u00fccher.example:80"),
    ],
)
def test_limits_are_counted_by_server(text: str, key: str) -> None:
    assert host_key(parse(text)) == key


def test_a_final_dot_is_no_other_server() -> None:
    assert host_key(parse("http://example.org./")) == host_key(parse("http://example.org/"))


def test_an_argument_with_a_scheme_is_no_file() -> None:
    assert looks_like_url("https://example.org/a.txt")
    assert looks_like_url("ftp://example.org/a.txt")
    assert not looks_like_url("list.txt")
    assert not looks_like_url("folder/with:/colon.txt")


def _other_host(row: dict[str, Any]) -> str | None:
    """The host that this line of a list leads to where a browser would go to another."""
    try:
        host = parse(row["input"]).host or ""
    except BadURL:
        return None
    meant = URL(row["whatwg"]).host if row["whatwg"] != "FAILURE" else None
    if host == meant:
        return None
    try:  # the system reads these numbers as the browser does, and the guard looks at the address
        return None if socket.inet_ntoa(socket.inet_aton(host)) == meant else host
    except OSError:
        return host


def test_no_address_leads_to_another_host_than_in_a_browser() -> None:
    rows = json.loads((third_party("url") / "yarl_vs_whatwg.json").read_text())["rows"]
    differing = [row for row in rows if row.get("host_differs")]
    assert len(differing) == 38
    others = {row["input"]: other for row in differing if (other := _other_host(row))}
    assert not others


def test_a_reference_leads_where_it_leads_in_a_browser_or_nowhere() -> None:
    """The WHATWG cases through `join`, as a Location or a link is read. What is refused though a browser takes it is listed."""
    rows = json.loads((third_party("url") / "urltestdata.json").read_text())
    cases = [row for row in rows if isinstance(row, dict) and str(row.get("base")).startswith("http")]
    ends = {(row["input"], row["base"]): _joined(row["base"], row["input"]) for row in cases}
    assert len(ends) > 200
    for row in cases:
        end = ends[row["input"], row["base"]]
        if row.get("failure") or not str(row.get("href")).startswith("http"):
            assert end is None, row["input"]
        elif end is not None:
            assert _host(end) == row["hostname"].strip("[]"), row["input"]
    refused = {
        row["input"]
        for row in cases
        if str(row.get("href")).startswith("http") and ends[row["input"], row["base"]] is None
    }
    # Port 0, hosts that are numbers in odd spellings, and what no name can hold: nothing there can be asked for.
    assert len(refused) <= 20, refused


def _joined(base: str, reference: str) -> str | None:
    try:
        return str(parse(join(URL(base), reference)))
    except BadURL:
        return None


def _host(text: str) -> str:
    return URL(text).raw_host or ""


@pytest.mark.parametrize(
    ("reference", "end"),
    [
        ("b.jpg", "http://h.test/a/b.jpg"), ("/b", "http://h.test/b"), ("//g.test/b", "http://g.test/b"),
        ("?q", "http://h.test/a/x?q"), ("../b", "http://h.test/b"), ("https://g.test", "https://g.test"),
        ("http:b", "http://h.test/a/b"), ("https:g.test/b", "https://g.test/b"), ("\\\\g.test\\b", "http://g.test/b"),
        (" /b\t\n", "http://h.test/b"), ("/b c", "http://h.test/b%20c"), ("/\u00e4?\u00e4", "http://h.test/%C3%A4?%C3%A4"),
        ("/%2f%e4?x=%2B+", "http://h.test/%2F%E4?x=%2B+"), ("mailto:a@b", "mailto:a@b"), ("", "http://h.test/a/x?y"),
        ("/a?b\\c", "http://h.test/a?b%5Cc"),
    ],
)  # fmt: skip
def test_a_reference_is_joined_as_a_browser_joins_it(reference: str, end: str) -> None:
    assert join(URL("http://h.test/a/x?y"), reference) == end


@pytest.mark.parametrize("reference", ["//", "http://", "///", "http://[", "/\ufffd"])
def test_a_reference_without_sense_is_refused(reference: str) -> None:
    with pytest.raises(BadURL):
        join(URL("http://h.test/"), reference)


@given(st.text(max_size=60))
def test_joining_gives_an_address_or_says_why_not(reference: str) -> None:
    with contextlib.suppress(BadURL):
        assert isinstance(join(URL("https://h.test/a/b?c"), reference), str)


@pytest.mark.parametrize(
    ("given_", "shown", "credentials"),
    [
        ("http://h.test/a@b", "http://h.test/a@b", None),
        ("http://ann:s%40crt@h.test/", "http://ann:***@h.test/", ("ann", "s@crt")),
        ("http://ann@h.test/", "http://ann@h.test/", ("ann", "")),
        ("http://ann:***@h.test/", "http://ann:***@h.test/", None),
        (" HTTP:ann:x@h.test", " HTTP:ann:***@h.test", ("ann", "x")),
    ],
)
def test_a_password_is_taken_out_of_an_address(given_: str, shown: str, credentials: tuple[str, str] | None) -> None:
    assert split_credentials(given_) == (shown, credentials)
    assert masked(given_) == shown


def test_most_of_what_a_browser_refuses_is_refused() -> None:
    rows = json.loads((third_party("url") / "yarl_vs_whatwg.json").read_text())["rows"]
    impossible = [row["input"] for row in rows if row["whatwg"] == "FAILURE"]
    taken = [text for text in impossible if _taken(text)]
    assert len(taken) <= len(impossible) // 20, f"{len(taken)} of {len(impossible)}: {taken}"


def _taken(text: str) -> bool:
    try:
        parse(text)
    except BadURL:
        return False
    return True


# Names on disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("..", "_"),
        ("", "_"),
        (".hidden", "hidden"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f"),
        ("a\x00b\nc", "a_b_c"),
        ("caf\u00e9 \u732b", "caf\u00e9_\u732b"),
        ("\udcff", "_"),
    ],
)
def test_a_name_is_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/cat.jpg", "cat"),
        ("/a/cat%20one.jpg", "cat_one"),
        ("/cat.tar.gz", "cat.tar"),
        ("/cat", "cat"),
        ("/", "_"),
        ("", "_"),
        ("/.jpg", "jpg"),
        ("/..%2f..%2fetc%2fpasswd", "_."),
        ("/%2e%2e.jpg", "_"),
        ("/%00.jpg", "_"),
        ("/%ff%fe.jpg", "_"),
        ("/a?file=/etc/passwd", "a"),
        ("/caf%C3%A9.jpg", "caf\u00e9"),
    ],
)
def test_the_stem_is_the_last_part_of_the_path_without_its_ending(path: str, name: str) -> None:
    assert stem(parse(f"http://example.org{path}")) == name


def check_name(name: str, limit: int) -> None:
    assert name
    assert not name.startswith(".")
    assert len(name.encode()) <= limit
    assert not set(name) & set('/\\:*?"<>|\x00\r\n\t ')
    assert name.isprintable()


@given(st.text(st.characters()), st.integers(1, 200))
@example("\U0001f600" * 100, 3)
@example("." * 300, 5)
@example("a" * 300, 200)
@example("\udc80" * 9, 4)
def test_a_safe_name_is_always_one_part_of_a_path(text: str, limit: int) -> None:
    check_name(safe_name(text, limit), limit)


@settings(deadline=None)
@given(st.text(max_size=300).map("http://example.org/{}".format))
@example("http://example.org/" + "%F0%9F%98%80" * 60)
@example("http://example.org/%2e%2e%2f" + "%2e" * 200 + ".jpg")
def test_a_stem_is_always_one_part_of_a_path(text: str) -> None:
    try:
        url = parse(text)
    except BadURL:
        return
    check_name(stem(url), 100)
