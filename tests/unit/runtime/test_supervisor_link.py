"""A worker ends with its supervisor, however that ends, and reports without waiting for it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.runtime import control_channel
from proxy.runtime.shutdown import Shutdown
from proxy.runtime.supervisor_link import SupervisorLink
from proxy.web.admin.app import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Worker:
    """The link of a worker, and the supervisor's end of it as a plain socket."""

    def __init__(self) -> None:
        self.shutdown, self.readiness = Shutdown(), Readiness()
        self.parent = 100
        self.supervisor, self._own_end = socket.socketpair()

    async def connect(self) -> None:
        reader, self.writer = await asyncio.open_unix_connection(sock=self._own_end)
        self.link = SupervisorLink(
            reader, self.writer, self.shutdown, self.readiness, parent=lambda: self.parent
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
