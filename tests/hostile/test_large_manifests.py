"""A manifest with thousands of entries costs others nothing, and is served as it is."""

from __future__ import annotations

import json
from time import process_time
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import MAX_DESCRIPTORS, read_manifest
from proxy.oci.negotiation import Policy, negotiate
from proxy.oci.platform import Platform
from tests.hostile import bystander
from tests.kit import images

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

POLICY: Final = Policy(Platform("linux", "amd64"))
V2S2: Final = "application/vnd.docker.distribution.manifest.v2+json"


def an_index(count: int) -> bytes:
    """An index of that many images."""
    entries = [
        {
            "mediaType": images.OCI.manifest,
            "digest": images.digest(str(number).encode()),
            "size": 1000,
            "platform": {"os": "linux", "architecture": "amd64"},
        }
        for number in range(count)
    ]
    document = {"schemaVersion": 2, "mediaType": images.OCI.index, "manifests": entries}
    return json.dumps(document).encode()


def an_image(count: int) -> bytes:
    """An image of that many layers."""
    layer = {"mediaType": images.OCI.layer, "digest": images.digest(b"layer"), "size": 1000}
    config = {"mediaType": images.OCI.config, "digest": images.digest(b"config"), "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": images.OCI.manifest,
        "config": config,
        "layers": [layer] * count,
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("make", "media_type"), [(an_index, images.OCI.index), (an_image, images.OCI.manifest)]
)
async def test_more_entries_than_any_image_has_are_passed_through(
    proxy: Proxy, upstream: ScriptedUpstream, make: object, media_type: str
) -> None:
    assert callable(make)
    raw = make(15_000)
    digest = upstream.add_manifest(bystander.NAME, "huge", raw, media_type)
    for reference in ("huge", digest):
        path = f"/v2/{bystander.NAME}/manifests/{reference}"
        for _ in range(2):
            answer = await proxy.get(path, Accept=media_type)
            assert (answer.status, answer.body, answer.digest) == (200, raw, digest)
            assert answer.headers["Content-Type"] == media_type
    refused = await proxy.get(f"/v2/{bystander.NAME}/manifests/huge", Accept=V2S2)
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")
    # What it names is not thereby in the repository.
    blob = await proxy.get(f"/v2/{bystander.NAME}/blobs/{images.digest(b'layer')}")
    assert blob.status == 404
    await bystander.pull(proxy)


def test_another_accept_costs_the_same_for_a_large_index() -> None:
    """What does not depend on `Accept` is found once."""
    small, large = (read_manifest(an_index(count)) for count in (4, MAX_DESCRIPTORS))

    def seconds(manifest: object) -> float:
        best = float("inf")
        for run in range(5):
            accepts = [Accept.parse((V2S2, f"application/x{run}-{n}")) for n in range(20)]
            before = process_time()
            for accept in accepts:
                negotiate(manifest, accept, POLICY)  # type: ignore[arg-type]
            best = min(best, process_time() - before)
        return best

    # It has a thousand times as many entries.
    assert seconds(large) < 20 * seconds(small)
