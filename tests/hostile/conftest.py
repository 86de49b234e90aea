"""A registry with an image that a bystander pulls, and a proxy in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile import bystander
from tests.kit.proxy import Proxy, push, settings
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, bystander.NAME, bystander.TAG, bystander.IMAGE)
        yield upstream


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    """A proxy with the default limits that has cached nothing."""
    async with Proxy(settings(upstream, data_dir)) as proxy:
        yield proxy
