"""What a process knows of the blobs in a bucket: how large they are, and which it has hashed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oci.reference import Digest
    from proxy.stores.bucket.bucket import Identity

_COST: Final = 600
_LIMIT: Final = 8 * 2**20
# Lifecycle rules remove objects without notice, so what the bucket has said counts for so long, in
# seconds.
_LOOK_TTL: Final = 60.0
# A change that follows another one within the same second cannot be told from it. So content that
# is younger than this counts as not verified, in seconds.
_SETTLED: Final = 2.0
# A bucket's own storage may be damaged, too, and then nothing else changes. In seconds.
_VERIFIED_FOR: Final = 86400.0


@dataclass(frozen=True, slots=True)
class KnownObject:
    """One blob's object.

    `has_our_size`: its metadata, which an upload of ours has written, state the size that it has.
    `uploaded`: this process has put this content there. Times are monotonic.
    """

    identity: Identity
    has_our_size: bool
    looked_at: float
    uploaded: bool = False
    verified_at: float | None = None


class KnownObjects:
    """The objects that were seen last, bounded in bytes."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        """`clock` is monotonic, and `wall` the time since 1970, both in seconds."""
        self._clock = clock
        self._wall = wall
        self._objects: LruCache[Digest, KnownObject] = LruCache(_LIMIT)

    def get(self, digest: Digest) -> KnownObject | None:
        """What is known of it, however old that is."""
        return self._objects.get(digest)

    def recent(self, digest: Digest) -> KnownObject | None:
        """What the bucket has said of it a moment ago."""
        known = self._objects.get(digest)
        if known is None or self._clock() - known.looked_at >= _LOOK_TTL:
            return None
        return known

    def see(self, digest: Digest, identity: Identity, *, has_our_size: bool) -> KnownObject:
        """The bucket has just said this. What was known of the same content stays known."""
        known = self._objects.get(digest)
        if known is None or known.identity != identity:
            known = KnownObject(identity, has_our_size, looked_at=0.0)
        return self._put(digest, replace(known, looked_at=self._clock()))

    def upload(self, digest: Digest, identity: Identity) -> None:
        """This process has put this content there, verified."""
        now = self._clock()
        self._put(digest, KnownObject(identity, has_our_size=True, looked_at=now, uploaded=True))

    def verify(self, digest: Digest, identity: Identity) -> None:
        """This content was hashed, and is the digest's."""
        known = self._objects.get(digest)
        is_settled = self._wall() - identity.modified.timestamp() >= _SETTLED
        if known is not None and known.identity == identity and is_settled:
            self._put(digest, replace(known, verified_at=self._clock()))

    def is_verified(self, known: KnownObject) -> bool:
        """Whether its content was hashed not long ago."""
        return known.verified_at is not None and self._clock() - known.verified_at < _VERIFIED_FOR

    def forget(self, digest: Digest) -> None:
        """Nothing is known of it any more."""
        self._objects.delete(digest)

    def _put(self, digest: Digest, known: KnownObject) -> KnownObject:
        self._objects.put(digest, known, _COST)
        return known
