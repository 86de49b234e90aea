"""One connection of a client to the registry listener, and its requests."""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.errors import RequestInvalid
from proxy.telemetry import metrics
from proxy.web.client_address import client_of, is_loopback
from proxy.web.errors import body_of
from proxy.web.head_limit import HeadLimit
from proxy.web.prepared_heads import END_OF_HEAD, MAX_HEAD
from proxy.web.reading_rate import ReadingLimits, ReadingRate, unread_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.web.client_address import ClientAddresses
    from proxy.web.prepared_heads import HeadKey
    from proxy.web.principal_connections import PrincipalConnections
    from proxy.web.registry import Registry
    from proxy.web.server import RegistryServer

# Credentials of cloud registries can exceed aiohttp's 8 KiB. They are ignored here, so their length
# must not matter. Long names and tags get an error from the parser.
_MAX_FIELD: Final = 32 * 1024
# Known clients and load balancers together send about thirty header lines.
_MAX_HEADERS: Final = 64
# Requests beyond the limit must arrive within this time, in seconds. Admitted connections without a
# request for that long may be closed to make room.
_KEEP_ALIVE: Final = 10.0
# What a TLS record of a handshake begins with (RFC 8446, 5.1), and what a plain listener answers.
_TLS_HANDSHAKE: Final = b"\x16"
_NO_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    + body_of(RequestInvalid("this listener is plain HTTP, and the client sends TLS"))
)
# With this a closed socket drops what was not sent (socket(7), SO_LINGER).
_RESET: Final = struct.pack("ii", 1, 0)
# The log's error for a response whose client disconnected before its end.
CLIENT_LEFT: Final = "the client disconnected"


class Connection(web.RequestHandler):
    """A connection. Fits `Holder`: it counts for its client, and may have to give way."""

    __slots__ = (
        *("_began", "_head", "_heads", "_identity", "_is_between", "_rate", "_registry"),
        *("_server", "_since", "_unread", "_was_waiting", "_wire"),
        *("address", "certificate", "client", "counted_in", "counts_for", "credential"),
        *("is_behind_proxy", "is_private", "over_limit", "peer", "principal", "reason", "sent"),
    )

    def __init__(self, server: RegistryServer, registry: Registry) -> None:
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
        )
        parser = HeadLimit(self._parser)  # type: ignore[arg-type]  # no parser only later
        self._parser = parser  # type: ignore[assignment]  # all of it that aiohttp uses
        self._registry = registry
        self._server = server
        self._since = self._loop.time()
        self._was_waiting = False
        self._began = False
        self._wire: asyncio.Transport | None = None
        self._rate = ReadingRate()
        self._heads = registry.heads
        # Whether the parser is between two requests, and the head that was given to it alone.
        self._is_between = True
        self._head: HeadKey | None = None
        # All but the head that decides a response.
        self._identity: object = None
        # Another object for each response without a request that the client does not read at once.
        self._unread: object = None
        self.over_limit = False
        # The address of the other end, the client's, and the name under which it is counted: ""
        # behind a trusted proxy that has not named a client yet.
        self.peer = ""
        self.address = ""
        self.client = ""
        # The name in the certificate that the client has shown.
        self.certificate: str | None = None
        # Whether nobody on the way can read it: TLS, or this machine alone.
        self.is_private = False
        # The credential of the last request to a closed repository, the hash under which it is
        # known, the principal that it was let through for, and the one that limits count it for.
        self.sent: tuple[str, bool] | None = None
        self.credential = b""
        self.principal = self.counts_for = ""
        self.counted_in: PrincipalConnections | None = None
        # Whether the other end is a proxy that names the client of each request.
        self.is_behind_proxy = False
        # Why the connection ended, for the log.
        self.reason = CLIENT_LEFT

    def identify(self, transport: asyncio.Transport, addresses: ClientAddresses) -> None:
        """Take the address of the peer, which may be a proxy that is trusted."""
        self._wire = transport
        peer = transport.get_extra_info("peername")
        self.peer = self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.client = client_of(self.address)
        self.certificate = _name_in(transport.get_extra_info("peercert"))
        is_tls = transport.get_extra_info("sslcontext") is not None
        self.is_private = is_tls or is_loopback(self.peer)
        self.is_behind_proxy = addresses.trusts(self.address)
        if self.is_behind_proxy:
            self.client = ""
        self._identity = (self.certificate, self.is_private, self.is_behind_proxy)

    def end(self) -> None:
        """Count for nobody any more."""
        if self.counted_in is not None:
            self.counted_in.remove(self)

    def turn_away(self) -> None:
        """Answer the only request that this connection may send with 503."""
        self.over_limit = True
        self._keepalive_timeout = _KEEP_ALIVE
        self._request_handler = self._registry.error_answers.answer_over_limit

    def check_rate(self, now: float, limits: ReadingLimits) -> None:
        """Cut the connection if its client reads too slowly."""
        wire = self._wire
        if wire is None:
            return
        lingers = wire.is_closing() and wire.get_write_buffer_size() > 0
        if not (self.writing_paused or lingers):
            self._rate.pause()
            return
        request = self._current_request
        written = 0 if request is None else request.writer.output_size
        read = written - unread_bytes(wire)
        response = self._unread if request is None else request
        too_slow = self._rate.sample(now, limits, response=response, read=read)
        if too_slow is not None:
            metrics.CUT.labels(too_slow).inc()
            self._cut("the client reads too slowly")

    def give_way(self) -> None:
        """Cut the connection, because its client holds most and another one holds less."""
        metrics.CUT.labels("gave_way").inc()
        self._cut("the client held more than others")

    def _cut(self, reason: str) -> None:
        self.reason = reason
        if self._wire is not None:
            # Otherwise the system would keep megabytes for the client until it has read them.
            self._wire.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET
            )
            self._wire.abort()

    @property
    def is_waiting(self) -> bool:
        """Whether the connection waits for its first or next request, with little to send."""
        return self._waiter is not None and not self._waiter.done() and not self.writing_paused

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
        """Take bytes from the client: a head that was answered before, or what is parsed.

        Those of a TLS handshake are no HTTP request.
        """
        if not self._began:
            self._began = True
            transport = self.transport
            if (
                data[:1] == _TLS_HANDSHAKE
                and transport is not None
                and transport.get_extra_info("sslcontext") is None
            ):
                self._server.record_tls(self)
                # Clients in Go recognize it, and say "server gave HTTP response to HTTPS client".
                transport.write(_NO_TLS)
                self.force_close()
                return
        if not (self._is_between and self.is_waiting and len(data) <= MAX_HEAD):
            self._parse(data)
            return
        key = (self._identity, data)
        if not self._answer_again(key) and self._parse(data) and self._heads.has_seen(key):
            self._head = key

    def _answer_again(self, key: HeadKey) -> bool:
        """Answer a head as before; False if it must be parsed."""
        transport, head = self.transport, self._heads.find(key)
        if head is None or transport is None or self.over_limit or self.is_last:
            return False
        if self.is_behind_proxy:
            self._server.attribute(self, head.forwarded)
        response = self._heads.answer(key, head, self)
        if response is None:
            return False
        # What aiohttp does for each request.
        self._request_count += 1
        self._server.requests_count += 1
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        transport.write(response)
        if self.writing_paused:
            self._unread = object()
        return True

    def _parse(self, data: bytes) -> bool:
        """Give bytes to the parser; whether they ended with the head of the only request."""
        was_waiting = self.is_waiting
        super().data_received(data)
        self._is_between = (
            was_waiting
            and data.endswith(END_OF_HEAD)
            and len(self._messages) == 1
            and self._messages[0][1].is_eof()
            and not self._upgraded
        )
        return self._is_between

    def take_head(self) -> HeadKey | None:
        """The head of the request that begins now, if it came alone and not for the first time."""
        head, self._head = self._head, None
        return head

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
        return self._registry.error_answers.answer_malformed(request, status, exc)


def _name_in(certificate: Mapping[str, Any] | None) -> str | None:
    """The common name of a certificate that TLS has verified; None if there is none."""
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 and names[0].isprintable() else None
