"""How a process is told to end: first to finish what it does, and then, if need be, at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal


class Ending:
    """Needs a running loop."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.at_once = asyncio.Event()

    def ask(self) -> None:
        """The first time: finish. After that: stop."""
        if self.draining.is_set():
            self.at_once.set()
        self.draining.set()

    def stop(self) -> None:
        """Finish nothing."""
        self.draining.set()
        self.at_once.set()

    def listen(self, *signals: signal.Signals) -> None:
        """Be asked by these from now on."""
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self.ask)

    async def comes_within(self, seconds: float) -> bool:
        """Whether the process is to finish; waits for that no longer than this."""
        return await _is_set(self.draining, seconds)

    async def is_now_within(self, seconds: float) -> bool:
        """Whether the process is to stop; waits for that no longer than this."""
        return await _is_set(self.at_once, seconds)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
