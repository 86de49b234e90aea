"""A worker's end of the channel: receives orders, and sends the worker's readiness."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from proxy.runtime import control_channel
from proxy.runtime.chores import Chore, ChoreName

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from proxy.report.process import Reporter
    from proxy.runtime.control_channel import Message
    from proxy.runtime.shutdown import Shutdown
    from proxy.web.admin.readiness import Readiness

_log = structlog.get_logger()

# How soon the supervisor learns of a change, in seconds.
_REPORT_EVERY: Final = 0.05
# How soon its end is noticed if the channel does not show it, in seconds.
_LOOK_EVERY: Final = 1.0


class SupervisorLink:
    """Drains on the supervisor's order, and stops when the supervisor has ended."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        shutdown: Shutdown,
        readiness: Readiness,
        reporter: Reporter,
        *,
        answer: Callable[[Message], Awaitable[Message]],
        start: Callable[[Coroutine[Any, Any, None]], object],
        parent: Callable[[], int] = os.getppid,
    ) -> None:
        """Create it while the supervisor runs: `parent` is its process id.

        `answer` answers an operator's question; `start` runs what takes a while.
        """
        self._answer = answer
        self._start = start
        self._reader = reader
        self._writer = writer
        self._shutdown = shutdown
        self._readiness = readiness
        self._reporter = reporter
        self._parent = parent
        self._supervisor = parent()
        self._reported: Readiness | None = None

    async def follow(self) -> None:
        """Carry out the supervisor's orders; stop when the channel ends."""
        try:
            # A supervisor that is killed before it has read all that we sent resets the channel.
            with suppress(ConnectionError):
                while line := await self._reader.readline():
                    if line == control_channel.DRAIN:
                        self._shutdown.drain()
                    elif line == control_channel.REPORT:
                        report = self._reporter.report()
                        self._writer.write(control_channel.encode_report(report))
                    elif (asked := control_channel.decode_question(line)) is not None:
                        self._start(self._reply(*asked))
        finally:
            self._shutdown.stop()

    async def _reply(self, number: int, question: Message) -> None:
        answer = await self._answer(question)
        if not self._writer.transport.is_closing():
            self._writer.write(control_channel.encode_answer(number, answer))

    def chores(self) -> Iterator[Chore]:
        """The chores that report to the supervisor, and check that it lives."""
        yield Chore(ChoreName.REPORT, self.report, every=_REPORT_EVERY)
        yield Chore(ChoreName.SUPERVISOR, self.check_parent, every=_LOOK_EVERY)

    async def report(self) -> None:
        """Send the readiness if it has changed.

        A supervisor that does not read has the latest one waiting for it at most: nothing grows.
        """
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size():
            return
        if self._readiness != self._reported:
            self._writer.write(control_channel.encode(self._readiness))
            self._reported = replace(self._readiness, warnings=dict(self._readiness.warnings))

    async def check_parent(self) -> None:
        """Stop if the supervisor has ended, whatever the channel says.

        Another process may have inherited the supervisor's end of it, and so keep it open.
        """
        if self._parent() != self._supervisor and not self._shutdown.at_once.is_set():
            _log.error("supervisor.lost", supervisor=self._supervisor)
            self._shutdown.stop()
