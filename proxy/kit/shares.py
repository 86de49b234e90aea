"""Who holds how much of a resource, and who gives way when all of it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

H = TypeVar("H")


class Holder(Protocol):
    """What holds a part of a resource for a client, and can be made to let it go."""

    @property
    def client(self) -> str:
        """The client that it counts for; "" if that is not known."""

    def give_way(self) -> None:
        """Let go, because another client holds less."""


class Shares(Generic[H]):
    """The holders of a resource, by client. Calls are O(1), but for `of_greediest`."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        self._holders: dict[str, dict[H, None]] = {}

    def add(self, client: str, holder: H) -> None:
        """Count one more holder for `client`; "" is nobody, and never gives way."""
        if client:
            self._holders.setdefault(client, {})[holder] = None

    def remove(self, client: str, holder: H) -> None:
        """Count one less; idempotent."""
        holders = self._holders.get(client)
        if holders is not None:
            holders.pop(holder, None)
            if not holders:
                del self._holders[client]

    def count(self, client: str) -> int:
        """How many holders the client has."""
        return len(self._holders.get(client, ()))

    def of(self, client: str) -> Sequence[H]:
        """The client's holders, oldest first."""
        return tuple(self._holders.get(client, ()))

    def of_greediest(self, client: str) -> Sequence[H]:
        """The holders, oldest first, of the client that has most.

        Empty unless that is at least two more than `client` has: with a difference of one, two
        clients would take turns in displacing each other.
        """
        most: dict[H, None] = max(self._holders.values(), key=len, default={})
        return tuple(most) if len(most) >= self.count(client) + 2 else ()
