"""What every ManifestCache does. A new one joins by a row in `CACHES`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from proxy.stores.memory.cache import MemoryManifests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from proxy.ports import ManifestCache


@dataclass(frozen=True, slots=True)
class Opened:
    """A cache under test; `settle` waits until its writes have arrived, `elapse` lets time pass."""

    cache: ManifestCache
    settle: Callable[[], Awaitable[None]]
    elapse: Callable[[float], Awaitable[None]]


class _Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    async def elapse(self, seconds: float) -> None:
        self.now += seconds


async def _at_once() -> None:
    """Nothing is written later."""


@asynccontextmanager
async def _memory(_directory: Path) -> AsyncIterator[Opened]:
    clock = _Clock()
    cache = MemoryManifests(16 * 2**20, clock=clock)
    yield Opened(cache, _at_once, clock.elapse)
    await cache.close()


CACHES: Final[dict[str, Callable[[Path], AbstractAsyncContextManager[Opened]]]] = {
    "memory": _memory,
}
VALUES: Final = {
    "empty": b"",
    "every byte": bytes(range(256)),
    "no text": b"\xff\xfe\x00\x80",
    "a number": b"17",
    "a large manifest": b"\x00{}\n" * 100_000,
}


@pytest.fixture(params=CACHES)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with CACHES[request.param](tmp_path) as opened:
        yield opened


async def test_an_unknown_key_is_a_miss(opened: Opened) -> None:
    assert await opened.cache.get("manifest:unknown") is None
    assert await opened.cache.get("manifest:unknown", extend=60) is None


async def test_a_value_is_there_at_once_and_later(opened: Opened) -> None:
    await opened.cache.put("key", b"value", life=60)
    assert await opened.cache.get("key") == b"value"
    await opened.settle()
    assert await opened.cache.get("key") == b"value"


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_a_value_is_any_bytes(opened: Opened, value: bytes) -> None:
    await opened.cache.put("key", value, life=60)
    assert await opened.cache.get("key") == value
    await opened.settle()
    assert await opened.cache.get("key") == value


@pytest.mark.parametrize("key", ["a:b/c", "k" * 1000, "with space\n", "*", "%s", "schlüssel"])
async def test_a_key_is_any_text(opened: Opened, key: str) -> None:
    await opened.cache.put(key, b"value", life=60)
    await opened.settle()
    assert await opened.cache.get(key) == b"value"
    assert await opened.cache.get(key[:-1]) is None


async def test_the_last_value_counts(opened: Opened) -> None:
    for value in (b"first", b"second"):
        await opened.cache.put("key", value, life=60)
        assert await opened.cache.get("key") == value
    await opened.settle()
    assert await opened.cache.get("key") == b"second"
    await opened.cache.put("key", b"third", life=60)
    assert await opened.cache.get("key") == b"third"


async def test_what_is_deleted_is_gone_at_once_and_later(opened: Opened) -> None:
    await opened.cache.put("key", b"value", life=60)
    await opened.settle()
    await opened.cache.delete("key")
    assert await opened.cache.get("key") is None
    await opened.settle()
    assert await opened.cache.get("key") is None


async def test_a_put_and_its_delete_may_meet_on_the_way(opened: Opened) -> None:
    await opened.cache.put("gone", b"value", life=60)
    await opened.cache.delete("gone")
    await opened.cache.delete("back")
    await opened.cache.put("back", b"value", life=60)
    await opened.settle()
    assert await opened.cache.get("gone") is None
    assert await opened.cache.get("back") == b"value"


async def test_deleting_what_is_unknown_is_nothing(opened: Opened) -> None:
    await opened.cache.delete("unknown")
    assert await opened.cache.get("unknown") is None


@pytest.mark.parametrize("settled", [False, True])
async def test_a_value_lives_as_long_as_it_was_given(opened: Opened, *, settled: bool) -> None:
    await opened.cache.put("key", b"value", life=60)
    if settled:
        await opened.settle()
    await opened.elapse(59)
    assert await opened.cache.get("key") == b"value"
    await opened.elapse(2)
    assert await opened.cache.get("key") is None


async def test_a_new_value_has_its_own_life(opened: Opened) -> None:
    await opened.cache.put("key", b"long", life=600)
    await opened.settle()
    await opened.cache.put("key", b"short", life=60)
    await opened.settle()
    await opened.elapse(61)
    assert await opened.cache.get("key") is None


@pytest.mark.parametrize("settled", [False, True])
async def test_a_hit_extends_the_life(opened: Opened, *, settled: bool) -> None:
    await opened.cache.put("key", b"value", life=60)
    if settled:
        await opened.settle()
    await opened.elapse(50)
    assert await opened.cache.get("key", extend=60) == b"value"
    await opened.settle()
    await opened.elapse(50)
    assert await opened.cache.get("key") == b"value"
    await opened.elapse(11)
    assert await opened.cache.get("key") is None


async def test_extending_never_shortens_a_life(opened: Opened) -> None:
    await opened.cache.put("key", b"value", life=600)
    await opened.settle()
    assert await opened.cache.get("key", extend=60) == b"value"
    await opened.settle()
    await opened.elapse(500)
    assert await opened.cache.get("key") == b"value"


async def test_a_miss_is_not_brought_back_by_extending(opened: Opened) -> None:
    await opened.cache.put("key", b"value", life=60)
    await opened.settle()
    await opened.elapse(61)
    assert await opened.cache.get("key", extend=60) is None
    await opened.settle()
    assert await opened.cache.get("key") is None


async def test_a_value_put_after_an_extension_has_the_life_it_was_given(opened: Opened) -> None:
    await opened.cache.put("key", b"old", life=60)
    await opened.settle()
    assert await opened.cache.get("key", extend=6000) == b"old"
    await opened.cache.put("key", b"new", life=60)
    await opened.settle()
    await opened.elapse(61)
    assert await opened.cache.get("key") is None


async def test_many_callers_do_not_mix_up_their_keys(opened: Opened) -> None:
    async def caller(number: int) -> None:
        key = f"key:{number}"
        for step in range(20):
            value = f"{number}.{step}".encode()
            await opened.cache.put(key, value, life=60)
            await asyncio.sleep(0)
            assert await opened.cache.get(key) == value

    await asyncio.gather(*(caller(number) for number in range(50)))
    await opened.settle()
    for number in range(50):
        assert await opened.cache.get(f"key:{number}") == f"{number}.19".encode()
