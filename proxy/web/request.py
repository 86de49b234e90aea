"""One request of a client, on a `Connection`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.web.connection import CLIENT_LEFT, Connection

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from proxy.web.prepared_heads import HeadKey


class Request(web.BaseRequest):
    """A request on a `Connection`; `head` is its bytes, see `Connection.take_head`."""

    head: HeadKey | None = None

    @property
    def connection(self) -> Connection:
        """The connection that it came on."""
        connection = self.protocol
        assert isinstance(connection, Connection)  # noqa: S101 -- see `RegistryServer`
        return connection

    @property
    def remote(self) -> str:
        """The client's address."""
        return self.connection.address

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open; otherwise the response has `Connection: close`."""
        # Unread, a body would be taken for the next request.
        return not (self.connection.is_last or self._message.should_close or self.body_exists)


def request_on(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> Request:
    """Build a request, as aiohttp's server asks for it."""
    request = Request(message, payload, protocol, writer, task, asyncio.get_running_loop())
    request.head = request.connection.take_head()
    return request


def connection_of(request: web.BaseRequest) -> Connection | None:
    """The connection, unless a test has built the request."""
    return request.connection if isinstance(request, Request) else None


def departure(request: web.BaseRequest) -> str:
    """Why the client did not get the whole response, for the log."""
    connection = connection_of(request)
    return CLIENT_LEFT if connection is None else connection.reason
