"""What is known of kept images stays in use, so that a bounded index does not evict it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.catalog.catalog import Catalog
from proxy.catalog.kept import KeptImages
from proxy.catalog.routing import Routes
from proxy.errors import NameUnknown, RequestInvalid
from proxy.oci.reference import Digest, Repository, Tag
from proxy.ports.catalog import Batch, TagEntry
from proxy.stores.disk.kept import KeptFiles
from proxy.stores.disk.layout import Layout
from proxy.stores.memory.index import MemoryIndex
from tests.kit.catalogs import MemoryDerived

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = Routes({"docker.io": "docker.io"}, "docker.io", frozenset({"docker.io"}))
MANIFEST, BLOB = Digest.of(b"manifest"), Digest.of(b"blob")


def catalog_of(index: MemoryIndex) -> Catalog:
    return Catalog([index], MemoryDerived(), memory=2**20)


class Watched(MemoryIndex):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []

    async def commit(self, batch: Batch) -> None:
        self.batches.append(batch)
        await super().commit(batch)


async def test_a_kept_image_counts_as_used_at_once_and_in_every_round(tmp_path: Path) -> None:
    index, layout = Watched(), Layout(tmp_path)
    layout.spools.mkdir()
    layout.blob(BLOB).parent.mkdir(parents=True)
    layout.blob(BLOB).write_bytes(b"blob")
    catalog = catalog_of(index)
    kept = KeptImages(routes=ROUTES, catalog=catalog, store=KeptFiles(layout, max_size=None))
    ship = Repository("docker.io", "library/ship", "ship")
    entry = TagEntry(MANIFEST, 1.0)
    await catalog.put_tag(ship, Tag("1"), entry)
    index.batches.clear()
    await kept.keep("ship", Tag("1"), [MANIFEST], [BLOB])
    await kept.refresh()
    assert [batch.touched for batch in index.batches] == [[MANIFEST, BLOB]] * 2
    assert [batch.tags for batch in index.batches] == [[("docker.io/library/ship", "1", entry)]] * 2
    assert str(await kept.forget("ship", Tag("1"))) == "docker.io/library/ship"
    with pytest.raises(NameUnknown, match="library/ship:1 is not kept"):
        await kept.forget("ship", Tag("1"))
    await kept.refresh()
    assert len(index.batches) == 2


async def test_in_a_bucket_nothing_can_be_kept() -> None:
    kept = KeptImages(routes=ROUTES, catalog=catalog_of(MemoryIndex()), store=None)
    assert (await kept.images(), kept.limit) == ([], None)
    with pytest.raises(RequestInvalid, match="a bucket's lifecycle rule evicts"):
        await kept.keep("ship", Tag("1"), [], [])
