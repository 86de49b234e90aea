"""A disk that hangs stops no request and not the loop; and what was hung recovers."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from proxy.ports.catalog import NOTHING
from proxy.stores.sqlite import index as index_module
from proxy.stores.sqlite import reader
from tests.kit.open_index import open_index, writer_waits
from tests.kit.pulls import CARGO, IMAGE, ONE, pull_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def disk() -> Iterator[threading.Event]:
    """Hangs until it is set."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_read_that_is_late_is_a_counted_miss_and_the_loop_goes_on(
    path: Path, errors: list[str], disk: threading.Event
) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def hang(_database: sqlite3.Connection) -> None:
        disk.wait()

    async with open_index(path, on_error=errors.append) as index:
        await index.commit(pull_of(IMAGE))
        turning = asyncio.ensure_future(count_turns())
        hung = [asyncio.ensure_future(index._reader.read(hang)) for _ in range(reader._THREADS)]
        await asyncio.sleep(0)
        # Every thread hangs, so this one is late too, though it would take no time.
        assert await index.look_tag(CARGO, ONE) == NOTHING
        assert await asyncio.gather(*hung) == [None] * reader._THREADS
        assert turns > 100
        assert errors == ["get"] * (reader._THREADS + 1)
        turning.cancel()
        disk.set()


async def test_after_some_late_reads_nobody_waits(
    path: Path, errors: list[str], disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_database: sqlite3.Connection) -> None:
        disk.wait()

    async with open_index(path, on_error=errors.append) as index:
        await index.commit(pull_of(IMAGE))
        await asyncio.gather(*(index._reader.read(hang) for _ in range(5)))
        assert index._reader._breaker.is_open
        # Were it to wait for the deadline, it would wait for an hour.
        monkeypatch.setattr(reader, "_DEADLINE", 3600.0)
        async with asyncio.timeout(30):
            for _ in range(100):
                assert await index.look_tag(CARGO, ONE) == NOTHING
        monkeypatch.undo()
        disk.set()
        async with asyncio.timeout(30):
            while (await index.look_tag(CARGO, ONE)).tag is None:  # noqa: ASYNC110 -- nothing but time brings it back
                await asyncio.sleep(0.01)
        assert not index._reader._breaker.is_open
        assert (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw


async def test_what_waits_for_a_hung_disk_is_bounded(
    path: Path, errors: list[str], disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_DEADLINE", 0.2)
    monkeypatch.setattr(reader, "_QUEUE", 20)

    def hang(_database: sqlite3.Connection) -> None:
        disk.wait()

    async with open_index(path, on_error=errors.append) as index:
        reads = [asyncio.ensure_future(index._reader.read(hang)) for _ in range(1000)]
        await asyncio.sleep(0)
        assert index._reader._pending <= 21
        assert await asyncio.gather(*reads) == [None] * 1000
        assert errors == ["get"] * 1000
        disk.set()
        await until(lambda: index._reader._pending == 0)


async def test_a_client_that_leaves_costs_no_thread(path: Path, disk: threading.Event) -> None:
    def hang(_database: sqlite3.Connection) -> None:
        disk.wait()

    async with open_index(path) as index:
        await index.commit(pull_of(IMAGE))
        reads = [asyncio.ensure_future(index._reader.read(hang)) for _ in range(10)]
        await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError)
            for each in await asyncio.gather(*reads, return_exceptions=True)
        )
        disk.set()
        await until(lambda: index._reader._pending == 0)
        assert (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw


async def test_a_hung_index_can_be_closed(path: Path, disk: threading.Event) -> None:
    def hang(_database: sqlite3.Connection) -> None:
        disk.wait()

    async with asyncio.timeout(30), open_index(path) as index:
        await index._reader.read(hang)
    disk.set()


async def test_a_writer_that_hangs_holds_up_no_reader(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_COMMIT_WITHIN", 0.02)
    monkeypatch.setattr(reader, "_DEADLINE", 30.0)
    async with open_index(path) as index:
        await index.commit(pull_of(IMAGE))
        await index.flush()
        with writer_waits(path):
            await index.commit(pull_of(IMAGE, "docker.io/other"))
            for _ in range(100):
                assert (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw
        await index.flush()
        assert (await index.look_tag("docker.io/other", ONE)).raw == IMAGE.raw


def test_a_read_that_begins_while_the_index_is_closed_uses_no_connection(tmp_path: Path) -> None:
    """Another thread closes it meanwhile, and SQLite's library would crash."""
    path = tmp_path / "index.sqlite3"
    sqlite3.connect(path).close()
    reading = reader.Reader(path, opened=lambda: 1, on_error=lambda _: None)
    used: list[sqlite3.Connection] = []
    reading._run(used.append)
    reading.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        reading._run(used.append)
    assert len(used) == 1
