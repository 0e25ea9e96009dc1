"""From lists of all kinds to numbered targets: nothing lost, nothing renumbered, nothing whole in memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.errors import CrawlerError, InputError, InputMissing
from crawler.found import GIVEN
from crawler.inputs.lines import LONGEST_LINE, _split
from crawler.inputs.targets import Targets
from crawler.model import Target
from crawler.settings import InputSettings

LIMIT: Final = 30.0
BOM: Final = b"\xef\xbb\xbf"
MB: Final = 1_000_000
Sources = Iterable[str] | AsyncIterable[str]


async def targets(*names: str, sources: Sources | None = None, **options: Any) -> list[Target]:
    source = Targets(InputSettings(names if sources is None else sources, **options))
    async with asyncio.timeout(LIMIT):
        found = [target async for batch in source.batches() for target in batch]
    assert [target.index for target in found] == list(range(len(found)))
    assert source.total == len(found)
    return found


async def urls(*names: str, sources: Sources | None = None, **options: Any) -> list[str]:
    return [target.url for target in await targets(*names, sources=sources, **options)]


async def lines_of(folder: Path, data: bytes) -> list[tuple[str, str]]:
    """Line number and text of what a file of these bytes gives."""
    path = folder / "list.txt"
    path.write_bytes(data)
    return [(target.origin.rpartition(":")[2], target.url) for target in await targets(str(path))]


# Text files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"http://a/1\nhttp://a/2\n",
        b"http://a/1\nhttp://a/2",
        b"http://a/1\r\nhttp://a/2\r\n",
        BOM + b"http://a/1\nhttp://a/2\n",
        BOM + b"http://a/1\r\nhttp://a/2",
        b"  http://a/1\t\n\thttp://a/2  ",
    ],
)
async def test_lines_end_in_any_way(tmp_path: Path, data: bytes) -> None:
    assert await lines_of(tmp_path, data) == [("1", "http://a/1"), ("2", "http://a/2")]


async def test_blank_lines_and_comments_are_left_out_but_counted(tmp_path: Path) -> None:
    data = BOM + b"# pictures\r\n\r\nhttp://a/1\n   \n  # more\nhttp://a/2#there\n\n"
    assert await lines_of(tmp_path, data) == [("3", "http://a/1"), ("6", "http://a/2#there")]


async def test_commas_and_quotes_belong_to_the_address(tmp_path: Path) -> None:
    data = b"http://a/1,2?x='y'\n\"http://a/3\"\nhttp://a/4, a cat\n"
    assert [url for _, url in await lines_of(tmp_path, data)] == [
        "http://a/1,2?x='y'",
        '"http://a/3"',
        "http://a/4, a cat",
    ]


@pytest.mark.parametrize("data", [b"", b"\n", BOM, BOM + b"\n", b"#", b" \n\t\n# nothing"])
async def test_a_list_without_addresses_has_no_targets(tmp_path: Path, data: bytes) -> None:
    assert await lines_of(tmp_path, data) == []


async def test_what_is_no_text_stays_one_target_a_line(tmp_path: Path) -> None:
    data = b"http://a/\xff\xfe\nhttp://a/\x00\nhttp://a/caf\xe9\n\x00\x01\nhttp://a/5"
    found = await lines_of(tmp_path, data)
    assert [number for number, _ in found] == ["1", "2", "3", "4", "5"]
    assert [url for _, url in found] == [
        "http://a/\ufffd\ufffd",
        "http://a/\x00",
        "http://a/caf\ufffd",
        "\x00\x01",
        "http://a/5",
    ]


async def test_an_endless_line_is_cut_and_the_next_ones_are_not(tmp_path: Path) -> None:
    (_, first), (_, cut), (number, last) = await lines_of(
        tmp_path, b"http://a/1\nhttp://a/" + b"x" * 5 * MB + b"\nhttp://a/3\n"
    )
    assert (first, number, last) == ("http://a/1", "3", "http://a/3")
    assert cut == ("http://a/" + "x" * LONGEST_LINE)[:LONGEST_LINE]


async def test_a_list_of_one_endless_line_ends(tmp_path: Path) -> None:
    ((number, cut),) = await lines_of(tmp_path, b"x" * 5 * MB)
    assert (number, len(cut)) == ("1", LONGEST_LINE)


async def test_a_byte_order_mark_in_the_middle_is_left_out(tmp_path: Path) -> None:
    """Two lists that were put into one file."""
    data = BOM + b"http://a/1\n" + BOM + b"http://a/2\n"
    assert [url for _, url in await lines_of(tmp_path, data)] == ["http://a/1", "http://a/2"]


parts = st.sampled_from(
    [b"\n", b"\r\n", b" ", b"\t", b"#", b"a", b"http://a/", b"\x00", b"\xff", b"\xc3", b"\xa9", b"\x0b"]
)
contents = st.builds(
    lambda mark, inside: mark + b"".join(inside), st.sampled_from([b"", BOM]), st.lists(parts, max_size=30)
)


def expected(data: bytes) -> list[tuple[int, str]]:
    lines = enumerate((line.strip() for line in data.removeprefix(BOM).split(b"\n")), 1)
    return [(at, line.decode(errors="replace")) for at, line in lines if line and not line.startswith(b"#")]


@settings(deadline=None)
@given(contents, st.lists(st.integers(1, 12), min_size=1, max_size=20))
@example(BOM + b"http://a/1", [1])
@example(BOM + b"\nx", [3])
async def test_it_makes_no_difference_in_which_pieces_a_list_comes(data: bytes, sizes: list[int]) -> None:
    rest, order = data, iter(sizes * (len(data) + 1))

    async def read(_: int) -> bytes:
        nonlocal rest
        size = next(order)
        piece, rest = rest[:size], rest[size:]
        return piece

    assert [line async for batch in _split(read) for line in batch] == expected(data)


@settings(deadline=None)
@given(contents)
@example(BOM + b" # comment\nx")
@example(BOM + b"  \nx")
@example(b"x\n" + BOM + b"\nx")
@example(b" " * LONGEST_LINE + b"x\nx")
def test_the_number_of_targets_is_known_before_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_bytes(data)
    announced, found = asyncio.run(_announced(Targets(InputSettings((str(path),)))))
    assert announced == found


async def _announced(source: Targets) -> tuple[int | None, int]:
    announced, found = None, 0
    async for batch in source.batches():
        announced = source.total if not found else announced
        found += len(batch)
    return (announced if found else 0), found


# Memory -----------------------------------------------------------------------------------------


async def read(source: Targets, look: Callable[[], object] = bool) -> tuple[int, int]:
    """Number of targets and the largest batch; the targets are dropped. `look` is called after every batch."""
    count = largest = 0
    async for batch in source.batches():
        count, largest = count + len(batch), max(largest, len(batch))
        look()
    return count, largest


def peak(source: Targets) -> tuple[int, int, int]:
    """Number of targets, the largest batch, and the most bytes held while they were read."""
    tracemalloc.start()
    try:
        count, largest = asyncio.run(read(source))
        return count, largest, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_list_of_a_million_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"http://example.org/0123456789.jpg\n" * 1_000_000)
    process = psutil.Process()
    before, sizes = process.memory_info().rss, []
    source = Targets(InputSettings((str(path),)))
    count, largest = asyncio.run(read(source, lambda: sizes.append(process.memory_info().rss)))
    path.unlink()
    assert count == 1_000_000
    assert largest < 10_000
    assert max(sizes) - before < 30 * MB


def test_an_endless_line_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"x" * 5 * MB + b"\nhttp://a/2\n")
    count, _, most = peak(Targets(InputSettings((str(path),))))
    assert count == 2
    assert most < 2 * MB


def test_what_is_repeated_is_a_stream_too() -> None:
    count, largest, most = peak(Targets(InputSettings(("http://a/1",), repeat=100_000)))
    assert count == 100_000
    assert largest <= 10_000, "targets in one batch"
    assert most < 4 * MB


def test_a_limit_bounds_what_is_made(tmp_path: Path) -> None:
    count, _, most = peak(Targets(InputSettings(("http://a/1",), repeat=100_000, limit=5)))
    assert count == 5
    assert most < 1 * MB


# Numbering --------------------------------------------------------------------------------------


async def test_sources_are_numbered_through_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"http://a/1\n\nhttp://a/2\n")
    (tmp_path / "two.txt").write_bytes(b"http://a/5\n")
    one, two = str(tmp_path / "one.txt"), str(tmp_path / "two.txt")
    assert await targets("http://a/0", one, "http://a/3", "http://a/4", two) == [
        Target(0, "http://a/0", "argument 1", found=GIVEN),
        Target(1, "http://a/1", f"{one}:1"),
        Target(2, "http://a/2", f"{one}:3"),
        Target(3, "http://a/3", "argument 3", found=GIVEN),
        Target(4, "http://a/4", "argument 4", found=GIVEN),
        Target(5, "http://a/5", f"{two}:1"),
    ]


async def test_no_sources_are_no_targets() -> None:
    assert await targets() == []


async def test_a_list_may_be_given_twice(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"http://a/1\n")
    name = str(tmp_path / "one.txt")
    assert await urls(name, name) == ["http://a/1"] * 2


async def test_bad_lines_keep_their_number() -> None:
    assert await urls(sources=iter(["http://a/0", "", "nonsense", "http://a/3"])) == [
        "http://a/0",
        "",
        "nonsense",
        "http://a/3",
    ]


async def test_repeating_gives_every_target_so_often_in_a_row() -> None:
    assert await urls("http://a/0", "http://a/1", repeat=3) == ["http://a/0"] * 3 + ["http://a/1"] * 3


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 700), st.integers(1, 5), st.none() | st.integers(0, 1500))
@example(256, 1, 256)
@example(512, 2, 513)
async def test_repeat_and_limit_together(count: int, repeat: int, limit: int | None) -> None:
    options = {"repeat": repeat} if limit is None else {"repeat": repeat, "limit": limit}
    whole = [f"http://a/{number}" for number in range(count) for _ in range(repeat)]
    found = await urls(sources=(f"http://a/{number}" for number in range(count)), **options)
    assert found == whole[:limit]


async def test_the_total_is_known_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"http://a/1\n# no\nhttp://a/2\n")
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 3), ({"repeat": 4}, 12), ({"repeat": 4, "limit": 5}, 5), ({"limit": 9}, 3),
    )  # fmt: skip
    for options, total in cases:
        source = Targets(InputSettings(("http://a/0", str(tmp_path / "list.txt")), **options))
        assert source.total is None
        batches = source.batches()
        async with asyncio.timeout(LIMIT):
            await anext(batches)
            assert source.total == total
            await batches.aclose()


# Iterables --------------------------------------------------------------------------------------


async def counted(most: int) -> AsyncIterator[str]:
    for number in range(most):
        await asyncio.sleep(0)
        yield f"http://a/{number}"


async def test_any_iterable_will_do() -> None:
    expected = ["http://a/0", "http://a/1"]
    assert await urls(sources=expected) == expected
    assert await urls(sources=tuple(expected)) == expected
    assert await urls(sources=dict.fromkeys(expected)) == expected
    assert await urls(sources=(url for url in expected)) == expected
    assert await urls(sources=counted(2)) == expected


async def test_items_of_an_iterable_are_numbered_for_people() -> None:
    assert [target.origin for target in await targets(sources=counted(3))] == ["item 1", "item 2", "item 3"]
    assert [target.origin for target in await targets(sources=iter(["a", "b"]))] == ["item 1", "item 2"]


async def test_an_endless_iterable_leaves_the_loop_to_others() -> None:
    def forever() -> Iterator[str]:
        while True:
            yield "http://a/1"

    async def first(count: int) -> int:
        found = 0
        async for batch in Targets(InputSettings(forever())).batches():
            found += len(batch)
            if found >= count:
                break
        return found

    reading = asyncio.create_task(first(100_000))
    turns = 0
    async with asyncio.timeout(LIMIT):
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
    assert turns > 100


@pytest.mark.parametrize(("limit", "repeat", "asked"), [(3, 1, 3), (3, 2, 2), (4, 2, 2), (0, 1, 0)])
async def test_no_more_is_asked_of_an_iterable_than_the_limit_needs(limit: int, repeat: int, asked: int) -> None:
    """It may be a queue that waits for ever, or cost something."""
    taken = []

    def queue() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield f"http://a/{number}"

    async def later() -> AsyncIterator[str]:
        for url in queue():
            yield url

    assert len(await urls(sources=queue(), limit=limit, repeat=repeat)) == limit
    assert len(taken) == asked
    taken.clear()
    assert len(await urls(sources=later(), limit=limit, repeat=repeat)) == limit
    assert len(taken) == asked


async def test_an_error_of_the_iterable_is_passed_on() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "http://a/0"
        raise LookupError("the database is gone")

    with pytest.raises(LookupError, match="the database is gone"):
        await targets(sources=broken())


async def test_an_address_can_always_be_written_down() -> None:
    """Program arguments and file names that are no UTF-8 come as lone surrogates: the journal could not take them."""
    odd = "http://a/\udcff.jpg"
    for sources in ((odd,), iter([odd])):
        (target,) = await targets(sources=sources)
        assert target.url.encode()


# Lists that cannot be read ----------------------------------------------------------------------


def complaint(*names: str) -> str:
    source = Targets(InputSettings(names))
    with pytest.raises(InputMissing) as missing:
        source.check()
    text = str(missing.value)
    assert "\n" not in text
    return text


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    name = str(tmp_path / "missing.txt")
    assert complaint("http://a/1", name).startswith(f"{name}: no such file")


def test_a_url_without_its_scheme_is_told_what_it_lacks() -> None:
    assert "a URL with its scheme" in complaint("example.org/a.jpg")


@pytest.mark.parametrize("name", ["", "."])
def test_a_folder_is_no_list(name: str) -> None:
    assert "is a folder" in complaint(name)


def test_a_list_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"http://a/1\n")
    path.chmod(0)
    if os.access(path, os.R_OK):  # nothing is forbidden to root
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be read, permission denied" in complaint(str(path))


@pytest.mark.parametrize("name", ["a\x00b", "a" * 300, "a/" * 3000, "\udcff"], ids=["nul", "long", "deep", "no text"])
def test_what_can_be_no_file_name_is_no_list(name: str) -> None:
    complaint(name)


def test_a_list_below_a_file_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    complaint(str(tmp_path / "file" / "list.txt"))


def test_good_sources_are_not_complained_about(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"")
    Targets(InputSettings(("http://a/1", str(path), "-"))).check()
    Targets(InputSettings(iter(["missing.txt"]))).check()


async def test_a_list_that_goes_away_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        await targets(str(tmp_path / "gone.txt"))


# Standard input ---------------------------------------------------------------------------------

READER: Final = """
import asyncio, json, os, sys
from crawler.errors import CrawlerError
from crawler.inputs.targets import Targets
from crawler.settings import InputSettings

async def main():
    asyncio.get_running_loop().slow_callback_duration = 10.0  # a busy machine is nobody's fault here
    try:
        async for batch in Targets(InputSettings(("-",))).batches():
            for target in batch:
                print(json.dumps([target.index, target.url, target.origin]), flush=True)
    except CrawlerError as error:
        print(json.dumps([type(error).__name__, str(error)]))

async def cancelled():
    reading = asyncio.create_task(main())
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait({reading})

factory = None
if sys.argv[1] == "uvloop":
    import uvloop
    factory = uvloop.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(cancelled() if "cancel" in sys.argv else main())
try:
    print(json.dumps(["blocking", os.get_blocking(0)]))
except OSError:
    pass
"""
loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def answers(loop: str, *words: str, **options: Any) -> list[Any]:
    """What a process says whose standard input is as `options` have it. All warnings are shown, and there are none."""
    command = [sys.executable, "-X", "dev", "-c", READER, loop, *words]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False, **options)
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


THREE: Final = [
    [0, "http://a/0", "standard input:1"],
    [1, "http://a/1", "standard input:3"],
    [2, "\ufffd", "standard input:4"],
]


@loops
def test_standard_input_may_be_a_pipe(loop: str) -> None:
    assert answers(loop, input=BOM + b"http://a/0\r\n\nhttp://a/1\n\xff") == [*THREE, ["blocking", True]]


@loops
def test_standard_input_may_be_a_file(loop: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(BOM + b"http://a/0\r\n\nhttp://a/1\n\xff")
    with (tmp_path / "list.txt").open() as file:
        assert answers(loop, stdin=file) == [*THREE, ["blocking", True]]


@loops
def test_standard_input_may_be_empty(loop: str) -> None:
    assert answers(loop, input=b"") == [["blocking", True]]
    assert answers(loop, stdin=subprocess.DEVNULL) == [["blocking", True]]


@loops
def test_standard_input_may_be_large(loop: str) -> None:
    found = answers(loop, input=b"http://example.org/a.jpg\n" * 30_000)
    assert len(found) == 30_001
    assert found[-2] == [29_999, "http://example.org/a.jpg", "standard input:30000"]


def test_a_closed_standard_input_is_an_input_error() -> None:
    ((kind, text), *_) = answers("asyncio", preexec_fn=lambda: os.close(0))
    assert issubclass(getattr(sys.modules["crawler.errors"], kind), CrawlerError)
    assert text.startswith("-: ") or "standard input" in text


@loops
def test_waiting_for_standard_input_can_be_given_up(loop: str) -> None:
    silent, end = os.pipe()
    try:
        assert answers(loop, "cancel", stdin=silent) == [["blocking", True]]
    finally:
        os.close(silent)
        os.close(end)


@loops
def test_lines_of_a_pipe_are_targets_as_soon_as_they_come(loop: str) -> None:
    command = [sys.executable, "-c", READER, loop]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for number in range(3):
                process.stdin.write(b"http://a/%d\n" % number)
                process.stdin.flush()
                assert json.loads(process.stdout.readline())[:2] == [number, f"http://a/{number}"]
        finally:
            process.stdin.close()
            process.stdout.read()
            process.wait(LIMIT)
            limit.cancel()
