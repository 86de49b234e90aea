"""The way to a registry that is not on this machine: each connection has so many bytes a second."""

from __future__ import annotations

import asyncio
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self

from tests.kit.processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from types import TracebackType

_PIECE: Final = 64 * 1024


class Link:
    """Passes on what a server at `upstream` sends, at `rate` bytes a second and connection."""

    def __init__(self, upstream: int, *, rate: int) -> None:
        """`upstream` is a port of this machine."""
        self.port = free_port()
        self._upstream = upstream
        self._rate = rate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._accept, LOOPBACK, self.port)
        asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_upstream, to_upstream = await asyncio.open_connection(LOOPBACK, self._upstream)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, to_upstream, 0))
                group.create_task(self._pass(from_upstream, writer, self._rate))
        except* OSError:
            pass

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int
    ) -> None:
        next_at = perf_counter()
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
            if rate:
                next_at = max(next_at, perf_counter() - 0.01) + len(piece) / rate
                await asyncio.sleep(next_at - perf_counter())
        writer.close()
