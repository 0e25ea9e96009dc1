"""One GET over a connection of aiohttp: its pool, its TLS and proxies and its parser, without its `ClientSession`. That does for
every request what pictures do not need (cookies, forms, redirects, traces), at 0.13 ms of the loop each (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType

from aiohttp import (
    BaseConnector,
    ClientConnectorError,
    ClientOSError,
    ClientRequest,
    ClientTimeout,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    StreamReader,
)
from aiohttp.connector import Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from crawler import urls

_ORIGINS = 4096
"""Origins that are remembered as they are asked: 3 KB each."""

Left = Callable[[], None]


class Response:
    """The answer to one GET, its body still to come. Used as a context manager, behind which its connection is free again, or
    closed if there is more to come on it.

    Attributes:
        headers: as they came.
        content: the body, decompressed.
        connection: what it comes over.
    """

    __slots__ = ("connection", "content", "headers", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        headers: CIMultiDictProxy[str],
        content: StreamReader,
        connection: Connection,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.content = content
        self.connection = connection

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.release()

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as the server announced them, before decompression; None if it did not say."""
        told = self.headers.get("Content-Length")
        return int(told) if told is not None else None


class _Origin:
    """How the requests to one origin begin. aiohttp's connector finds the connection by a request: any to that origin does."""

    __slots__ = ("absolute", "host", "lines", "request")

    def __init__(self, url: URL, proxy: URL | None, headers: dict[str, str]) -> None:
        self.request = ClientRequest("GET", url.origin(), loop=asyncio.get_running_loop(), proxy=proxy)
        self.host = url.host_port_subcomponent or ""
        self.lines = _lines({"Host": self.host} | headers)
        self.absolute = proxy is not None and url.scheme == "http"

    def target(self, url: URL) -> str:
        """What is asked for (RFC 9112 3.2): all of the address of a proxy that asks for us, else the path."""
        return str(urls.without_user(url)) if self.absolute else url.raw_path_qs


class Exchange:
    """Asks over the connections of `connector`.

    Args:
        headers: of every request; those of a single one take their place.
        connect_timeout: seconds to connect, TLS and all.
    """

    def __init__(self, connector: BaseConnector, headers: dict[str, str], connect_timeout: float) -> None:
        self._connector = connector
        self._timeout = ClientTimeout(total=None, sock_connect=connect_timeout)
        self._headers = headers
        self._origins: dict[tuple[str, str | None, int | None, URL | None], _Origin] = {}

    async def get(
        self, url: URL, headers: CIMultiDict[str] | None, proxy: URL | None, left: Left, again: bool
    ) -> Response:
        """Ask for `url`, which is http or https; its user and password are left out.

        Args:
            left: is called when the request has left.
            again: ask once more at once if the connection turns out to be closed; servers close those that are kept, and
                that is told only by the next request (RFC 9112 9.3.1).

        Raises:
            aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError: no answer. TimeoutError: no connection
                in time.
            ValueError: a header that no header can be.
        """
        origin = self._origin(url, proxy)
        try:
            return await self._ask(origin, url, headers, left)
        except ClientConnectorError:
            raise
        except (ClientOSError, ServerDisconnectedError):
            if not again:
                raise
        return await self._ask(origin, url, headers, left)

    async def _ask(self, origin: _Origin, url: URL, headers: CIMultiDict[str] | None, left: Left) -> Response:
        try:
            connection = await self._connector.connect(origin.request, [], self._timeout)
        except TimeoutError as error:
            raise ConnectionTimeoutError(f"no connection to {origin.host} in time") from error
        try:
            protocol = connection.protocol
            assert protocol is not None and connection.transport is not None
            protocol.set_response_params(read_until_eof=True)
            connection.transport.write(self._request(origin, url, headers))
            left()
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:  # else the answer is still to come
                    break
        except BaseException:
            connection.close()
            raise
        return Response(message.code, message.reason, message.headers, content, connection)

    def _request(self, origin: _Origin, url: URL, headers: CIMultiDict[str] | None) -> bytes:
        lines = origin.lines
        # The connector has put in what the proxy wants to know.
        secret = origin.request.headers.get("Proxy-Authorization") if origin.absolute else None
        if headers or secret:
            all_of_them = CIMultiDict({"Host": origin.host} | self._headers)
            all_of_them.update(headers or {})
            if secret:
                all_of_them["Proxy-Authorization"] = secret
            lines = _lines(all_of_them)
        return f"GET {origin.target(url)} HTTP/1.1\r\n{lines}\r\n".encode()

    def _origin(self, url: URL, proxy: URL | None) -> _Origin:
        key = url.scheme, url.raw_host, url.port, proxy
        found = self._origins.get(key)
        if found is None:
            if len(self._origins) >= _ORIGINS:
                del self._origins[next(iter(self._origins))]
            found = self._origins[key] = _Origin(url, proxy, self._headers)
        return found


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header holds a line break or a zero byte")
    return lines
