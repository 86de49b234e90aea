"""One process of a proxy, whose tags are fresh for a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.manifests.freshness import Lifetime
from tests.kit.manifest_world import ManifestWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def world() -> AsyncIterator[ManifestWorld]:
    world = ManifestWorld(Lifetime(ttl=60, stale_if_error=10_000))
    yield world
    await world.close()
