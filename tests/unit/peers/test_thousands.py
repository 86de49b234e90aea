"""Hundreds and thousands of replicas, in memory: the figures of docs/replicas.md."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Tag
from proxy.peers import replicas as asking
from proxy.peers.membership import Membership
from proxy.peers.owners import rank
from tests.kit import images
from tests.kit.memory_fleet import CARGO, Fleet

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIZE: Final = 100_000
_FAN_OUT: Final = 8
_PROBED: Final = 3
_WITHIN: Final = 60.0


@pytest.fixture
def _one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """All have the same members, and so the same order: here it is computed once for all."""

    @lru_cache(1000)
    def ranked(key: str, members: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(rank(key, members))

    def once(key: str, members: Iterable[str]) -> list[str]:
        return list(ranked(key, tuple(members)))

    monkeypatch.setattr(asking, "rank", once)


@pytest.mark.usefixtures("_one_order")
@pytest.mark.parametrize(("count", "questions"), [(3, 1.4), (300, 2.9), (3000, 3.9)])
async def test_a_crowd_of_replicas_pulls_one_blob(count: int, questions: float) -> None:
    """Once from upstream; and none sends it to more than `fan_out` others."""
    fleet = Fleet(count, random.Random(1), fan_out=_FAN_OUT)  # noqa: S311 -- the same each time
    content = fleet.chance.randbytes(_SIZE)
    digest = fleet.upstream.add(content)
    fleet.upstream.slow = 1.0  # All of them ask before the first byte.
    try:
        pulls = [asyncio.create_task(one.pull(digest, _SIZE)) for one in fleet.replicas.values()]
        await fleet.finish(pulls, _WITHIN)
        assert all(pull.result() == content for pull in pulls)
    finally:
        await fleet.close()
    assert fleet.upstream.count("blob") == 1
    assert fleet.questions / count <= questions
    assert max(fleet.sent.values()) <= _FAN_OUT * _SIZE


@pytest.mark.parametrize(("count", "seconds"), [(3, 2), (300, 8)])
async def test_a_purge_reaches_all_in_seconds(count: int, seconds: int) -> None:
    """Each asks three others each second, however many there are."""
    fleet = Fleet(count, random.Random(1), ttl=86_400.0)  # noqa: S311 -- the same each time
    tag = Tag("1")
    fleet.upstream.push(images.oci(), tag)
    first, *others = fleet.replicas.values()
    await first.tags.find(CARGO, tag)
    await first.purges.purge(CARGO.name, tag)
    mark = await first.purges.mark()
    rounds = 0
    try:
        while {await one.purges.mark() for one in others} != {mark}:
            await fleet.finish(
                [asyncio.create_task(one.replicas.probe()) for one in fleet.replicas.values()],
                _WITHIN,
            )
            fleet.clock.advance(1.0)
            rounds += 1
    finally:
        await fleet.close()
    assert rounds <= seconds
    assert fleet.probes <= _PROBED * count * rounds


@pytest.mark.parametrize("count", [300, 3000])
def test_a_member_takes_little_memory(count: int) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        membership = Membership()
        membership.discover((f"10.0.{n >> 8}.{n & 255}:5001" for n in range(count)), None, 0.0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < 300
