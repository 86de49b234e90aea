"""One of several processes that serve at the same address, started by a supervisor."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from proxy.runtime import control_channel
from proxy.runtime.chores import Chores
from proxy.runtime.private_files import keep_files_private
from proxy.runtime.serve import check_descriptors, serve
from proxy.runtime.shutdown import Shutdown, ignore_signals
from proxy.runtime.supervisor_link import SupervisorLink
from proxy.runtime.worker_questions import answer_question
from proxy.telemetry.log import start_log
from proxy.wiring.services import open_services

if TYPE_CHECKING:
    from proxy.runtime.control_channel import Assignment


def run() -> None:
    """Serve the assignment from standard input, until the supervisor orders otherwise or ends.

    OSError or ValueError if it cannot start.
    """
    # A terminal sends SIGINT to the whole process group; the supervisor handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor = socket.socket(fileno=sys.stdin.fileno())
    assignment = control_channel.Assignment.receive(supervisor)
    keep_files_private(assignment.settings)
    log = start_log(
        lock=assignment.directory / "log",
        as_text=assignment.arguments.log_as_text,
        worker=assignment.number,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(assignment, supervisor))
    finally:
        ignore_signals()
        log.close()


async def _work(assignment: Assignment, supervisor: socket.socket) -> None:
    shutdown = Shutdown()
    shutdown.listen(signal.SIGTERM)
    reader, writer = await asyncio.open_unix_connection(sock=supervisor)
    async with open_services(assignment.settings, tokens=assignment.tokens) as services:
        check_descriptors(assignment.settings, services.readiness)
        link = SupervisorLink(
            reader,
            writer,
            shutdown,
            services.readiness,
            services.reporter,
            answer=partial(answer_question, services.questions),
            start=services.flights.start,
        )
        services.flights.start(link.follow())
        Chores(services.flights, services.readiness.warnings).start(link.chores())
        await serve(assignment.settings, services, shutdown, arguments=assignment.arguments)
    writer.close()
