"""Several processes that serve at one address, and the one that looks after them.

It starts them, again where one ends, tells them to drain, and answers for all of them at the admin
listener. It takes no traffic. If it is killed, they see the end of their channel, and end, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from proxy.config import Address
from proxy.runtime import control_channel
from proxy.runtime.control_channel import Assignment
from proxy.runtime.shared_memory import private_directory, private_memory
from proxy.runtime.shutdown import Shutdown, ignore_signals
from proxy.telemetry import metrics
from proxy.telemetry.log import start_log
from proxy.telemetry.merge import MergedMetrics
from proxy.web.admin.app import Readiness, admin_app, listening

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

    from proxy.config import ServeArguments, Settings
    from proxy.oci.reference import Digest, Repository, Tag

_log = structlog.get_logger()

# A worker that ends is started again after this, then after twice as long and so on, in seconds;
# one that has served for the longer time begins anew.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
# How much longer than they may take the workers are waited for, in seconds.
_LENIENCE: Final = 2.0
_LOOK_EVERY: Final = 0.05


class CannotStartError(OSError):
    """A worker ended before any had served; it has said why."""


def run(settings: Settings, *, given: ServeArguments, announce: Callable[[], None]) -> None:
    """Have `settings.workers` processes serve until SIGTERM or SIGINT; OSError if none can."""
    with private_directory(settings.data) as directory:
        log = start_log(lock=directory / "log")
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_supervise(settings, given, directory, announce))
        finally:
            ignore_signals()
            log.close()


async def _supervise(
    settings: Settings, given: ServeArguments, directory: Path, announce: Callable[[], None]
) -> None:
    shutdown = Shutdown()
    shutdown.listen(signal.SIGTERM, signal.SIGINT)
    address = await _nobody_elses(settings.listen)
    settings = settings.model_copy(update={"listen": address})
    with private_memory() as tokens:
        workers = [
            _Worker(Assignment(number, settings, directory, tokens, given), shutdown)
            for number in range(1, settings.workers + 1)
        ]
        merged = MergedMetrics(
            directory, workers=lambda: [worker.pid for worker in workers if worker.pid]
        )
        crew = _Crew(workers, merged, announce)
        purge = partial(_purge, settings)
        admin = admin_app(crew.readiness, purge=purge, metrics=merged.generate)
        async with listening(admin, settings.admin.listen):
            try:
                async with asyncio.TaskGroup() as group:
                    running = [group.create_task(crew.keep(worker)) for worker in workers]
                    await shutdown.draining.wait()
                    await _drain(crew, running, shutdown, settings)
            except ExceptionGroup as failures:
                # The first one has cancelled the others.
                raise failures.exceptions[0] from None


async def _purge(settings: Settings, addressed: str, reference: Digest | Tag | None) -> Repository:
    """Purge for the workers, who notice it in the cache."""
    # Everything that serves, which a supervisor does not: only for the moment that it is needed.
    from proxy.wiring.services import open_purges  # noqa: PLC0415

    async with open_purges(settings) as purges:
        return await purges.purge(addressed, reference)


async def _drain(
    crew: _Crew, running: list[asyncio.Task[None]], shutdown: Shutdown, settings: Settings
) -> None:
    """Have every worker finish what it does; hang up on those that take too long."""
    crew.readiness.draining = True
    _log.info("supervisor.draining", workers=len(running))
    for worker in crew.workers:
        worker.drain()
    loop = asyncio.get_running_loop()
    end = loop.time() + settings.shutdown.delay + settings.shutdown.grace + _LENIENCE
    while not all(task.done() for task in running):
        if await shutdown.wait_stop(_LOOK_EVERY) or loop.time() > end:
            for worker in crew.workers:
                worker.hang_up()
            return


class _Worker:
    """One of the processes, and its successors."""

    def __init__(self, assignment: Assignment, shutdown: Shutdown) -> None:
        self.number = assignment.number
        self.ending = shutdown
        self.readiness = Readiness()
        self.pid: int | None = None
        self._assignment = assignment
        self._writer: asyncio.StreamWriter | None = None

    async def live(self, changed: Callable[[], None]) -> int:
        """Start the process, and follow what it says until it ends; its exit status."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._spawned(theirs)
        self.pid = process.pid
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        try:
            self._writer.write(self._assignment.encode())
            if self.ending.draining.is_set():
                self.drain()
            # What a killed process had not read makes its end an error instead of an end.
            with suppress(ConnectionError):
                while line := await reader.readline():
                    self.readiness = control_channel.decode(line)
                    changed()
        finally:
            self.hang_up()
            self.readiness = Readiness()
            changed()
            status = await _status(process)
            self.pid = None
        return status

    def drain(self) -> None:
        """Tell it to finish what it does."""
        if self._writer is not None:
            self._writer.write(control_channel.DRAIN)

    def hang_up(self) -> None:
        """Have it end at once."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _spawned(self, stdin: socket.socket) -> Process:
        assignment = self._assignment
        return await asyncio.create_subprocess_exec(
            sys.executable,
            sys.argv[0],
            "worker",
            stdin=stdin.fileno(),
            pass_fds=() if assignment.tokens is None else (assignment.tokens,),
            env={
                **os.environ,
                # prometheus reads it when it is imported.
                "PROMETHEUS_MULTIPROC_DIR": str(assignment.directory),
                metrics.WORKER: str(self.number),
            },
        )


class _Crew:
    """All workers, as an operator sees them."""

    def __init__(
        self, workers: list[_Worker], merged: MergedMetrics, announce: Callable[[], None]
    ) -> None:
        self.workers = workers
        self.readiness = Readiness()
        self._merged = merged
        self._announce = announce
        self._has_served = False
        self._announced = False

    async def keep(self, worker: _Worker) -> None:
        """Have it run until the end comes; CannotStartError if it never gets that far."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not worker.ending.draining.is_set():
            began = loop.time()
            status = await worker.live(self._look)
            self._merged.forget(worker.number)
            if worker.ending.draining.is_set():
                return
            if not self._has_served:
                raise CannotStartError(f"worker {worker.number} ended with status {status}")
            if loop.time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            self._merged.ended.inc()
            _log.error("worker.ended", worker=worker.number, status=status, again_in=pause)
            await worker.ending.wait_drain(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self) -> None:
        """Notice what a worker has said."""
        ready = [worker for worker in self.workers if worker.readiness.ready]
        self._merged.serving.set(len(ready))
        self.readiness.serving = bool(ready)
        self.readiness.warnings = {
            subject: warning
            for worker in self.workers
            for subject, warning in worker.readiness.warnings.items()
        }
        self._has_served = self._has_served or bool(ready)
        if len(ready) == len(self.workers) and not self._announced:
            self._announced = True
            self._announce()


async def _nobody_elses(address: Address) -> Address:
    """`address`, with a port if it had none; OSError if somebody listens there already.

    With SO_REUSEPORT the system would let us share it with another proxy of the same user.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, *address, start_serving=False)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return Address(address.host, port)


async def _status(process: Process) -> int:
    """The exit status of a process that has been told to end; it is killed if it does not."""
    try:
        async with asyncio.timeout(_LENIENCE):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
