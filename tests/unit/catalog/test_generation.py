"""The generation: no process misses a change, whatever becomes of the cache in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.catalog.generation import KEY, Generation
from proxy.stores.memory.cache import MemoryManifests
from proxy.stores.sqlite.index import SqliteIndex

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.ports import ManifestCache


class _Memory:
    """What one process remembers: how often it was told to forget it."""

    def __init__(self, cache: ManifestCache) -> None:
        self.forgotten = 0
        self.generation = Generation(cache, self._forget)

    def _forget(self) -> None:
        self.forgotten += 1

    async def news(self) -> bool:
        """Whether a look makes it forget."""
        before = self.forgotten
        await self.generation.look()
        return self.forgotten > before


class _Away(MemoryManifests):
    """A cache that can be out of reach: all misses, as the port has it."""

    __slots__ = ("away",)

    def __init__(self) -> None:
        super().__init__(2**20)
        self.away = False

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        return None if self.away else await super().get(key, extend=extend)

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        if not self.away:
            await super().put(key, value, life=life)


async def test_every_process_forgets_once() -> None:
    cache = MemoryManifests(2**20)
    one, other = _Memory(cache), _Memory(cache)
    assert not await one.news()
    assert not await other.news()
    assert await one.generation.advance()
    assert one.forgotten > 0
    assert await other.news()
    assert not await other.news()
    assert not await one.news()


async def test_each_change_is_another_one() -> None:
    cache = MemoryManifests(2**20)
    one, other = _Memory(cache), _Memory(cache)
    marks = set()
    for _ in range(5):
        assert await one.generation.advance()
        marks.add(await cache.get(KEY))
        assert await other.news()
    assert len(marks) == 5


async def test_a_change_during_an_outage_is_seen_after_it() -> None:
    cache = _Away()
    one, other = _Memory(cache), _Memory(cache)
    await one.generation.advance()
    await other.generation.look()
    cache.away = True
    assert not await other.news()
    assert not await one.generation.advance()
    assert one.forgotten > 1, "it does not wait for the cache to forget by itself"
    assert not await other.news()
    cache.away = False
    await one.generation.look()
    assert await other.news()


async def test_a_flushed_cache_hides_no_change() -> None:
    """With a plain counter the first change after the flush would have an old number."""
    cache = MemoryManifests(2**20)
    one, other = _Memory(cache), _Memory(cache)
    await one.generation.advance()
    assert await other.news()
    await cache.delete(KEY)
    assert not await other.news()
    await _Memory(cache).generation.advance()
    assert await other.news()
    assert await one.news()


async def test_two_changes_at_once_leave_nobody_behind() -> None:
    cache = MemoryManifests(2**20)
    one, other, third = _Memory(cache), _Memory(cache), _Memory(cache)
    assert await one.generation.advance()
    assert await other.generation.advance()
    assert await third.news()
    assert not await third.news()


@pytest.mark.parametrize("nonsense", [b"", b"\xff?", b"-1", b"1.5", b"9" * 20, b"9" * 5000])
async def test_nonsense_in_the_cache_is_a_miss(nonsense: bytes) -> None:
    """Else whatever can write to the cache could have every process forget all the time."""
    cache = MemoryManifests(2**20)
    memory = _Memory(cache)
    await cache.put(KEY, nonsense, life=60.0)
    assert not await memory.news()
    assert await memory.generation.advance()


async def test_the_greatest_mark_can_be_followed() -> None:
    cache = MemoryManifests(2**20)
    memory = _Memory(cache)
    await cache.put(KEY, b"9" * 19, life=60.0)
    assert await memory.news()
    assert await memory.generation.advance()


async def test_processes_share_it_in_one_file(tmp_path: Path) -> None:
    errors: list[str] = []
    path = tmp_path / "index.sqlite3"
    first = await SqliteIndex.open(path, max_size=2**24, unused=60, on_error=errors.append)
    second = await SqliteIndex.open(path, max_size=2**24, unused=60, on_error=errors.append)
    try:
        one, other = _Memory(first), _Memory(second)
        assert await one.generation.advance()
        assert await other.news()
        assert await other.generation.advance()
        assert await one.news()
        assert errors == []
    finally:
        await first.close()
        await second.close()


@pytest.mark.parametrize(
    "mark", [b"", b"x", b"-1", b"\xff", b"9" * 400, b"9" * 5000, "٣".encode()], ids=len
)
async def test_a_mark_that_is_garbage_is_replaced(mark: bytes) -> None:
    cache = MemoryManifests(2**20)
    await cache.put(KEY, mark, life=60)
    one, other = _Memory(cache), _Memory(cache)
    await other.news()
    assert await one.generation.advance()
    assert await other.news()
    assert await cache.get(KEY) != mark
