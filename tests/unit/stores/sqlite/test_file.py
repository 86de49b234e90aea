"""The database file: damaged, of another release, or impossible."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from proxy.stores.sqlite import file
from proxy.stores.sqlite.entries import SqliteManifests
from tests.unit.stores.sqlite.test_entries import rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifests.sqlite3"


@pytest.fixture
def errors() -> list[str]:
    return []


def write_new(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_at(path: Path, offset: int, noise: bytes) -> None:
    """Damage the file at `path`."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(noise)


@pytest.fixture(
    params=[b"this is no database" * 1000, b"SQLite format 3\0" + b"\xff" * 10_000],
    ids=["no database", "a header and noise"],
)
def noise(request: pytest.FixtureRequest, path: Path) -> bytes:
    """What is at `path` where a database should be."""
    content: bytes = request.param
    path.write_bytes(content)
    return content


async def test_a_file_that_is_no_database_is_moved_aside(
    path: Path, errors: list[str], noise: bytes
) -> None:
    cache = await SqliteManifests.open(path, on_error=errors.append)
    await cache.put("key", b"value", life=60)
    await cache.flush()
    assert await cache.get("key") == b"value"
    await cache.close()
    assert path.with_name(f"{path.name}.unusable").read_bytes() == noise
    assert errors == []


async def test_damage_inside_is_found_when_the_file_is_opened(
    path: Path, errors: list[str]
) -> None:
    cache = await SqliteManifests.open(path, on_error=errors.append)
    for number in range(2000):
        await cache.put(f"key:{number}", bytes(1000), life=60)
    await cache.close()
    write_at(path, 1_000_000, b"\xa5" * 100_000)
    cache = await SqliteManifests.open(path, on_error=errors.append)
    assert await cache.get("key:1") is None
    await cache.put("key:1", b"value", life=60)
    await cache.flush()
    assert await cache.get("key:1") == b"value"
    await cache.close()
    assert errors == []


async def test_a_large_file_does_not_hold_up_the_start(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await SqliteManifests.open(path, on_error=errors.append)
    for number in range(2000):
        await cache.put(f"key:{number}", bytes(1000), life=60)
    await cache.close()
    write_at(path, 1_000_000, b"\xa5" * 100_000)
    monkeypatch.setattr(file, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(file, "_CHECK_STEPS", 1)
    # The damage is not found in no time, and is met later: still no more than misses.
    cache = await SqliteManifests.open(path, on_error=errors.append)
    found = [await cache.get(f"key:{number}") for number in range(2000)]
    assert None in found
    assert bytes(1000) in found
    assert set(errors) == {"get"}
    await cache.close()


async def test_damage_while_it_is_open_is_a_counted_miss(path: Path, errors: list[str]) -> None:
    cache = await SqliteManifests.open(path)
    for number in range(2000):
        await cache.put(f"key:{number}", bytes(1000), life=60)
    await cache.close()
    cache = await SqliteManifests.open(path, on_error=errors.append)
    write_at(path, 0, b"\xa5" * 3_000_000)
    for number in range(2000):
        assert await cache.get(f"key:{number}") is None
    assert errors == ["get"] * 2000
    await cache.put("key", b"value", life=60)
    await cache.delete("key:2")
    await cache.close()


@pytest.mark.parametrize("version", [0, 1, 2, -5])
async def test_another_format_is_moved_aside(path: Path, errors: list[str], version: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE another (key)")
        database.execute(f"PRAGMA user_version = {version}")
    cache = await SqliteManifests.open(path, on_error=errors.append)
    await cache.put("key", b"value", life=60)
    await cache.close()
    assert rows(path).keys() == {"key"}
    with closing(sqlite3.connect(path.with_name(f"{path.name}.unusable"))) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
    assert errors == []


async def test_a_journal_of_the_old_file_does_not_get_into_the_new_one(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE another (key)")
        # Still open, so the journal still has everything that is in it.
        cache = await SqliteManifests.open(path)
        await cache.put("key", b"value", life=60)
        await cache.close()
        database.execute("INSERT INTO another VALUES (1)")
    cache = await SqliteManifests.open(path)
    assert await cache.get("key") == b"value"
    await cache.close()


@pytest.mark.parametrize("obstacle", ["directory", "file as parent"])
async def test_where_there_can_be_no_file_everything_is_a_counted_miss(
    tmp_path: Path, errors: list[str], obstacle: str
) -> None:
    place = tmp_path / "place"
    if obstacle == "directory":
        place.mkdir()
    else:
        place.touch()
        place /= "manifests.sqlite3"
    cache = await SqliteManifests.open(place, on_error=errors.append)
    await cache.put("key", b"value", life=60)
    assert await cache.get("key") is None
    assert await cache.get("key", extend=60) is None
    await cache.delete("key")
    await cache.flush()
    await cache.close()
    assert errors == ["open", "put", "get", "get", "put"]


async def test_who_opens_at_once_moves_aside_nobody_s_new_file(
    tmp_path: Path, errors: list[str]
) -> None:
    for turn in range(10):
        path = tmp_path / f"{turn}.sqlite3"
        write_new(path, b"this is no database" * 1000)
        caches = await asyncio.gather(
            *(SqliteManifests.open(path, on_error=errors.append) for _ in range(6))
        )
        for number, cache in enumerate(caches):
            await cache.put(f"key:{number}", b"value", life=60)
            await cache.flush()
        for cache in caches:
            assert [await cache.get(f"key:{n}") for n in range(6)] == [b"value"] * 6
            await cache.close()
    assert errors == []
