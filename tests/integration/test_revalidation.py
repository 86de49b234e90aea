"""When an upstream is asked, when it is waited for, and when it is not asked."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from proxy.oci.mediatype import UPSTREAM_ACCEPT
from proxy.wiring import upstreams
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.kit.proxy import Answer
    from tests.kit.scripted_upstream import ScriptedUpstream

# How long an upstream takes that is not waited for, in seconds.
SLOWLY: Final = 3.0
NAME: Final = "library/cargo"
CARGO: Final = f"/v2/{NAME}/manifests"
OLD: Final = images.oci_index().digest
NEW: Final = images.docker_list("new").digest
BLOB: Final = f"/v2/{NAME}/blobs/{next(iter(images.oci().blobs))}"
REVALIDATING: Final = 'Lighterage; hit; detail="stale revalidating"'
SLOW: Final = 'Lighterage; hit; detail="stale slow"'
OFFLINE: Final = 'Lighterage; hit; detail="stale offline"'


async def test_just_after_its_lifetime_a_tag_is_answered_at_once_and_asked_for_beside(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    chosen = settings(upstream, data_dir, tags={"ttl": 1.0, "stale_while_revalidate": 60})
    async with Proxy(chosen) as proxy:
        await pull(proxy)
        push(upstream, NAME, "index", images.docker_list("new"))
        upstream.fault("HEAD", "*", Fault(delay=0.2))
        upstream.requests.clear()
        await asyncio.sleep(1.05)
        answers = await asyncio.gather(*(pull(proxy) for _ in range(20)))
        assert {(answer.digest, answer.cache) for answer in answers} == {(OLD, REVALIDATING)}
        async with asyncio.timeout(60):
            while (await pull(proxy)).digest != NEW:  # noqa: ASYNC110 -- it asks
                await asyncio.sleep(0.01)
        assert (upstream.count("HEAD"), upstream.count("GET")) == (1, 1)


async def test_later_the_answer_is_waited_for(upstream: ScriptedUpstream, data_dir: Path) -> None:
    chosen = settings(upstream, data_dir, tags={"ttl": 0.1, "stale_while_revalidate": 0.1})
    async with Proxy(chosen) as proxy:
        await pull(proxy)
        push(upstream, NAME, "index", images.docker_list("new"))
        await asyncio.sleep(0.25)
        assert (await pull(proxy)).digest == NEW


async def test_what_a_slow_upstream_says_is_for_the_next_one_who_asks(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    chosen = settings(upstream, data_dir, tags={"ttl": 0, "revalidation_timeout": 0.5})
    async with Proxy(chosen) as proxy:
        await pull(proxy)
        push(upstream, NAME, "index", images.docker_list("new"))
        upstream.fault("HEAD", "*", Fault(delay=SLOWLY), times=1)
        upstream.requests.clear()
        began = monotonic()
        first = await pull(proxy)
        waited = monotonic() - began
        assert waited < SLOWLY
        # Somebody waits for it already: nobody else need.
        began = monotonic()
        second = await pull(proxy)
        assert monotonic() - began < waited
        assert [(one.digest, one.cache) for one in (first, second)] == [(OLD, SLOW)] * 2
        assert upstream.count("HEAD") == 1
        async with asyncio.timeout(60):
            while (await pull(proxy)).digest != NEW:  # noqa: ASYNC110 -- it asks
                await asyncio.sleep(0.05)
        assert upstream.count("GET", f"{CARGO}/*") == 1


async def test_each_tag_has_the_lifetime_of_the_first_rule_that_fits(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    rules = [{"match": "*:o?i", "ttl": "30d"}, {"match": f"docker.io/{NAME}:*", "ttl": 0}]
    async with Proxy(settings(upstream, data_dir, tags={"rules": rules})) as proxy:
        for tag in ("oci", "index"):
            await pull(proxy, tag)
        upstream.requests.clear()
        for tag in ("oci", "index"):
            await pull(proxy, tag)
        assert upstream.count("*", f"{CARGO}/oci") == 0
        assert upstream.count("*", f"{CARGO}/index") == 1


async def test_an_upstream_that_is_offline_is_never_dialled(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    forgetful: dict[str, Any] = {"tags": {"ttl": 0, "stale_if_error": 0}}
    async with Proxy(settings(upstream, data_dir, **forgetful)) as proxy:
        await pull(proxy)
    upstream.requests.clear()
    registry = {"url": upstream.url, "default": True, "offline": True}
    async with Proxy(settings({"docker.io": registry}, data_dir, **forgetful)) as proxy:
        kept = await pull(proxy)
        assert (kept.status, kept.digest, kept.cache) == (200, OLD, OFFLINE)
        for path in (f"{CARGO}/oci", BLOB, f"/v2/{NAME}/tags/list"):
            missing = await proxy.get(path, Accept=UPSTREAM_ACCEPT)
            assert (missing.status, missing.code) == (502, "UNAVAILABLE")
            assert "offline" in missing.message
    assert upstream.requests == []


async def test_who_asks_to_be_left_alone_is(
    upstream: ScriptedUpstream, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_FIRST_PROBE_INTERVAL", 0.1)
    async with Proxy(settings(upstream, data_dir, tags={"ttl": 0})) as proxy:
        await pull(proxy)
        upstream.fault("*", "*", Fault(status=429, headers={"Retry-After": "3"}))
        began = monotonic()
        assert (await pull(proxy)).status == 200
        # Its Retry-After holds one kind of question of one repository.
        assert (await proxy.get(BLOB)).status == 429
        asked = len(upstream.requests)
        while monotonic() < began + 1.2:
            assert (await pull(proxy)).status == 200
            refused = await proxy.get(BLOB)
            assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
            assert 1 <= int(refused.headers["Retry-After"]) <= 3
            await asyncio.sleep(0.05)
        assert len(upstream.requests) == asked
        upstream.heal()
        async with asyncio.timeout(60):
            while (await proxy.get(BLOB)).status != 200:  # noqa: ASYNC110 -- it asks
                await asyncio.sleep(0.05)


async def test_a_dead_upstream_costs_blobs_no_time_either(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    registry = {"url": upstream.url, "default": True, "idle_timeout": SLOWLY / 2}
    async with Proxy(settings({"docker.io": registry}, data_dir)) as proxy:
        upstream.fault("*", "*", Fault(delay=3600))
        dead = [f"/v2/library/dead-{number}/manifests/1" for number in range(5)]
        await asyncio.gather(*map(proxy.get, dead))
        assert metric("upstream_circuit_open", upstream="docker.io") == 1
        upstream.requests.clear()
        began = monotonic()
        for _ in range(10):  # each could wait for the upstream
            answer = await proxy.get(BLOB)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert "circuit is open" in answer.message
        assert monotonic() - began < SLOWLY / 2
        assert upstream.requests == []


async def test_what_is_not_there_is_not_asked_for_again_and_again(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for _ in range(10):
        assert (await pull(proxy, "absent")).status == 404
    assert (upstream.count("HEAD"), upstream.count("GET")) == (0, 1)


async def test_a_new_password_is_tried_at_once(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("old")
    upstream.require_basic("me", "new")
    registry = {
        "url": upstream.url,
        "default": True,
        "credentials": {"username": "me", "password_file": password},
    }
    chosen = settings({"docker.io": registry}, data_dir, negative_cache={"denied": "1h"})
    async with Proxy(chosen) as proxy:
        denied = await pull(proxy)
        assert (denied.status, denied.code) == (404, "NAME_UNKNOWN")
        asked = len(upstream.requests)
        assert (await pull(proxy)).status == 404
        assert len(upstream.requests) == asked
        password.write_text("new")
        assert (await pull(proxy)).status == 200


async def pull(proxy: Proxy, reference: str = "index") -> Answer:
    return await proxy.get(f"{CARGO}/{reference}", Accept=UPSTREAM_ACCEPT)
