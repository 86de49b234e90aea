"""What is SQLite's own: its file, its writer, and everything that can be wrong with a disk."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.stores.sqlite import entries, file
from proxy.stores.sqlite.entries import SqliteManifests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifests.sqlite3"


@pytest.fixture
def errors() -> list[str]:
    return []


def rows(path: Path) -> dict[str, float]:
    """Keys and expiries that are in the file."""
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT key, expires FROM entries"))


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """As a disk that is full: no file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_entries_are_there_after_a_restart(path: Path, errors: list[str]) -> None:
    cache = await SqliteManifests.open(path, on_error=errors.append)
    await cache.put("key", b"value", life=60)
    await cache.put("gone", b"value", life=60)
    await cache.delete("gone")
    await cache.close()
    cache = await SqliteManifests.open(path, on_error=errors.append)
    assert await cache.get("key") == b"value"
    assert await cache.get("gone") is None
    await cache.close()
    assert errors == []


async def test_a_hit_is_written_only_if_it_gains_a_tenth_of_the_life(path: Path) -> None:
    clock = Clock()
    cache = await SqliteManifests.open(path, clock=clock)
    start = clock.now
    await cache.put("key", b"value", life=100)
    await cache.flush()
    clock.now += 9
    assert await cache.get("key", extend=100) == b"value"
    await cache.flush()
    assert rows(path) == {"key": start + 100}
    clock.now += 2
    assert await cache.get("key", extend=100) == b"value"
    await cache.flush()
    assert rows(path) == {"key": start + 111}
    await cache.close()


async def test_extending_leaves_another_process_s_newer_value_alone(path: Path) -> None:
    clock = Clock()
    one = await SqliteManifests.open(path, clock=clock)
    other = await SqliteManifests.open(path, clock=clock)
    await one.put("key", b"old", life=10)
    await one.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        assert await one.get("key", extend=100) == b"old"
        busy.execute("UPDATE entries SET value = ?, expires = ?", (b"new", clock.now + 500))
        busy.execute("COMMIT")
    await one.flush()
    assert await one.get("key") == await other.get("key") == b"new"
    assert rows(path) == {"key": clock.now + 500}
    await one.close()
    await other.close()


async def test_expired_rows_are_deleted_in_portions(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_PORTION", 30)
    clock = Clock()
    cache = await SqliteManifests.open(path, clock=clock)
    for number in range(100):
        await cache.put(f"short:{number}", b"value", life=10)
    await cache.put("long", b"value", life=10_000)

    async def settle() -> None:
        """Two rounds: the writer cleans after it has told that it has written."""
        for _ in range(2):
            await cache.put("another", b"value", life=10_000)
            await cache.flush()

    await settle()
    left = []
    for _ in range(5):
        clock.now += 61
        await settle()
        left.append(sum(key.startswith("short") for key in rows(path)))
    assert left == [70, 40, 10, 0, 0]
    assert {"long", "another"} <= rows(path).keys()
    await cache.close()


async def test_a_put_does_not_wait_for_another_process_s_transaction(path: Path) -> None:
    cache = await SqliteManifests.open(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        await cache.put("key", b"value", life=60)
        assert await cache.get("key") == b"value"
        assert rows(path) == {}
        busy.execute("COMMIT")
    await cache.flush()
    assert rows(path).keys() == {"key"}
    await cache.close()


async def test_a_write_that_stays_locked_out_is_counted_and_given_up(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_TIMEOUT", 0.05)
    cache = await SqliteManifests.open(path, on_error=errors.append)
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        await cache.put("key", b"value", life=60)
        await cache.flush()
        assert await cache.get("key") is None
        # The cleaning was locked out as well, or not tried yet.
        assert set(errors) == {"write"}
        busy.execute("COMMIT")
    await cache.put("key", b"again", life=60)
    await cache.flush()
    assert await cache.get("key") == b"again"
    await cache.close()


async def test_writes_that_the_disk_does_not_take_are_bounded_in_memory(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_BACKLOG", 100_000)
    cache = await SqliteManifests.open(path, on_error=errors.append)
    await cache.put("gone", b"value", life=60)
    await cache.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        for number in range(1000):
            await cache.put(f"key:{number}", bytes(1000), life=60)
        for number in range(1000, 1010):
            await cache.put(f"key:{number}", b"x", life=60)
        kept = [number for number in range(1010) if await cache.get(f"key:{number}")]
        assert 70 < len(kept) < 200  # what is being written, and what gathers meanwhile
        assert errors == ["put"] * (1010 - len(kept))
        await cache.delete("gone")
        assert await cache.get("gone") is None
        busy.execute("COMMIT")
    await cache.close()
    assert len(rows(path)) == len(kept)


async def test_a_full_disk_costs_writes_and_nothing_else(path: Path, errors: list[str]) -> None:
    cache = await SqliteManifests.open(path, on_error=errors.append)
    await cache.put("before", b"value", life=60)
    await cache.flush()
    with files_limited_to(200_000):
        await cache.put("large", bytes(1_000_000), life=60)
        await cache.flush()
        assert errors == ["write"]
        assert await cache.get("large") is None
        assert await cache.get("before") == b"value"
    await cache.put("after", bytes(1_000_000), life=60)
    await cache.flush()
    assert await cache.get("after") == bytes(1_000_000)
    await cache.close()
    assert errors == ["write"]


async def test_a_disk_that_is_full_at_the_start_makes_everything_a_miss(
    path: Path, errors: list[str]
) -> None:
    with files_limited_to(100):
        cache = await SqliteManifests.open(path, on_error=errors.append)
        await cache.put("key", b"value", life=60)
        assert await cache.get("key") is None
        await cache.close()
    assert errors == ["open", "put", "get"]


async def test_a_key_that_is_no_unicode_stops_nobody_else(path: Path, errors: list[str]) -> None:
    cache = await SqliteManifests.open(path, on_error=errors.append)
    assert await cache.get("\ud800") is None
    await cache.put("\ud800", b"value", life=60)
    await cache.flush()
    await cache.put("key", b"value", life=60)
    await cache.flush()
    assert await cache.get("key") == b"value"
    await cache.close()
    assert errors == ["get", "write"]


async def test_readers_do_not_keep_the_journal_from_being_emptied(path: Path) -> None:
    """A read that was not finished would pin it, and it would grow for ever."""
    cache = await SqliteManifests.open(path)
    for number in range(300):
        await cache.put("key", bytes([number % 256]) * 100_000, life=60)
        await cache.flush()
        assert await cache.get("key") is not None
    journal = path.with_name(f"{path.name}-wal")
    assert journal.stat().st_size < 10_000_000 < 300 * 100_000
    await cache.close()
