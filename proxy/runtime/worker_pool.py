"""The worker processes of a supervisor: each is started, followed, and started again if it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog

from proxy.errors import WorkerSilent
from proxy.kit.backoff import Backoff
from proxy.report.past import WorkerReports
from proxy.report.replicas import combine
from proxy.runtime import control_channel
from proxy.runtime.worker_questions import WorkerQuestions
from proxy.telemetry import metrics
from proxy.web.admin.readiness import Readiness

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Sequence

    from proxy.report.process import ProcessReport
    from proxy.runtime.control_channel import Assignment, Message
    from proxy.runtime.shutdown import Shutdown
    from proxy.telemetry.merge import MergedMetrics

_log = structlog.get_logger()

# Seconds until an ended worker is started again; the pause doubles with each failure. A worker that
# has served for the longest pause starts with the first one again.
_RESTART: Final = Backoff(first=0.1, longest=10.0)
# Seconds until a worker that does not end by itself is killed.
_KILL_AFTER: Final = 2.0
# How long a worker may take to report, in seconds.
_REPORT_WITHIN: Final = 1.0
# The interval at which reports are noted, so that little is lost when a worker is killed.
_NOTE_EVERY: Final = 10.0


class CannotStartError(OSError):
    """A worker ended before any had served; the worker has logged why."""


class WorkerProcess:
    """One worker: its process, and the processes that replace it."""

    def __init__(self, assignment: Assignment, shutdown: Shutdown) -> None:
        self.number = assignment.number
        self.shutdown = shutdown
        self.readiness = Readiness()
        self.pid: int | None = None
        self._reports = WorkerReports()
        self._questions = WorkerQuestions()
        self._asked: asyncio.Future[None] | None = None
        self._assignment = assignment
        self._writer: asyncio.StreamWriter | None = None

    async def live(self, changed: Callable[[], None]) -> int:
        """Start the process, and follow its readiness until it ends; the exit status.

        `changed` is called after each change of `readiness`.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._spawn(theirs)
        self.pid = process.pid
        reader, self._writer = await asyncio.open_unix_connection(
            sock=ours, limit=control_channel.MAX_LINE
        )
        try:
            self._writer.write(self._assignment.encode())
            if self.shutdown.draining.is_set():
                self.drain()
            # If a killed process leaves data unread, the end of the stream is a ConnectionError.
            with suppress(ConnectionError):
                while line := await reader.readline():
                    if (report := control_channel.decode_report(line)) is not None:
                        self._take(report)
                        continue
                    if (answer := control_channel.decode_answer(line)) is not None:
                        self._questions.take(*answer)
                        continue
                    self.readiness = control_channel.decode(line)
                    changed()
        finally:
            self.hang_up()
            self._reports.end()
            self._questions.end()
            self._answer()
            self.readiness = Readiness()
            changed()
            status = await _status(process)
            self.pid = None
        return status

    async def report(self) -> Sequence[ProcessReport]:
        """What the process does and has done; what it said last if it does not answer in time."""
        if self._writer is not None:
            if self._asked is None:
                self._asked = asyncio.get_running_loop().create_future()
                self._writer.write(control_channel.REPORT)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._asked), _REPORT_WITHIN)
        return self._reports.all()

    async def ask(self, question: Message) -> dict[str, Any]:
        """The answer to an operator's question, or its error; WorkerSilent if there is none."""
        if self._writer is None:
            raise WorkerSilent
        return await self._questions.ask(self._writer.write, question)

    def _take(self, report: ProcessReport) -> None:
        self._reports.take(report)
        self._answer()

    def _answer(self) -> None:
        """Wake those that wait for a report."""
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        self._asked = None

    def drain(self) -> None:
        """Tell the process to finish its requests and end."""
        if self._writer is not None:
            self._writer.write(control_channel.DRAIN)

    def hang_up(self) -> None:
        """Close the channel, which makes the process end at once."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _spawn(self, stdin: socket.socket) -> Process:
        assignment = self._assignment
        return await asyncio.create_subprocess_exec(
            sys.executable,
            sys.argv[0],
            "worker",
            stdin=stdin.fileno(),
            pass_fds=() if assignment.tokens is None else (assignment.tokens,),
            env={
                **os.environ,
                # prometheus_client reads it on import.
                "PROMETHEUS_MULTIPROC_DIR": str(assignment.directory),
                metrics.WORKER: str(self.number),
            },
        )


class WorkerPool:
    """All workers of a supervisor, with their combined readiness."""

    def __init__(
        self, workers: Sequence[WorkerProcess], merged: MergedMetrics, announce: Callable[[], None]
    ) -> None:
        self.workers = workers
        self.readiness = Readiness()
        self._merged = merged
        self._announce = announce
        self._has_served = False
        self._announced = False

    async def keep(self, worker: WorkerProcess) -> None:
        """Run a worker until shutdown; CannotStartError if it ends before any worker has served."""
        loop = asyncio.get_running_loop()
        ends = 0
        while not worker.shutdown.draining.is_set():
            began = loop.time()
            status = await worker.live(self._update_readiness)
            self._merged.forget(worker.number)
            if worker.shutdown.draining.is_set():
                return
            if not self._has_served:
                raise CannotStartError(f"worker {worker.number} ended with status {status}")
            ends = 1 if loop.time() - began > _RESTART.longest else ends + 1
            pause = _RESTART.pause(ends)
            self._merged.ended.inc()
            again_in = round(pause, 3)
            _log.error("worker.ended", worker=worker.number, status=status, again_in=again_in)
            await worker.shutdown.wait_drain(pause)

    def answering(self) -> list[WorkerProcess]:
        """The workers that serve, and can be asked."""
        return [worker for worker in self.workers if worker.readiness.ready]

    async def reports(self) -> list[ProcessReport]:
        """What all workers do and have done."""
        found = await asyncio.gather(*(worker.report() for worker in self.workers))
        return [report for reports in found for report in reports]

    async def note_reports(self, shutdown: Shutdown) -> None:
        """Ask for reports now and then until shutdown: a killed worker tells nothing."""
        while not await shutdown.wait_drain(_NOTE_EVERY):
            await self.reports()

    def _update_readiness(self) -> None:
        """Combine the readiness of all workers; announce the start when all serve."""
        ready = [worker for worker in self.workers if worker.readiness.ready]
        self._merged.serving.set(len(ready))
        self.readiness.serving = bool(ready)
        self.readiness.warnings = {
            subject: warning
            for worker in self.workers
            for subject, warning in worker.readiness.warnings.items()
        }
        self.readiness.peers = combine(worker.readiness.peers for worker in self.workers)
        self._has_served = self._has_served or bool(ready)
        if len(ready) == len(self.workers) and not self._announced:
            self._announced = True
            self._announce()


async def _status(process: Process) -> int:
    """Wait for a process that was told to end, and kill it if it does not; the exit status."""
    try:
        async with asyncio.timeout(_KILL_AFTER):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
