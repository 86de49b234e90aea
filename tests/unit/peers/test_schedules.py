"""Random faults at random moments: every pull is right, and ends within a bound."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest

from tests.kit.memory_fleet import Fleet
from tests.unit.peers.schedule import LONGEST, Schedule

_SCHEDULES: Final = 200
_REPLICAS: Final = 5
_SIZES: Final = (100, 5_000, 60_000, 200_000)


@pytest.mark.parametrize("tenth", range(10))
async def test_every_pull_is_right_whatever_happens(tenth: int) -> None:
    for seed in range(tenth * _SCHEDULES // 10, (tenth + 1) * _SCHEDULES // 10):
        assert await Schedule(seed).run() == [], seed


async def test_without_faults_each_blob_is_fetched_once() -> None:
    fleet = Fleet(_REPLICAS, random.Random(1))  # noqa: S311 -- the same each time
    contents = [fleet.chance.randbytes(size) for size in _SIZES]
    try:
        for content in contents:
            digest = fleet.upstream.add(content)
            pulls = [
                asyncio.create_task(replica.pull(digest, len(content)))
                for replica in fleet.replicas.values()
            ]
            await fleet.finish(pulls, LONGEST)
            assert [pull.result() for pull in pulls] == [content] * _REPLICAS
    finally:
        await fleet.close()
    assert fleet.upstream.count("blob") == len(contents)
