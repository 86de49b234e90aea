"""One of several processes that serve at the same address, started by a supervisor."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import uvloop

from proxy.runtime import control_channel
from proxy.runtime.serve import check_descriptors, serve
from proxy.runtime.shutdown import Shutdown, ignore_signals
from proxy.telemetry.log import start_log
from proxy.wiring.services import open_services

if TYPE_CHECKING:
    from proxy.runtime.control_channel import Assignment
    from proxy.web.admin.app import Readiness

# How soon the supervisor learns of a change, in seconds.
_REPORT_EVERY: Final = 0.05


def run() -> None:
    """Serve as the supervisor at standard input says, and no longer than it lives.

    OSError or ValueError if it cannot start.
    """
    # A terminal sends it to all processes of the group: the supervisor's is the one that counts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    upstairs = socket.socket(fileno=sys.stdin.fileno())
    assignment = control_channel.Assignment.receive(upstairs)
    log = start_log(lock=assignment.directory / "log", worker=assignment.number)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(assignment, upstairs))
    finally:
        ignore_signals()
        log.close()


async def _work(assignment: Assignment, upstairs: socket.socket) -> None:
    shutdown = Shutdown()
    shutdown.listen(signal.SIGTERM)
    reader, writer = await asyncio.open_unix_connection(sock=upstairs)
    async with open_services(assignment.settings, tokens=assignment.tokens) as services:
        check_descriptors(assignment.settings, services.readiness)
        services.flights.start(_obey(reader, shutdown))
        services.flights.start(_report(services.readiness, writer))
        await serve(assignment.settings, services, shutdown, given=assignment.given)
    writer.close()


async def _obey(reader: asyncio.StreamReader, shutdown: Shutdown) -> None:
    while line := await reader.readline():
        if line == control_channel.DRAIN:
            shutdown.drain()
    shutdown.stop()


async def _report(readiness: Readiness, writer: asyncio.StreamWriter) -> None:
    reported = b""
    while True:
        line = control_channel.encode(readiness)
        if line != reported:
            writer.write(line)
            reported = line
        await asyncio.sleep(_REPORT_EVERY)
