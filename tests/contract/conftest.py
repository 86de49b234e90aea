"""Every blob store in turn, for every suite that asks for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy.stores.bucket.blobs import ObjectBlobs
from tests.kit.blob_stores import (
    BLOB_STORES,
    blob_store,
    bucket,
    closed,
)
from tests.kit.s3_gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from proxy.ports import BlobStorage


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A real S3 API, for all tests: each has a prefix of its own."""
    with Gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(params=BLOB_STORES)
async def make(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[], BlobStorage]]:
    """Makes stores at one place: a second one stands for another process."""
    made: list[BlobStorage] = []

    def one_more() -> BlobStorage:
        made.append(blob_store(request.param, tmp_path, lambda: request.getfixturevalue("gateway")))
        return made[-1]

    yield one_more
    await closed(made)


@pytest.fixture
def store(make: Callable[[], BlobStorage]) -> BlobStorage:
    return make()


@pytest.fixture
def elsewhere(make: Callable[[], BlobStorage]) -> BlobStorage:
    return make()


@pytest.fixture
async def at(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Callable[..., ObjectBlobs]]:
    """Makes stores in one place of the bucket; what is given besides is for `bucket`."""
    stores: list[ObjectBlobs] = []

    def made(
        *,
        redirect: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        **options: Any,
    ) -> ObjectBlobs:
        place = bucket(gateway, prefix=tmp_path.name, **options)
        stores.append(
            ObjectBlobs(tmp_path / "local", place, redirect=redirect, clock=clock, wall=wall)
        )
        return stores[-1]

    yield made
    await closed(stores)
