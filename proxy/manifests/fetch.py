"""Manifests as the upstream has them: fetched once, verified, and stored by the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.catalog.lookup import UNKNOWN
from proxy.errors import (
    ManifestInvalid,
    ManifestUnconfirmed,
    ManifestUnknown,
    Phase,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamThrottled,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.oci.manifest import read_manifest
from proxy.oci.reference import Digest
from proxy.ports.catalog import Claim, Grant, Proof, TagEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.catalog.lookup import Lookup
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Repository, Tag
    from proxy.ports import Fetched, Head, Upstream

_log = structlog.get_logger()

# For how long the 404 to a GET confirms those to other HEADs in its repository, in seconds.
_AGREES: Final = 5.0
# The memory for such repositories, and for each of them, in bytes.
_UNKNOWN_MEMORY: Final = 2**19
_UNKNOWN_COST: Final = 512


class UpstreamManifests:
    """What came from upstream, by digest; fetched by digest or tag."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        upstreams: Mapping[str, Upstream],
        flights: SingleFlight,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._catalog = catalog
        self._upstreams = upstreams
        self._flights = flights
        self._clock = clock
        # Until when a 404 to HEAD is final, by repository.
        self._unknown: LruCache[str, float] = LruCache(_UNKNOWN_MEMORY)

    async def get(self, repository: Repository, digest: Digest) -> Manifest:
        """The manifest, stored or from upstream; ManifestUnknown or an UpstreamFailure."""
        lookup = await self._catalog.look_manifest(repository, digest)
        return lookup.manifest or await self.obtain(repository, digest, lookup)

    async def find_stored(
        self, repository: Repository, digest: Digest, *, claims_suffice: bool = True
    ) -> Lookup:
        """Return the stored manifest, unless it was made here.

        Unless `claims_suffice`, a manifest that is only claimed counts as unknown.
        """
        lookup = await self._catalog.look_manifest(repository, digest, may_be_derived=False)
        match lookup.access:
            case Grant(proof=Proof.DERIVED):
                return UNKNOWN
            case Claim() if not claims_suffice:
                return replace(lookup, access=None, manifest=None)
        return lookup

    async def obtain(
        self, repository: Repository, digest: Digest, lookup: Lookup = UNKNOWN
    ) -> Manifest:
        """The manifest, which the repository was not known to have; the catalog has it then.

        If the same upstream has delivered the bytes through another repository, a HEAD suffices,
        which costs no pull of a rate limit.
        """
        if lookup.raw is not None and lookup.delivered:
            head = await self.head(repository, digest)
            if head is not None and head.digest not in {None, digest}:
                head = None
            manifest = None if head is None else self.granted_by_head(head, lookup)
            if manifest is not None and manifest.digest == digest:
                await self._catalog.learn(repository, manifest, Proof.HEAD)
                return manifest
        return await self.fetch(repository, digest)

    async def fetch(
        self,
        repository: Repository,
        reference: Digest | Tag,
        *,
        tag: Tag | None = None,
        age: float = 0.0,
    ) -> Manifest:
        """The manifest from upstream, by one transfer for all requests meanwhile.

        The catalog learns it at once, with what `tag` names, or named `age` seconds ago.
        UpstreamInvalid if the bytes are not one manifest, or not what the digest names.
        """

        async def elsewhere() -> Manifest | None:
            if not isinstance(reference, Digest):
                return None
            return (await self._catalog.look_nearest_manifest(repository, reference)).manifest

        async def work() -> Manifest:
            try:
                fetched, manifest = await self._fetch(repository, reference)
            except ManifestUnknown:
                until = self._clock.monotonic() + _AGREES
                self._unknown.put(str(repository), until, _UNKNOWN_COST)
                raise
            validated_at = self._clock.wall() - max(age, fetched.age)
            entry = None if tag is None else (tag, TagEntry(manifest.digest, validated_at))
            await self._catalog.learn(repository, manifest, Proof.DELIVERED, tag=entry)
            return manifest

        # Another request may have fetched it since the caller looked.
        if isinstance(reference, Digest) and (
            known := self._catalog.remembered_manifest(repository, reference)
        ):
            return known
        key = f"manifest:{repository}:{reference}"
        return await self._flights.do(key, work, elsewhere)

    async def head(
        self, repository: Repository, reference: Digest | Tag, *, has_copy: bool = True
    ) -> Head | None:
        """Return the answer to HEAD; None where a GET has to decide.

        Many registries, and proxies in front of them, refuse HEAD where GET works, with any status.
        Only 429 is final: a further request would make it worse. So is a 404 for a digest: what is
        not stored is requested once, and a second request would reveal that other repositories have
        it.
        """
        upstream = self._upstreams[repository.registry]
        try:
            return await upstream.head_manifest(repository.name, reference)
        except ManifestUnknown as unknown:
            is_final = (
                not has_copy
                and not isinstance(unknown, ManifestUnconfirmed)
                and self._clock.monotonic() < (self._unknown.get(str(repository)) or 0.0)
            )
            if isinstance(reference, Digest):
                raise ManifestUnknown(unknown.message) from None
            if is_final:
                raise
            return None
        except UpstreamThrottled:
            raise
        except UpstreamFailure as failure:
            # A registry that says when to ask again is not asked again at once.
            if failure.retry_after is not None:
                raise
            unreadable = isinstance(failure, UpstreamInvalid) and (
                failure.context.phase is Phase.WAIT
            )
            if failure.status is None and not unreadable:
                raise
            return None

    def granted_by_head(self, head: Head, lookup: Lookup) -> Manifest | None:
        """The stored bytes, if HEAD shows that the repository has them, too.

        The same upstream must have delivered them, and name their length. They are of the type
        that HEAD says.
        """
        raw = lookup.raw
        if raw is None or not lookup.delivered or head.size != len(raw):
            return None
        try:
            return read_manifest(raw, head.content_type, expected=head.digest)
        except ManifestInvalid:
            return None

    async def _fetch(
        self, repository: Repository, reference: Digest | Tag
    ) -> tuple[Fetched, Manifest]:
        upstream = self._upstreams[repository.registry]
        expected = reference if isinstance(reference, Digest) else None
        fetched = await upstream.manifest(repository.name, reference)
        try:
            manifest = read_manifest(
                fetched.raw, fetched.content_type, expected=expected or fetched.digest
            )
        except ManifestInvalid as error:
            _log.warning(
                "manifest.rejected",
                repository=str(repository),
                reference=reference,
                reason=error.message,
            )
            raise UpstreamInvalid(
                f"{repository.registry} sent an unusable manifest for {reference}: {error.message}"
            ) from None
        return fetched, manifest
