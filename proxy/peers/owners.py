"""Which replicas own what: rendezvous hashing. PURE.

Every replica computes the same order from the same members, without a table and without agreement.
A member that joins or leaves moves only what it owns. A question goes only to a replica that ranks
above the one that asks, so questions never go in a circle.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def rank(key: str, replicas: Iterable[str]) -> list[str]:
    """The replicas in the order in which they own `key`, the owner first."""
    encoded = key.encode()
    return sorted(replicas, key=lambda replica: (_weight(encoded, replica), replica), reverse=True)


def above(own: str | None, ranked: list[str]) -> list[str]:
    """The replicas that rank above `own`; all of them for one that is not a member."""
    return ranked[: ranked.index(own)] if own in ranked else ranked


def _weight(key: bytes, replica: str) -> bytes:
    seed = blake2b(replica.encode(), digest_size=16).digest()
    return blake2b(key, key=seed, digest_size=8).digest()
