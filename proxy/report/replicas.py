"""How the other replicas are doing, for people. PURE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LIVE: Final = "live"


@dataclass(frozen=True, slots=True)
class PeerState:
    """One of the other replicas, for people.

    `name` and `zone` are what it says of itself, "" until then. `state` is "live", or why it is
    left out, `since` a moment in seconds; `received` and `sent` are bytes from it and to it.
    """

    address: str
    name: str
    zone: str
    state: str
    since: float
    received: int
    sent: int


def combine(reports: Iterable[Iterable[PeerState]]) -> tuple[PeerState, ...]:
    """Merge the views of several processes: left out by any of them, and the sum of bytes."""
    found: dict[str, PeerState] = {}
    for peer in (peer for report in reports for peer in report):
        other = found.setdefault(peer.address, peer)
        if other is not peer:
            worse = max(other, peer, key=lambda one: (one.state != LIVE, one.since))
            found[peer.address] = replace(
                worse, received=other.received + peer.received, sent=other.sent + peer.sent
            )
    return tuple(found.values())
