"""A layer that others may write to knows something of open repositories, and nothing of others."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.catalog.open_only import OpenOnlyLayer
from proxy.oci.layer import LayerFacts
from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import NOTHING, Batch, Claim, Found, Grant, Listing, Proof, TagEntry
from proxy.stores.memory.index import MemoryIndex
from tests.kit.pulls import IMAGE, ORIGIN

OPEN: Final = "docker.io/library/cargo"
CLOSED: Final = "docker.io/team/secret"
ONE: Final = Tag("1")
BLOB: Final = Digest.of(b"blob")
LISTING: Final = Listing(b"page", 1000.0)
FACTS: Final = LayerFacts(BLOB, 4, Digest.of(b"archive"), 10, is_gzip=True)


class Index(MemoryIndex):
    """Notes what is done to all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def forget_mutable(self) -> None:
        self.done.append("forget")

    async def close(self) -> None:
        self.done.append("close")


def taught(repository: str) -> Batch:
    grant = Grant(Proof.DELIVERED, IMAGE.media_type)
    return Batch(
        tags=[(repository, ONE, TagEntry(IMAGE.digest, 1000.0))],
        manifests=[(IMAGE, ORIGIN)],
        grants=[(repository, IMAGE.digest, grant)],
        claims=[(repository, IMAGE.digest, BLOB, Claim(None, 4))],
        representations=[("made", IMAGE.digest)],
        listings=[(repository, "tags:", LISTING)],
        layers=[FACTS],
    )


@pytest.fixture
async def index() -> Index:
    """It has been told the same of both repositories."""
    index = Index()
    for repository in (OPEN, CLOSED):
        await index.commit(taught(repository))
    return index


@pytest.fixture
def layer(index: Index) -> OpenOnlyLayer:
    return OpenOnlyLayer(index, lambda repository: repository == OPEN)


async def looks(layer: OpenOnlyLayer, repository: str) -> list[Found]:
    return [
        await layer.look_tag(repository, ONE),
        await layer.look_manifest(repository, IMAGE.digest),
        await layer.look_blob(repository, BLOB),
    ]


async def test_an_open_repository_has_all_that_the_layer_has(layer: OpenOnlyLayer) -> None:
    tag, manifest, blob = await looks(layer, OPEN)
    assert tag.tag == TagEntry(IMAGE.digest, 1000.0)
    assert manifest.raw == IMAGE.raw
    assert manifest.grant is not None
    assert blob.claim == Claim(None, 4)
    assert await layer.look_listing(OPEN, "tags:") == LISTING


async def test_a_closed_repository_has_nothing(layer: OpenOnlyLayer) -> None:
    assert await looks(layer, CLOSED) == [NOTHING, NOTHING, NOTHING]
    assert await layer.look_listing(CLOSED, "tags:") is None


async def test_it_is_asked_each_time_whether_a_repository_is_open(index: Index) -> None:
    opened: set[str] = set()
    layer = OpenOnlyLayer(index, opened.__contains__)
    assert await looks(layer, CLOSED) == [NOTHING, NOTHING, NOTHING]
    opened.add(CLOSED)
    assert NOTHING not in await looks(layer, CLOSED)


async def test_what_belongs_to_no_repository_is_found(layer: OpenOnlyLayer) -> None:
    assert await layer.look_representation("made") == IMAGE.digest
    assert await layer.look_layer(BLOB) == FACTS


async def test_closed_repositories_are_written_for_other_readers(index: Index) -> None:
    layer = OpenOnlyLayer(index, lambda _repository: False)
    later = TagEntry(IMAGE.digest, 2000.0)
    await layer.commit(Batch(tags=[(CLOSED, ONE, later)]))
    assert (await index.look_tag(CLOSED, ONE)).tag == later
    await layer.drop_tag(CLOSED, ONE)
    assert (await index.look_tag(CLOSED, ONE)).tag is None


async def test_closed_repositories_are_purged_as_well(index: Index) -> None:
    layer = OpenOnlyLayer(index, lambda _repository: False)
    assert await layer.purge(CLOSED, 1500.0, tags=False)
    assert await index.look_listing(CLOSED, "tags:") is None
    assert (await index.look_tag(CLOSED, ONE)).tag is not None
    assert await layer.purge(CLOSED, 1500.0, tags=True)
    assert (await index.look_tag(CLOSED, ONE)).tag is None


async def test_what_is_done_to_a_layer_is_done_to_the_one_behind(
    layer: OpenOnlyLayer, index: Index
) -> None:
    layer.forget_mutable()
    await layer.close()
    assert index.done == ["forget", "close"]
