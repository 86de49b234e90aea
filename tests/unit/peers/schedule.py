"""Random faults and random pulls, with what is known of each pull: what it may answer, and when."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import ManifestUnknown, NameUnknown
from proxy.oci.reference import Tag
from tests.kit import images
from tests.kit.memory_fleet import CARGO, Fleet
from tests.unit.peers import pulls
from tests.unit.peers.judge import Judge
from tests.unit.peers.pulls import OTHER, History, Pull

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oci.reference import Digest
    from tests.kit.memory_fleet import MemoryReplica

TAGS: Final = (Tag("1"), Tag("2"))
_REPLICAS: Final = 5
_STEPS: Final = 12
_IMAGES: Final = 6
# Two owners are silent for a second each before the head of their answer; each of four attempts may
# meet two more, with half a second between attempts. In seconds.
LONGEST: Final = 15.0
_SIZES: Final = (100, 5_000, 60_000, 200_000)
# A tag is fresh for so long, in seconds: either it is asked for often, or a purge is felt.
_TTLS: Final = (20.0, 86_400.0)


class Schedule:
    """A fleet, what is done to it, and what was wrong."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)  # noqa: S311 -- the same each time
        ttl = chance.choice(_TTLS)
        self.fleet = Fleet(_REPLICAS, chance, ttl=ttl)
        upstream = self.upstream = self.fleet.upstream
        self.blobs = [upstream.add(chance.randbytes(size)) for size in _SIZES * 2]
        self.secrets = [upstream.add(chance.randbytes(size)) for size in _SIZES]
        upstream.absent = {(OTHER.name, digest) for digest in self.blobs}
        upstream.absent |= {(CARGO.name, digest) for digest in self.secrets}
        self.images = [
            upstream.push(images.oci(f"{seed} {number}")).digest for number in range(_IMAGES)
        ]
        self.history = {tag: History() for tag in TAGS}
        for tag in TAGS:
            self._move(tag)
        self.judge = Judge(self.fleet, ttl, self.history)

    async def run(self) -> list[str]:
        """Do all of it; what was wrong."""
        try:
            for _ in range(_STEPS):
                await self._break_or_mend()
                await self._pull(self._one_pull)
                await self._probe()
                await self.fleet.clock.run(self.chance.choice([0.0, 1.0, 20.0]))
            await self._recover()
            for number in range(len(self.blobs) + len(self.images) + len(TAGS)):
                await self._pull(partial(self._nth_pull, number))
            for digest in list(self.judge.given):
                await self._pull(partial(pulls.derived, digest=digest))
            await self.judge.look_at_stores([*self.blobs, *self.secrets], self.images)
        finally:
            await self.fleet.close()
        return self.judge.problems

    # -- what happens ------------------------------------------------------------------------

    async def _break_or_mend(self) -> None:
        network, chance = self.fleet.network, self.chance
        match chance.randrange(16):
            case 0 | 1 | 2 | 3:
                self._break_network()
            case 4:
                self.upstream.down = True
            case 5:
                self.upstream.garbage = True
            case 6:
                self.upstream.slow = 2.0
            case 7:
                await self._restart(self.fleet.replicas[chance.choice(self.fleet.addresses)])
            case 8:
                self._move(chance.choice(TAGS))
            case 9 | 10:
                await self._purge()
            case 11:
                network.draining = {chance.choice(self.fleet.addresses)}
            case _:
                network.heal()
                self.upstream.heal()

    def _break_network(self) -> None:
        network, chance = self.fleet.network, self.chance
        address = chance.choice(self.fleet.addresses)
        match chance.randrange(4):
            case 0:
                network.dead.add(address)
            case 1:
                network.frozen.add(address)
            case 2:
                network.lying = {address}
            case _:
                network.apart = set(chance.sample(self.fleet.addresses, 2))

    async def _restart(self, replica: MemoryReplica) -> None:
        """End its process, and start it again with what it has stored."""
        await replica.flights.close()
        replica.restart()
        await self._finish(replica.replicas.probe())

    def _move(self, tag: Tag) -> None:
        digest = self.chance.choice(self.images)
        self.upstream.manifests[tag] = self.upstream.manifests[digest]
        self.history[tag].named.append((self.fleet.clock.wall(), digest))

    async def _purge(self) -> None:
        replica = self.chance.choice(self.fleet.up())
        tag = self.chance.choice([None, *TAGS])
        # What is not known here is forgotten all the same, by the others too.
        with suppress(NameUnknown, ManifestUnknown):
            await replica.purges.purge(CARGO.name, tag)
        for each in TAGS if tag is None else [tag]:
            self.history[each].purged[replica.address] = self.fleet.clock.wall()

    async def _recover(self) -> None:
        """Mend everything, and let the replicas find that out."""
        self.fleet.network.heal()
        self.upstream.heal()
        for _ in range(70):
            await self._probe()
            self.fleet.clock.advance(1.0)
        for history in self.history.values():
            last = max(history.purged.values(), default=0.0)
            history.purged = dict.fromkeys(self.fleet.addresses, last)

    async def _probe(self) -> None:
        await self._finish(*(replica.replicas.probe() for replica in self.fleet.up()))

    async def _finish(self, *work: Any) -> None:
        await self.fleet.finish([asyncio.ensure_future(each) for each in work], LONGEST)

    # -- what clients ask --------------------------------------------------------------------

    async def _pull(self, choose: Callable[[MemoryReplica], Pull]) -> None:
        """Have a client of each replica ask for something, perhaps while something breaks."""
        begun = [choose(replica) for replica in self.fleet.up()]
        for pull in begun:
            await self.judge.look_for(pull)
        before = [await self.judge.has_path(pull) for pull in begun]
        tasks = [asyncio.create_task(pull.run()) for pull in begun]
        if choose == self._one_pull and self.chance.random() < 1 / 3:
            await self.fleet.clock.run(self.chance.choice([0.0, 0.0, 0.5]))
            self._break_network()
        await self.fleet.finish(tasks, LONGEST + self.upstream.slow)
        up = self.fleet.up()
        for pull, had_path in zip(begun, before, strict=True):
            if pull.replica in up:
                self.judge.judge(pull, has_path=had_path and await self.judge.has_path(pull))

    def _one_pull(self, replica: MemoryReplica) -> Pull:
        match self.chance.randrange(6):
            case 0 if self.judge.given:
                return pulls.derived(replica, self.chance.choice(list(self.judge.given)))
            case 1:
                return self._secret(replica, self.chance.choice(self.secrets))
            case 2:
                return pulls.tagged(replica, self.chance.choice(TAGS), converted=True)
        return self.chance.choice(self._all_pulls(replica))

    def _nth_pull(self, number: int, replica: MemoryReplica) -> Pull:
        return self._all_pulls(replica)[number]

    def _all_pulls(self, replica: MemoryReplica) -> list[Pull]:
        size = {digest: len(self.upstream.blobs[digest]) for digest in self.blobs}
        return [
            *(pulls.blob(replica, digest, size[digest]) for digest in self.blobs),
            *(pulls.manifest(replica, digest) for digest in self.images),
            *(pulls.tagged(replica, tag) for tag in TAGS),
        ]

    def _secret(self, replica: MemoryReplica, digest: Digest) -> Pull:
        return pulls.secret(replica, digest, len(self.upstream.blobs[digest]))
