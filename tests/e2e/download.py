"""A client of one blob that hashes what comes, and knows how soon the first of it came."""

from __future__ import annotations

import asyncio
import hashlib
import re
from time import perf_counter
from typing import Self

from tests.kit.images import MEBIBYTE
from tests.kit.processes import LOOPBACK


class Download(asyncio.BufferedProtocol):
    """One GET, hashed as it arrives; `leaves_after` so many bytes if that is given.

    `seconds` is from the request to the first byte of the blob, and then to the end.
    """

    def __init__(self, path: str, *, leaves_after: int | None = None, wanted: str = "") -> None:
        """`wanted` is the range, if only one is."""
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.seconds: list[float] = []
        self.head = b""
        self.received = 0
        self._request = f"GET {path} HTTP/1.1\r\nHost: test\r\n"
        self._request += f"Range: {wanted}\r\n\r\n" if wanted else "\r\n"
        self._leaves_after = leaves_after
        self._hash = hashlib.sha256()
        self._buffer = bytearray(MEBIBYTE // 4)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._began = perf_counter()
        transport.write(self._request.encode())

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        content = memoryview(self._buffer)[:count]
        if b"\r\n\r\n" not in self.head:
            head, end, _ = bytes(content).partition(b"\r\n\r\n")
            self.head += head + end
            content = content[len(head) + len(end) :]
        if content and not self.received:
            self.seconds.append(perf_counter() - self._began)
        self._hash.update(content)
        self.received += len(content)
        if self._leaves_after is not None and self.received >= self._leaves_after:
            self._transport.abort()
        elif self.head and self.received == self.length:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self.seconds.append(perf_counter() - self._began)
        self.done.set_result(f"sha256:{self._hash.hexdigest()}")

    @classmethod
    async def begun(
        cls, port: int, path: str, *, leaves_after: int | None = None, wanted: str = ""
    ) -> Self:
        """One that has asked."""
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: cls(path, leaves_after=leaves_after, wanted=wanted), LOOPBACK, port
        )
        return client

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def length(self) -> int:
        """What the answer says that the blob has."""
        found = re.search(rb"\r\nContent-Length: (\d+)\r\n", self.head)
        assert found is not None, self.head
        return int(found[1])

    @property
    def shared(self) -> bool:
        """Whether somebody else's transfer was read along."""
        return b"; collapsed" in self.head
