"""Writes that no request waits for: in order for each key, bounded, and made before the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog import write_behind
from proxy.catalog.shared_cache import SharedCacheLayer
from proxy.catalog.write_behind import WriteBehind
from proxy.ports.catalog import Batch, Grant, Proof
from proxy.stores.memory.cache import MemoryManifests
from tests.kit.pulls import CARGO, IMAGE, ONE, ORIGIN, pull_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIFE: Final = 60.0


class Far(MemoryManifests):
    """A cache that answers a write when `gate` is open; `done` is what it was told."""

    __slots__ = ("done", "error", "gate", "most", "running")

    def __init__(self) -> None:
        super().__init__(2**24)
        self.gate = asyncio.Event()
        self.gate.set()
        self.done: list[tuple[str, bytes | None]] = []
        self.error: Exception | None = None
        self.running = self.most = 0

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            await super().put(key, value, life=life)
            self.done.append((key, value))
        finally:
            self.running -= 1

    async def delete(self, key: str) -> None:
        await super().delete(key)
        self.done.append((key, None))


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    yield Far()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"


@pytest.fixture
async def behind(far: Far) -> AsyncIterator[WriteBehind]:
    behind = WriteBehind(far, limit=3500)
    yield behind
    far.gate.set()
    await behind.close()


async def test_what_is_pending_can_be_read_and_is_written_soon(
    far: Far, behind: WriteBehind
) -> None:
    far.gate.clear()
    assert behind.put_later("a", b"1", LIFE)
    assert await behind.get("a") == b"1"
    await until(lambda: far.running == 1)
    assert await behind.get("a", extend=LIFE) == b"1"
    assert await far.get("a") is None
    far.gate.set()
    await until(lambda: far.done == [("a", b"1")])
    assert await behind.get("a") == b"1"


async def test_the_newest_value_is_the_last_that_is_written(far: Far, behind: WriteBehind) -> None:
    far.gate.clear()
    assert behind.put_later("a", b"1", LIFE)
    await until(lambda: far.running == 1)
    for value in (b"2", b"3"):
        assert behind.put_later("a", value, LIFE)
        assert await behind.get("a") == value
    far.gate.set()
    await until(lambda: len(far.done) == 2)
    assert far.done == [("a", b"1"), ("a", b"3")]


@pytest.mark.parametrize("is_sent", [False, True], ids=["pending", "on its way"])
async def test_a_deletion_does_not_overtake_a_write(
    far: Far, behind: WriteBehind, *, is_sent: bool
) -> None:
    far.gate.clear()
    assert behind.put_later("a" if is_sent else "other", b"1", LIFE)
    await until(lambda: far.running == 1)
    assert behind.put_later("a", b"2", LIFE)
    deletion = asyncio.create_task(behind.delete("a"))
    await asyncio.sleep(0)
    assert deletion.done() is not is_sent
    far.gate.set()
    await deletion
    await behind.close()
    assert [value for key, value in far.done if key == "a"] == [b"1", None][1 - is_sent :]
    assert await behind.get("a") is None


@pytest.mark.parametrize("is_sent", [False, True], ids=["pending", "on its way"])
async def test_a_write_that_is_waited_for_does_not_overtake_one_that_is_not(
    far: Far, behind: WriteBehind, *, is_sent: bool
) -> None:
    far.gate.clear()
    assert behind.put_later("a" if is_sent else "other", b"1", LIFE)
    await until(lambda: far.running == 1)
    assert behind.put_later("a", b"2", LIFE)
    writing = asyncio.create_task(behind.put("a", b"3", life=LIFE))
    await asyncio.sleep(0)
    far.gate.set()
    await writing
    await behind.close()
    assert [value for key, value in far.done if key == "a"] == [b"1", b"3"][1 - is_sent :]


async def test_a_caller_that_leaves_takes_no_write_with_it(far: Far, behind: WriteBehind) -> None:
    far.gate.clear()
    assert behind.put_later("a", b"1", LIFE)
    await until(lambda: far.running == 1)
    deletion = asyncio.create_task(behind.delete("a"))
    await asyncio.sleep(0)
    deletion.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deletion
    far.gate.set()
    await until(lambda: far.done == [("a", b"1")])


async def test_only_so_much_is_pending(far: Far, behind: WriteBehind) -> None:
    """What is more is for the caller to wait for; one value for one key counts once."""
    far.gate.clear()
    assert behind.put_later("a", bytes(1000), LIFE)
    await until(lambda: far.running == 1)
    for _ in range(10):
        assert behind.put_later("b", bytes(1000), LIFE)
    assert behind.put_later("c", bytes(1000), LIFE) is False
    assert await behind.get("c") is None
    assert not behind.put_later("b", bytes(5000), LIFE), "larger than all that may be pending"
    assert await behind.get("b") is None, "the older value is not written in its place"
    far.gate.set()
    await until(lambda: not behind._size)
    assert far.done == [("a", bytes(1000))]
    for number in range(100):
        assert behind.put_later("a", bytes(number), LIFE)
        await until(lambda: not behind._size)


async def test_few_are_written_at_once(far: Far) -> None:
    """The requests' own reads find room beside them."""
    behind = WriteBehind(far)
    far.gate.clear()
    for number in range(100):
        assert behind.put_later(f"{number}", b"", LIFE)
    await until(lambda: far.running > 0)
    far.gate.set()
    await behind.close()
    assert far.done == [(f"{number}", b"") for number in range(100)]
    assert far.most == 16


@pytest.mark.parametrize(("size", "most"), [(100_000, 2), (1_000_000, 1)])
async def test_few_bytes_are_written_at_once(far: Far, size: int, most: int) -> None:
    behind = WriteBehind(far)
    far.gate.clear()
    for number in range(4):
        assert behind.put_later(f"{number}", bytes(size), LIFE)
    await until(lambda: far.running > 0)
    far.gate.set()
    await behind.close()
    assert [key for key, _ in far.done] == ["0", "1", "2", "3"]
    assert far.most == most


async def test_what_is_pending_is_written_before_the_end(far: Far, behind: WriteBehind) -> None:
    far.gate.clear()
    for key in "abc":
        assert behind.put_later(key, b"1", LIFE)
    closing = asyncio.create_task(behind.close())
    await until(lambda: far.running == 3)
    assert not closing.done()
    far.gate.set()
    await closing
    assert [key for key, _ in far.done] == ["a", "b", "c"]
    assert not behind.put_later("d", b"1", LIFE), "nothing begins after the end"


async def test_a_cache_that_never_answers_does_not_stop_the_end(
    far: Far, behind: WriteBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "_GRACE", 0.01)
    far.gate.clear()
    assert behind.put_later("a", b"1", LIFE)
    await until(lambda: far.running == 1)
    await behind.close()
    assert (far.running, far.done) == (0, [])


async def test_an_error_that_nobody_expects_stops_no_later_write(
    far: Far, behind: WriteBehind
) -> None:
    far.error = RuntimeError("a bug")
    assert behind.put_later("a", b"1", LIFE)
    await until(lambda: not behind._size)
    far.error = None
    assert behind.put_later("b", b"2", LIFE)
    await until(lambda: far.done == [("b", b"2")])
    await behind.delete("a")


# -- the layer that is written so ----------------------------------------------------------------


@pytest.fixture
async def layer(far: Far) -> AsyncIterator[SharedCacheLayer]:
    layer = SharedCacheLayer(far, tag_life=lambda: LIFE, write_behind=True)
    yield layer
    far.gate.set()
    await layer.close()


async def test_what_an_upstream_can_give_again_is_not_waited_for(
    far: Far, layer: SharedCacheLayer
) -> None:
    far.gate.clear()
    await layer.commit(pull_of(IMAGE))
    found = await layer.look_tag(CARGO, ONE)
    assert (found.tag is not None, found.raw) == (True, IMAGE.raw)
    assert far.done == []
    closing = asyncio.create_task(layer.close())
    await until(lambda: far.running == 3)
    ended, _ = await asyncio.wait([closing], timeout=0.05)
    assert not ended, "it is written before the end"
    far.gate.set()
    await closing
    again = SharedCacheLayer(far, tag_life=lambda: LIFE)
    assert (await again.look_tag(CARGO, ONE)).raw == IMAGE.raw


@pytest.mark.parametrize(
    "batch",
    [
        pull_of(IMAGE, origin=ORIGIN, proof=Proof.DERIVED),
        Batch(grants=[(CARGO, IMAGE.digest, Grant(Proof.DERIVED))]),
    ],
    ids=["manifest", "config"],
)
async def test_what_was_made_here_is_waited_for(
    far: Far, layer: SharedCacheLayer, batch: Batch
) -> None:
    """Its digest is sent next, and another replica may be asked for it."""
    far.gate.clear()
    commit = asyncio.create_task(layer.commit(batch))
    await until(lambda: far.running > 0)
    assert not commit.done()
    far.gate.set()
    await commit
    again = SharedCacheLayer(far, tag_life=lambda: LIFE)
    assert (await again.look_manifest(CARGO, IMAGE.digest)).grant is not None


async def test_a_tag_that_is_dropped_while_it_is_written_is_gone(
    far: Far, layer: SharedCacheLayer
) -> None:
    far.gate.clear()
    await layer.commit(pull_of(IMAGE))
    await until(lambda: far.running > 0)
    dropping = asyncio.create_task(layer.drop_tag(CARGO, ONE))
    await asyncio.sleep(0)
    far.gate.set()
    await dropping
    await layer.close()
    again = SharedCacheLayer(far, tag_life=lambda: LIFE)
    assert (await again.look_tag(CARGO, ONE)).tag is None
    assert (await again.look_manifest(CARGO, IMAGE.digest)).raw == IMAGE.raw


async def test_what_is_pending_when_a_repository_is_purged_is_void(
    far: Far, layer: SharedCacheLayer
) -> None:
    await layer.commit(pull_of(IMAGE, at=1000.0))
    assert await layer.purge(CARGO, 1001.0, tags=True)
    assert (await layer.look_tag(CARGO, ONE)).tag is None
    await layer.close()
    assert (await SharedCacheLayer(far, tag_life=lambda: LIFE).look_tag(CARGO, ONE)).tag is None


async def test_content_that_is_removed_while_it_is_written_is_gone(
    far: Far, layer: SharedCacheLayer
) -> None:
    far.gate.clear()
    await layer.commit(pull_of(IMAGE))
    await until(lambda: far.running > 0)
    removing = asyncio.create_task(layer.remove(CARGO, [IMAGE.digest]))
    await asyncio.sleep(0)
    far.gate.set()
    await removing
    await layer.close()
    found = await SharedCacheLayer(far, tag_life=lambda: LIFE).look_manifest(CARGO, IMAGE.digest)
    assert (found.grant, found.raw) == (None, None)


async def test_what_finds_no_room_is_waited_for(far: Far) -> None:
    layer = SharedCacheLayer(far, tag_life=lambda: LIFE, write_behind=True)
    layer._cache._limit = 0
    far.gate.clear()
    commit = asyncio.create_task(layer.commit(pull_of(IMAGE)))
    await until(lambda: far.running == 3)
    assert not commit.done()
    far.gate.set()
    await commit
    await layer.close()
