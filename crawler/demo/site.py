"""Turns the catalogue and a set of faults into a site on 127.0.0.1; prints its address once it listens.

One rule: it ends when its standard input does, so it never outlives the process that started it.
"""

import asyncio
import contextlib
import html
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from aiohttp import web

from crawler.demo import pictures
from crawler.demo.pictures import Specimen

MISSING = "/pictures/missing.jpg"
GONE = "/pictures/gone.jpg"
LOGIN = "/pictures/login.jpg"
DISGUISED = "/pictures/disguised.jpg"
TRUNCATED = "/pictures/truncated.jpg"
EMPTY = "/pictures/empty.jpg"
MOVED = "/pictures/moved.jpg"
LOOP = "/pictures/loop.jpg"
LOOP_AGAIN = "/pictures/loop-again.jpg"
SLOW = "/pictures/slow.jpg"
BUSY = "/pictures/busy.jpg"
PLAIN = "/pictures/plain.jpg"

# What urls.txt holds beside the catalogue, in the order it is mixed in.
ODDITIES = (LOGIN, MOVED, MISSING, SLOW, DISGUISED, BUSY, GONE, TRUNCATED, LOOP, PLAIN, EMPTY)

SLOW_SECONDS = 2.0
LONGEST_SIDE = 5000

_HEAD = (
    "# Pictures of a small site on this machine: photos, drawings with transparency, turned and grey ones.\n"
    "# Some addresses are broken on purpose: gone, slow, looping, cut short, or a page in place of one.\n"
)
_LOGIN_PAGE = b"<!doctype html><title>Sign in</title><h1>Please sign in</h1><p>This picture is for members.\n"


@dataclass
class Site:
    """What is served, and what changes while it is: the picture count and which paths turned someone away."""

    good: Sequence[Specimen]
    rows: dict[str, Specimen]
    moved: dict[str, str]
    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    turned_away: set[str] = field(default_factory=set)
    # A large picture takes 100 MB while it is drawn: no more at a time than there are cores.
    drawing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1))

    def addresses(self) -> list[str]:
        """The paths in urls.txt, one oddity after every few pictures."""
        step = len(self.good) // len(ODDITIES)
        paths = [row.path for row in self.good]
        for i, oddity in reversed(list(enumerate(ODDITIES, start=1))):
            paths.insert(i * step, oddity)
        return paths


SITE = web.AppKey("SITE", Site)


def build() -> Site:
    """Make every picture (about a second of work) and the faulty rows from them."""
    good = pictures.catalogue()
    photos = [row for row in good if row.path.endswith("photo.jpg") and row.width >= 1000]
    odd = (
        _late_photo(SLOW, "a good photo that answers late"),
        _late_photo(BUSY, "a good photo behind one 503"),
        _late_photo(PLAIN, "a good photo declared text/plain", "text/plain"),
        pictures.truncated(photos[0], TRUNCATED),
        Specimen(LOGIN, "text/html", _LOGIN_PAGE, "a page where a picture should be"),
        Specimen(DISGUISED, "image/jpeg", _LOGIN_PAGE, "a page declared as a picture"),
        Specimen(EMPTY, "image/jpeg", b"", "nothing"),
    )
    moved = {MOVED: photos[1].path, LOOP: LOOP_AGAIN, LOOP_AGAIN: LOOP}
    return Site(good, {row.path: row for row in (*good, *odd)}, moved)


def app(site: Site) -> web.Application:
    """The routes over one site."""
    application = web.Application()
    application[SITE] = site
    application.add_routes([
        web.get("/", _gallery),
        web.get("/urls.txt", _urls),
        web.get("/robots.txt", _robots),
        web.get("/pictures/{name}", _picture),
        web.get(r"/{width:\d{1,4}}/{height:\d{1,4}}", _next_photo),
        web.get(r"/id/{n:\d{1,9}}/{width:\d{1,4}}/{height:\d{1,4}}", _photo),
    ])  # fmt: skip
    return application


async def serve(port: int = 0) -> None:
    """Make the pictures, listen on `port` (0: a free one), print the address, and stay until told to stop."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    _stop_on_end_of_input(stop)
    site = await asyncio.to_thread(build)
    if stop.is_set():
        return
    # Whoever is still waiting for the slow picture is cut off.
    runner = web.AppRunner(app(site), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: the end of the input is enough there
            loop.add_signal_handler(number, stop.set)


def _stop_on_end_of_input(stop: asyncio.Event) -> None:
    """Watch standard input in a thread: the loop cannot watch a file, /dev/null, or a pipe on Windows."""
    if sys.stdin is None:
        stop.set()
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def watch() -> None:
        # os.read and not sys.stdin.read, which holds a lock that the exit of the interpreter needs
        with contextlib.suppress(OSError):
            while os.read(descriptor, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: a signal came first
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, name="end-of-input", daemon=True).start()


def _late_photo(path: str, shows: str, content_type: str = "image/jpeg") -> Specimen:
    # numbered by its path, so no two are alike and none equals a numbered photo of the site
    width, height = 1024, 683
    body = pictures.photo(path, width, height)
    return Specimen(path, content_type, body, shows, width, height, "JPEG", "RGB")


async def _gallery(request: web.Request) -> web.Response:
    site = request.app[SITE]
    rows = [*site.good, *(site.rows[path] for path in (SLOW, BUSY, PLAIN))]
    images = "\n".join(f'<img src="{row.path}" alt="{html.escape(row.shows)}" height="160">' for row in rows)
    page = f"<!doctype html>\n<title>Pictures</title>\n<h1>{len(rows)} pictures</h1>\n{images}\n"
    return web.Response(text=page, content_type="text/html")


async def _urls(request: web.Request) -> web.Response:
    base = f"{request.scheme}://{request.host}"
    lines = "".join(f"{base}{path}\n" for path in request.app[SITE].addresses())
    return web.Response(text=_HEAD + lines)


async def _robots(request: web.Request) -> web.Response:
    return web.Response(text="User-agent: *\nAllow: /\n")


async def _picture(request: web.Request) -> web.Response:
    site, path = request.app[SITE], request.path
    if path in site.moved:
        raise web.HTTPFound(site.moved[path])
    if path == GONE:
        raise web.HTTPGone
    if path == BUSY and path not in site.turned_away:
        site.turned_away.add(path)
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"})
    if path == SLOW:
        await asyncio.sleep(SLOW_SECONDS)
    row = site.rows.get(path)
    if row is None:
        raise web.HTTPNotFound
    return web.Response(body=row.body, content_type=row.content_type)


async def _next_photo(request: web.Request) -> web.Response:
    width, height = _size(request)
    raise web.HTTPFound(f"/id/{next(request.app[SITE].counter)}/{width}/{height}")


async def _photo(request: web.Request) -> web.Response:
    width, height = _size(request)
    async with request.app[SITE].drawing:
        body = await asyncio.to_thread(_drawn, int(request.match_info["n"]), width, height)
    return web.Response(body=body, content_type="image/jpeg")


# for clients that ask twice: a retry, or a HEAD before the GET
_drawn = lru_cache(maxsize=16)(pictures.photo)


def _size(request: web.Request) -> tuple[int, int]:
    width, height = int(request.match_info["width"]), int(request.match_info["height"])
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise web.HTTPNotFound
    return width, height


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
