"""Blocking work in threads, whose callers may be cancelled."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from proxy.kit.threads import in_thread, threads_that_give_way


async def test_the_result_and_the_exception_come_through() -> None:
    assert await in_thread(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_cancellation_waits_for_the_thread_to_end() -> None:
    begun, go_on = threading.Event(), threading.Event()
    cleaned_up: list[str] = []

    def work() -> str:
        begun.set()
        assert go_on.wait(10)
        return "made"

    task = asyncio.ensure_future(in_thread(work, cleanup=cleaned_up.append))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned_up == ["made"]


async def test_no_cleanup_without_a_result() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str | None:
        begun.set()
        assert go_on.wait(10)
        return None

    cleaned_up: list[object] = []
    task = asyncio.ensure_future(in_thread(work, cleanup=cleaned_up.append))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned_up == []


async def test_a_failure_after_cancellation_is_not_logged() -> None:
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


async def test_threads_of_long_computations_give_way_and_others_do_not() -> None:
    """Each thread has a priority of its own."""

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    with threads_that_give_way(1, "computation") as executor:
        assert await in_thread(priority, executor=executor) > before + 2
    with threads_that_give_way(1, "somebody waits", nice=before + 2) as executor:
        assert await in_thread(priority, executor=executor) == before + 2
    assert priority() == before
