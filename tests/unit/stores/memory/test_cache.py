"""The memory cache: its size limit and expiry."""

from __future__ import annotations

from proxy.stores.memory.cache import MemoryManifests


async def test_it_holds_no_more_than_its_limit() -> None:
    cache = MemoryManifests(100_000)
    for number in range(1000):
        await cache.put(f"key:{number}", bytes(1000), life=60)
    held = [number for number in range(1000) if await cache.get(f"key:{number}")]
    assert 60 < len(held) < 100
    assert held == list(range(1000 - len(held), 1000))


async def test_recently_used_entries_stay() -> None:
    cache = MemoryManifests(10_000)
    await cache.put("used", bytes(1000), life=60)
    for number in range(100):
        await cache.put(f"key:{number}", bytes(1000), life=60)
        assert await cache.get("used") is not None


async def test_expired_entries_are_deleted_on_access() -> None:
    now = [0.0]
    cache = MemoryManifests(10_000, clock=lambda: now[0])
    await cache.put("key", b"value", life=60)
    now[0] = 61.0
    assert await cache.get("key") is None
    assert len(cache._entries) == 0
