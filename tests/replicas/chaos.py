"""Random faults of real replicas, one after the other, while clients pull: the same for a seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.kit.load import Connection, LostError, NotBegunError
from tests.kit.scripted_upstream import Fault
from tests.replicas.fleet import pull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.kit.namespace import Namespace
    from tests.kit.processes import Proxy
    from tests.kit.redis import RedisServer
    from tests.replicas.fleet import Cargo, Fleet

_CLIENTS: Final = 6
# Images that nobody has yet when something breaks.
IMAGES: Final = 8
# How often something breaks, and for how long, in seconds.
_FAULTS: Final = 5
_LASTS: Final = (2.0, 6.0)
_QUIET: Final = (1.0, 3.0)
# For how long a client tries to pull an image, as kubelet does, and what it waits between attempts,
# in seconds. The upstream's circuit may be open a while longer than the upstream was down.
_TRIES: Final = 60.0
_BETWEEN: Final = 1.0
# Of one attempt, in seconds.
_LONGEST: Final = 30.0


@dataclass(slots=True)
class Log:
    """What happened. `attempts` are those that failed; they are tried again."""

    faults: list[str] = field(default_factory=list)
    pulls: int = 0
    attempts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Chaos:
    """Breaks one thing after the other, and mends it."""

    def __init__(self, seed: int, ships: Fleet, redis: RedisServer, apart: Namespace) -> None:
        self.chance = random.Random(seed)  # noqa: S311 -- the same each time
        self.ships = ships
        self.redis = redis
        self.apart = apart
        self.log = Log()
        # Those whose clients go elsewhere meanwhile.
        self._away: set[Proxy] = set()
        self._over = False

    async def run(self) -> Log:
        """All of it; what happened."""
        clients = [asyncio.create_task(self._client(number)) for number in range(_CLIENTS)]
        try:
            kinds = self._kinds()
            for number in range(_FAULTS):
                await asyncio.sleep(self.chance.uniform(*_QUIET))
                self.ships.load_others(IMAGES, seed=2 + number)
                kind = self.chance.choice(kinds)
                replica = self.chance.choice(self.ships.replicas.running)
                lasts = self.chance.uniform(*_LASTS)
                name = kind.__name__.removeprefix("_")
                self.log.faults.append(f"{name} {replica.directory.name} {lasts:.1f} s")
                await kind(replica, lasts)
        finally:
            self._over = True
            await asyncio.gather(*clients)
        return self.log

    def _kinds(self) -> list[Callable[[Proxy, float], Awaitable[None]]]:
        return [
            *(self._kill, self._freeze, self._restart, self._kill_redis, self._partition),
            *(self._upstream_down, self._upstream_slow, self._upstream_garbage),
        ]

    # -- faults ------------------------------------------------------------------------------

    async def _kill(self, replica: Proxy, lasts: float) -> None:
        await asyncio.to_thread(replica.kill)
        self._away.add(replica)
        await asyncio.sleep(lasts)
        await asyncio.to_thread(replica.start)
        self._away.discard(replica)

    async def _freeze(self, replica: Proxy, lasts: float) -> None:
        self._away.add(replica)
        os.killpg(replica.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts)
        finally:
            os.killpg(replica.pid, signal.SIGCONT)
        self._away.discard(replica)

    async def _restart(self, replica: Proxy, _: float) -> None:
        self._away.add(replica)
        await asyncio.to_thread(replica.restart)
        self._away.discard(replica)

    async def _kill_redis(self, _: Proxy, lasts: float) -> None:
        await asyncio.to_thread(self.redis.kill)
        await asyncio.sleep(lasts)
        await asyncio.to_thread(self.redis.start)

    async def _partition(self, _: Proxy, lasts: float) -> None:
        await asyncio.to_thread(self.apart.cut, self.apart.peers)
        try:
            await asyncio.sleep(lasts)
        finally:
            await asyncio.to_thread(self.apart.mend)

    async def _upstream_down(self, _: Proxy, lasts: float) -> None:
        await self.ships.upstream.stop()
        await asyncio.sleep(lasts)
        await self.ships.upstream.start()

    async def _upstream_slow(self, _: Proxy, lasts: float) -> None:
        await self._fault(Fault(delay=2.0), lasts)

    async def _upstream_garbage(self, _: Proxy, lasts: float) -> None:
        await self._fault(Fault(corrupt=True), lasts)

    async def _fault(self, fault: Fault, lasts: float) -> None:
        self.ships.upstream.fault("GET", "*", fault)
        await asyncio.sleep(lasts)
        self.ships.upstream.heal()

    # -- clients -----------------------------------------------------------------------------

    async def _client(self, number: int) -> None:
        """Pull one image after the other, and each until that ends well."""
        chance = random.Random(number)  # noqa: S311
        while not self._over:
            await self._pull(number, chance.choice(self.ships.images))
            self.log.pulls += 1

    async def _pull(self, number: int, image: Cargo) -> None:
        problem, attempt = "", 0
        until = time.monotonic() + _TRIES
        while time.monotonic() < until:
            replicas = [one for one in self.ships.replicas.running if one not in self._away]
            replica = replicas[(number + attempt) % len(replicas)]
            began = time.monotonic()
            try:
                async with (
                    asyncio.timeout(_LONGEST),
                    Connection(replica.port, address=replica.address) as connection,
                ):
                    said: Any = await pull(connection, image)
            except (LostError, NotBegunError, TimeoutError) as error:
                said = repr(error)
            if said is None:
                self.log.slowest = max(self.log.slowest, time.monotonic() - began)
                return
            problem = f"{image.name} from {replica.directory.name}: {said}"
            if ": 200 " in problem:
                self.log.wrong.append(problem)
            self.log.attempts.append(problem)
            attempt += 1
            await asyncio.sleep(_BETWEEN)
        self.log.failures.append(problem)
