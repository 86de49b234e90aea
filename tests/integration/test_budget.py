"""What a pull costs upstream: as few requests as can be, and what is left of a rate limit kept."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from tests.kit import images
from tests.kit.open_index import no_deadlines
from tests.kit.proxy import Proxy, metric, push, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.proxy import Answer
    from tests.kit.scripted_upstream import ScriptedUpstream

NAME: Final = "library/cargo"
CARGO: Final = f"/v2/{NAME}/manifests"
STALE: Final = 'Lighterage; hit; detail="stale budget"'
# SQLite's writes are not waited for: they are there in so many seconds.
_WRITTEN: Final = 0.3
LEFT: Final = ("upstream_pulls_remaining", "docker.io")


async def test_a_thousand_warm_pulls_over_ten_lifetimes_cost_ten_heads(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    lifetime, lifetimes, pulls = 0.2, 10, 1000
    chosen = settings(upstream, data_dir, tags={"ttl": lifetime})
    async with Proxy(chosen) as proxy:
        assert (await pull(proxy, "index")).status == 200
        upstream.requests.clear()
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = began + lifetime * lifetimes
        for left in range(pulls, 0, -1):
            assert (await pull(proxy, "index")).status == 200
            await asyncio.sleep(max(0.0, end - loop.time()) / left)
        # A busy machine takes longer over them.
        passed = max(lifetimes, math.ceil((loop.time() - began) / lifetime))
    assert 1 <= upstream.count("HEAD") <= passed
    assert upstream.count() == upstream.count("HEAD")


async def test_fifty_cold_clients_cost_each_manifest_once(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    index = images.oci_index()
    # An index that does not answer in time cannot say that it knows nothing, which costs a HEAD.
    with no_deadlines():
        answers = await asyncio.gather(*(pull(proxy, "index") for _ in range(50)))
        assert {answer.body for answer in answers} == {index.manifest}
        child = index.children[0]
        await asyncio.gather(*(pull(proxy, child.digest) for _ in range(50)))
    assert (upstream.count("HEAD"), upstream.count("GET")) == (0, 2)


async def test_fifty_cold_clients_of_a_conversion_cost_what_it_is_made_from(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    with no_deadlines():
        answers = await asyncio.gather(
            *(proxy.get(f"{CARGO}/index", Accept=MediaType.DOCKER_LIST) for _ in range(50))
        )
    assert {answer.headers["Content-Type"] for answer in answers} == {MediaType.DOCKER_LIST}
    assert upstream.count("HEAD", f"{CARGO}/*") == 0
    children = len(images.oci_index().children)
    assert upstream.count("GET", f"{CARGO}/*") == 1 + children


async def test_the_meter_is_followed_down_to_the_reserve_and_back_by_two_processes(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    chosen = settings(upstream, data_dir, tags={"ttl": 0}, negative_cache={"not_found": 0})
    async with Proxy(chosen) as one, Proxy(chosen) as two:
        grant(upstream, 100)
        assert (await pull(one, "index")).status == 200
        assert (await pull(two, "index")).status == 200
        assert metric(LEFT[0], upstream=LEFT[1]) == 100

        # Above the reserve, a tag that moves is worth a pull.
        grant(upstream, 11)
        push(upstream, NAME, "index", images.docker_list("second"))
        moved = await pull(one, "index")
        assert moved.digest == images.docker_list("second").digest
        assert metric(LEFT[0], upstream=LEFT[1]) == 11

        # At the reserve it is not, in either process; and costs no pull while it is served.
        grant(upstream, 10)
        push(upstream, NAME, "index", images.docker_list("third"))
        upstream.requests.clear()
        for proxy in (one, two):
            for _ in range(3):
                kept = await pull(proxy, "index")
                assert (kept.status, kept.digest, kept.cache) == (200, moved.digest, STALE)
        assert upstream.count("GET") == 0

        # What is not here is what the reserve is for.
        assert (await pull(two, "oci")).status == 200

        # Nothing is left at all: what is here is served all the same.
        grant(upstream, 0)
        for proxy in (one, two):
            assert (await pull(proxy, "index")).status == 200

        grant(upstream, 100)
        for proxy in (one, two):
            assert (await pull(proxy, "index")).digest == images.docker_list("third").digest


async def test_what_one_process_saw_another_one_knows(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Here the second one is not told by its own HEAD, because only GETs say it."""
    chosen = settings(upstream, data_dir, tags={"ttl": 0})
    async with Proxy(chosen) as one, Proxy(chosen) as two:
        grant(upstream, 50)
        for proxy in (one, two):
            assert (await pull(proxy, "index")).status == 200
        grant(upstream, 5)
        assert (await pull(one, "oci")).status == 200
        await asyncio.sleep(3 * _WRITTEN)
        upstream.headers.clear()
        push(upstream, NAME, "index", images.docker_list("second"))
        assert (await pull(two, "index")).cache == STALE


async def pull(proxy: Proxy, reference: str) -> Answer:
    return await proxy.get(f"{CARGO}/{reference}", Accept=UPSTREAM_ACCEPT)


def grant(upstream: ScriptedUpstream, remaining: int) -> None:
    """Have the upstream say so with every answer, as Docker Hub does."""
    upstream.headers.update(
        {
            "RateLimit-Limit": "100;w=21600",
            "RateLimit-Remaining": f"{remaining};w=21600",
            "Docker-RateLimit-Source": "192.0.2.7",
        }
    )
