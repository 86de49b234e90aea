"""The frames of one answer, as they are written, with heartbeats while there is nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.peers.frames import Frame, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from proxy.kit.clock import Clock
    from proxy.peers.signing import AnswerSeal

# A peer that reads or sends nothing for so long is disconnected, in seconds.
SEND_TIMEOUT: Final = 30.0
_HEARTBEAT_EVERY: Final = 1.0
_HEARTBEAT: Final = Frame(Kind.HEARTBEAT)


class FrameWriter:
    """Writes the frames of one answer, and heartbeats while there is nothing else."""

    def __init__(
        self,
        response: web.StreamResponse,
        seal: AnswerSeal,
        count: Callable[[int], None],
        clock: Clock,
    ) -> None:
        """`count` is called with the bytes that were sent."""
        self._response = response
        self._seal = seal
        self._count = count
        self._clock = clock
        self._writing = False
        self._last = 0.0

    async def send(self, frame: Frame) -> None:
        """Write a frame; TimeoutError if the peer does not read."""
        await self.write(frame.encode(self._seal))

    async def write(self, encoded: bytes) -> None:
        """Write a frame that is encoded already."""
        self._writing = True
        async with asyncio.timeout(SEND_TIMEOUT):
            await self._response.write(encoded)
        self._count(len(encoded))
        self._last = self._clock.monotonic()
        self._writing = False

    async def beat(self) -> None:
        """Send a heartbeat at once, and whenever nothing was sent for a while."""
        while True:
            if not self._writing and self._clock.monotonic() - self._last >= _HEARTBEAT_EVERY / 2:
                await self.send(_HEARTBEAT)
            await self._clock.sleep(_HEARTBEAT_EVERY)
