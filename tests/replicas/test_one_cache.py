"""Three replicas ask their upstream as seldom as one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit.scripted_upstream import Fault
from tests.replicas.fleet import BUCKET, DISKS, SLOW, fleet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("storage", [DISKS, BUCKET])
async def test_cold_images_are_fetched_once(tmp_path: Path, storage: str, workers: int) -> None:
    async with fleet(tmp_path, storage=storage, delay=0.0, workers=workers) as ships:
        assert await ships.pull() == []
        assert ships.egress <= 1.02
        assert ships.upstream.count("*", "*/manifests/*") <= 2.1 * len(ships.images)


@pytest.mark.parametrize("seconds", [3.0, pytest.param(20.0, marks=SLOW)])
async def test_an_upstream_that_takes_long_is_asked_once(tmp_path: Path, seconds: float) -> None:
    """For each manifest and each blob, though clients of every replica wait for the first byte."""
    async with fleet(tmp_path, images=1, delay=seconds) as ships:
        ships.upstream.fault("*", "*/manifests/*", Fault(delay=seconds))
        assert await ships.pull() == []
        assert ships.egress == 1.0
        assert ships.upstream.count("*", "*/manifests/*") <= 2
