"""A web service that makes thumbnails of posted URLs with one crawler for all requests.

    python examples/embed_in_a_service.py --port 8080
    curl --data https://example.org/photo.jpg http://127.0.0.1:8080/thumbnail > thumbnail.webp

The crawler shares its connections, its limits and its worker processes among the requests; private addresses are
refused unless --allow-private is given, so that nobody can reach into your network with a URL.
"""

import argparse
from collections.abc import AsyncIterator

from aiohttp import web

from crawler import Crawler, Settings

CRAWLER = web.AppKey("crawler", Crawler)


def make_app(allow_private: bool = False) -> web.Application:
    """The service: POST /thumbnail with a URL as the body."""
    settings = Settings.of(
        format="none", size=200, fit="inside", encode="webp", timeout=10, retries=1, allow_private=allow_private
    )

    async def one_crawler(app: web.Application) -> AsyncIterator[None]:
        async with Crawler(settings) as app[CRAWLER]:
            yield

    app = web.Application()
    app.cleanup_ctx.append(one_crawler)
    app.router.add_post("/thumbnail", thumbnail)
    return app


async def thumbnail(request: web.Request) -> web.Response:
    """The thumbnail, or 422 with the reason."""
    outcome = await request.app[CRAWLER].get((await request.text()).strip())
    if outcome.picture is None:
        assert outcome.miss is not None
        problem = {"reason": outcome.miss.reason.value, "detail": outcome.miss.detail}
        return web.json_response(problem, status=422)
    return web.Response(body=outcome.picture.data, content_type=f"image/{outcome.picture.format}")


def main() -> None:
    """Serve on loopback until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--allow-private", action="store_true")
    arguments = parser.parse_args()
    web.run_app(make_app(arguments.allow_private), host="127.0.0.1", port=arguments.port)


if __name__ == "__main__":
    main()
