"""Every blob store in turn, for every suite that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.blob_stores import BLOB_STORES, blob_store
from tests.e2e.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxy.ports import BlobStore


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A real S3 API, for all tests: each has a prefix of its own."""
    with Gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(params=BLOB_STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], BlobStore]:
    """Makes stores at one place: a second one stands for another process."""
    return lambda: blob_store(request.param, tmp_path, lambda: request.getfixturevalue("gateway"))


@pytest.fixture
def store(make: Callable[[], BlobStore]) -> BlobStore:
    return make()


@pytest.fixture
def elsewhere(make: Callable[[], BlobStore]) -> BlobStore:
    return make()
