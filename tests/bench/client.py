"""A client that reads answers of any size at little cost, and says when their bytes came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from tests.kit.processes import LOOPBACK

_BUFFER: Final = bytearray(2**20)


@dataclass(frozen=True, slots=True)
class Fetched:
    """How long it took to the first byte of the body, and to the last, in seconds."""

    first_byte: float
    seconds: float
    size: int


class _Answer(asyncio.BufferedProtocol):
    """Reads one answer with a length, and drops its body."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.first_byte = 0.0
        self._head = b""
        self._left = -1
        self._size = 0

    def get_buffer(self, _size: int) -> bytearray:
        return _BUFFER

    def buffer_updated(self, count: int) -> None:
        if self._left < 0:
            self._head += _BUFFER[:count]
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._left = self._size = _length(head)
            self._head = b""
            count = len(body)
        if count and not self.first_byte:
            self.first_byte = perf_counter()
        self._left -= count
        if not self._left and not self.done.done():
            self.done.set_result(self._size)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the answer is not whole"))


async def fetch(port: int, path: str, accept: str | None = None) -> Fetched:
    """One answer of 200, over a connection of its own; ConnectionError if it is not whole."""
    began = perf_counter()
    loop = asyncio.get_running_loop()
    transport, answer = await loop.create_connection(_Answer, LOOPBACK, port)
    try:
        accepted = f"Accept: {accept}\r\n" if accept is not None else ""
        transport.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{accepted}\r\n".encode())
        size = await answer.done
        return Fetched(answer.first_byte - began, perf_counter() - began, size)
    finally:
        transport.abort()


def _length(head: bytes) -> int:
    first, *lines = head.decode("latin-1").split("\r\n")
    if first.split(" ")[1] != "200":
        raise ConnectionError(first)
    fields = {name.lower(): value for name, _, value in (line.partition(":") for line in lines)}
    return int(fields["content-length"])
