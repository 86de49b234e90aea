"""Tags, the only thing that changes: what one names now, as far as can be known."""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

import structlog

from proxy import telemetry
from proxy.errors import ManifestUnknown, UpstreamFailure, UpstreamUnavailable
from proxy.service import trace
from proxy.service.records import Pin
from proxy.service.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import Head, Upstream
    from proxy.service.originals import Originals
    from proxy.service.records import Records
    from proxy.service.singleflight import Flights

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """For how many seconds a tag is believed, and served when the upstream fails."""

    ttl: float
    stale_if_error: float


@dataclass(frozen=True, slots=True)
class _Resolved:
    manifest: Manifest
    outcome: Outcome
    detail: str = ""


class Tags:
    """Pins: each tag's digest, believed for a while and revalidated by HEAD."""

    def __init__(
        self,
        *,
        records: Records,
        originals: Originals,
        upstreams: Mapping[str, Upstream],
        flights: Flights,
        lifetimes: Lifetimes,
    ) -> None:
        self._records = records
        self._originals = originals
        self._upstreams = upstreams
        self._flights = flights
        self._lifetimes = lifetimes

    def fresh(self, repository: Repository, tag: Tag) -> Digest | None:
        """What the tag names, if that needs neither a store nor the upstream to know."""
        pin = self._records.remembered_pin(repository, tag)
        return pin.digest if pin is not None and self._is_fresh(pin) else None

    async def resolve(self, repository: Repository, tag: Tag) -> Manifest:
        """What the tag names: a fresh pin, else what the upstream says, else the stale pin.

        ManifestUnknown if the upstream has no such tag; an UpstreamFailure if it cannot be asked
        and nothing is known.
        """
        resolved = await self._pinned(repository, tag)
        if resolved is None:

            async def elsewhere() -> _Resolved | None:
                return await self._pinned(repository, tag)

            async def work() -> _Resolved:
                return await self._revalidated(repository, tag)

            resolved = await self._flights.do(f"tag:{repository}:{tag}", work, elsewhere)
        trace.current().outcome = resolved.outcome
        trace.current().stored = resolved.outcome is Outcome.MISS
        trace.current().detail = resolved.detail
        return resolved.manifest

    async def _pinned(self, repository: Repository, tag: Tag) -> _Resolved | None:
        """What a pin says that is fresh, here or in the shared cache."""
        pin = self._records.remembered_pin(repository, tag)
        if pin is None or not self._is_fresh(pin):
            pin = await self._records.pin(repository, tag)
        if pin is None or not self._is_fresh(pin):
            return None
        manifest = await self._originals.held(repository, pin.digest)
        return _Resolved(manifest, Outcome.HIT) if manifest else None

    async def _revalidated(self, repository: Repository, tag: Tag) -> _Resolved:
        try:
            resolved = await self._asked(repository, tag)
        except ManifestUnknown:
            await self._forget(repository, tag)
            raise
        except UpstreamFailure as failure:
            return await self._stale(repository, tag, failure)
        try:
            pin = Pin(resolved.manifest.digest, time())
            await self._records.put_pin(repository, tag, pin)
        except OSError as error:
            _log.error("tag.not_kept", repository=str(repository), tag=tag, error=str(error))
        return resolved

    async def _asked(self, repository: Repository, tag: Tag) -> _Resolved:
        """One HEAD; a GET only for what is not here, or to settle what HEAD left open."""
        head = await self._head(repository, tag)
        if head is not None and head.digest is not None:
            held = await self._originals.held(repository, head.digest)
            if held is not None:
                return _Resolved(held, Outcome.REVALIDATED)
            try:
                fetched = await self._originals.fetch(repository, head.digest)
                return _Resolved(fetched, Outcome.MISS)
            except ManifestUnknown:
                # Moved on since, or an upstream that does not serve what it converted itself.
                _log.info("tag.moved", repository=str(repository), tag=tag, digest=head.digest)
        return _Resolved(await self._originals.fetch(repository, tag), Outcome.MISS)

    async def _head(self, repository: Repository, tag: Tag) -> Head | None:
        """None where the answer to HEAD proves nothing: a 404, a 405, a 5xx."""
        upstream = self._upstreams[repository.registry]
        try:
            return await upstream.head_manifest(repository.name, tag)
        except ManifestUnknown:
            return None
        except UpstreamUnavailable as failure:
            if failure.status is None:
                raise
            return None

    async def _stale(self, repository: Repository, tag: Tag, failure: UpstreamFailure) -> _Resolved:
        pin = await self._records.pin(repository, tag)
        if pin is None or time() - pin.checked_at > self._lifetimes.stale_if_error:
            raise failure
        manifest = await self._originals.held(repository, pin.digest)
        if manifest is None:
            raise failure
        reason = type(failure).__name__
        telemetry.STALE.labels(reason).inc()
        _log.warning(
            "tag.served_stale",
            repository=str(repository),
            tag=tag,
            age=round(time() - pin.checked_at),
            reason=failure.message,
        )
        return _Resolved(manifest, Outcome.STALE, reason)

    async def _forget(self, repository: Repository, tag: Tag) -> None:
        try:
            await self._records.drop_pin(repository, tag)
        except OSError as error:
            _log.error("tag.not_forgotten", repository=str(repository), tag=tag, error=str(error))

    def _is_fresh(self, pin: Pin) -> bool:
        return pin.checked_at <= time() < pin.checked_at + self._lifetimes.ttl or (
            # A clock that was set back must not make pins immortal, nor all of them stale at once.
            0 < pin.checked_at - time() < self._lifetimes.ttl
        )
