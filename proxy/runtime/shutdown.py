"""The shutdown of a process: first it drains, and a second signal stops it at once."""

from __future__ import annotations

import asyncio
import signal


class Shutdown:
    """The state of a shutdown; needs a running loop."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.at_once = asyncio.Event()
        self._signalled = False

    def drain(self) -> None:
        """Begin to drain; idempotent."""
        self.draining.set()

    def stop(self) -> None:
        """Stop at once, without finishing requests."""
        self.draining.set()
        self.at_once.set()

    def listen(self, *signals: signal.Signals) -> None:
        """Drain on the first of these signals, and stop on the second."""
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        # Count signals only: a worker may be drained by its supervisor and also get SIGTERM from a
        # service manager, which signals every process.
        if self._signalled:
            self.stop()
        self._signalled = True
        self.drain()

    async def wait_drain(self, seconds: float) -> bool:
        """Wait at most `seconds` for draining to begin; whether it has."""
        return await _is_set(self.draining, seconds)

    async def wait_stop(self, seconds: float) -> bool:
        """Wait at most `seconds` for the order to stop; whether it was given."""
        return await _is_set(self.at_once, seconds)


def ignore_signals() -> None:
    """Ignore signals while the process ends: they must not change its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
