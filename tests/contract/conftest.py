"""Every blob store in turn, for every suite that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.blob_stores import BLOB_STORES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.ports import BlobStore


@pytest.fixture(params=BLOB_STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], BlobStore]:
    """Makes stores at one place: a second one stands for another process."""
    return lambda: BLOB_STORES[request.param](tmp_path)


@pytest.fixture
def store(make: Callable[[], BlobStore]) -> BlobStore:
    return make()


@pytest.fixture
def elsewhere(make: Callable[[], BlobStore]) -> BlobStore:
    return make()
