"""The catalog's layers under contract, and what is put into them. A new one joins by a row."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.claims import claims_of
from proxy.catalog.shared_cache import SharedCacheLayer
from proxy.oci.derivation import ConversionInputs, Origin
from proxy.oci.manifest import Image, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import Batch, Grant, Proof, TagEntry
from proxy.stores.bucket.index import BucketIndex
from proxy.stores.memory.cache import MemoryManifests
from proxy.stores.memory.index import MemoryIndex
from proxy.stores.redis.cache import RedisManifests
from proxy.stores.redis.options import RedisOptions
from proxy.stores.redis.servers import standalone
from proxy.stores.sqlite import index, reader
from proxy.stores.sqlite.index import SqliteIndex
from tests.kit import images
from tests.kit.blob_stores import bucket
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from proxy.oci.manifest import Manifest
    from proxy.ports.catalog import Layer
    from tests.kit.images import Content
    from tests.kit.s3_gateway import Gateway

CARGO: Final = "docker.io/library/cargo"
OTHER: Final = "docker.io/library/other"
ELSEWHERE: Final = "quay.io/library/cargo"
ONE: Final = Tag("1.0")


def manifest_of(content: Content) -> Manifest:
    """The content's manifest, as the proxy reads it."""
    return read_manifest(content.manifest, content.media_type)


def image_of(content: Content) -> Image:
    """The same, of content that is an image."""
    manifest = manifest_of(content)
    assert isinstance(manifest, Image)
    return manifest


IMAGE: Final = image_of(images.docker())
INDEX: Final = manifest_of(images.oci_index())
ORIGIN: Final = Origin(
    source=Digest.of(b"source"),
    target=MediaType.V2S2,
    inputs=ConversionInputs(name="cargo", tag="1.0"),
)


def pull_of(
    manifest: Manifest,
    repository: str = CARGO,
    *,
    tag: Tag | None = ONE,
    at: float = 1000.0,
    proof: Proof = Proof.DELIVERED,
    origin: Origin | None = None,
) -> Batch:
    """What one pull of `manifest` teaches; `at` is when its tag was validated."""
    batch = Batch()
    if tag is not None:
        batch.tags.append((repository, tag, TagEntry(manifest.digest, at)))
    batch.manifests.append((manifest, origin))
    batch.grants.append((repository, manifest.digest, Grant(proof, manifest.media_type)))
    batch.claims += [
        (repository, manifest.digest, digest, claim)
        for digest, claim in claims_of(manifest).items()
    ]
    return batch


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a layer keeps, as its documentation says."""

    claims: bool = True
    listings: bool = True
    representations: bool = True
    origins: bool = True
    knows_repositories: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """A layer under contract. `again` opens another one at the same place, as a process does."""

    layer: Layer
    can: Capabilities
    again: Callable[[], Layer]


def _tag_life() -> float:
    return 3600.0


@contextmanager
def no_deadlines() -> Iterator[None]:
    """Have the index on disk wait as long as a busy machine needs: what is late is a miss."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_COMMIT_WITHIN", 30.0)
        patch.setattr(reader, "_DEADLINE", 30.0)
        yield


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
        yield Opened(first, Capabilities(), lambda: second)
        for each in opened:
            await each.close()
    assert errors == []


@asynccontextmanager
async def _memory(_directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    layer = MemoryIndex()
    yield Opened(layer, Capabilities(), lambda: layer)
    await layer.close()


_SHARED: Final = Capabilities(claims=False, knows_repositories=False)


@asynccontextmanager
async def _cache(_directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    cache = MemoryManifests(2**24)

    def again() -> Layer:
        return SharedCacheLayer(cache, tag_life=_tag_life)

    yield Opened(again(), _SHARED, again)


@asynccontextmanager
async def _redis(directory: Path, _gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    errors: list[str] = []
    options = RedisOptions(connect_timeout=5.0, timeout=5.0)
    with RedisServer(directory / "redis") as server:
        cache = RedisManifests(standalone(server.url, options), on_error=errors.append)

        def again() -> Layer:
            return SharedCacheLayer(cache, tag_life=_tag_life)

        yield Opened(again(), _SHARED, again)
        await cache.close()
    assert errors == []


@asynccontextmanager
async def _bucket(directory: Path, gateway: Callable[[], Gateway]) -> AsyncIterator[Opened]:
    place = bucket(gateway(), prefix=directory.name)
    can = Capabilities(
        claims=False,
        listings=False,
        representations=False,
        origins=False,
        knows_repositories=False,
    )
    yield Opened(BucketIndex(place), can, lambda: BucketIndex(place))
    await place.close()


LAYERS: Final = {
    "memory": _memory,
    "sqlite": _sqlite,
    "cache": _cache,
    "redis": _redis,
    "bucket": _bucket,
}


async def until(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """Return when it holds, which it must in so many seconds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        await asyncio.sleep(0.005)
