"""An answer as the bytes that go on the wire, made once and sent any number of times.

Half of what a hit costs is making headers anew that are the same each time.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, NoReturn

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

# A larger body must wait for a slow client to take it, which aiohttp does for us.
LARGEST: Final = 64 * 1024


class _Date:
    """The `Date` line, formatted once a second."""

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
    """A 200 for a connection that stays open. It holds nothing of a request, so all share it."""

    def __init__(self, headers: CIMultiDict[str], body: bytes) -> None:
        """`body` is empty for HEAD; `headers` have the `Content-Length` in any case."""
        super().__init__(headers=headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"HTTP/1.1 200 OK\r\n{lines}".encode("latin-1")
        self._content = body

    @staticmethod
    def suits(request: web.BaseRequest, body: bytes) -> bool:
        """Whether the request can be answered so: HTTP/1.1, kept alive, and not too much."""
        return request.version == (1, 1) and request.keep_alive and len(body) <= LARGEST

    @property
    def keep_alive(self) -> bool:
        """See `suits`."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything; ConnectionResetError if the client has left."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(b"".join((self._head, _date.line(), self._content)))
        if request.protocol.writing_paused:
            # Whoever asks on and on without reading the answers must not have us keep them all.
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything has been sent."""

    async def write(self, _data: bytes | bytearray | memoryview) -> NoReturn:
        """There is nothing to add."""
        raise RuntimeError("the answer is complete")
