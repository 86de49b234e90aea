"""Where a replica reads a blob: from its owner, from the first of its zone, or from a reader.

A crowd of readers forms a tree, so that no replica sends a blob too often.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import RegistryError
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.peers.answers import NotStored, SeeOther
from proxy.peers.client import PeerFailed
from proxy.peers.questions import Effort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.kit.clock import Clock
    from proxy.peers.questions import Question
    from proxy.peers.replicas import Replicas

T = TypeVar("T")

# With two readers each, so many levels have thousands of replicas.
_LEVELS: Final = 16
# After a failure in the tree a blob is read from its owner for so long, in seconds.
_DIRECT: Final = 60.0
_MEMORY: Final = 2**18
_COST: Final = 200


class Tree:
    """Asks for blobs. If its place in the tree fails, a reader continues at the owner."""

    def __init__(self, replicas: Replicas, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._replicas = replicas
        self._clock = clock
        # When a blob was last tried elsewhere than at its owner.
        self._tried: LruCache[str, float] = LruCache(_MEMORY)

    async def join(
        self, owner: str, question: Question, ask: Callable[[str, Question], Awaitable[T]]
    ) -> T:
        """What `ask` gets from the owner, or from the replica to which that leads.

        Raises what `ask` raises for the owner.
        """
        if question.effort is not Effort.OWNER:
            return await ask(owner, question)
        tried = self._tried.get(question.key)
        if tried is not None and self._clock.monotonic() - tried < _DIRECT:
            return await ask(owner, replace(question, direct=True))
        address = self._replicas.first_of_zone(question.key) or owner
        for _ in range(_LEVELS):
            is_owner = address == owner
            asked = question if is_owner else replace(question, effort=Effort.FOLLOW)
            if not is_owner:
                # A resumed transfer goes to the owner: this place may be what it was cut by.
                self._tried.put(question.key, self._clock.monotonic(), _COST)
            try:
                return await ask(address, asked)
            except SeeOther as other:
                if other.address not in self._replicas.membership.live():
                    break
                address = other.address
            except (PeerFailed, NotStored, RegistryError):
                if is_owner:
                    raise
                break
        return await ask(owner, replace(question, direct=True))
