"""Background tasks: no error ends one, and each failure is counted, reported and retried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
import structlog
from prometheus_client import REGISTRY

from proxy.kit.singleflight import SingleFlight
from proxy.runtime.chores import Chore, ChoreName, Chores
from proxy.stores.disk.leases import FlockLeases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME: Final = ChoreName.JANITOR
WARNING: Final = "background_task.janitor"


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._over.wait()
        self._over.clear()

    async def next_round(self) -> None:
        """The pause is over; returns when the next one has begun."""
        before = len(self.pauses)
        self._over.set()
        await self.until_paused(before + 1)

    async def until_paused(self, times: int) -> None:
        async with asyncio.timeout(60):
            while len(self.pauses) < times:  # noqa: ASYNC110 -- the loop does the rest
                await asyncio.sleep(0)


class Work:
    """Fails in each round with the error that is set."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.rounds = 0

    async def __call__(self) -> None:
        self.rounds += 1
        if self.error is not None:
            raise self.error


class Running:
    """One chore of a process, and what it shows of itself."""

    def __init__(self, flights: SingleFlight) -> None:
        self.clock, self.work = Clock(), Work()
        self.warnings: dict[str, str] = {}
        self._chores = Chores(flights, self.warnings, sleep=self.clock.sleep, chance=lambda: 0.0)
        self._before = self._count()

    async def start(self, *, every: float = 60.0) -> None:
        self._chores.start([Chore(NAME, self.work, every=every)])
        await self.clock.until_paused(1)

    @property
    def failures(self) -> float:
        return self._count() - self._before

    @staticmethod
    def _count() -> float:
        name = "lighterage_background_task_failures_total"
        return REGISTRY.get_sample_value(name, {"task": NAME}) or 0.0


@pytest.fixture
async def flights(tmp_path: Path) -> AsyncIterator[SingleFlight]:
    flights = SingleFlight(FlockLeases(tmp_path))
    yield flights
    await flights.close()


@pytest.fixture
def running(flights: SingleFlight) -> Running:
    return Running(flights)


async def test_a_chore_that_works_is_repeated_and_reports_nothing(running: Running) -> None:
    await running.start()
    await running.clock.next_round()
    assert running.work.rounds == 2
    assert running.clock.pauses == [60.0, 60.0]
    assert (running.failures, running.warnings) == (0, {})


async def test_a_failure_is_retried_after_longer_and_longer_pauses(running: Running) -> None:
    running.work.error = OSError("a disk that fails")
    with structlog.testing.capture_logs() as log:
        await running.start()
        for _ in range(6):
            await running.clock.next_round()
    assert running.clock.pauses == [1, 2, 4, 8, 16, 30, 30]
    assert running.failures == running.work.rounds == 7
    assert {line["event"] for line in log} == {"background_task.failed"}
    assert {line["error"] for line in log} == {"a disk that fails"}


async def test_a_warning_stands_until_it_works_again(running: Running) -> None:
    running.work.error = KeyError("password=harbour")
    await running.start()
    assert "janitor failed 1 times" in running.warnings[WARNING]
    assert "harbour" not in running.warnings[WARNING]
    await running.clock.next_round()
    assert "2 times in a row" in running.warnings[WARNING]
    running.work.error = None
    with structlog.testing.capture_logs() as log:
        await running.clock.next_round()
    assert running.warnings == {}
    assert [line["event"] for line in log] == ["background_task.recovered"]
    running.work.error = OSError()
    await running.clock.next_round()
    assert running.clock.pauses[-1] == 1.0, "a new failure begins anew"


async def test_a_cancellation_that_was_not_meant_for_it_is_a_failure(running: Running) -> None:
    running.work.error = asyncio.CancelledError()
    await running.start()
    await running.clock.next_round()
    assert running.failures == 2


async def test_it_ends_with_the_process_in_a_pause_and_in_a_round(
    running: Running, flights: SingleFlight
) -> None:
    await running.start()

    async def endless() -> None:
        await asyncio.Event().wait()

    Chores(flights, {}).start([Chore(ChoreName.SCRUB, endless)])
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await flights.close()
    assert running.failures == 0
