"""A purge of one replica is one of all, also of those that were away."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import images
from tests.kit.accept_lines import EVERYTHING
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.kit.redis import RedisServer
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.kit.processes import Proxy

_SOON: Final = 60.0


async def _digest(proxy: Proxy) -> str:
    answer = await asyncio.to_thread(
        ask, f"{proxy.url}/v2/library/cargo/manifests/1", headers=EVERYTHING
    )
    assert answer.status == 200
    return str(answer.headers["Docker-Content-Digest"])


async def _all_serve(proxies: Sequence[Proxy], digest: str) -> None:
    async with asyncio.timeout(_SOON):
        while {await _digest(proxy) for proxy in proxies} != {digest}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.fixture
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server if the test wants one, else "" for none."""
    if not request.param:
        yield ""
        return
    with RedisServer(tmp_path / "redis") as server:
        yield server.url


@pytest.mark.parametrize(
    ("workers", "redis"), [(1, False), (2, False), (1, True)], indirect=["redis"]
)
async def test_a_purge_of_one_is_one_of_all(tmp_path: Path, workers: int, redis: str) -> None:
    """Also where all read one Redis: each has an index of its own besides."""
    async with ScriptedUpstream() as upstream:
        before = push(upstream, "library/cargo", "1", images.oci())
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(
            tmp_path,
            3,
            upstreams=upstreams,
            workers=workers,
            redis=redis,
            settings={"tags": {"ttl": "1d"}},
        ) as replicas:
            first, second, third = replicas.running
            # What the third one learns from the upstream, the others read in Redis if there is one.
            await _all_serve([third, first, second], before)
            after = push(upstream, "library/cargo", "1", images.docker())
            assert await _digest(second) == before
            await asyncio.to_thread(third.stop)
            answer = await asyncio.to_thread(
                ask,
                f"{first.admin_url}/purge",
                method="POST",
                headers=[("Content-Type", "application/json")],
                body=json.dumps({"repository": "library/cargo", "tag": "1"}).encode(),
            )
            assert answer.status == 200
            # It has learnt of it before it is ready, and before others have asked again.
            await asyncio.to_thread(third.start)
            assert await _digest(third) == after
            await _all_serve([first, second], after)


def _stored(proxy: Proxy) -> set[str]:
    blobs = {f"sha256:{path.name}" for path in (proxy.data / "blobs").glob("*/*/*")}
    return blobs | {path.name for path in (proxy.data / "derived").glob("sha256:*")}


async def test_content_that_one_removes_is_removed_by_all(tmp_path: Path) -> None:
    """Also by replicas that have a blob, and have never seen the tag."""
    ship = images.oci()
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/cargo", "1", ship)
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(
            tmp_path, 3, upstreams=upstreams, settings={"tags": {"ttl": "1d"}}
        ) as replicas:
            first, second, _ = replicas.running
            for proxy in (first, second):
                await _digest(proxy)
                for path in ("manifests/1", *(f"blobs/{digest}" for digest in ship.blobs)):
                    answer = await asyncio.to_thread(ask, f"{proxy.url}/v2/library/cargo/{path}")
                    assert answer.status == 200
            assert all(_stored(proxy) for proxy in (first, second))
            answer = await asyncio.to_thread(
                ask,
                f"{first.admin_url}/purge",
                method="POST",
                headers=[("Content-Type", "application/json")],
                body=json.dumps(
                    {"repository": "library/cargo", "tag": "1", "content": True}
                ).encode(),
            )
            assert answer.status == 200
            assert _stored(first) == set()
            async with asyncio.timeout(_SOON):
                while any(map(_stored, replicas.running)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
