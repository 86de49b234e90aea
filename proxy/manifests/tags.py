"""Tags, the only thing that changes: what one names now, as far as can be known.

Who asks for a tag that was known before waits for the upstream only as long as a person would not
notice: what it says later is for the next one who asks. An upstream's failure never costs what is
here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic, time
from typing import TYPE_CHECKING, Final

import structlog

from proxy.catalog.catalog import TagEntry
from proxy.errors import BudgetReserved, ManifestUnknown, UpstreamFailure, UpstreamUnavailable
from proxy.kit.lru import LruCache
from proxy.manifests.staleness import Reason, reason_of, served
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import Head, MonitoredUpstream

_log = structlog.get_logger()

# A tag whose upstream has just failed is not asked for again at once, in seconds.
_HOLD_OFF: Final = 1.0
_LONGEST_HOLD_OFF: Final = 60.0
_HELD_OFF_MEMORY: Final = 2**20
_HELD_OFF_COST: Final = 512


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is here of a tag, and how many seconds ago it was known to be right."""

    manifest: Manifest
    age: float


@dataclass(frozen=True, slots=True)
class _Resolved:
    manifest: Manifest
    outcome: Outcome


class Tags:
    """Pins: each tag's digest, believed for a while and revalidated by HEAD."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        upstream_manifests: UpstreamManifests,
        upstreams: Mapping[str, MonitoredUpstream],
        flights: SingleFlight,
        lifetimes: Lifetimes,
    ) -> None:
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._upstreams = upstreams
        self._flights = flights
        self._lifetimes = lifetimes
        self._held_off: LruCache[str, tuple[float, Reason]] = LruCache(_HELD_OFF_MEMORY)
        # When the questions that an upstream has not answered yet were asked, the oldest first.
        self._asking: dict[str, dict[str, float]] = {name: {} for name in upstreams}

    def forget(self) -> None:
        """Ask again also for what could not be had just now."""
        self._held_off.clear()

    def fresh(self, repository: Repository, tag: Tag) -> Digest | None:
        """What the tag names, if that needs neither a store nor the upstream to know."""
        tag_entry = self._catalog.remembered_tag_entry(repository, tag)
        if tag_entry is None:
            return None
        age = time() - tag_entry.validated_at
        return tag_entry.digest if self._lifetimes.of(repository, tag).is_fresh(age) else None

    async def resolve(self, repository: Repository, tag: Tag) -> Manifest:
        """What the tag names: a fresh pin, else what the upstream says, else the stale pin.

        ManifestUnknown if the upstream has no such tag; an UpstreamFailure if it cannot be asked
        and nothing is known.
        """
        life = self._lifetimes.of(repository, tag)
        copy = await self._copy(repository, tag)
        if copy is not None and life.is_fresh(copy.age):
            return _told(_Resolved(copy.manifest, Outcome.HIT))
        if copy is not None and (
            life.may_serve_stale_on_error(copy.age) or self._upstreams[repository.registry].offline
        ):
            return await self._soon(repository, tag, copy)
        return _told(await self._current(repository, tag, None))

    async def _copy(self, repository: Repository, tag: Tag) -> _Copy | None:
        """What the newest pin names, here or in the shared cache."""
        tag_entry = self._catalog.remembered_tag_entry(repository, tag)
        life = self._lifetimes.of(repository, tag)
        if tag_entry is None or not life.is_fresh(time() - tag_entry.validated_at):
            tag_entry = await self._catalog.tag_entry(repository, tag)
        if tag_entry is None:
            return None
        manifest = await self._upstream_manifests.held(repository, tag_entry.digest)
        return _Copy(manifest, time() - tag_entry.validated_at) if manifest else None

    async def _soon(self, repository: Repository, tag: Tag, copy: _Copy) -> Manifest:
        """What the upstream says if it says it soon, else the copy."""
        until, reason = self._held_off.get(_key(repository, tag)) or (0.0, Reason.UNAVAILABLE)
        if monotonic() >= until:
            revalidation_timeout, reason = self._time_to_wait(repository, tag, copy)
            try:
                async with asyncio.timeout(revalidation_timeout):
                    resolved = await self._current(repository, tag, copy)
            except UpstreamFailure as failure:
                reason = reason_of(failure)
            except TimeoutError:
                pass
            else:
                return _told(resolved)
        served(reason)
        return copy.manifest

    def _time_to_wait(self, repository: Repository, tag: Tag, copy: _Copy) -> tuple[float, Reason]:
        """For how many seconds to wait, and why it was not worth waiting longer."""
        if (trouble := self._upstreams[repository.registry].trouble) is not None:
            return 0.0, reason_of(trouble)
        if self._lifetimes.of(repository, tag).may_revalidate_in_background(copy.age):
            return 0.0, Reason.REVALIDATING
        oldest = next(iter(self._asking[repository.registry].values()), None)
        if oldest is not None and monotonic() > oldest + self._lifetimes.revalidation_timeout:
            # Somebody has waited for this upstream in vain, and still is.
            return 0.0, Reason.SLOW
        return self._lifetimes.revalidation_timeout, Reason.SLOW

    async def _current(self, repository: Repository, tag: Tag, copy: _Copy | None) -> _Resolved:
        """What the upstream says, by one question for all who ask meanwhile."""
        life = self._lifetimes.of(repository, tag)

        async def elsewhere() -> _Resolved | None:
            found = await self._copy(repository, tag)
            if found is None or not life.is_fresh(found.age):
                return None
            return _Resolved(found.manifest, Outcome.HIT)

        async def work() -> _Resolved:
            return await self._revalidated(repository, tag, copy)

        return await self._flights.do(_key(repository, tag), work, elsewhere)

    async def _revalidated(self, repository: Repository, tag: Tag, copy: _Copy | None) -> _Resolved:
        key, asking = _key(repository, tag), self._asking[repository.registry]
        asking[key] = monotonic()
        try:
            resolved = await self._asked(repository, tag, copy)
        except ManifestUnknown:
            await self._forget(repository, tag)
            raise
        except UpstreamFailure as failure:
            self._hold_off(repository, tag, copy, failure)
            raise
        finally:
            del asking[key]
        self._held_off.delete(key)
        try:
            tag_entry = TagEntry(resolved.manifest.digest, time())
            life = self._lifetimes.of(repository, tag)
            await self._catalog.put_tag_entry(
                repository, tag, tag_entry, life=life.ttl + life.stale_if_error
            )
        except OSError as error:
            _log.error("tag.not_stored", repository=str(repository), tag=tag, error=str(error))
        return resolved

    async def _asked(self, repository: Repository, tag: Tag, copy: _Copy | None) -> _Resolved:
        """One HEAD; a GET only for what is not here, or to settle what HEAD left open.

        A GET is a pull from the upstream's budget: BudgetReserved if that is near its end, and
        there is a copy that can be served instead.
        """
        head = await self._head(repository, tag)
        if head is not None and head.digest is not None:
            held = await self._upstream_manifests.held(repository, head.digest)
            if held is not None:
                return _Resolved(held, Outcome.REVALIDATED)
            await self._spend(repository, copy)
            try:
                fetched = await self._upstream_manifests.fetch(repository, head.digest)
                return _Resolved(fetched, Outcome.MISS)
            except ManifestUnknown:
                # Moved on since, or an upstream that does not serve what it converted itself.
                _log.info("tag.moved", repository=str(repository), tag=tag, digest=head.digest)
        await self._spend(repository, copy)
        return _Resolved(await self._upstream_manifests.fetch(repository, tag), Outcome.MISS)

    async def _spend(self, repository: Repository, copy: _Copy | None) -> None:
        upstream = self._upstreams[repository.registry]
        if copy is not None and await upstream.is_at_its_reserve():
            raise BudgetReserved(
                f"what {repository.registry} still grants is kept for images that are not here"
            )

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

    def _hold_off(
        self, repository: Repository, tag: Tag, copy: _Copy | None, failure: UpstreamFailure
    ) -> None:
        reason = reason_of(failure)
        life = self._lifetimes.of(repository, tag)
        # The meter will show no more in a second than it does now.
        seconds = min(life.ttl, _LONGEST_HOLD_OFF) if reason is Reason.BUDGET else _HOLD_OFF
        held_off = monotonic() + seconds, reason
        self._held_off.put(_key(repository, tag), held_off, _HELD_OFF_COST)
        if copy is not None and not self._upstreams[repository.registry].offline:
            _log.warning(
                "tag.served_stale",
                repository=str(repository),
                tag=tag,
                age=round(copy.age),
                reason=failure.message,
            )

    async def _forget(self, repository: Repository, tag: Tag) -> None:
        try:
            await self._catalog.drop_tag_entry(repository, tag)
        except OSError as error:
            _log.error("tag.not_forgotten", repository=str(repository), tag=tag, error=str(error))


def _told(resolved: _Resolved) -> Manifest:
    """The manifest, and in the trace where it came from."""
    trace.current().outcome = resolved.outcome
    trace.current().stored = resolved.outcome is Outcome.MISS
    return resolved.manifest


def _key(repository: Repository, tag: Tag) -> str:
    return f"tag:{repository}:{tag}"
