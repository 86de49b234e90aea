"""Purging: what is forgotten, and when the operator is told to try again."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.generation import Generation
from proxy.catalog.known_purges import MOST, KnownPurges, Purged
from proxy.catalog.purge import Purges
from proxy.catalog.purge_journal import PurgeJournal
from proxy.catalog.routing import Standby
from proxy.errors import ManifestUnknown, NameUnknown, StorageFailure
from proxy.oci.reference import Digest, Repository, Tag, mirrors_of
from proxy.ports.catalog import Listing, Proof, TagEntry
from proxy.stores.memory.cache import MemoryManifests
from tests.kit.pulls import IMAGE, ONE

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
# What the registry has said, and what its mirrors have said while it was down.
PLACES: Final = (CARGO, CARGO.at_mirrors)
TWO: Final = Tag("2.0")


class OneRepository:
    """Routes every name to it."""

    def repository(self, *_arguments: object, **_more: object) -> Repository:
        return CARGO

    def as_written(self, _image: str) -> Repository:
        return CARGO

    @property
    def names(self) -> dict[str, str]:
        return {"docker.io": "docker.io"}

    def hint(self, *_arguments: object) -> str:
        return "; nor is its upstream"


@pytest.fixture
def purges(world: ManifestWorld) -> Purges:
    generation = Generation(MemoryManifests(2**20), world.catalog.forget_mutable)
    routes: object = OneRepository()
    return Purges(
        routes=routes,  # type: ignore[arg-type]
        catalog=world.catalog,
        generation=generation,
        standby=Standby([mirrors_of("docker.io")]),
    )


@pytest.fixture
def journal() -> PurgeJournal:
    return PurgeJournal(MemoryManifests(2**20))


@pytest.fixture
def told() -> list[tuple[Repository | None, str]]:
    """What other parts of the process were told."""
    return []


@pytest.fixture
def replica(
    world: ManifestWorld, journal: PurgeJournal, told: list[tuple[Repository | None, str]]
) -> Purges:
    """As `purges`, where other replicas are told."""
    routes: object = OneRepository()
    return Purges(
        routes=routes,  # type: ignore[arg-type]
        catalog=world.catalog,
        generation=Generation(MemoryManifests(2**20), world.catalog.forget_mutable),
        standby=Standby(()),
        journal=journal,
        announce=lambda repository, tag: told.append((repository, tag)),
    )


def elsewhere(count: int) -> KnownPurges:
    """What a replica knows that was asked for so many purges of other repositories."""
    return KnownPurges().add(
        Purged(float(at), "docker.io", f"library/{at}", "1") for at in range(count)
    )


async def fill(world: ManifestWorld) -> None:
    for place, tag in product(PLACES, (ONE, TWO)):
        entry = TagEntry(IMAGE.digest, world.clock.wall())
        await world.catalog.learn(place, IMAGE, Proof.DELIVERED, tag=(tag, entry))
        await world.catalog.put_listing(place, "tags:", Listing(b"page", world.clock.wall()))


@pytest.mark.parametrize(
    ("reference", "left"),
    [(None, set()), (ONE, {TWO}), (IMAGE.digest, {ONE, TWO})],
    ids=["repository", "tag", "digest"],
)
async def test_tags_and_listings_are_forgotten_and_content_stays(
    world: ManifestWorld, purges: Purges, reference: Digest | Tag | None, left: set[Tag]
) -> None:
    await fill(world)
    assert await purges.purge("cargo", reference) == CARGO
    for place, tag in product(PLACES, (ONE, TWO)):
        lookup = await world.catalog.look(place, tag, fresh=lambda _: True)
        assert (lookup.entry is not None) is (tag in left)
        assert await world.catalog.listing(place, "tags:") is None
    assert (await world.catalog.look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE


async def test_a_layer_that_is_away_is_an_error_to_try_again(
    world: ManifestWorld, purges: Purges
) -> None:
    await fill(world)
    world.layer.away = True
    with pytest.raises(StorageFailure, match="try again"):
        await purges.purge("cargo", None)
    world.layer.away = False
    await purges.purge("cargo", None)
    lookup = await world.catalog.look(CARGO, ONE, fresh=lambda _: True)
    assert lookup.entry is None


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (Tag("3.0"), "docker.io/library/cargo:3.0 is not cached; nor is its upstream"),
        (Digest.of(b"x"), f"docker.io/library/cargo@{Digest.of(b'x')} is not cached; nor"),
    ],
    ids=["tag", "digest"],
)
async def test_what_is_not_cached_is_an_error(
    world: ManifestWorld, purges: Purges, reference: Digest | Tag, said: str
) -> None:
    """But refusals and listings are forgotten all the same."""
    await fill(world)
    with pytest.raises(ManifestUnknown) as raised:
        await purges.purge("cargo", reference)
    assert raised.value.message.startswith(said)
    assert await world.catalog.listing(CARGO, "tags:") is None


async def test_a_repository_of_which_nothing_is_cached_is_an_error(
    world: ManifestWorld, purges: Purges
) -> None:
    with pytest.raises(NameUnknown, match=r"nothing of docker\.io/library/cargo is cached"):
        await purges.purge("cargo", None)
    await fill(world)
    assert await purges.purge("cargo", None) == CARGO


async def test_a_replica_that_missed_a_few_purges_does_these(
    world: ManifestWorld, replica: Purges, journal: PurgeJournal
) -> None:
    await fill(world)
    await replica.learn(elsewhere(MOST).encode())
    assert (await world.catalog.look(CARGO, ONE, fresh=lambda _: True)).entry is not None
    assert await journal.entries() == elsewhere(MOST)


async def test_a_replica_that_missed_too_many_asks_for_everything_again(
    world: ManifestWorld,
    replica: Purges,
    journal: PurgeJournal,
    told: list[tuple[Repository | None, str]],
) -> None:
    """Its tags may be among those that were purged, and nobody knows any more which these are."""
    await fill(world)
    await replica.learn(elsewhere(MOST + 1).encode())
    assert (await world.catalog.look(CARGO, ONE, fresh=lambda _: True)).entry is None
    assert await world.catalog.listing(CARGO, "tags:") is None
    assert (await world.catalog.look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE
    assert (None, "*") in told
    assert await journal.entries() == elsewhere(MOST + 1)
    # It does so once.
    world.clock.advance(1.0)
    await fill(world)
    told.clear()
    await replica.learn(elsewhere(MOST + 2).encode())
    assert (await world.catalog.look(CARGO, ONE, fresh=lambda _: True)).entry is not None
    assert (None, "*") not in told


async def test_what_a_layer_did_not_take_is_learnt_again(
    world: ManifestWorld, replica: Purges, journal: PurgeJournal
) -> None:
    await fill(world)
    world.layer.away = True
    await replica.learn(elsewhere(MOST + 1).encode())
    assert await journal.entries() == KnownPurges()
    world.layer.away = False
    await replica.learn(elsewhere(MOST + 1).encode())
    assert (await world.catalog.look(CARGO, ONE, fresh=lambda _: True)).entry is None
