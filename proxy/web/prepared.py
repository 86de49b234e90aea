"""Responses as bytes for the wire, built once and sent any number of times.

Building equal headers for each response would be half the cost of a hit.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, NoReturn

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

# A larger body needs backpressure from slow clients, which aiohttp provides.
MAX_BODY: Final = 64 * 1024


class _Date:
    """The `Date` header line, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode("ascii")
        return self._line


_date: Final = _Date()


class PreparedResponse(web.StreamResponse):
    """A 200 response for a persistent connection, shared by all requests."""

    def __init__(self, headers: CIMultiDict[str], body: bytes) -> None:
        """`body` is empty for HEAD; `headers` include `Content-Length` in both cases."""
        super().__init__(headers=headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"HTTP/1.1 200 OK\r\n{lines}".encode("latin-1")
        self._content = body

    @property
    def size(self) -> int:
        """The bytes of it, apart from the date."""
        return len(self._head) + len(self._content)

    def wire(self) -> bytes:
        """All of it as it is sent now."""
        return b"".join((self._head, _date.line(), self._content))

    @staticmethod
    def suits(request: web.BaseRequest, body: bytes) -> bool:
        """Whether the request can have this response: HTTP/1.1, persistent, and a small body."""
        return request.version == (1, 1) and request.keep_alive and len(body) <= MAX_BODY

    @property
    def keep_alive(self) -> bool:
        """See `suits`."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the response; ConnectionResetError if the client has disconnected."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has disconnected")
        transport.write(self.wire())
        if request.protocol.writing_paused:
            # Backpressure: a client that pipelines without reading must not fill our buffers.
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has sent everything."""

    async def write(self, _data: bytes | bytearray | memoryview) -> NoReturn:
        """Raise RuntimeError: the response is complete."""
        raise RuntimeError("the response is complete")
