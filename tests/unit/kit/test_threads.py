"""Threads that are waited for, whatever happens to who asked."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.kit.threads import in_thread


async def test_the_result_and_the_exception_come_through() -> None:
    assert await in_thread(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_who_is_cancelled_leaves_only_when_the_work_is_done() -> None:
    begun, go_on = threading.Event(), threading.Event()
    dropped: list[str] = []

    def work() -> str:
        begun.set()
        assert go_on.wait(10)
        return "made"

    task = asyncio.ensure_future(in_thread(work, dropped=dropped.append))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert dropped == ["made"]


async def test_nothing_is_dropped_where_nothing_was_made() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str | None:
        begun.set()
        assert go_on.wait(10)
        return None

    dropped: list[object] = []
    task = asyncio.ensure_future(in_thread(work, dropped=dropped.append))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert dropped == []


async def test_a_failure_that_nobody_waits_for_any_more_makes_no_noise() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(10)
        raise OSError("the disk is gone")

    task = asyncio.ensure_future(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
