"""A sealed cache returns what a holder of its key has put there, and nothing else."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.catalog.sealed_cache import SHORTEST_KEY, SealedCache
from proxy.stores.memory.cache import MemoryManifests

SECRET: Final = b"k" * SHORTEST_KEY


class _Sealed:
    """A sealed cache, what is below it, and what it counts."""

    def __init__(self) -> None:
        self.below = MemoryManifests(2**22)
        self.errors: list[str] = []
        self.cache = self.with_key(SECRET)

    def with_key(self, key: bytes) -> SealedCache:
        return SealedCache(self.below, key, on_error=self.errors.append)


@given(st.text(), st.binary())
async def test_a_value_comes_back(key: str, value: bytes) -> None:
    sealed = _Sealed()
    await sealed.cache.put(key, value, life=60.0)
    assert await sealed.with_key(SECRET).get(key) == value
    assert await sealed.cache.get(key, extend=60.0) == value
    await sealed.cache.delete(key)
    assert await sealed.cache.get(key) is None
    assert not sealed.errors


@given(st.binary(max_size=100))
async def test_a_value_without_the_hmac_is_a_miss_and_counted(forged: bytes) -> None:
    sealed = _Sealed()
    await sealed.below.put("tag:a:b", forged, life=60.0)
    assert await sealed.cache.get("tag:a:b") is None
    assert sealed.errors == ["verify"]


@given(st.data())
async def test_one_changed_bit_is_a_miss(data: st.DataObject) -> None:
    sealed = _Sealed()
    await sealed.cache.put("key", b"some value", life=60.0)
    stored = await sealed.below.get("key")
    assert stored is not None
    bit = data.draw(st.integers(0, 8 * len(stored) - 1))
    changed = bytearray(stored)
    changed[bit // 8] ^= 1 << bit % 8
    await sealed.below.put("key", bytes(changed), life=60.0)
    assert await sealed.cache.get("key") is None


async def test_a_value_of_another_key_is_a_miss() -> None:
    """Nor can the end of a key be moved into the value."""
    sealed = _Sealed()
    await sealed.cache.put("tag:a:b", b"value", life=60.0)
    stored = await sealed.below.get("tag:a:b")
    assert stored is not None
    await sealed.below.put("tag:a:c", stored, life=60.0)
    await sealed.below.put("tag:a", stored[:32] + b":b" + stored[32:], life=60.0)
    assert await sealed.cache.get("tag:a:c") is None
    assert await sealed.cache.get("tag:a") is None


async def test_another_secret_is_a_miss() -> None:
    sealed = _Sealed()
    await sealed.cache.put("key", b"value", life=60.0)
    assert await sealed.with_key(b"l" * SHORTEST_KEY).get("key") is None


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        _Sealed().with_key(SECRET[1:])
