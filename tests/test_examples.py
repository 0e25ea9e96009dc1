"""Every example runs as a user would run it."""

from __future__ import annotations

import asyncio
import http.server
import json
import runpy
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from PIL import Image, ImageStat

from tests.cli import crawler, inside
from tests.servers.handle import Faults
from tests.servers.pictures import jpeg
from tests.servers.validators import Page as Html
from tests.servers.validators import Pages, running_validators

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test() -> None:
    tested = {
        "blur_boxes.py", "captions_to_webdataset.py", "crawl.toml", "drop_blank.py", "embed_in_a_service.py",
        "find_pictures.py", "first_exercise.py", "own_rule.py", "site_to_dataset.py", "watch_outcomes.py",
    }  # fmt: skip
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tested


def test_the_configuration_file_sets_headers_for_all_hosts_and_for_one(faults: Faults, tmp_path: Path) -> None:
    own = tmp_path / "crawl.toml"
    host, other = faults.hosts[:2]
    own.write_text((EXAMPLES / "crawl.toml").read_text().replace("images.example.org", host).replace("delay = 0.5", ""))
    urls = [faults.url("good.jpg", host), faults.url("good.jpg", other)]
    done = crawler("run", *urls, "-o", tmp_path / "out", "--config", own, "--allow-private", "--json")
    assert done.summary["stored"] == 2, done.err
    sent = {entry["local"]: entry["headers"] for entry in faults.log()}
    assert {local: headers.get("authorization") for local, headers in sent.items()} == {host: "Bearer ...", other: None}
    assert {headers["accept-language"] for headers in sent.values()} == {"de, en"}
    assert all("(+https://example.org/our-crawler)" in headers["user-agent"] for headers in sent.values())
    shown = inside("run", "--config", own, "--show-settings").out
    assert "Bearer" not in shown
    assert "Authorization: ***" in shown


def test_pictures_are_found_in_a_page_that_is_there(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="a.jpg" srcset="b.jpg 2x" alt="Two of it">')
    assert (
        run_example("find_pictures.py", str(page), "https://example.org/g/")
        == "https://example.org/g/b.jpg Two of it\n"
    )


def test_a_rule_of_ones_own_finds_what_no_other_does(tmp_path: Path) -> None:
    script = "<script>showPicture(7)</script>"
    pages = Pages({"/": Html(script.encode(), "text/html"), "/full/7.jpg": Html(jpeg(40, 30))})
    with running_validators(pages) as site:
        done = crawler(
            "run", site.url(""), "--extractor", "examples.own_rule:pictures", "-o", tmp_path / "out", "--allow-private", "--json",
            cwd=EXAMPLES.parent,
        )  # fmt: skip
    assert done.summary["stored"] == 1, done.err
    assert json.loads((tmp_path / "out/metadata.jsonl").read_text())["title"] == "No. 7"


async def test_a_site_becomes_a_dataset(tmp_path: Path) -> None:
    pages = Pages({"/": Html(b'<a href="/a">a</a>', "text/html"), "/p.jpg": Html(jpeg(40, 30))})
    pages["/a"] = Html(b'<img src="/p.jpg" alt="What is seen">', "text/html")
    manager = running_validators(pages)
    site = await asyncio.to_thread(manager.__enter__)
    try:
        example = await asyncio.to_thread(runpy.run_path, str(EXAMPLES / "site_to_dataset.py"))
        await example["main"](site.url(""), str(tmp_path / "out"), allow_private=True)
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
    with tarfile.open(tmp_path / "out/00000.tar") as tar:
        texts = [tar.extractfile(name) for name in tar.getnames() if name.endswith(".txt")]
    assert len(texts) == 1


@pytest.mark.parametrize(
    "text", ["headers = 1", "[headers]\nX = 1", '[headers."h.test"]\nX = ["a"]', '[headers]\nHost = "x"']
)
def test_headers_of_another_shape_are_refused_in_a_configuration_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "crawl.toml").write_text(text)
    done = inside("run", "http://h.test/a.jpg", "-o", tmp_path / "out", "--config", tmp_path / "crawl.toml")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "header" in done.err


def test_boxes_of_a_column_are_blurred(tmp_path: Path) -> None:
    stripes = Image.new("RGB", (200, 100))
    stripes.paste(
        "white", (0, 0, 200, 100), Image.effect_noise((200, 100), 400).point(lambda level: 255 * (level > 127))
    )
    with served({"face.png": as_png(stripes)}) as site:
        rows = [
            {"url": f"{site}/face.png", "boxes": [[0.5, 0.0, 1.0, 1.0]]},
            {"url": f"{site}/face.png?plain"},
            {"url": f"{site}/face.png?odd", "boxes": [[0.5, 0, 2, 1]]},
        ]
        (tmp_path / "faces.jsonl").write_text("\n".join(map(json.dumps, rows)))
        flags = ("--allow-private", "--encode", "png", "--transform", "examples.blur_boxes:blur", "--json")
        done = crawler("run", tmp_path / "faces.jsonl", "-o", tmp_path / "out", *flags)
    assert done.summary["reasons"] == {"transform_failed": 1}, done.err
    with (
        Image.open(tmp_path / "out/00000/00000000.png") as blurred,
        Image.open(tmp_path / "out/00000/00000001.png") as plain,
    ):
        assert blurred.crop((0, 0, 100, 100)).tobytes() == plain.crop((0, 0, 100, 100)).tobytes() == left_half(stripes)
        contrast = ImageStat.Stat(blurred.crop((100, 0, 200, 100)).convert("L")).stddev[0]
        assert contrast < ImageStat.Stat(plain.crop((100, 0, 200, 100)).convert("L")).stddev[0] / 8


def test_blank_pictures_are_dropped(tmp_path: Path) -> None:
    pictures = {
        "blank.png": as_png(Image.new("RGB", (90, 60), "ivory")),
        "clear.png": as_png(Image.new("RGBA", (9, 9))),
    }
    with served(pictures | {"photo.jpg": jpeg(90, 60)}) as site:
        flags = ("--allow-private", "--transform", "examples.drop_blank:drop_blank", "--json")
        done = crawler("run", *(f"{site}/{name}" for name in [*pictures, "photo.jpg"]), "-o", tmp_path / "out", *flags)
    assert done.summary["reasons"] == {"dropped": 2}, done.err
    (line,) = (tmp_path / "out/metadata.jsonl").read_text().splitlines()
    assert json.loads(line)["values"]["contrast"] > 4


def as_png(picture: Image.Image) -> bytes:
    picture.save(out := BytesIO(), "PNG")
    return out.getvalue()


def left_half(picture: Image.Image) -> bytes:
    return picture.crop((0, 0, 100, 100)).tobytes()


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """The address of a server that has these files."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path[1:].partition("?")[0])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_captions_become_shards(faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = tmp_path / "captions.parquet"
    urls = [f"{faults.url('good.jpg')}?{n}" for n in range(4)]
    pq.write_table(pa.table({"URL": urls, "TEXT": list("abcd"), "similarity": [0.1, 0.5, 0.2, 0.9]}), table)
    example = runpy.run_path(str(EXAMPLES / "captions_to_webdataset.py"))
    example["main"](str(table), str(tmp_path / "out"), allow_private=True)
    assert capsys.readouterr().out.startswith("2 samples, 0 missed")
    with tarfile.open(tmp_path / "out/00000.tar") as tar:
        assert [name for name in tar.getnames() if name.endswith(".txt")] == ["000000000.txt", "000000001.txt"]


def test_first_exercise_fetches_five_pictures(faults: Faults, tmp_path: Path) -> None:
    said = run_example("first_exercise.py", faults.url("good.jpg"), str(tmp_path / "out"), "--allow-private")
    assert said.startswith("5 pictures")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == [f"img_{n}.jpg" for n in range(5)]


def test_watching_outcomes_stops_when_there_are_enough(faults: Faults, tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join([faults.url("status/404"), *(faults.url(f"tiny/{n}.jpg") for n in range(200))]))
    said = run_example("watch_outcomes.py", str(urls), str(tmp_path / "out"), "20", "--allow-private")
    assert "not_found" in said
    assert "stopped" in said.splitlines()[-1]
    lines = (tmp_path / "out/metadata.jsonl").read_text().splitlines()
    assert len(lines) == len(list((tmp_path / "out").rglob("*.jpg"))) >= 20


@pytest.fixture
def make_app() -> Callable[..., web.Application]:
    """The service of the example."""
    make: Callable[..., web.Application] = runpy.run_path(str(EXAMPLES / "embed_in_a_service.py"))["make_app"]
    return make


async def test_service_makes_thumbnails_of_posted_urls(
    faults: Faults, make_app: Callable[..., web.Application]
) -> None:
    runner = web.AppRunner(make_app(allow_private=True))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service = f"http://127.0.0.1:{runner.addresses[0][1]}/thumbnail"
        async with ClientSession() as client:
            async with client.post(service, data=faults.url("good.jpg?w=640&h=320")) as answer:
                assert answer.status == 200
                assert answer.content_type == "image/webp"
                assert (await answer.read())[8:12] == b"WEBP"
            async with client.post(service, data=faults.url("status/404")) as answer:
                assert answer.status == 422
                assert (await answer.json())["reason"] == "not_found"
    finally:
        await runner.cleanup()


async def test_service_refuses_private_addresses(faults: Faults, make_app: Callable[..., web.Application]) -> None:
    runner = web.AppRunner(make_app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service = f"http://127.0.0.1:{runner.addresses[0][1]}/thumbnail"
        async with ClientSession() as client, client.post(service, data=faults.url("good.jpg")) as answer:
            assert answer.status == 422
            assert json.loads(await answer.text())["reason"] == "blocked_address"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("guard", [True, False])
def test_a_script_without_main_guard_is_told_so(faults: Faults, tmp_path: Path, guard: bool) -> None:
    settings = f"{faults.url('tiny/1.jpg')!r}, output={str(tmp_path / 'out')!r}, allow_private=True"
    call = f"asyncio.run(crawl(Settings.of({settings})))"
    script = tmp_path / "script.py"
    guarded = f'if __name__ == "__main__":\n    {call}' if guard else call
    script.write_text(f"import asyncio\nfrom crawler import Settings, crawl\n{guarded}\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) is guard
    assert guard or "__main__" in done.stderr.splitlines()[-1]
