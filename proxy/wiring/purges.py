"""What purges: a part of the composition root."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from proxy.catalog.generation import Generation
from proxy.catalog.purge import Purges
from proxy.catalog.purge_journal import PurgeJournal
from proxy.catalog.removal import ContentRemoval
from proxy.catalog.routing import Standby
from proxy.kit.singleflight import SingleFlight
from proxy.stores.disk.blobs import DiskBlobs
from proxy.wiring.access import audit_of_purges, open_audit
from proxy.wiring.catalog import open_stores
from proxy.wiring.kept import files_of
from proxy.wiring.policies import routes_of
from proxy.wiring.upstreams import standing_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.config import Settings
    from proxy.stores.bucket.blobs import ObjectBlobs
    from proxy.wiring.catalog import OpenCatalog


def removal_of(
    settings: Settings, opened: OpenCatalog, store: DiskBlobs | ObjectBlobs
) -> ContentRemoval | None:
    """What removes content; None where blobs are in a bucket."""
    files = files_of(settings)
    if files is None or not isinstance(store, DiskBlobs):
        return None
    return ContentRemoval(
        catalog=opened.catalog,
        layers=opened.removable,
        derived=opened.derived,
        blobs=store,
        kept=files,
    )


@asynccontextmanager
async def open_purges(settings: Settings) -> AsyncIterator[Purges]:
    """Open what a process needs that purges, but does not serve."""
    async with AsyncExitStack() as stack:
        store, opened = await stack.enter_async_context(open_stores(settings))
        flights = SingleFlight()
        stack.push_async_callback(flights.close)
        audit = open_audit(settings, {}, flights)
        if audit is not None:
            stack.push_async_callback(audit.flush)
        yield Purges(
            routes=routes_of(settings),
            catalog=opened.catalog,
            generation=Generation(opened.shared, opened.catalog.forget_mutable),
            standby=Standby(standing_in(settings)),
            journal=PurgeJournal(opened.own) if settings.peers.listen is not None else None,
            removal=removal_of(settings, opened, store),
            audit=audit_of_purges(audit),
        )
