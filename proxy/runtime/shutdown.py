"""How a process is told to end: first to finish what it does, and then, if need be, at once."""

from __future__ import annotations

import asyncio
import signal


class Shutdown:
    """Needs a running loop."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.at_once = asyncio.Event()
        self._signalled = False

    def drain(self) -> None:
        """Finish; said again, it means nothing more."""
        self.draining.set()

    def stop(self) -> None:
        """Finish nothing."""
        self.draining.set()
        self.at_once.set()

    def listen(self, *signals: signal.Signals) -> None:
        """From now on the first of these means to finish, and the next one to stop."""
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        # Not whether we are draining: a worker may be told both by its supervisor and by a manager
        # of services that sends SIGTERM to every process.
        if self._signalled:
            self.stop()
        self._signalled = True
        self.drain()

    async def wait_drain(self, seconds: float) -> bool:
        """Whether the process is to finish; waits for that no longer than this."""
        return await _is_set(self.draining, seconds)

    async def wait_stop(self, seconds: float) -> bool:
        """Whether the process is to stop; waits for that no longer than this."""
        return await _is_set(self.at_once, seconds)


def ignore_signals() -> None:
    """The process is ending by itself: being asked to must not change its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
