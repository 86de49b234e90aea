"""Random faults at random moments: every pull is right, and ends within a bound."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import RegistryError, UpstreamInvalid
from tests.kit.memory_fleet import Fleet

if TYPE_CHECKING:
    from proxy.oci.reference import Digest

_SCHEDULES: Final = 200
_REPLICAS: Final = 5
_STEPS: Final = 12
# Two owners are silent for a second each before the head of their answer; each of four attempts may
# meet two more, with half a second between attempts. In seconds.
_LONGEST: Final = 15.0
_SIZES: Final = (100, 5_000, 60_000, 200_000)


async def _pull(fleet: Fleet, address: str, digest: Digest) -> str | None:
    """Pull once; what is wrong, if anything is."""
    content = fleet.upstream.blobs[digest]
    try:
        found = await fleet.replicas[address].pull(digest, len(content))
    except UpstreamInvalid:
        # Another replica has lied about a large blob, and the client tries again.
        return None if len(content) > 64 * 1024 else "a lie about a small blob is not seen"
    except RegistryError as error:
        return f"{address}: {error.message}"
    return None if found == content else "wrong bytes"


def _fault(fleet: Fleet) -> None:
    """Break or mend something."""
    network, chance = fleet.network, fleet.chance
    address = chance.choice(fleet.addresses)
    match chance.randrange(8):
        case 0:
            network.dead.add(address)
        case 1:
            network.frozen.add(address)
        case 2:
            network.lying = {address}
        case 3:
            network.apart = set(chance.sample(fleet.addresses, 2))
        case _:
            network.dead.clear()
            network.frozen.clear()
            network.lying.clear()
            network.apart.clear()


async def _run(seed: int) -> tuple[Fleet, list[str]]:
    fleet = Fleet(_REPLICAS, random.Random(seed))  # noqa: S311 -- the same each time
    digests = [fleet.upstream.add(fleet.chance.randbytes(size)) for size in _SIZES * 2]
    problems: list[str] = []
    try:
        for _ in range(_STEPS):
            _fault(fleet)
            absent = fleet.network.dead | fleet.network.frozen
            pulls = [
                asyncio.create_task(_pull(fleet, address, fleet.chance.choice(digests)))
                for address in fleet.addresses
                if address not in absent
            ]
            await fleet.finish(pulls, _LONGEST)
            problems += [problem for pull in pulls if (problem := pull.result()) is not None]
            probes = [
                asyncio.create_task(replica.replicas.probe())
                for address, replica in fleet.replicas.items()
                if address not in absent
            ]
            await fleet.finish(probes, _LONGEST)
            await fleet.clock.run(fleet.chance.choice([0.0, 1.0, 20.0]))
        for replica in fleet.replicas.values():
            for digest in digests:
                blob = await replica.store.open(digest)
                if blob is not None:
                    if not digest.matches(bytes(await blob.read(0, blob.size))):
                        problems.append("something wrong is stored")
                    blob.close()
    finally:
        await fleet.close()
    return fleet, problems


@pytest.mark.parametrize("tenth", range(10))
async def test_every_pull_is_right_whatever_happens(tenth: int) -> None:
    for seed in range(tenth * _SCHEDULES // 10, (tenth + 1) * _SCHEDULES // 10):
        _, problems = await _run(seed)
        assert problems == [], seed


async def test_without_faults_each_blob_is_fetched_once() -> None:
    fleet = Fleet(_REPLICAS, random.Random(1))  # noqa: S311 -- the same each time
    digests = [fleet.upstream.add(fleet.chance.randbytes(size)) for size in _SIZES]
    try:
        for digest in digests:
            pulls = [
                asyncio.create_task(_pull(fleet, address, digest)) for address in fleet.addresses
            ]
            await fleet.finish(pulls, _LONGEST)
            assert [pull.result() for pull in pulls] == [None] * _REPLICAS
    finally:
        await fleet.close()
    assert fleet.upstream.count("blob") == len(digests)
