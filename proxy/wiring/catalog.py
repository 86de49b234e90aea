"""The catalog that the settings describe: a part of the composition root."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from proxy.catalog.catalog import Catalog
from proxy.catalog.known_layers import KnownLayers
from proxy.catalog.open_only import OpenOnlyLayer
from proxy.catalog.shared_cache import SharedCacheLayer
from proxy.oci.reference import mirrors_of
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.sqlite.index import SqliteIndex
from proxy.wiring.access_rules import rules_of
from proxy.wiring.blob_store import blob_path, blob_store
from proxy.wiring.cache import count_error, open_redis, seal
from proxy.wiring.policies import lifetimes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from proxy.access.rules import Rules
    from proxy.config import Settings
    from proxy.ports import ManifestCache
    from proxy.ports.catalog import DerivedStore, Layer, RemovesContent
    from proxy.stores.bucket.blobs import ObjectBlobs
    from proxy.stores.redis.cache import RedisManifests


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """The catalog and what it stands on.

    `shared` holds the few values that all processes read: Redis, or the index where there is none.
    `own` holds those of this machine: the index, or what is shared where there is none.
    `rules` say which repositories are open, and may change.
    """

    catalog: Catalog
    rules: Rules
    shared: ManifestCache
    own: ManifestCache
    redis: RedisManifests | None
    index: SqliteIndex | None
    derived: DerivedStore
    known_layers: KnownLayers
    layers: Sequence[Layer]
    removable: Sequence[RemovesContent]


@asynccontextmanager
async def open_catalog(
    settings: Settings,
    store: DiskBlobs | ObjectBlobs,
    *,
    tag_life: Callable[[], float],
    share: Callable[[DerivedStore], DerivedStore] = lambda derived: derived,
) -> AsyncIterator[OpenCatalog]:
    """The catalog, open. A file that cannot be opened is a warning, and its layer a miss.

    `tag_life`: for how many seconds a tag's entry may be of use. `share` makes of this machine's
    derived manifests those of all replicas.
    """
    rules = rules_of(settings.access)
    redis = open_redis(settings)
    cache = None if redis is None else seal(redis, settings)
    layers: list[Layer] = []
    removable: list[RemovesContent] = []
    if cache is not None:
        shared_layer = SharedCacheLayer(
            cache,
            tag_life=tag_life,
            on_error=count_error,
            # A worker that waits for another one's lease looks for what that has learnt.
            write_behind=settings.workers == 1,
        )
        is_sealed = settings.manifests.redis.hmac_key_file is not None
        removable.append(shared_layer)
        # Also where everything is open: the rules may change.
        layers.append(shared_layer if is_sealed else OpenOnlyLayer(shared_layer, rules.is_open))
    index: SqliteIndex | None = None
    derived: DerivedStore
    try:
        if redis is None or isinstance(store, DiskBlobs):
            index = await SqliteIndex.open(
                settings.data / "index.sqlite3",
                max_size=settings.catalog.max_size,
                unused=settings.catalog.unused,
                on_error=count_error,
            )
            layers.append(index)
            removable.append(index)
        if isinstance(store, DiskBlobs):
            derived = DerivedFiles(blob_path(settings) / "derived")
        else:
            from proxy.stores.bucket.derived import DerivedObjects  # noqa: PLC0415 -- an extra
            from proxy.stores.bucket.index import BucketIndex  # noqa: PLC0415

            layers.append(BucketIndex(store.bucket))
            derived = DerivedObjects(store.bucket)
        # Those in a bucket are all replicas' already.
        derived_of_all = share(derived) if isinstance(store, DiskBlobs) else derived
        catalog = Catalog(
            layers,
            derived_of_all,
            memory=settings.manifests.memory,
            is_open=rules.is_open,
            mirrored=_names_with_mirrors(settings),
        )

        shared: ManifestCache | None = cache or index
        if shared is None:
            raise AssertionError("without Redis there is an index")
        yield OpenCatalog(
            catalog,
            rules,
            shared,
            index or shared,
            redis,
            index,
            derived,
            KnownLayers(layers),
            layers,
            removable,
        )
    finally:
        for layer in reversed(layers):
            await layer.close()
        if redis is not None:
            await redis.close()


@asynccontextmanager
async def open_stores(
    settings: Settings,
) -> AsyncIterator[tuple[DiskBlobs | ObjectBlobs, OpenCatalog]]:
    """The store of blobs and the catalog, for a process that does not serve."""
    async with AsyncExitStack() as stack:
        store = blob_store(settings)
        if not isinstance(store, DiskBlobs):
            stack.push_async_callback(store.close)
        longest = lifetimes_of(settings.tags).default.longest
        opened = open_catalog(settings, store, tag_life=lambda: longest)
        yield store, await stack.enter_async_context(opened)


def _names_with_mirrors(settings: Settings) -> list[str]:
    names = [name for name, upstream in settings.upstreams.items() if upstream.mirrors]
    return [*names, *map(mirrors_of, names)]


class CatalogUpkeep:
    """What is done for the catalog in the background."""

    def __init__(self, opened: OpenCatalog, derived_unused: float) -> None:
        """Derived manifests are deleted `derived_unused` seconds after their last use."""
        self._opened = opened
        self._derived_unused = derived_unused

    async def restore(self) -> None:
        """Wait for an index that is new, and put the derived manifests back into it."""
        index = self._opened.index
        if index is None or not isinstance(self._opened.derived, DerivedFiles):
            await asyncio.Event().wait()
            return
        await index.is_new.wait()
        index.is_new.clear()
        try:
            count = await self._opened.catalog.restore_derived()
        except BaseException:
            index.is_new.set()
            raise
        if count:
            _log.info("index.restored", derived=count)

    async def delete_unused(self) -> None:
        """Delete the derived manifests that were not used for long enough."""
        if isinstance(self._opened.derived, DerivedFiles):
            count = await self._opened.derived.delete_unused(self._derived_unused)
            if count:
                _log.info("derived.deleted_unused", count=count)
