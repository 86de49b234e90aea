"""A worker ends with its supervisor, however that ends, and reports without waiting for it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.report.activity import Activity, Answered
from proxy.report.process import Reporter
from proxy.report.transfers import TransferSpeeds
from proxy.runtime import control_channel
from proxy.runtime.shutdown import Shutdown
from proxy.runtime.supervisor_link import SupervisorLink
from proxy.web.admin.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Worker:
    """The link of a worker, and the supervisor's end of it as a plain socket."""

    def __init__(self) -> None:
        self.shutdown, self.readiness = Shutdown(), Readiness()
        self.parent = 100
        self.reporter = Reporter(
            activity=Activity(),
            upstreams=[],
            transfers=TransferSpeeds(list, SYSTEM_CLOCK),
            evicted=float,
        )
        self.started: list[asyncio.Future[None]] = []
        self.supervisor, self._own_end = socket.socketpair()

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        return {"document": question}

    async def connect(self) -> None:
        reader, self.writer = await asyncio.open_unix_connection(sock=self._own_end)
        self.link = SupervisorLink(
            reader,
            self.writer,
            self.shutdown,
            self.readiness,
            self.reporter,
            answer=self.answer,
            start=lambda work: self.started.append(asyncio.ensure_future(work)),
            parent=lambda: self.parent,
        )

    async def followed(self) -> None:
        """Return when there is nothing more to follow."""
        async with asyncio.timeout(60):
            await self.link.follow()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    await worker.connect()
    yield worker
    worker.supervisor.close()
    worker.writer.close()


async def test_it_drains_when_it_is_told_to_and_stops_at_the_end(worker: Worker) -> None:
    following = asyncio.create_task(worker.followed())
    worker.supervisor.sendall(control_channel.DRAIN)
    async with asyncio.timeout(60):
        await worker.shutdown.draining.wait()
    assert not worker.shutdown.at_once.is_set()
    worker.supervisor.close()
    await following
    assert worker.shutdown.at_once.is_set()


async def test_it_stops_when_a_supervisor_ends_that_had_not_read_everything(
    worker: Worker,
) -> None:
    await worker.link.report()
    await asyncio.sleep(0.01)
    worker.supervisor.close()
    await worker.followed()
    assert worker.shutdown.at_once.is_set()


async def test_it_stops_at_what_no_supervisor_says(worker: Worker) -> None:
    """A line without an end is longer than any order; what cannot be followed is the end."""
    following = asyncio.create_task(worker.followed())
    await asyncio.to_thread(worker.supervisor.sendall, b"x" * 2**18)
    with pytest.raises(ValueError, match="limit"):
        await following
    assert worker.shutdown.at_once.is_set()


async def test_it_stops_when_it_has_another_parent(worker: Worker) -> None:
    await worker.link.check_parent()
    assert not worker.shutdown.at_once.is_set()
    worker.parent = 1
    await worker.link.check_parent()
    assert worker.shutdown.at_once.is_set()


async def test_a_supervisor_that_does_not_read_costs_no_memory(worker: Worker) -> None:
    waiting = set()
    for number in range(2_000):
        worker.readiness.warnings["settings"] = f"{number:1000}"
        await worker.link.report()
        waiting.add(worker.writer.transport.get_write_buffer_size())
    assert max(waiting) < 2_000, "one line at most"
    worker.supervisor.setblocking(False)  # noqa: FBT003 -- the library's signature
    loop, received = asyncio.get_running_loop(), b""
    async with asyncio.timeout(60):
        while b"1999" not in received:
            received = received[-2_000:] + await loop.sock_recv(worker.supervisor, 2**16)
            await worker.link.report()


async def test_it_reports_when_it_is_told_to(worker: Worker) -> None:
    for outcome in ("hit", "miss"):
        worker.reporter.activity.add(Answered("10.0.0.1", "curl/8", "GET", outcome), 2, 10)
    following = asyncio.create_task(worker.followed())
    worker.supervisor.sendall(control_channel.REPORT)
    worker.supervisor.settimeout(60)
    line = await asyncio.to_thread(worker.supervisor.makefile("rb").readline)
    report = control_channel.decode_report(line)
    assert report == worker.reporter.report()
    assert report["activity"]["counts"]["totals"]["here"] == 2
    assert control_channel.decode_report(control_channel.encode(worker.readiness)) is None
    worker.supervisor.close()
    await following


async def test_it_answers_a_question_while_it_follows(worker: Worker) -> None:
    following = asyncio.create_task(worker.followed())
    question = {"about": "inspect", "image": "a\nb"}
    worker.supervisor.sendall(control_channel.encode_question(7, question))
    worker.supervisor.settimeout(60)
    line = await asyncio.to_thread(worker.supervisor.recv, 4096)
    assert control_channel.decode_answer(line) == (7, {"document": question})
    assert control_channel.decode_report(line) is None
    worker.supervisor.close()
    await following
