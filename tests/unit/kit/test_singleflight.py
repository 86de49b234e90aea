"""One piece of work for everybody who wants its result, in this process and in others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
import structlog

from proxy.errors import BlobUnknown, ClientThrottled
from proxy.kit.singleflight import SingleFlight
from proxy.stores.disk.leases import FlockLeases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def flights(tmp_path: Path) -> AsyncIterator[SingleFlight]:
    flights = SingleFlight(FlockLeases(tmp_path))
    yield flights
    await flights.close()


class Work:
    """Counts how often it is done, and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.begun += 1
        self.has_begun.set()
        await self.may_end.wait()
        self.ended += 1
        if self._error is not None:
            raise self._error
        return self.begun


async def _settled(*tasks: asyncio.Task[int]) -> None:
    """Let everything happen that can happen without an event."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_all_who_ask_meanwhile_get_one_result(flights: SingleFlight) -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(flights.do("key", work)) for _ in range(50)]
        await _settled(*asking)
        other = group.create_task(flights.do("other key", work))
        await _settled(other)
        assert work.begun == 2
        work.may_end.set()
    assert {task.result() for task in asking} == {2}
    assert await flights.do("key", work) == 3


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_who_leaves_cancels_nobody(flights: SingleFlight, leaving: int) -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(flights.do("key", work)) for _ in range(3)]
        await _settled(*asking)
        asking[leaving].cancel()
        await asyncio.sleep(0)
        assert asking[leaving].cancelled()
        work.may_end.set()
    assert [task.result() for task in asking if not task.cancelled()] == [1, 1]


async def test_work_goes_on_when_everybody_has_left(flights: SingleFlight) -> None:
    work = Work()
    asking = asyncio.ensure_future(flights.do("key", work))
    await _settled(asking)
    asking.cancel()
    await asyncio.sleep(0)
    again = asyncio.ensure_future(flights.do("key", work))
    await _settled(again)
    work.may_end.set()
    assert await again == 1
    assert work.ended == 1


async def test_a_failure_is_everybodys_and_is_not_remembered(flights: SingleFlight) -> None:
    work = Work(BlobUnknown("gone"))
    asking = [asyncio.ensure_future(flights.do("key", work)) for _ in range(3)]
    await _settled(*asking)
    work.may_end.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [BlobUnknown] * 3
    assert work.begun == 1
    with pytest.raises(BlobUnknown):
        await flights.do("key", work)
    assert work.begun == 2


@pytest.mark.parametrize(
    ("error", "logged"), [(BlobUnknown("gone"), False), (ZeroDivisionError("a bug"), True)]
)
async def test_a_bug_that_nobody_waits_for_is_logged(
    flights: SingleFlight, error: Exception, *, logged: bool
) -> None:
    work = Work(error)
    work.may_end.set()
    with structlog.testing.capture_logs() as log:
        await asyncio.wait({flights.start(work())})
        await asyncio.sleep(0)
    assert [line["exc_info"] for line in log if line["event"] == "task.failed"] == [error] * logged


async def test_closing_ends_everything(flights: SingleFlight) -> None:
    work = Work()
    asking = asyncio.ensure_future(flights.do("key", work))
    await _settled(asking)
    await flights.close()
    assert (work.begun, work.ended) == (1, 0)
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_finishing_waits_and_then_ends(flights: SingleFlight) -> None:
    quick, endless = Work(), Work()
    quick.may_end.set()
    flights.start(quick())
    flights.start(endless())
    await flights.finish(0.02)
    assert (quick.ended, endless.begun, endless.ended) == (1, 1, 0)


# In several processes


async def _nothing() -> int | None:
    return None


async def _found() -> int | None:
    return 42


async def test_another_process_is_waited_for_and_what_it_found_is_taken(
    flights: SingleFlight, tmp_path: Path
) -> None:
    work = Work()
    work.may_end.set()
    lease = await FlockLeases(tmp_path).claim("key")
    assert lease is not None
    asking = asyncio.ensure_future(flights.do("key", work, _found))
    await asyncio.sleep(0.05)
    assert not asking.done()
    lease.release()
    assert await asking == 42
    assert work.begun == 0


async def test_another_process_that_found_nothing_is_taken_over_from(
    flights: SingleFlight, tmp_path: Path
) -> None:
    work = Work()
    other = SingleFlight(FlockLeases(tmp_path))
    elsewhere = Work(BlobUnknown("gone"))
    theirs = asyncio.ensure_future(other.do("key", elsewhere, _nothing))
    await elsewhere.has_begun.wait()
    ours = asyncio.ensure_future(flights.do("key", work, _nothing))
    await asyncio.sleep(0.03)
    assert work.begun == 0
    elsewhere.may_end.set()
    work.may_end.set()
    assert await ours == 1
    with pytest.raises(BlobUnknown):
        await theirs
    await other.close()


async def test_the_lease_is_given_back_whatever_happens(
    flights: SingleFlight, tmp_path: Path
) -> None:
    failing, cancelled = Work(BlobUnknown("gone")), Work()
    failing.may_end.set()
    with pytest.raises(BlobUnknown):
        await flights.do("failing", failing, _nothing)
    asking = asyncio.ensure_future(flights.do("cancelled", cancelled, _nothing))
    await cancelled.has_begun.wait()
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    for key in ("failing", "cancelled"):
        lease = await FlockLeases(tmp_path).claim(key)
        assert lease is not None
        lease.release()


async def test_without_leases_work_is_done_all_the_same(tmp_path: Path) -> None:
    leases = FlockLeases(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    flights, work = SingleFlight(leases), Work()
    work.may_end.set()
    assert await flights.do("key", work, _nothing) == 1
    await flights.close()


async def test_what_swallows_being_cancelled_is_cancelled_again(flights: SingleFlight) -> None:
    """Otherwise a process that ends would wait for it for ever."""

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the connection broke while it was cleaned up")

    async def stubborn() -> None:
        with suppress(OSError):
            await loop()
        await asyncio.Event().wait()

    task = flights.start(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await flights.close()
    assert task.cancelled()


def _throttled(client: str) -> ClientThrottled:
    return ClientThrottled("x", retry_after=1, concerns_caller=lambda: _client.get() == client)


_client: ContextVar[str] = ContextVar("client")


async def test_what_concerns_one_client_is_raised_for_that_one_only(flights: SingleFlight) -> None:
    """The others begin again, by one piece of work, and those of the same client do not."""
    begun: list[str] = []

    async def work() -> str:
        begun.append(_client.get())
        await asyncio.sleep(0)
        if _client.get() == "greedy":
            raise _throttled("greedy")
        return _client.get()

    async def ask(client: str) -> str:
        _client.set(client)
        return await flights.do("x", work)

    clients = ("greedy", "greedy", "a", "b", "greedy")
    results = await asyncio.gather(*map(ask, clients), return_exceptions=True)
    assert [isinstance(result, ClientThrottled) for result in results] == [
        *(True, True, False, False, True)
    ]
    assert begun == ["greedy", "a"]
    assert results[2:4] == ["a", "a"]
