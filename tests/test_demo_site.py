"""Starts the real demo site and holds every address of it to what the catalogue says about it."""

import http.client
import io
import itertools
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageOps, ImageStat

from crawler.demo import pictures
from crawler.demo.pictures import Specimen

START_LIMIT = 60.0  # seconds; about two on an idle machine
ANSWER_LIMIT = 30.0
STOP_LIMIT = 10.0

Process = subprocess.Popen[bytes]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@contextmanager
def started() -> Iterator[tuple[Process, str]]:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "crawler.demo.site"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=root) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_LIMIT)
            assert ready, "the site did not print its address in time"
            yield process, process.stdout.readline().decode().strip()
        finally:
            process.kill()


def get(base: str, path: str) -> Answer:
    """One request; redirects are returned, not followed."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=ANSWER_LIMIT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def opened(body: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(body))
    picture.load()
    return picture


def brightness(picture: Image.Image) -> float:
    return ImageStat.Stat(picture.convert("L")).mean[0]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with started() as (_, address):
        yield address


@pytest.fixture(scope="module")
def catalogue() -> tuple[Specimen, ...]:
    return pictures.catalogue()


def test_urls_txt_lists_every_good_picture_and_every_oddity_once(base: str, catalogue: tuple[Specimen, ...]) -> None:
    answer = get(base, "/urls.txt")
    lines = answer.body.decode().splitlines()
    assert answer.headers.get_content_type() == "text/plain"
    assert [line[:2] for line in lines[:2]] == ["# ", "# "]
    assert len(lines[2:]) == len(set(lines[2:])) == len(catalogue) + 11
    assert all(line.startswith(f"{base}/pictures/") for line in lines[2:])
    assert {f"{base}{row.path}" for row in catalogue} < set(lines)


def test_oddities_are_mixed_in_and_the_order_is_fixed(base: str, catalogue: tuple[Specimen, ...]) -> None:
    lines = get(base, "/urls.txt").body.decode().splitlines()[2:]
    good = {f"{base}{row.path}" for row in catalogue}
    odd = [number for number, line in enumerate(lines) if line not in good]
    assert all(second - first > 1 for first, second in itertools.pairwise(odd))
    assert get(base, "/urls.txt").body.decode().splitlines()[2:] == lines


def test_every_good_picture_is_served_as_the_catalogue_says(base: str, catalogue: tuple[Specimen, ...]) -> None:
    for row in catalogue:
        answer = get(base, row.path)
        assert answer.status == 200, row
        assert answer.headers.get_content_type() == row.content_type, row
        assert answer.body == row.body, row  # two processes, one seed: the same bytes
        picture = opened(answer.body)
        assert (picture.format, picture.mode) == (row.format, row.mode), row
        assert picture.getexif().get(pictures.ORIENTATION, 1) == row.orientation, row
        assert ImageOps.exif_transpose(picture).size == (row.width, row.height), row


def test_turned_pictures_are_upright_after_the_exif_turn(catalogue: tuple[Specimen, ...]) -> None:
    turned = [row for row in catalogue if row.orientation > 1]
    assert {row.orientation for row in turned} == {2, 3, 4, 5, 6, 7, 8}
    for row in turned:
        picture = ImageOps.exif_transpose(opened(row.body))
        sky = picture.crop((0, 0, row.width, row.height // 3))
        ground = picture.crop((0, row.height * 2 // 3, row.width, row.height))
        assert brightness(sky) > brightness(ground) + 40, row


def test_catalogue_covers_the_formats_and_modes_of_the_web(catalogue: tuple[Specimen, ...]) -> None:
    kinds = {(row.format, row.mode) for row in catalogue}
    assert kinds >= {("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("GIF", "P")}
    assert kinds >= {("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P")}
    assert {(64, 64), (640, 480), (2000, 3000)} <= {(row.width, row.height) for row in catalogue}
    assert any(opened(row.body).info.get("progressive") for row in catalogue)
    assert len({row.body for row in catalogue}) == len(catalogue)


def test_cutouts_are_clear_in_a_corner_and_solid_in_the_middle(catalogue: tuple[Specimen, ...]) -> None:
    for row in catalogue:
        if row.mode == "RGBA":
            alpha = opened(row.body).getchannel("A")
            middle = (row.width // 2, row.height // 2)
            assert brightness(alpha.crop((0, 0, 1, 1))) < 10, row
            assert brightness(alpha.crop((*middle, middle[0] + 1, middle[1] + 1))) > 240, row


@pytest.mark.parametrize(("path", "status"), [("missing", 404), ("gone", 410), ("never-heard-of", 404)])
def test_absent_pictures_say_so(base: str, path: str, status: int) -> None:
    assert get(base, f"/pictures/{path}.jpg").status == status


@pytest.mark.parametrize(("path", "declared"), [("login", "text/html"), ("disguised", "image/jpeg")])
def test_pages_in_place_of_pictures(base: str, path: str, declared: str) -> None:
    answer = get(base, f"/pictures/{path}.jpg")
    assert (answer.status, answer.headers.get_content_type()) == (200, declared)
    assert answer.body.startswith(b"<!doctype html>")


def test_truncated_picture_has_a_true_length_and_does_not_decode(base: str) -> None:
    answer = get(base, "/pictures/truncated.jpg")
    assert answer.status == 200
    assert int(answer.headers["Content-Length"]) == len(answer.body) > 10_000
    with pytest.raises(OSError, match="truncated"):
        opened(answer.body)


def test_moved_picture_leads_to_a_real_one(base: str) -> None:
    answer = get(base, "/pictures/moved.jpg")
    assert answer.status == 302
    assert opened(get(base, answer.headers["Location"]).body).format == "JPEG"


def test_redirect_loop_comes_back_to_its_start(base: str) -> None:
    there = get(base, "/pictures/loop.jpg")
    back = get(base, there.headers["Location"])
    assert (there.status, back.status) == (302, 302)
    assert back.headers["Location"] == "/pictures/loop.jpg"


def test_slow_picture_comes_late_and_whole(base: str) -> None:
    begin = time.monotonic()
    answer = get(base, "/pictures/slow.jpg")
    assert time.monotonic() - begin > 1.9
    assert opened(answer.body).size == (1024, 683)


def test_busy_picture_is_refused_once_and_then_served(base: str) -> None:
    refused = get(base, "/pictures/busy.jpg")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    for _ in range(2):
        answer = get(base, "/pictures/busy.jpg")
        assert answer.status == 200
        assert opened(answer.body).size == (1024, 683)


def test_empty_body(base: str) -> None:
    answer = get(base, "/pictures/empty.jpg")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "0", b"")


def test_plain_text_that_is_a_picture(base: str) -> None:
    answer = get(base, "/pictures/plain.jpg")
    assert answer.headers.get_content_type() == "text/plain"
    assert opened(answer.body).format == "JPEG"


def test_each_request_for_a_size_leads_to_another_picture_of_that_size(base: str) -> None:
    bodies = set()
    for _ in range(4):
        answer = get(base, "/320/200")
        assert answer.status == 302
        body = get(base, answer.headers["Location"]).body
        assert opened(body).size == (320, 200)
        assert opened(body).format == "JPEG"
        bodies.add(body)
    assert len(bodies) == 4


def test_a_numbered_picture_stays_the_same(base: str) -> None:
    assert get(base, "/id/7/100/50").body == get(base, "/id/7/100/50").body == pictures.photo(7, 100, 50)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (2000, 3000)])
def test_sizes_up_to_the_limit_are_exact(base: str, width: int, height: int) -> None:
    assert opened(get(base, f"/id/1/{width}/{height}").body).size == (width, height)
    assert get(base, f"/id/1/{width}/{height}").body != get(base, f"/id/2/{width}/{height}").body


@pytest.mark.parametrize("path", ["/0/100", "/100/0", "/5001/100", "/id/1/100/5001", "/100/99999", "/a/b"])
def test_sizes_out_of_range_are_not_found(base: str, path: str) -> None:
    assert get(base, path).status == 404


def test_gallery_shows_every_good_picture(base: str, catalogue: tuple[Specimen, ...]) -> None:
    answer = get(base, "/")
    page = answer.body.decode()
    assert answer.headers.get_content_type() == "text/html"
    assert page.count("<img ") == len(catalogue) + 3
    assert all(f'src="{row.path}"' in page for row in catalogue)


def test_robots_txt_allows_everything(base: str) -> None:
    assert get(base, "/robots.txt").body == b"User-agent: *\nAllow: /\n"


def test_closing_its_input_ends_the_site() -> None:
    with started() as (process, address):
        assert get(address, "/robots.txt").status == 200
        out, err = process.communicate(timeout=STOP_LIMIT)  # closes the input
        assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_site_cleanly(number: signal.Signals) -> None:
    with started() as (process, _):
        process.send_signal(number)
        assert process.wait(STOP_LIMIT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
