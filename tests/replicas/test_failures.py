"""Replicas that restart, die, freeze, or lose what they share, while cold images are pulled."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.kit.redis import RedisServer
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import Fault, ScriptedUpstream
from tests.replicas.fleet import load_images, pull_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.kit.processes import Proxy
    from tests.replicas.fleet import Cargo

_IMAGES: Final = 30
_CLIENTS: Final = 30


class Fleet:
    """Three replicas, their upstream, and its images."""

    def __init__(
        self, upstream: ScriptedUpstream, images: Sequence[Cargo], replicas: Replicas
    ) -> None:
        self.upstream = upstream
        self.images = images
        self.replicas = replicas

    @property
    def egress(self) -> float:
        """Blobs that the upstream was asked for, for each that it has."""
        blobs = sum(len(image.blobs) for image in self.images)
        return self.upstream.count("GET", "*/blobs/*") / blobs

    async def pull(self, *proxies: Proxy, retries: int = 0) -> list[str]:
        """Pull everything from these replicas, or all; what failed."""
        chosen = proxies or self.replicas.running
        return (await pull_all(self.images, chosen, _CLIENTS, retries=retries)).failures

    async def begun(self, share: float) -> None:
        """Return when so much of all blobs was asked for."""
        await self.upstream.asked("GET", "*/blobs/*", int(share * len(self.images) * 6))


@asynccontextmanager
async def fleet(directory: Path, *, redis: str = "", delay: float = 0.05) -> AsyncIterator[Fleet]:
    """`delay` is the upstream's, before each answer with a blob, in seconds."""
    async with ScriptedUpstream() as upstream:
        images = load_images(upstream, _IMAGES)
        upstream.fault("GET", "*/blobs/*", Fault(delay=delay))
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(directory, 3, upstreams=upstreams, redis=redis) as replicas:
            yield Fleet(upstream, images, replicas)


async def test_a_rolling_restart(tmp_path: Path) -> None:
    async with fleet(tmp_path) as ships:
        pulling = asyncio.ensure_future(ships.pull(retries=2))
        for number, proxy in enumerate(ships.replicas.running):
            await ships.begun(0.2 * number + 0.1)
            await asyncio.to_thread(proxy.restart)
        assert await pulling == []
        assert ships.egress <= 1.1


async def test_one_is_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path) as ships:
        dying, *others = ships.replicas.running
        pulling = asyncio.ensure_future(ships.pull(*others))
        await ships.begun(0.3)
        dying.kill()
        assert await pulling == []
        assert ships.egress <= 1.15


async def test_one_is_frozen(tmp_path: Path) -> None:
    async with fleet(tmp_path) as ships:
        frozen, *others = ships.replicas.running
        pulling = asyncio.ensure_future(ships.pull(*others))
        await ships.begun(0.3)
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            assert await pulling == []
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        assert ships.egress <= 1.15
        # It is one of them again, and has what it had.
        assert await ships.pull() == []
        assert ships.egress <= 1.15


async def test_redis_is_lost_and_comes_back_empty(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        async with fleet(tmp_path / "fleet", redis=redis.url) as ships:
            pulling = asyncio.ensure_future(ships.pull())
            await ships.begun(0.3)
            redis.kill()
            await ships.begun(0.7)
            redis.start()
            assert await pulling == []
            assert ships.egress <= 1.05


async def test_one_more_replica_costs_nothing_and_keeps_serving_alone(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        images = load_images(upstream, _IMAGES)
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams, joining=1) as replicas:
            ships = Fleet(upstream, images, replicas)
            assert await ships.pull() == []
            asked = upstream.count("GET")
            (fourth,) = replicas.joining
            await asyncio.to_thread(fourth.start)
            assert await ships.pull(fourth) == []
            assert upstream.count("GET") == asked
            await upstream.stop()
            assert await ships.pull(*replicas.running, fourth) == []


async def test_an_upstream_that_takes_long_is_asked_once(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        images = load_images(upstream, 1)
        upstream.fault("GET", "*/blobs/*", Fault(delay=3.0))
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams) as replicas:
            ships = Fleet(upstream, images, replicas)
            assert await ships.pull() == []
            assert ships.egress == 1.0
