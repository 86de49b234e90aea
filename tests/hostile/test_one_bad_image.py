"""What a registry cannot answer about one image stops nobody who pulls another one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.hostile import bystander
from tests.kit import images
from tests.kit.proxy import metric, push
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

HEALTHY: Final = 20
LAYER: Final = Digest.of(b"a layer")
MANIFEST: Final = f"/v2/team/broken/manifests/{LAYER}"
WAIT: Final = {"Retry-After": "60"}


@pytest.mark.parametrize(
    ("path", "pattern", "fault"),
    [
        pytest.param(MANIFEST, MANIFEST, Fault(status=500), id="a layer as a manifest"),
        pytest.param(
            f"/v2/{bystander.NAME}/manifests/{LAYER}",
            f"/v2/{bystander.NAME}/manifests/{LAYER}",
            Fault(status=500),
            id="in the same repository",
        ),
        pytest.param(
            f"/v2/team/broken/referrers/{LAYER}",
            "/v2/*/referrers/*",
            Fault(status=501),
            id="no referrers",
        ),
        pytest.param(
            "/v2/team/broken/tags/list", "/v2/*/tags/list", Fault(status=503), id="no lists"
        ),
        pytest.param(
            "/v2/team/broken/manifests/1",
            "/v2/team/broken/*",
            Fault(status=503, headers=WAIT),
            id="Retry-After",
        ),
        pytest.param(
            "/v2/team/broken/manifests/1",
            "/v2/team/broken/*",
            Fault(status=429, headers=WAIT),
            id="429 of one repository",
        ),
        pytest.param(
            f"/v2/team/broken/blobs/{LAYER}",
            "/v2/team/broken/blobs/*",
            Fault(status=500),
            id="a hiccup of the storage",
        ),
    ],
)
async def test_cold_images_are_pulled_while_one_fails(
    proxy: Proxy, upstream: ScriptedUpstream, path: str, pattern: str, fault: Fault
) -> None:
    upstream.fault("*", pattern, fault)
    for number in range(HEALTHY):
        push(upstream, bystander.NAME, f"cold-{number}", images.oci(f"cold-{number}"))

    async def attack() -> None:
        while True:
            await proxy.get(path)
            await asyncio.sleep(0.02)

    attacking = asyncio.create_task(attack())
    try:
        await upstream.asked("*", pattern, times=2)
        failed = 0
        for number in range(HEALTHY):
            answer = await proxy.get(f"/v2/{bystander.NAME}/manifests/cold-{number}", Accept="*/*")
            failed += answer.status != 200
        assert failed == 0
        await bystander.pull(proxy)
    finally:
        attacking.cancel()
        await asyncio.wait([attacking])
    assert metric("upstream_circuit_open", upstream="docker.io") == 0


async def test_a_registry_that_fails_at_one_manifest_is_not_asked_again_and_again(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Three questions, of a HEAD and a GET at most, and then a probe now and then."""
    upstream.fault("*", MANIFEST, Fault(status=500))
    for _ in range(50):
        assert (await proxy.get(MANIFEST)).status == 502
    assert upstream.count("*", MANIFEST) < 15


async def test_one_server_error_before_the_first_byte_of_a_blob_is_tried_again(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", f"/v2/{bystander.NAME}/blobs/*", Fault(status=503), times=1)
    await bystander.pull(proxy)
