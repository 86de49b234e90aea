"""Costly work, in turn between networks, their clients, and the users of a client.

A client whose login was wrong a while ago comes after all others, and its neighbours in the network
come after other networks. After work on a wrong login there is a rest for both, as long as the work
took. So clients that guess passwords have the processor at most half of the time, and a client of a
network where nobody guesses waits for one hash at most for each other such network.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import Enum
from ipaddress import IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.kit.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.kit.clock import Clock

# What may wait: of all clients, of one of them, and of one user there. Each has a password.
_MAX_WAITING: Final = 1024
_MAX_OF_CLIENT: Final = 32
_MAX_OF_USER: Final = 8
_RETRY_AFTER: Final = 2.0
# For how long a wrong login is held against its client and network, in seconds, and the memory for
# clients and for networks. In that time each address of an attacker has one guess before others.
_LAST_FOR: Final = 600.0
_MEMORY: Final = 4 * 2**20
_COST: Final = 256
# How much of an address is its network: an office, a cloud's subnet, or a subscriber.
_IPV4_NETWORK: Final = 24
_IPV6_NETWORK: Final = 48


class _Standing(Enum):
    """In which order clients have their turns."""

    GOOD = "good"
    # Somebody else in its network has guessed.
    NEIGHBOUR = "neighbour"
    SUSPECT = "suspect"


class Turn:
    """One turn. `failed` is set by the work."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False


class Turns:
    """Turns at costly work. A client that wants many delays itself, and others little."""

    def __init__(
        self,
        limit: int = 1,
        *,
        of_client: int = _MAX_OF_CLIENT,
        of_user: int = _MAX_OF_USER,
        rests: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Up to `limit` at once; `rests` is for work that takes our own processor.

        Of a client `of_client` may wait, and of one of its users `of_user`. Needs no loop yet.
        """
        self._clock = clock
        self._free = limit
        self._of_client, self._of_user, self._rests = of_client, of_user, rests
        # By network, client and user.
        self._queues: dict[_Standing, Rotation[asyncio.Future[None]]]
        self._queues = {standing: Rotation() for standing in _Standing}
        self._rest: asyncio.TimerHandle | None = None
        # Until when a wrong login is held against them, monotonic.
        self._clients: LruCache[str, float] = LruCache(_MEMORY)
        self._networks: LruCache[str, float] = LruCache(_MEMORY)

    @asynccontextmanager
    async def turn(self, client: str, user: str) -> AsyncIterator[Turn]:
        """Run the block when it is this user's turn; Overloaded if too much is waiting.

        `client` is an address, or the network that counts as one.
        """
        path = _network_of(client), client, user
        await self._acquire(path)
        turn, began = Turn(), self._clock.monotonic()
        try:
            yield turn
        finally:
            if turn.failed:
                self._hold_against(path)
            has_rest = turn.failed and self._rests
            self._release(self._clock.monotonic() - began if has_rest else 0.0)

    async def _acquire(self, path: tuple[str, str, str]) -> None:
        standing = self._standing(path)
        if self._free and not (standing is not _Standing.GOOD and self._rest is not None):
            self._free -= 1
            return
        self._make_room(standing, path)
        turn = asyncio.get_running_loop().create_future()
        self._queues[standing].add(path, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                any(queue.remove(path, turn) for queue in self._queues.values())
            elif turn.exception() is None:
                # It was this one's turn already.
                self._release(0.0)
            raise

    def _standing(self, path: tuple[str, str, str]) -> _Standing:
        network, client, _ = path
        now = self._clock.monotonic()
        if now < (self._clients.get(client) or 0.0):
            return _Standing.SUSPECT
        if now < (self._networks.get(network) or 0.0):
            return _Standing.NEIGHBOUR
        return _Standing.GOOD

    def _hold_against(self, path: tuple[str, str, str]) -> None:
        """Have the client come last from now on, and its network before it; also if they wait."""
        network, client, _ = path
        until = self._clock.monotonic() + _LAST_FOR
        self._clients.put(client, until, _COST)
        self._networks.put(network, until, _COST)
        good, neighbours, suspects = self._queues.values()
        good.move((network,), neighbours)
        neighbours.move((network, client), suspects)

    def _make_room(self, standing: _Standing, path: tuple[str, str, str]) -> None:
        """Have room for one more; Overloaded if that is for others to have."""
        queues = self._queues.values()
        if (
            sum(queue.count(path[:2]) for queue in queues) >= self._of_client
            or sum(queue.count(path) for queue in queues) >= self._of_user
        ):
            raise _refusal("too many logins of this client are being checked")
        if sum(queue.size for queue in queues) < _MAX_WAITING:
            return
        dropped = self._drop_for(standing, path)
        if dropped is None:
            raise _refusal("too many logins are being checked")
        if not dropped.done():
            dropped.set_exception(_refusal("too many logins are being checked"))

    def _drop_for(
        self, standing: _Standing, path: tuple[str, str, str]
    ) -> asyncio.Future[None] | None:
        """Take out of the queue what gives way: the last of who has most, of the worst standing."""
        for worse in reversed(tuple(_Standing)):
            if worse is standing:
                break
            if self._queues[worse].size:
                return self._queues[worse].pop_largest()
        return self._queues[standing].crowd_out(path)

    def _release(self, rest: float) -> None:
        """Give the turn on; after a rest to those who are suspected."""
        if rest and self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(rest, self._end_rest)
        self._free += 1
        self._wake()

    def _wake(self) -> None:
        """Give the turns that are free to those that are next."""
        for standing, queue in self._queues.items():
            if self._rest is not None and standing is not _Standing.GOOD:
                return
            while self._free and queue.size:
                turn = queue.pop()
                if not turn.done():
                    self._free -= 1
                    turn.set_result(None)

    def _end_rest(self) -> None:
        self._rest = None
        self._wake()


def _refusal(message: str) -> Overloaded:
    return Overloaded(message, retry_after=_RETRY_AFTER)


def _network_of(client: str) -> str:
    """The network of an address; itself if it is none."""
    try:
        network = ip_network(client, strict=False)
    except ValueError:
        return client
    length = _IPV6_NETWORK if isinstance(network, IPv6Network) else _IPV4_NETWORK
    return str(network.supernet(new_prefix=length)) if network.prefixlen > length else str(network)
