"""What may stand where Redis should: a link that delays, and a server that is something else."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@dataclass(slots=True)
class Link:
    """A way to a server on which every answer takes `delay` seconds more, or is `garbage`."""

    url: str
    delay: float = 0.0
    garbage: bytes = b""


@asynccontextmanager
async def link_to(port: int) -> AsyncIterator[Link]:
    """A link to the server on `port` of the loopback address."""

    async def carry(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, *, late: bool
    ) -> None:
        while data := await source.read(65536):
            if late:
                await asyncio.sleep(link.delay)
                data = link.garbage or data
            target.write(data)
            await target.drain()
        target.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, port)
        try:
            await asyncio.gather(carry(reader, back, late=False), carry(there, writer, late=True))
        finally:
            back.close()

    async with _serving(connected) as url:
        link = Link(url)
        yield link


@asynccontextmanager
async def answering(answer: bytes, *, then_close: bool = False) -> AsyncIterator[str]:
    """The URL of a server whose answer to everything is `answer`."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
            await writer.drain()
            if then_close:
                return

    async with _serving(connected) as url:
        yield url


@asynccontextmanager
async def _serving(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The URL of a server that leaves no connection behind."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            with contextlib.suppress(OSError):
                await connected(reader, writer)
        finally:
            handlers.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, LOOPBACK)
    try:
        yield f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()
