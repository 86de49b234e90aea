"""Whether an upstream's `Content-Encoding` is wrong, as the digests of its blobs have shown.

Only the digest tells whether bytes with such a header are the blob, or have to be decoded. Until
that is known of an upstream, its blobs with the header are sent only after they are verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from proxy.oci.reference import Digest

# How many blobs are remembered that are unlike the others of their upstream.
_EXCEPTIONS: Final = 1024


class Codings:
    """What was learnt of each upstream, and of blobs that differ from its others."""

    def __init__(self) -> None:
        self._usual: dict[str, bool] = {}
        self._exceptions: LruCache[tuple[str, Digest], bool] = LruCache(_EXCEPTIONS)

    def is_encoded(self, upstream: str, digest: Digest) -> bool:
        """Whether the blob's bytes with a label probably have to be decoded."""
        known = self._exceptions.get((upstream, digest))
        return self._usual.get(upstream, False) if known is None else known

    def is_known(self, upstream: str, digest: Digest) -> bool:
        """Whether that is known well enough to send bytes before they are verified."""
        return upstream in self._usual and (upstream, digest) not in self._exceptions

    def learn(self, upstream: str, digest: Digest, *, encoded: bool) -> None:
        """The digest has shown whether the blob's bytes have to be decoded."""
        if self._usual.setdefault(upstream, encoded) != encoded:
            self._exceptions.put((upstream, digest), encoded, 1)
