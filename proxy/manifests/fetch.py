"""Manifests as the upstream has them: fetched once, verified, kept, and held from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import ManifestInvalid, UpstreamInvalid, UpstreamUnavailable
from proxy.oci.manifest import read_manifest
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Repository, Tag
    from proxy.ports import Upstream

_log = structlog.get_logger()


class UpstreamManifests:
    """What came from upstream, by digest; fetched by digest or tag."""

    def __init__(
        self, *, catalog: Catalog, upstreams: Mapping[str, Upstream], flights: SingleFlight
    ) -> None:
        self._catalog = catalog
        self._upstreams = upstreams
        self._flights = flights

    async def held(self, repository: Repository, digest: Digest) -> Manifest | None:
        """The manifest, if the repository is known to have it and its bytes are here."""
        if not await self._catalog.linked(repository, digest):
            return None
        return await self._catalog.manifest(digest)

    async def get(self, repository: Repository, digest: Digest) -> Manifest:
        """The manifest, from here or from upstream; ManifestUnknown or an UpstreamFailure."""
        return await self.held(repository, digest) or await self.fetch(repository, digest)

    async def fetch(self, repository: Repository, reference: Digest | Tag) -> Manifest:
        """The manifest from upstream, by one transfer for all who ask meanwhile.

        UpstreamInvalid if the bytes are not one manifest, or not what the digest names; they are
        not kept then.
        """
        key = f"manifest:{repository}:{reference}"
        digest = reference if isinstance(reference, Digest) else None

        async def elsewhere() -> Manifest | None:
            return None if digest is None else await self.held(repository, digest)

        async def work() -> Manifest:
            return await self._fetch(repository, reference)

        return await self._flights.do(key, work, elsewhere)

    async def _fetch(self, repository: Repository, reference: Digest | Tag) -> Manifest:
        upstream = self._upstreams[repository.registry]
        expected = reference if isinstance(reference, Digest) else None
        if expected is not None and (here := await self._catalog.manifest(expected)):
            # The bytes came through another repository: whether this one has them is all there is
            # to ask, and a HEAD costs no pull of anybody's rate limit.
            try:
                await upstream.head_manifest(repository.name, expected)
            except UpstreamUnavailable as failure:
                # 405 or 5xx to a HEAD proves nothing.
                if failure.status is None:
                    raise
            else:
                await self._keep(repository, here)
                return here
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
        await self._keep(repository, manifest)
        return manifest

    async def _keep(self, repository: Repository, manifest: Manifest) -> None:
        try:
            await self._catalog.keep(repository, manifest)
        except OSError as error:
            # The digest is the upstream's own: whoever asks again gets it from there.
            _log.error("manifest.not_stored", repository=str(repository), error=str(error))
