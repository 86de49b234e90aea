"""Manifests: resolve a tag, represent it for one client, and remember what was handed out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

import structlog

from proxy.errors import (
    ConversionPending,
    ConversionRefused,
    ManifestUnknown,
    Overloaded,
    RefusalReason,
    UpstreamFailure,
)
from proxy.oci.conversion import is_mixed
from proxy.oci.manifest import Index, Manifest, Schema1
from proxy.oci.mediatype import MediaType
from proxy.oci.negotiation import (
    Convert,
    Descend,
    Option,
    Policy,
    Rule,
    Stored,
    explain_refusal,
    negotiate,
    negotiate_child,
)
from proxy.ports.catalog import Grant, Proof
from proxy.telemetry import metrics, trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from proxy.catalog.catalog import Catalog
    from proxy.catalog.lookup import Lookup
    from proxy.catalog.routing import Standby
    from proxy.manifests.convert import Conversions
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.tags import Tags
    from proxy.oci.derivation import Origin
    from proxy.oci.headers.accept import Accept
    from proxy.oci.reference import Digest, Repository, Tag

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Representation:
    """A manifest as one client gets it. `converted_from` is what it was made or chosen from.

    `named` is what was asked for: the tag's digest when it was resolved, whatever it is by now.
    `mixed` is whether what the upstream has mixes OCI and docker types. It is not `lasting` if
    something better could not be made only because the upstream did not give what that needs, or
    because that takes longer than a request waits, or if a mirror has answered for a registry that
    is down.
    """

    manifest: Manifest
    rule: Rule
    named: Digest
    converted_from: Digest | None = None
    mixed: bool = False
    lasting: bool = True


class Manifests:
    """Answers to requests for manifests."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        tags: Tags,
        upstream_manifests: UpstreamManifests,
        conversions: Conversions,
        standby: Standby,
        policy: Policy,
    ) -> None:
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._tags = tags
        self._conversions = conversions
        self._standby = standby
        self._policy = policy

    def fresh(self, repository: Repository, tag: Tag) -> Digest | None:
        """What the tag names, if that needs neither a store nor the upstream to know."""
        return self._tags.fresh(repository, tag)

    def remembers(self, repository: Repository, digest: Digest) -> bool:
        """Whether this process knows already that the repository has the manifest."""
        return self._catalog.remembers_access(repository, digest)

    async def by_digest(
        self, repository: Repository, digest: Digest, accept: Accept
    ) -> Representation:
        """What the digest names, whatever `accept` says; ManifestUnknown, or an UpstreamFailure.

        Schema 1's digest is that of its payload: who names only the signed form gets it signed,
        for the bytes that the digest names are the same.
        """
        return await self._standby.ask(
            repository, lambda place: self._by_digest(place, digest, accept)
        )

    async def _by_digest(
        self, repository: Repository, digest: Digest, accept: Accept
    ) -> Representation:
        lookup = await self._catalog.look_manifest(repository, digest)
        manifest, origin = lookup.manifest, lookup.origin
        if _is_derived(lookup):
            origin = origin or await self._catalog.origin(digest)
            if manifest is None and origin is not None:
                manifest = await self._conversions.rebuild(repository, digest, origin)
        outcome = Outcome.HIT if manifest else Outcome.MISS
        if manifest is None:
            try:
                manifest = await self._upstream_manifests.obtain(repository, digest, lookup)
            except ManifestUnknown:
                derived = await self._adopt(repository, digest)
                if derived is None:
                    raise
                manifest, origin = derived
        trace.current().outcome, trace.current().rule = outcome, Rule.DIGEST
        if isinstance(manifest, Schema1) and _wants_signature(accept):
            try:
                manifest = await self._conversions.sign(manifest)
            except ConversionRefused as refusal:
                _log.info("manifest.left_unsigned", digest=digest, reason=str(refusal))
        source = origin.source if origin else None
        lasting = not repository.is_at_mirrors
        return Representation(manifest, Rule.DIGEST, digest, source, lasting=lasting)

    async def _adopt(
        self, repository: Repository, digest: Digest
    ) -> tuple[Manifest, Origin] | None:
        """What was made from a mirror's image while the registry was down.

        Only if the registry has that image, too; ManifestUnknown or an UpstreamFailure otherwise.
        """
        if not self._standby.has(repository):
            return None
        lookup = await self._catalog.look_manifest(repository.at_mirrors, digest)
        if not _is_derived(lookup) or lookup.manifest is None:
            return None
        origin = lookup.origin or await self._catalog.origin(digest)
        if origin is None:
            return None
        await self._upstream_manifests.get(repository, origin.source)
        return await self._catalog.derive(repository, lookup.manifest, origin), origin

    async def by_tag(
        self, repository: Repository, tag: Tag, accept: Accept, *, by_head: bool = False
    ) -> Representation:
        """What the tag names, in the best form for `accept`; ManifestUnknown if none serves.

        An UpstreamFailure if one might, and the upstream does not give what it needs;
        ConversionPending or Overloaded if one might later. `by_head` is whether the client asks by
        HEAD.
        """

        async def resolve(place: Repository) -> tuple[Repository, Manifest]:
            return place, await self._tags.resolve(place, tag, by_head=by_head)

        place, manifest = await self._standby.ask(repository, resolve)
        with trace.keep_outcome():
            found = await self.represent(place, tag, manifest, accept)
        return replace(found, lasting=found.lasting and not place.is_at_mirrors)

    async def represent(
        self, repository: Repository, tag: Tag, manifest: Manifest, accept: Accept
    ) -> Representation:
        """The manifest, which the tag names, in the best form for `accept`; raises as `by_tag`."""
        reasons: list[str] = []
        lasting = True
        failure: UpstreamFailure | ConversionPending | Overloaded | None = None
        is_busy = False
        for option in negotiate(manifest, accept, self._policy):
            # What the client reads for sure may stand in for what takes long. A wildcard says
            # nothing about that, and another conversion would take as long.
            if is_busy and option != Stored(Rule.NAMED):
                continue
            try:
                found = await self._take(option, repository, tag, manifest, accept)
            except ConversionRefused as refusal:
                reasons.append(str(refusal))
                lasting = lasting and refusal.reason is not RefusalReason.ABSENT
            except UpstreamFailure as error:
                # A client that also accepts what is stored gets that.
                failure = failure or error
            except (ConversionPending, Overloaded) as error:
                failure, is_busy = failure or error, True
            else:
                if is_busy:
                    metrics.CONVERSIONS_PENDING.labels("stored").inc()
                trace.current().rule = found.rule
                lasting = lasting and failure is None
                return replace(found, mixed=is_mixed(manifest), lasting=lasting)
        if failure is not None:
            if is_busy:
                metrics.CONVERSIONS_PENDING.labels("error").inc()
            raise failure
        raise ManifestUnknown(
            explain_refusal(manifest, accept, reasons),
            detail={"Tag": tag, "digest": manifest.digest},
        )

    async def _take(
        self, option: Option, repository: Repository, tag: Tag, manifest: Manifest, accept: Accept
    ) -> Representation:
        match option:
            case Stored(rule):
                return Representation(manifest, rule, manifest.digest)
            case Convert(path, rule):
                derived = await self._conversions.convert(repository, tag, manifest, path)
                return Representation(derived, rule, manifest.digest, manifest.digest)
            case Descend(rule):
                return await self._for_platform(repository, tag, manifest, accept, rule)
            case _:
                assert_never(option)

    async def _for_platform(
        self, repository: Repository, tag: Tag, manifest: Manifest, accept: Accept, rule: Rule
    ) -> Representation:
        """The first image for the platform that can be served; ConversionRefused if none can."""
        if not isinstance(manifest, Index):
            raise TypeError(manifest)
        platform = self._policy.platform
        refusals: list[ConversionRefused] = []
        for entry in await self._conversions.images_for(repository, manifest, platform):
            try:
                child = await self._child(repository, entry.digest)
                found = await self._represent_child(repository, tag, child, accept, rule)
            except ConversionRefused as refusal:
                refusals.append(refusal)
            else:
                source = found.converted_from or manifest.digest
                return replace(found, named=manifest.digest, converted_from=source)
        is_absent = any(refusal.reason is RefusalReason.ABSENT for refusal in refusals)
        raise ConversionRefused(
            f"its image for {platform}: {'; '.join(map(str, refusals))}",
            RefusalReason.ABSENT if is_absent else RefusalReason.FORMAT,
        )

    async def _represent_child(
        self, repository: Repository, tag: Tag, child: Manifest, accept: Accept, rule: Rule
    ) -> Representation:
        reasons = []
        for option in negotiate_child(child, accept, self._policy):
            match option:
                case Stored():
                    return Representation(child, rule, child.digest)
                case Convert(path):
                    try:
                        derived = await self._conversions.convert(repository, tag, child, path)
                    except ConversionRefused as refusal:
                        reasons.append(str(refusal))
                    else:
                        return Representation(derived, rule, child.digest, child.digest)
                case Descend():
                    reasons.append("an index in an index is not followed")
                case _:
                    assert_never(option)
        raise ConversionRefused("; ".join(reasons) or child.media_type)

    async def _child(self, repository: Repository, digest: Digest) -> Manifest:
        """A manifest that an index names; ConversionRefused if the upstream has it not."""
        try:
            return await self._upstream_manifests.get(repository, digest)
        except ManifestUnknown:
            raise ConversionRefused(
                f"the upstream has no manifest {digest}, which the index names",
                RefusalReason.ABSENT,
            ) from None


def _is_derived(lookup: Lookup) -> bool:
    return isinstance(lookup.access, Grant) and lookup.access.proof is Proof.DERIVED


def _wants_signature(accept: Accept) -> bool:
    """Whether the client reads only the signed form of schema 1; docker 1.6 does not say so."""
    return not accept.present or (
        accept.names(MediaType.V2S1_SIGNED) and not accept.names(MediaType.V2S1)
    )
