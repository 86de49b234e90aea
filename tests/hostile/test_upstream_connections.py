"""All connections that one kind of request may have are taken, and the other kind goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile import bystander
from tests.hostile.slow_readers import addresses
from tests.kit import images, load
from tests.kit.proxy import Proxy, metric, push, settings, until
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

CONNECTIONS: Final = 8
MOST: Final = 7
WAITING: Final = 3
SIZE: Final = 256 * 1024
STALLED: Final = Fault(cut=SIZE // 2, stall=True)


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    """In front of an upstream that takes few connections."""
    endpoint = {"url": upstream.url, "default": True, "connections": CONNECTIONS}
    unfinished = {"finish_abandoned": False}
    tags = {"ttl": "0s", "revalidation_timeout": "10s"}
    chosen = settings({"docker.io": endpoint}, data_dir, tags=tags, blobs=unfinished)
    async with Proxy(chosen) as proxy:
        yield proxy


def blobs(upstream: ScriptedUpstream, count: int) -> list[str]:
    """The paths of that many blobs that never arrive."""
    digests = [
        upstream.add_blob("team/stalled", images.noise(f"stalled-{number}", SIZE))
        for number in range(count)
    ]
    upstream.fault("GET", "/v2/team/stalled/blobs/*", STALLED)
    return [f"/v2/team/stalled/blobs/{digest}" for digest in digests]


def withheld() -> float:
    return metric("upstream_requests_withheld_total", upstream="docker.io", reason="connections")


async def end(tasks: list[asyncio.Task[load.Answer]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_manifests_are_served_while_transfers_take_all_that_they_may(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    port = proxy.address[1]
    tasks = [
        asyncio.create_task(load.get(port, path, source=address))
        for path, address in zip(blobs(upstream, MOST + 3), addresses(MOST + 3), strict=True)
    ]
    try:
        await upstream.asked("GET", "/v2/team/stalled/blobs/*", times=MOST)
        for number in range(5):
            push(upstream, bystander.NAME, f"cold-{number}", images.oci(f"cold-{number}"))
            path = f"/v2/{bystander.NAME}/manifests/cold-{number}"
            answer = await load.get(port, path, "*/*", source=bystander.ADDRESS)
            assert answer.status == 200
        assert upstream.count("GET", "/v2/team/stalled/blobs/*") == MOST
        assert metric("upstream_circuit_open", upstream="docker.io") == 0
    finally:
        await end(tasks)


async def test_a_request_that_gets_no_connection_says_so_and_blames_nobody(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    port, before = proxy.address[1], withheld()
    paths = blobs(upstream, MOST + WAITING)
    tasks = [asyncio.create_task(load.get(port, path)) for path in paths]
    try:
        await until(lambda: sum(task.done() for task in tasks) == WAITING)
        for task in tasks:
            if task.done():
                assert task.result().status == 503
                assert task.result().headers["retry-after"] == "5"
                assert b'"TOOMANYREQUESTS"' in task.result().body
        assert withheld() == before + WAITING
        assert metric("upstream_circuit_open", upstream="docker.io") == 0
    finally:
        await end(tasks)
    # Nothing is held because of it.
    upstream.heal()
    assert (await load.get(port, paths[-1])).status == 200


async def test_a_client_with_few_requests_is_next_where_another_one_has_many(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Two hundred random names at a slow registry, and one image of another client."""
    upstream.fault("*", "/v2/team/random*", Fault(delay=0.2))
    port = proxy.address[1]
    paths = [f"/v2/team/random{number}/manifests/1" for number in range(200)]
    tasks = [asyncio.create_task(load.get(port, path)) for path in paths]
    try:
        await upstream.asked("*", "/v2/team/random*", times=MOST)
        await bystander.pull(proxy)
        assert not all(task.done() for task in tasks)
        assert metric("upstream_circuit_open", upstream="docker.io") == 0
    finally:
        await end(tasks)


async def test_a_stale_copy_is_served_while_there_is_no_connection(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await bystander.pull(proxy)
    upstream.fault("*", "/v2/team/random*", Fault(delay=60))
    tasks = [
        asyncio.create_task(proxy.get(f"/v2/team/random{number}/manifests/1"))
        for number in range(MOST)
    ]
    try:
        await upstream.asked("*", "/v2/team/random*", times=MOST)
        answer = await proxy.get(bystander.MANIFEST, Accept=bystander.IMAGE.media_type)
        assert (answer.status, answer.body) == (200, bystander.IMAGE.manifest)
        assert answer.cache == 'Lighterage; hit; detail="stale saturated"'
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
