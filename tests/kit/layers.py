"""The catalog's layers under contract. A new one joins by a row."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.catalog.shared_cache import SharedCacheLayer
from proxy.stores.bucket.index import BucketIndex
from proxy.stores.memory.cache import MemoryManifests
from proxy.stores.memory.index import MemoryIndex
from proxy.stores.redis.cache import RedisManifests
from proxy.stores.redis.options import RedisOptions
from proxy.stores.redis.servers import standalone
from proxy.stores.sqlite.index import SqliteIndex
from tests.kit.blob_stores import bucket
from tests.kit.open_index import no_deadlines
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from proxy.ports.catalog import Layer
    from tests.kit.s3_gateway import Gateway


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a layer keeps, as its documentation says."""

    claims: bool = True
    listings: bool = True
    representations: bool = True
    origins: bool = True
    knows_repositories: bool = True
    layer_facts: bool = True
    # All replicas have it in common.
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A layer under contract. `again` opens another one at the same place, as a process does."""

    layer: Layer
    can: Capabilities
    again: Callable[[], Layer]


_SHARED: Final = Capabilities(
    claims=False, knows_repositories=False, layer_facts=False, is_shared=True
)
CAPABILITIES: Final = {
    "memory": Capabilities(),
    "sqlite": Capabilities(),
    "cache": _SHARED,
    "redis": _SHARED,
    "bucket": Capabilities(
        claims=False,
        listings=False,
        representations=False,
        origins=False,
        knows_repositories=False,
        is_shared=True,
    ),
}


def _tag_life() -> float:
    return 3600.0


@asynccontextmanager
async def _sqlite(directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    errors: list[str] = []
    opened: list[SqliteIndex] = []

    async def open_one() -> SqliteIndex:
        opened.append(
            await SqliteIndex.open(
                directory / "index.sqlite3", max_size=2**26, unused=60, on_error=errors.append
            )
        )
        return opened[-1]

    with no_deadlines():
        first = await open_one()
        second = await open_one()
        yield Opened(first, CAPABILITIES["sqlite"], lambda: second)
        for each in opened:
            await each.close()
    assert errors == []


@asynccontextmanager
async def _memory(_directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    layer = MemoryIndex()
    yield Opened(layer, CAPABILITIES["memory"], lambda: layer)
    await layer.close()


@asynccontextmanager
async def _cache(_directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    cache = MemoryManifests(2**24)

    def again() -> Layer:
        return SharedCacheLayer(cache, tag_life=_tag_life)

    yield Opened(again(), CAPABILITIES["cache"], again)


@asynccontextmanager
async def _redis(directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    errors: list[str] = []
    options = RedisOptions(connect_timeout=5.0, timeout=5.0)
    with RedisServer(directory / "redis") as server:
        cache = RedisManifests(standalone(server.url, options), on_error=errors.append)

        def again() -> Layer:
            return SharedCacheLayer(cache, tag_life=_tag_life)

        yield Opened(again(), CAPABILITIES["redis"], again)
        await cache.close()
    assert errors == []


@asynccontextmanager
async def _bucket(directory: Path, gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    place = bucket(gateway(), prefix=directory.name)
    yield Opened(BucketIndex(place), CAPABILITIES["bucket"], lambda: BucketIndex(place))
    await place.close()


LAYERS: Final = {
    "memory": _memory,
    "sqlite": _sqlite,
    "cache": _cache,
    "redis": _redis,
    "bucket": _bucket,
}
