"""The registry's HTTP server: how many connections there may be, and how they end.

What is no HTTP gets an answer in the registry's form, too.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from proxy.web.registry import Registry

# A cloud registry's login can be longer than aiohttp's 8 KiB; it is ignored here, and refusing it
# for its length would be odd. A name or tag of any length that gets this far is told what it is.
_LONGEST_FIELD: Final = 32 * 1024
# So many connections beyond the limit get an answer that says so. Further ones are closed without:
# file descriptors end somewhere.
TURNED_AWAY_AT_ONCE: Final = 256
# Their requests must come within so many seconds; and who is let in, but has asked for nothing for
# so long, makes room for others.
_KEEP_ALIVE: Final = 10.0


class RegistryServer(web.Server):
    """Speaks HTTP for a `Registry`, which writes the log and the error bodies.

    A connection beyond the limit takes the place of one that waits for its client's next request.
    Where all are busy it is accepted, answered 503 with `Retry-After`, and closed: a connection
    that is left in the system's queue tells neither the client nor a load balancer anything until
    it times out, and containerd, docker and balancers all know what to do with a 503.
    """

    def __init__(self, registry: Registry, *, connections: int | None = None) -> None:
        """`connections` is their limit. Needs a running loop."""
        # A handler that waits for an upstream would not notice otherwise that its client has left.
        super().__init__(registry, request_factory=_request, handler_cancellation=True)
        self._registry = registry
        self._limit = connections
        self._open: set[_Connection] = set()
        self._admitted: dict[_Connection, None] = {}
        self.draining = False

    @property
    def open(self) -> int:
        """Connections, those included whose last bytes are still to be sent."""
        return len(self._open)

    @property
    def busy(self) -> int:
        """Those of them that do not wait for a request."""
        return sum(not connection.waits for connection in self._open)

    def finish(self) -> None:
        """Close the connections on which nothing has come since the last call, which needs one.

        The next answer on any other one is the last there, and says so. One that has begun says
        nothing of it: its client may send another request, which is answered if it comes soon.
        """
        self.draining = True
        for connection in tuple(self._open):
            connection.finish()

    def __call__(self) -> web.RequestHandler:
        """For one connection."""
        full = self._limit is not None and len(self._admitted) >= self._limit
        return _Connection(self, self._registry, turned_away=full and not self._make_room())

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count it, unless there are far too many."""
        super().connection_made(handler, transport)
        if isinstance(handler, _Connection):
            self._open.add(handler)
            if not handler.turned_away:
                self._admitted[handler] = None
            elif len(self._open) - len(self._admitted) > TURNED_AWAY_AT_ONCE:
                transport.abort()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Everything that was sent to it has left this process."""
        super().connection_lost(handler, exc)
        if isinstance(handler, _Connection):
            self._open.discard(handler)
            self._admitted.pop(handler, None)

    def _make_room(self) -> bool:
        """Close the oldest connection that nobody uses now; whether there was one."""
        spare = next((one for one in self._admitted if one.is_spare), None)
        if spare is None:
            return False
        del self._admitted[spare]
        spare.force_close()
        return True


class _Connection(web.RequestHandler):
    __slots__ = ("_registry", "_server", "_since", "_waited", "turned_away")

    def __init__(self, server: RegistryServer, registry: Registry, *, turned_away: bool) -> None:
        options: dict[str, Any] = {"keepalive_timeout": _KEEP_ALIVE} if turned_away else {}
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's code knows None, its type does not
            max_field_size=_LONGEST_FIELD,
            max_line_size=_LONGEST_FIELD,
            **options,
        )
        self._registry = registry
        self._server = server
        self._since = self._loop.time()
        self._waited = False
        self.turned_away = turned_away
        if turned_away:
            self._request_handler = registry.turned_away

    @property
    def waits(self) -> bool:
        """Whether the next request has not come yet, or the first one."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def is_spare(self) -> bool:
        """Whether its client has had its answers, or has asked for nothing for too long."""
        used = self._request_count > 0 or self._loop.time() - self._since > _KEEP_ALIVE
        return self.waits and used

    @property
    def is_last(self) -> bool:
        """Whether the answer that is being prepared is the last one here."""
        return self._close or self._server.draining

    def finish(self) -> None:
        """Close it if it waits, and did so before."""
        if self.waits and self._waited:
            self.force_close()
        self._waited = self.waits

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- it quotes the request, credentials included
    ) -> web.StreamResponse:
        """The answer to a request that cannot be parsed, or that the registry failed to answer."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: there can be no other one")
        return self._registry.rejected(request, status, exc)


class _Request(web.BaseRequest):
    @property
    def keep_alive(self) -> bool:
        """Whether the answer may leave the connection open; it says `Connection: close` if not."""
        connection = self.protocol
        assert isinstance(connection, _Connection)  # noqa: S101 -- see `RegistryServer`
        return not (connection.is_last or self._message.should_close)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    return _Request(message, payload, protocol, writer, task, asyncio.get_running_loop())
