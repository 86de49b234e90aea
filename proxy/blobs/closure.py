"""Grants for the blobs of a served manifest, obtained before the blobs are requested.

In a repository that is not open a claim does not suffice. So stored blobs that other repositories
have fetched would need a question to the upstream each, and an outage would leave the image
incomplete.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import BlobUnknown, RegistryError, StoreError
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.blobs.grants import BlobGrants
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore

_log = structlog.get_logger()

# Upstream requests for this at once, and manifests that wait. More are proved when they are asked
# for.
_AT_ONCE: Final = 4
_MAX_WAITING: Final = 256
# Other repositories bring blobs meanwhile: how often one manifest is looked at, in seconds.
_EVERY: Final = 60.0
_MEMORY: Final = 2**20
_COST: Final = 256


class ClosureProofs:
    """Proves in the background, at most a few blobs at a time."""

    def __init__(self, *, grants: BlobGrants, store: BlobStore, flights: SingleFlight) -> None:
        """The tasks belong to `flights`, and end with it."""
        self._grants = grants
        self._store = store
        self._flights = flights
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        # When each manifest was looked at last.
        self._looked: LruCache[tuple[str, Digest], float] = LruCache(_MEMORY)

    def start(
        self, repository: Repository, manifest: Digest, digests: Collection[Digest], now: float
    ) -> None:
        """Prove that the repository has those of the blobs that are stored.

        `now` is in seconds of one monotonic clock.
        """
        key = str(repository), manifest
        looked = self._looked.get(key)
        if (looked is not None and now < looked + _EVERY) or self._waiting >= _MAX_WAITING:
            return
        self._looked.put(key, now, _COST)
        self._waiting += 1
        self._flights.start(self._prove(key, repository, digests))

    async def _prove(
        self, key: tuple[str, Digest], repository: Repository, digests: Collection[Digest]
    ) -> None:
        try:
            for digest in digests:
                async with self._places:
                    await self._prove_one(repository, digest)
        except (RegistryError, StoreError) as error:
            # The next request for the manifest tries again.
            self._looked.delete(key)
            _log.info("closure.not_proved", repository=str(repository), error=str(error))
        finally:
            self._waiting -= 1

    async def _prove_one(self, repository: Repository, digest: Digest) -> None:
        blob = await self._store.open(digest)
        if blob is None:
            return
        try:
            with suppress(BlobUnknown):
                await self._grants.require(repository, digest, blob)
        finally:
            blob.close()
