"""Bytes a second are bounded for all senders together."""

from __future__ import annotations

import asyncio

from proxy.kit.bandwidth import Bandwidth
from tests.kit.manual_clock import ManualClock


async def test_senders_share_it() -> None:
    clock = ManualClock()
    bandwidth = Bandwidth(100.0, clock=clock)
    began = clock.monotonic()
    sent: list[float] = []

    async def send() -> None:
        for _ in range(5):
            await bandwidth.spend(100)
            sent.append(clock.monotonic() - began)

    sending = [asyncio.create_task(send()) for _ in range(2)]
    for _ in range(40):
        await clock.run(0.25)
    assert all(task.done() for task in sending)
    assert len(sent) == 10
    assert all(number <= moment <= number + 0.25 for number, moment in enumerate(sent))


async def test_what_was_not_used_is_not_saved_up() -> None:
    clock = ManualClock()
    bandwidth = Bandwidth(100.0, clock=clock)
    clock.advance(1000.0)
    await bandwidth.spend(100)
    second = asyncio.create_task(bandwidth.spend(100))
    await clock.run(0.5)
    assert not second.done()
    await clock.run(0.5)
    assert second.done()


async def test_without_a_bound_nobody_waits() -> None:
    bandwidth = Bandwidth(None, clock=ManualClock())
    for _ in range(1000):
        await bandwidth.spend(2**30)
