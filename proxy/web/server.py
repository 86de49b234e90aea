"""The registry's HTTP server: the connection limit, draining, and malformed requests."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from proxy.errors import RequestInvalid
from proxy.kit.lru import LruCache
from proxy.web.errors import body_of

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from proxy.web.registry import Registry

_log = structlog.get_logger()

# Credentials of cloud registries can exceed aiohttp's 8 KiB. They are ignored here, so their length
# must not matter. Long names and tags get an error from the parser.
_MAX_FIELD: Final = 32 * 1024
# Known clients and load balancers together send about thirty header lines.
_MAX_HEADERS: Final = 64
# This many connections beyond the limit are answered 503. Further ones are closed, because file
# descriptors are limited.
MAX_OVER_LIMIT: Final = 256
# What a TLS record of a handshake begins with (RFC 8446, 5.1), and what a plain listener answers.
_TLS_HANDSHAKE: Final = b"\x16"
_NO_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    + body_of(RequestInvalid("this listener is plain HTTP, and the client sends TLS"))
)
# The memory for clients that were logged, and for each of them, in bytes.
_CLIENTS_MEMORY: Final = 2**18
_CLIENT_COST: Final = 256
# Their requests must arrive within this time, in seconds. Admitted connections without a request
# for that long may be closed to make room.
_KEEP_ALIVE: Final = 10.0


class RegistryServer(web.Server):
    """The HTTP server of a `Registry`, which writes the log and the error bodies.

    A connection beyond the limit replaces an idle one. If all are busy it is answered 503 with
    `Retry-After` and closed. In the system's accept queue it would only time out, while
    containerd, docker and load balancers all handle a 503.
    """

    def __init__(self, registry: Registry, *, connections: int | None = None) -> None:
        """`connections` is their limit. Needs a running loop."""
        # Otherwise a handler that awaits an upstream would not notice that its client disconnected.
        super().__init__(registry, request_factory=_request, handler_cancellation=True)
        self._registry = registry
        self._limit = connections
        self._open: set[_Connection] = set()
        self._admitted: dict[_Connection, None] = {}
        self._sent_tls: LruCache[str, bool] = LruCache(_CLIENTS_MEMORY)
        self.draining = False

    @property
    def open(self) -> int:
        """The number of open connections, including those with unsent bytes."""
        return len(self._open)

    @property
    def busy(self) -> int:
        """The number of connections with a request."""
        return sum(not connection.is_waiting for connection in self._open)

    def finish(self) -> None:
        """Close the connections without a request since the last call; call it repeatedly.

        On the others the next response is the last, with `Connection: close`. A response that has
        begun cannot announce that, so a request that follows it soon is still answered.
        """
        self.draining = True
        for connection in tuple(self._open):
            connection.finish()

    def __call__(self) -> web.RequestHandler:
        """Create the handler of one connection."""
        full = self._limit is not None and len(self._admitted) >= self._limit
        return _Connection(self, self._registry, over_limit=full and not self._make_room())

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Register the connection, or close it if there are too many beyond the limit."""
        super().connection_made(handler, transport)
        if isinstance(handler, _Connection):
            self._open.add(handler)
            if not handler.over_limit:
                self._admitted[handler] = None
            elif len(self._open) - len(self._admitted) > MAX_OVER_LIMIT:
                transport.abort()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Unregister the connection; all its bytes have been sent."""
        super().connection_lost(handler, exc)
        if isinstance(handler, _Connection):
            self._open.discard(handler)
            self._admitted.pop(handler, None)

    def record_tls(self, transport: asyncio.BaseTransport) -> None:
        """Log, once a client, that it sends TLS to this plain listener."""
        client = str((transport.get_extra_info("peername") or ("",))[0])
        if client not in self._sent_tls:
            self._sent_tls.put(client, value=True, cost=_CLIENT_COST)
            _log.warning(
                "client.sent_tls",
                client=client,
                hint="this listener is plain HTTP: list it among the client's insecure registries, "
                "or give it a certificate",
            )

    def _make_room(self) -> bool:
        """Close the oldest idle connection; whether there was one."""
        idle = next((one for one in self._admitted if one.is_idle), None)
        if idle is None:
            return False
        del self._admitted[idle]
        idle.force_close()
        return True


class _Connection(web.RequestHandler):
    __slots__ = ("_began", "_registry", "_server", "_since", "_was_waiting", "over_limit")

    def __init__(self, server: RegistryServer, registry: Registry, *, over_limit: bool) -> None:
        options: dict[str, Any] = {"keepalive_timeout": _KEEP_ALIVE} if over_limit else {}
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's code knows None, its type does not
            max_field_size=_MAX_FIELD,
            max_line_size=_MAX_FIELD,
            max_headers=_MAX_HEADERS,
            # Nothing here reads a body. Inflating or awaiting one would be work for nothing.
            auto_decompress=False,
            lingering_time=0.0,
            **options,
        )
        self._registry = registry
        self._server = server
        self._since = self._loop.time()
        self._was_waiting = False
        self._began = False
        self.over_limit = over_limit
        if over_limit:
            self._request_handler = registry.answer_over_limit

    @property
    def is_waiting(self) -> bool:
        """Whether the connection waits for its first or next request."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def is_idle(self) -> bool:
        """Whether it waits after a response, or has waited too long for its first request."""
        used = self._request_count > 0 or self._loop.time() - self._since > _KEEP_ALIVE
        return self.is_waiting and used

    @property
    def is_last(self) -> bool:
        """Whether the next response is the last on this connection."""
        return self._close or self._server.draining

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client; those of a TLS handshake are no HTTP request."""
        if not self._began:
            self._began = True
            transport = self.transport
            if (
                data[:1] == _TLS_HANDSHAKE
                and transport is not None
                and transport.get_extra_info("sslcontext") is None
            ):
                self._server.record_tls(transport)
                # Clients in Go recognize it, and say "server gave HTTP response to HTTPS client".
                transport.write(_NO_TLS)
                self.force_close()
                return
        super().data_received(data)

    def finish(self) -> None:
        """Close the connection if it waits now and waited at the last call."""
        if self.is_waiting and self._was_waiting:
            self.force_close()
        self._was_waiting = self.is_waiting

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- it quotes the request, credentials included
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed, or whose handler failed."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun, so no error response can follow")
        return self._registry.answer_malformed(request, status, exc)


class _Request(web.BaseRequest):
    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open; otherwise the response has `Connection: close`."""
        connection = self.protocol
        assert isinstance(connection, _Connection)  # noqa: S101 -- see `RegistryServer`
        # Unread, a body would be taken for the next request.
        return not (connection.is_last or self._message.should_close or self.body_exists)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    return _Request(message, payload, protocol, writer, task, asyncio.get_running_loop())
