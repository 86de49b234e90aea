"""How many files images leave: one for each derived manifest, and none for any other."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

IMAGES: Final = 2_000
CONVERTED: Final = 200
# The index with its log and locks, the locks of derived/, what is there before the first pull.
FIXED: Final = 40
_CLIENTS: Final = 8


def files(data: Path) -> int:
    return sum(path.is_file() for path in data.rglob("*"))


def manifest(number: int) -> bytes:
    """An OCI image of eight layers that no other image has."""
    parts = [images.digest(f"{number} {part}".encode()) for part in range(9)]
    config, *layers = (
        {"mediaType": media_type, "size": 1000, "digest": digest}
        for media_type, digest in zip(
            [images.OCI.config, *[images.OCI.layer] * 8], parts, strict=True
        )
    )
    document = {"schemaVersion": 2, "mediaType": images.OCI.manifest}
    return json.dumps({**document, "config": config, "layers": layers}).encode()


@pytest.mark.slow
async def test_two_thousand_images_leave_a_file_for_each_derived_manifest(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for number in range(IMAGES):
        upstream.add_manifest(f"library/{number}", "1", manifest(number), images.OCI.manifest)
    left = iter(range(IMAGES))

    async def client() -> None:
        for number in left:
            wanted = MediaType.V2S2 if number < CONVERTED else MediaType.OCI_MANIFEST
            answer = await proxy.get(f"/v2/library/{number}/manifests/1", Accept=wanted)
            assert (answer.status, answer.headers["Content-Type"]) == (200, wanted)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(client())
    assert CONVERTED <= files(proxy.settings.data) <= CONVERTED + FIXED
