"""Clients that send a request, and read its response slowly or never."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# So that the system takes next to nothing for them.
_RECEIVED: Final = 4096


def addresses(count: int) -> list[str]:
    """That many addresses of this machine, which attack; none is the bystander's."""
    return [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(count)]


@asynccontextmanager
async def reading_nothing(
    port: int, path: str, count: int, *, sources: Sequence[str] = (LOOPBACK,), headers: str = ""
) -> AsyncIterator[list[socket.socket]]:
    """Have `count` clients wait, from these addresses in turn, without reading."""
    clients: list[socket.socket] = []
    try:
        for number in range(count):
            client = _client(sources[number % len(sources)])
            clients.append(client)
            await asyncio.get_running_loop().sock_connect(client, (LOOPBACK, port))
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.sock_sendall(client, request) for client in clients), return_exceptions=True
        )
        yield clients
    finally:
        for client in clients:
            client.close()


def _client(source: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
    client.settimeout(0)
    client.bind((source, 0))
    return client


async def read_slowly(client: socket.socket, *, size: int, every: float) -> int:
    """Read `size` bytes at most each `every` seconds until the end; how many those were."""
    loop = asyncio.get_running_loop()
    received = 0
    try:
        while piece := await loop.sock_recv(client, size):
            received += len(piece)
            await asyncio.sleep(every)
    except OSError:
        pass
    return received
