"""Derived manifests in the catalog: durable first, granted to one repository after another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.catalog import Catalog
from proxy.catalog.known_layers import KnownLayers
from proxy.errors import StoreError
from proxy.oci.derivation import ConversionInputs, DerivedBlob, Origin
from proxy.oci.layer import LayerFacts
from proxy.oci.mediatype import DOCKER_CONFIG, MediaType
from proxy.oci.reference import Digest, Repository
from proxy.ports.catalog import Grant, Proof
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.memory.index import MemoryIndex
from tests.kit import images
from tests.kit.full_disk import files_limited_to
from tests.kit.manual_clock import ManualClock
from tests.kit.pulls import IMAGE, ORIGIN, manifest_of, pull_of
from tests.kit.watched_layer import WatchedLayer

if TYPE_CHECKING:
    from pathlib import Path

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
SOURCE: Final = manifest_of(images.oci())
INPUTS: Final = ConversionInputs(name="cargo", tag="1.0")
GRANT: Final = Grant(Proof.DERIVED, IMAGE.media_type)


class Place:
    """Two layers that can be lost, and a derived store that cannot."""

    def __init__(self, data: Path) -> None:
        self.directory = data / "derived"
        self.lose_layers()

    def lose_layers(self) -> None:
        """As if Redis and the index had been deleted."""
        self.near = WatchedLayer(MemoryIndex())
        self.far = WatchedLayer(MemoryIndex())

    def catalog(self) -> Catalog:
        """As a new process has it."""
        return Catalog(
            [self.near, self.far],
            DerivedFiles(self.directory),
            memory=2**20,
            clock=ManualClock(),
        )


@pytest.fixture
def place(data_dir: Path) -> Place:
    return Place(data_dir)


async def test_a_derived_manifest_is_found_by_every_process_with_its_origin(place: Place) -> None:
    catalog = place.catalog()
    assert await catalog.derive(CARGO, IMAGE, ORIGIN) == IMAGE
    for each in (catalog, place.catalog()):
        lookup = await each.look_manifest(CARGO, IMAGE.digest)
        assert (lookup.access, lookup.manifest) == (GRANT, IMAGE)
        assert await each.origin(IMAGE.digest) == ORIGIN
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).origin == ORIGIN
    assert await catalog.origin(SOURCE.digest) is None


async def test_it_survives_the_loss_of_every_layer_and_is_put_back_by_use(place: Place) -> None:
    await place.catalog().derive(CARGO, IMAGE, ORIGIN)
    place.lose_layers()
    lookup = await place.catalog().look_manifest(CARGO, IMAGE.digest)
    assert (lookup.access, lookup.manifest, lookup.origin) == (GRANT, IMAGE, ORIGIN)
    for layer in (place.near, place.far):
        found = await layer.look_manifest(str(CARGO), IMAGE.digest)
        assert (found.grant, found.raw, found.origin) == (GRANT, IMAGE.raw, ORIGIN.encode())


async def test_it_is_served_in_the_repositories_only_where_it_was_sent(place: Place) -> None:
    await place.catalog().derive(CARGO, IMAGE, ORIGIN)
    for _ in range(2):
        lookup = await place.catalog().look_manifest(OTHER, IMAGE.digest)
        assert (lookup.access, lookup.manifest) == (None, None)
        place.lose_layers()
    await place.catalog().derive(OTHER, IMAGE, ORIGIN)
    place.lose_layers()
    for repository in (CARGO, OTHER):
        lookup = await place.catalog().look_manifest(repository, IMAGE.digest)
        assert lookup.manifest == IMAGE


CONFIG: Final = DerivedBlob(DOCKER_CONFIG, Digest.of(b"{}"), b"{}")


async def test_a_derived_config_is_a_blob_and_no_manifest(place: Place) -> None:
    """Granted to the repository that it was made for, whatever is lost."""
    await place.catalog().derive_blob(CARGO, CONFIG, ORIGIN)
    for _ in range(2):
        catalog = place.catalog()
        record = await catalog.derived_blob(CARGO, CONFIG.digest)
        assert record is not None
        assert (record.content, record.origin) == (CONFIG, ORIGIN)
        assert await catalog.derived_blob(OTHER, CONFIG.digest) is None
        assert (await catalog.look_manifest(CARGO, CONFIG.digest)).manifest is None
        assert await catalog.origin(CONFIG.digest) is None
        place.lose_layers()
    assert (await place.catalog().look_blob(CARGO, CONFIG.digest)).access is None
    assert await place.catalog().restore_derived() == 1
    assert (await place.catalog().look_blob(CARGO, CONFIG.digest)).access == Grant(Proof.DERIVED)


async def test_a_derived_manifest_is_no_blob(place: Place) -> None:
    await place.catalog().derive(CARGO, IMAGE, ORIGIN)
    assert await place.catalog().derived_blob(CARGO, IMAGE.digest) is None


async def test_a_config_that_cannot_be_stored_is_an_error_and_known_nowhere(place: Place) -> None:
    catalog = place.catalog()
    with files_limited_to(100), pytest.raises(StoreError):
        await catalog.derive_blob(CARGO, CONFIG, ORIGIN)
    assert not catalog.remembers_access(CARGO, CONFIG.digest)


async def test_what_is_known_of_layers_is_kept_by_every_layer(place: Place) -> None:
    facts = LayerFacts(IMAGE.digest, 1, SOURCE.digest, 2, is_gzip=True)
    known = KnownLayers([place.near, place.far])
    assert await known.get(IMAGE.digest) is None
    await known.put(facts)
    assert await known.get(IMAGE.digest) == facts
    place.near.away = True
    assert await known.get(IMAGE.digest) == facts


async def test_what_cannot_be_stored_is_an_error_and_known_nowhere(place: Place) -> None:
    """A digest that cannot be pulled later must not be sent."""
    catalog = place.catalog()
    with files_limited_to(100), pytest.raises(StoreError):
        await catalog.derive(CARGO, IMAGE, ORIGIN)
    assert not catalog.remembers_access(CARGO, IMAGE.digest)
    assert place.near.batches == place.far.batches == []
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest is None


async def test_a_store_that_cannot_be_asked_is_a_miss_to_readers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.catalog().derive(CARGO, IMAGE, ORIGIN)
    place.lose_layers()

    async def fail(*_arguments: object) -> None:
        raise StoreError("the disk is away")

    monkeypatch.setattr(DerivedFiles, "get", fail)
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest is None
    assert await place.catalog().origin(IMAGE.digest) is None


async def test_the_layers_answer_while_the_store_cannot_be_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.catalog().derive(CARGO, IMAGE, ORIGIN)

    async def fail(*_arguments: object) -> None:
        raise StoreError("the disk is away")

    for method in ("get", "put"):
        monkeypatch.setattr(DerivedFiles, method, fail)
    lookup = await place.catalog().look_manifest(CARGO, IMAGE.digest)
    assert lookup.manifest == IMAGE


async def test_damaged_bytes_leave_the_grant_and_the_origin(place: Place) -> None:
    await place.catalog().derive(CARGO, IMAGE, ORIGIN)
    path = place.directory / IMAGE.digest
    path.write_bytes(path.read_bytes()[:-1])
    place.lose_layers()
    catalog = place.catalog()
    lookup = await catalog.look_manifest(CARGO, IMAGE.digest)
    assert (lookup.access, lookup.manifest) == (Grant(Proof.DERIVED), None)
    assert lookup.origin == ORIGIN
    assert await catalog.derive(CARGO, IMAGE, ORIGIN, replaces=True) == IMAGE
    place.lose_layers()
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE


async def test_what_another_replica_has_made_becomes_durable_here(place: Place) -> None:
    """It is found in the shared cache, which is never the only copy."""
    batch = pull_of(IMAGE, str(CARGO), tag=None, proof=Proof.DERIVED, origin=ORIGIN)
    await place.near.commit(batch)
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE
    place.lose_layers()
    lookup = await place.catalog().look_manifest(CARGO, IMAGE.digest)
    assert (lookup.manifest, lookup.origin) == (IMAGE, ORIGIN)


async def test_an_origin_that_cannot_be_read_is_none(place: Place) -> None:
    batch = pull_of(IMAGE, str(CARGO), tag=None, proof=Proof.DERIVED)
    await place.near.commit(batch)
    place.near._layer._contents[IMAGE.digest] = IMAGE.raw, b"garbage"  # type: ignore[attr-defined]
    lookup = await place.catalog().look_manifest(CARGO, IMAGE.digest)
    assert (lookup.manifest, lookup.origin) == (IMAGE, None)


async def test_a_representation_is_found_on_its_own_terms_only(place: Place) -> None:
    catalog = place.catalog()
    target = MediaType.V2S1_SIGNED
    await catalog.derive(CARGO, IMAGE, replace(ORIGIN, target=target), source=SOURCE)
    assert await place.catalog().representation(CARGO, SOURCE, target, INPUTS) == IMAGE
    for other in (replace(INPUTS, tag="1.1"), replace(INPUTS, name="docker.io/cargo")):
        assert await catalog.representation(CARGO, SOURCE, target, other) is None
    assert await catalog.representation(CARGO, SOURCE, MediaType.V2S2, INPUTS) is None
    assert await catalog.representation(CARGO, IMAGE, target, INPUTS) is None


async def test_a_representation_is_no_grant(place: Place) -> None:
    """It is made again for the other repository, which adds the grant."""
    catalog = place.catalog()
    await catalog.derive(CARGO, IMAGE, ORIGIN, source=SOURCE)
    assert await catalog.representation(OTHER, SOURCE, MediaType.V2S2, INPUTS) is None
    await catalog.derive(OTHER, IMAGE, ORIGIN)
    assert await catalog.representation(OTHER, SOURCE, MediaType.V2S2, INPUTS) == IMAGE


async def test_the_far_layer_knows_a_representation_that_the_near_one_has_lost(
    place: Place,
) -> None:
    catalog = place.catalog()
    await catalog.derive(CARGO, IMAGE, ORIGIN, source=SOURCE)
    place.near = WatchedLayer(MemoryIndex())
    assert await place.catalog().representation(CARGO, SOURCE, MediaType.V2S2, INPUTS) == IMAGE


async def test_a_new_index_gets_all_that_is_in_the_derived_store(place: Place) -> None:
    manifests = [manifest_of(images.oci(f"image-{n}")) for n in range(5)]
    catalog = place.catalog()
    for manifest in manifests:
        await catalog.derive(CARGO, manifest, ORIGIN)
        await catalog.derive(OTHER, manifest, ORIGIN)
    damaged = place.directory / manifests[0].digest
    damaged.write_bytes(damaged.read_bytes()[:-1])
    place.lose_layers()
    assert await place.catalog().restore_derived() == 4
    for layer in (place.near, place.far):
        for repository in (CARGO, OTHER):
            for manifest in manifests[1:]:
                found = await layer.look_manifest(str(repository), manifest.digest)
                assert found.grant == Grant(Proof.DERIVED, manifest.media_type)
                assert found.raw == manifest.raw
                assert found.origin is not None
                assert Origin.decode(found.origin) == ORIGIN
    assert (await place.far.look_manifest(str(CARGO), manifests[0].digest)).raw is None


async def test_nothing_to_restore_is_nothing(place: Place) -> None:
    assert await place.catalog().restore_derived() == 0
    assert place.far.batches == []
    assert (await place.catalog().look_manifest(CARGO, Digest.of(b"x"))).manifest is None
