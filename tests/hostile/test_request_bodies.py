"""A request with a body is answered and its connection closed: nobody reads or inflates it."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile import bystander

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy

# A thousand times as large when it is inflated.
BOMB: Final = gzip.compress(bytes(256 * 2**20), 1)
HEAD: Final = f"{{method}} {bystander.MANIFEST} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
# What a client may find that its connection was reset: nobody read what it sent.
RESET: Final = (ConnectionResetError, BrokenPipeError)


async def send(proxy: Proxy, head: str, body: bytes) -> bytes:
    """The status line, or nothing if the connection was reset before it was read."""
    reader, writer = await asyncio.open_connection(*proxy.address)
    try:
        writer.write(head.encode() + body)
        return (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n")[0]
    except RESET:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_neither_read_nor_inflated(
    proxy: Proxy, method: str, *, chunked: bool
) -> None:
    await bystander.pull(proxy)
    head = HEAD.format(method=method)
    if chunked:
        head += "Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BOMB), BOMB)
    else:
        head += f"Content-Length: {len(BOMB)}\r\n\r\n"
        body = BOMB
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.gather(*(bystander.pull(proxy) for _ in range(8)))
    alone = loop.time() - before
    before = loop.time()
    attack = asyncio.gather(*(send(proxy, head, body) for _ in range(8)))
    await asyncio.gather(*(bystander.pull(proxy) for _ in range(8)))
    beside = loop.time() - before
    lines = await attack
    expected = b"HTTP/1.1 200 OK" if method == "GET" else b"HTTP/1.1 405 Method Not Allowed"
    assert set(lines) <= {expected, b""}
    # Inflating them takes twenty times as long as the bystanders take.
    assert beside < 10 * alone + 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_body_is_not_taken_for_the_next_request(proxy: Proxy, method: str) -> None:
    await bystander.pull(proxy)
    hidden = f"GET {bystander.MANIFEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head = f"{method} /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n"
    answer = await proxy.raw(head.encode() + hidden)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer


async def test_a_body_that_never_comes_is_not_waited_for(proxy: Proxy) -> None:
    head = "GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    answer = await asyncio.wait_for(proxy.raw(head.encode()), 5)
    assert answer.startswith(b"HTTP/1.1 200 ")
