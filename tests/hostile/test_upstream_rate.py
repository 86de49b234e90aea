"""A client that asks for more than its share of upstream requests gets what is cached."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile import bystander
from tests.kit import images, load
from tests.kit.proxy import Proxy, metric, push, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

PER_MINUTE: Final = 12


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    limits = {"per_client": {"upstream_per_minute": PER_MINUTE}}
    async with Proxy(settings(upstream, data_dir, limits=limits, tags={"ttl": "0s"})) as proxy:
        yield proxy


def withheld() -> float:
    return metric("upstream_requests_withheld_total", upstream="docker.io", reason="client")


async def exhaust(proxy: Proxy) -> None:
    """Ask for names that do not exist until the rate is reached."""
    for number in range(PER_MINUTE + 1):
        answer = await proxy.get(f"/v2/team/random{number}/manifests/1")
        if answer.status == 429:
            return
    raise AssertionError


async def test_a_client_that_asks_for_random_names(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    before, began = withheld(), time.monotonic()
    answers = [await proxy.get(f"/v2/team/random{number}/manifests/1") for number in range(100)]
    assert {answer.status for answer in answers} == {404, 429}
    answer = answers[-1]
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    # And as many as the time that has passed allows.
    assert len(upstream.requests) <= PER_MINUTE * (1 + (time.monotonic() - began) / 60) + 1
    assert withheld() > before
    for path in (
        f"/v2/{bystander.NAME}/blobs/{images.digest(b'cold')}",
        f"/v2/{bystander.NAME}/tags/list?n=3",
        f"/v2/{bystander.NAME}/referrers/{images.digest(b'cold')}",
    ):
        assert (await proxy.get(path)).status == 429
        assert (await proxy.head(path)).status in {405, 429}
    await bystander.pull(proxy)
    assert metric("upstream_circuit_open", upstream="docker.io") == 0


async def test_what_is_cached_is_served_to_it(proxy: Proxy) -> None:
    await bystander.pull(proxy)
    await exhaust(proxy)
    for digest, content in bystander.IMAGE.blobs.items():
        blob = await proxy.get(f"/v2/{bystander.NAME}/blobs/{digest}")
        assert (blob.status, blob.body) == (200, content)
    answer = await proxy.get(bystander.MANIFEST, Accept="*/*")
    assert (answer.status, answer.body) == (200, bystander.IMAGE.manifest)
    assert answer.cache == 'Lighterage; hit; detail="stale client_limit"'


async def test_a_tag_that_it_asks_for_is_as_fresh_for_others_as_before(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await bystander.pull(proxy)
    await exhaust(proxy)
    moved = images.oci("moved")
    push(upstream, bystander.NAME, bystander.TAG, moved)
    stale = await proxy.get(bystander.MANIFEST, Accept="*/*")
    assert stale.body == bystander.IMAGE.manifest
    port = proxy.address[1]
    answer = await load.get(port, bystander.MANIFEST, "*/*", source=bystander.ADDRESS)
    assert answer.body == moved.manifest


async def test_others_who_want_the_same_at_the_same_time_get_it(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """The work that is under way may be another client's, which may not ask."""
    await exhaust(proxy)
    port = proxy.address[1]
    for number in range(5):
        content = images.noise(f"new {number}", 100_000)
        path = f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, content)}"
        theirs = [asyncio.create_task(proxy.get(path)) for _ in range(5)]
        mine = asyncio.create_task(load.get(port, path, source=bystander.ADDRESS))
        answer = await mine
        assert (answer.status, answer.body) == (200, content)
        await asyncio.wait(theirs)


async def test_the_clients_of_a_load_balancer_are_told_apart(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    limits = {
        "per_client": {"upstream_per_minute": PER_MINUTE},
        "trusted_proxies": ["127.0.0.0/8"],
    }
    async with Proxy(settings(upstream, data_dir, limits=limits)) as proxy:
        status = 0
        for number in range(PER_MINUTE + 2):
            path = f"/v2/team/random{number}/manifests/1"
            status = (await proxy.get(path, X_Forwarded_For=f"2001:db8::{number}")).status
        assert status == 429
        path = bystander.MANIFEST
        assert (await proxy.get(path, X_Forwarded_For="2001:db8:0:1::1")).status == 200
