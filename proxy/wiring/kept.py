"""The images that are kept: a part of the composition root."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.catalog.kept import KeptImages
from proxy.stores.disk.kept import KeptFiles
from proxy.stores.disk.layout import Layout
from proxy.wiring.blob_store import blob_path
from proxy.wiring.catalog import open_stores
from proxy.wiring.policies import routes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.catalog.catalog import Catalog
    from proxy.config import Settings


def kept_of(settings: Settings, catalog: Catalog) -> KeptImages:
    """Those of a catalog that is open already."""
    return KeptImages(routes=routes_of(settings), catalog=catalog, store=files_of(settings))


def files_of(settings: Settings) -> KeptFiles | None:
    """Where it is written which images are kept; None where blobs are in a bucket."""
    if settings.blobs.store != "disk":
        return None
    return KeptFiles(Layout(blob_path(settings)), max_size=settings.blobs.max_size)


@asynccontextmanager
async def open_kept(settings: Settings) -> AsyncIterator[KeptImages]:
    """Open what a process needs that keeps images, but does not serve."""
    async with open_stores(settings) as (_, opened):
        yield kept_of(settings, opened.catalog)
