"""The registry's HTTP server: the limits of its connections, and draining."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from proxy.kit.lru import LruCache
from proxy.kit.shares import Shares
from proxy.web.client_address import ClientAddresses, client_of
from proxy.web.connection import Connection
from proxy.web.reading_rate import ReadingLimits
from proxy.web.request import request_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from proxy.web.registry import Registry

_log = structlog.get_logger()

# The memory for clients that were logged, and for each of them, in bytes.
_CLIENTS_MEMORY: Final = 2**18
_CLIENT_COST: Final = 256
# This many connections beyond the limit are answered 503. Further ones are closed, because file
# descriptors are limited.
MAX_OVER_LIMIT: Final = 256
# How often the rates at which clients read are measured, in seconds.
_MEASURE_EVERY: Final = 1.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all connections, those of one client, and one of them may take.

    `trusted_proxies` are the addresses and networks whose `X-Forwarded-For` names the client.
    """

    connections: int | None = None
    connections_per_client: int | None = None
    reading: ReadingLimits = field(default_factory=ReadingLimits)
    trusted_proxies: tuple[str, ...] = ()


class RegistryServer(web.Server):
    """The HTTP server of a `Registry`, which writes the log and the error bodies.

    A connection beyond the limit replaces an idle one, or one of the client that has most. If there
    is none it is answered 503 with `Retry-After` and closed. In the system's accept queue it would
    only time out, while containerd, docker and load balancers all handle a 503.
    """

    def __init__(self, registry: Registry, limits: ServerLimits = ServerLimits()) -> None:
        """Needs a running loop."""
        # Otherwise a handler that awaits an upstream would not notice that its client disconnected.
        super().__init__(registry, request_factory=self._request, handler_cancellation=True)
        self._registry = registry
        self._limits = limits
        self._addresses = ClientAddresses(limits.trusted_proxies)
        self._open: set[Connection] = set()
        self._admitted: dict[Connection, None] = {}
        self._shares: Shares[Connection] = Shares()
        self._sent_tls: LruCache[str, bool] = LruCache(_CLIENTS_MEMORY)
        self._timer: asyncio.TimerHandle | None = None
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
        return Connection(self, self._registry)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Admit the connection or turn it away; close it if there are too many beyond the limit."""
        super().connection_made(handler, transport)
        if not isinstance(handler, Connection):
            return
        self._open.add(handler)
        handler.identify(transport, self._addresses)
        if not self._admit(handler):
            handler.turn_away()
            if len(self._open) - len(self._admitted) > MAX_OVER_LIMIT:
                transport.abort()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_MEASURE_EVERY, self._measure)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Unregister the connection; all its bytes have been sent."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            self._open.discard(handler)
            self._release(handler)
            handler.end()

    def record_tls(self, connection: Connection) -> None:
        """Log, once a client, that it sends TLS to this plain listener."""
        client = connection.address
        if client not in self._sent_tls:
            self._sent_tls.put(client, value=True, cost=_CLIENT_COST)
            _log.warning(
                "client.sent_tls",
                client=client,
                hint="this listener is plain HTTP: list it among the client's insecure registries, "
                "or give it a certificate",
            )

    def _admit(self, connection: Connection) -> bool:
        most = self._limits.connections_per_client
        if most is not None and self._shares.count(connection.client) >= most:
            return False
        limit = self._limits.connections
        if limit is not None and len(self._admitted) >= limit and not self._make_room(connection):
            return False
        self._admitted[connection] = None
        self._shares.add(connection.client, connection)
        return True

    def _make_room(self, connection: Connection) -> bool:
        """Close the oldest idle connection, or one of the client that has most; whether one was."""
        idle = next((one for one in self._admitted if one.is_idle), None)
        if idle is not None:
            self._release(idle)
            idle.force_close()
            return True
        greediest = self._shares.of_greediest(connection.client)
        if not greediest:
            return False
        chosen = next((one for one in greediest if one.writing_paused), greediest[0])
        self._release(chosen)
        chosen.give_way()
        return True

    def _release(self, connection: Connection) -> None:
        self._admitted.pop(connection, None)
        self._shares.remove(connection.client, connection)

    def _measure(self) -> None:
        """Cut the connections whose clients read too slowly."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._open):
            connection.check_rate(now, self._limits.reading)
        again = bool(self._open)
        self._timer = loop.call_later(_MEASURE_EVERY, self._measure) if again else None

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        request = request_on(message, payload, protocol, writer, task)
        if request.connection.is_behind_proxy:
            lines = message.headers.getall("X-Forwarded-For", ())
            self.attribute(request.connection, lines)
        return request

    def attribute(self, connection: Connection, forwarded: Sequence[str]) -> None:
        """Count the connection of a trusted proxy for the client of its current request.

        `forwarded` are the request's `X-Forwarded-For`.
        """
        peer = connection.peer
        self._shares.remove(connection.client, connection)
        connection.address = self._addresses.read_forwarded(peer, forwarded)
        connection.client = client_of(connection.address) if connection.address != peer else ""
        if connection in self._admitted:
            self._shares.add(connection.client, connection)
