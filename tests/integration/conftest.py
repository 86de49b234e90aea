"""A proxy in front of a scripted upstream that has a few images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit import images
from tests.kit.proxy import Proxy, impatient_settings, push, settings
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """A registry with `library/cargo` under the tags `docker`, `oci`, `list` and `index`."""
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/cargo", "docker", images.docker_with_empty_steps())
        push(upstream, "library/cargo", "oci", images.oci())
        push(upstream, "library/cargo", "list", images.docker_list())
        push(upstream, "library/cargo", "index", images.oci_index())
        yield upstream


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    """A proxy in front of it that has nothing yet."""
    async with Proxy(settings(upstream, data_dir)) as proxy:
        yield proxy


@pytest.fixture
async def impatient(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    """One that asks the upstream every time."""
    async with Proxy(impatient_settings(upstream, data_dir)) as proxy:
        yield proxy
