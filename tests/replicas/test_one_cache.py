"""Three replicas ask their upstream as seldom as one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream
from tests.replicas.fleet import load_images, pull_all

if TYPE_CHECKING:
    from pathlib import Path

_IMAGES = 30
_CLIENTS = 30


@pytest.mark.parametrize("workers", [1, 2])
async def test_cold_images_are_fetched_once(tmp_path: Path, workers: int) -> None:
    async with ScriptedUpstream() as upstream:
        images = load_images(upstream, _IMAGES)
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams, workers=workers) as replicas:
            outcome = await pull_all(images, replicas.running, _CLIENTS)
    assert outcome.failures == []
    blobs = sum(len(image.blobs) for image in images)
    assert upstream.count("GET", "*/blobs/*") <= 1.02 * blobs
    assert upstream.count("*", "*/manifests/*") <= 2.1 * len(images)
