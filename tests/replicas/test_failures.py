"""Replicas that restart, die, freeze, or lose what they share, while cold images are pulled."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.kit.redis import RedisServer
from tests.replicas.fleet import KINDS, fleet

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.parametrize(("storage", "workers"), KINDS)
# How long Redis is away, in seconds.
_AWAY = 5.0


async def test_a_rolling_restart(tmp_path: Path, storage: str, workers: int) -> None:
    async with fleet(tmp_path, storage=storage, workers=workers) as ships:
        pulling = asyncio.ensure_future(ships.pull(retries=2))
        for number, proxy in enumerate(ships.replicas.running):
            await ships.begun(0.2 * number + 0.1)
            await asyncio.to_thread(proxy.restart)
        assert await pulling == []
        assert ships.egress <= 1.1


async def test_one_is_killed(tmp_path: Path, storage: str, workers: int) -> None:
    async with fleet(tmp_path, storage=storage, workers=workers) as ships:
        dying, *others = ships.replicas.running
        pulling = asyncio.ensure_future(ships.pull(*others))
        await ships.begun(0.3)
        dying.kill()
        assert await pulling == []
        assert ships.egress <= 1.15


async def test_one_is_frozen(tmp_path: Path, storage: str, workers: int) -> None:
    async with fleet(tmp_path, storage=storage, workers=workers) as ships:
        frozen, *others = ships.replicas.running
        pulling = asyncio.ensure_future(ships.pull(*others))
        await ships.begun(0.3)
        os.killpg(frozen.pid, signal.SIGSTOP)
        try:
            assert await pulling == []
        finally:
            os.killpg(frozen.pid, signal.SIGCONT)
        assert ships.egress <= 1.15
        # It is one of them again, and has what it had.
        assert await ships.pull() == []
        assert ships.egress <= 1.15


async def test_redis_is_lost_and_comes_back_empty(
    tmp_path: Path, storage: str, workers: int
) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        async with fleet(
            tmp_path / "fleet", storage=storage, workers=workers, redis=redis.url
        ) as ships:
            pulling = asyncio.ensure_future(ships.pull())
            await ships.begun(0.3)
            redis.kill()
            await asyncio.sleep(_AWAY)
            redis.start()
            assert await pulling == []
            assert ships.egress <= 1.05
