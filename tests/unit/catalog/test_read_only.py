"""A catalog for one question: it reads what is stored, and leaves it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.catalog.catalog import Catalog
from proxy.catalog.read_only import ReadOnlyDerived, ReadOnlyLayer
from proxy.oci.derivation import DerivedBlob
from proxy.oci.derived_record import DerivedRecord
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Repository, Tag
from proxy.ports.catalog import Listing, Proof, TagEntry
from proxy.stores.memory.index import MemoryIndex
from tests.kit import images, schema1
from tests.kit.catalogs import MemoryDerived
from tests.kit.pulls import CARGO, IMAGE, INDEX, ONE, ORIGIN, pull_of
from tests.kit.watched_layer import WatchedLayer

if TYPE_CHECKING:
    from proxy.ports.catalog import Layer

LAYER: Final = schema1.facts_of(images.layer({"srv/file": b"cargo"}).blob)
PAGE: Final = Listing(b'{"name":"library/cargo","tags":["1.0"]}', 1000.0)
CONFIG: Final = DerivedBlob(MediaType.V2S2, Digest.of(b"{}"), b"{}")
RECORD: Final = DerivedRecord(CONFIG.digest, CONFIG, ORIGIN, frozenset({CARGO}))


async def stored() -> WatchedLayer:
    """A layer that has something of everything."""
    layer = WatchedLayer(MemoryIndex())
    batch = pull_of(IMAGE)
    batch.representations.append(("key", INDEX.digest))
    batch.layers.append(LAYER)
    batch.listings.append((CARGO, "tags", PAGE))
    await layer.commit(batch)
    layer.reset()
    return layer


async def everything(layer: Layer) -> list[object]:
    """What the layer says of all that `stored` has, and of what it has not."""
    return [
        await layer.look_tag(CARGO, ONE),
        await layer.look_tag(CARGO, Tag("none")),
        await layer.look_manifest(CARGO, IMAGE.digest),
        await layer.look_manifest(CARGO, INDEX.digest),
        await layer.look_blob(CARGO, IMAGE.config.digest),
        await layer.look_layer(LAYER.digest),
        await layer.look_representation("key"),
        await layer.look_representation("none"),
        await layer.look_listing(CARGO, "tags"),
        await layer.look_listing(CARGO, "none"),
    ]


async def test_all_that_is_stored_can_be_read() -> None:
    layer = await stored()
    found = await everything(ReadOnlyLayer(layer))
    assert found == await everything(layer)
    assert LAYER in found
    assert PAGE in found


async def test_nothing_is_written_or_forgotten() -> None:
    layer = await stored()
    before = await everything(layer)
    question = ReadOnlyLayer(layer)
    await question.commit(pull_of(INDEX, at=5000.0))
    await question.drop_tag(CARGO, ONE)
    assert not await question.purge(CARGO, 10_000.0, tags=True)
    question.forget_mutable()
    await question.close()
    assert await everything(layer) == before
    assert not layer.calls.keys() & {"commit", "drop_tag", "purge"}


async def test_a_catalog_remembers_what_it_would_have_written_and_others_do_not() -> None:
    layer, derived = await stored(), MemoryDerived()
    question = Catalog([ReadOnlyLayer(layer)], ReadOnlyDerived(derived), memory=2**20)
    repository = Repository("docker.io", "library/cargo", "cargo")
    entry = TagEntry(INDEX.digest, 2000.0)
    await question.learn(repository, INDEX, Proof.DELIVERED, tag=(Tag("2"), entry))
    assert question.remembered_tag(repository, Tag("2")) == entry
    made = await question.derive(repository, IMAGE, ORIGIN)
    assert (await question.look_manifest(repository, made.digest)).manifest == IMAGE
    assert derived.stored == {}
    assert layer.batches == []


async def test_derived_content_is_read_and_what_would_be_stored_is_returned() -> None:
    store = MemoryDerived()
    question = ReadOnlyDerived(store)
    assert await question.put(RECORD) == RECORD
    await question.replace(RECORD)
    assert store.stored == {}
    assert await question.get(RECORD.digest, CARGO) is None
    await store.put(RECORD)
    assert await question.get(RECORD.digest, CARGO) == RECORD
    assert [record async for record in question.records()] == [RECORD]
