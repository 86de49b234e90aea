"""Tags, the only thing that changes: what one names now, as far as can be known.

If a stored copy exists, a request waits for the upstream only as long as a person would not
notice; a later answer is for the next request. An upstream's failure never costs a stored copy.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

import structlog

from proxy.catalog.lookup import Lookup
from proxy.errors import BudgetReserved, ManifestUnknown, TagDeleted, UpstreamFailure
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.manifests.freshness import (
    Decision,
    Fresh,
    MustFetch,
    Reason,
    RevalidateWithin,
    ServeStale,
    ServeStaleAndRevalidate,
    Trouble,
    decide,
    reason_of,
)
from proxy.manifests.stale import record_stale
from proxy.ports.catalog import Proof, TagEntry
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.clock import Clock
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
class _Resolved:
    manifest: Manifest
    outcome: Outcome


class Tags:
    """Each tag's digest: fresh for a while, and revalidated by HEAD."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        upstream_manifests: UpstreamManifests,
        upstreams: Mapping[str, MonitoredUpstream],
        flights: SingleFlight,
        lifetimes: Lifetimes,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._upstreams = upstreams
        self._flights = flights
        self._lifetimes = lifetimes
        self._clock = clock
        self._held_off: LruCache[str, tuple[float, Reason]] = LruCache(_HELD_OFF_MEMORY)
        # When each question was asked that an upstream has not answered yet, the oldest first.
        self._unanswered: dict[str, dict[str, float]] = {name: {} for name in upstreams}

    def forget(self) -> None:
        """Ask again also for what failed a moment ago."""
        self._held_off.clear()

    def fresh(self, repository: Repository, tag: Tag) -> Digest | None:
        """What the tag names, if memory alone has a fresh entry."""
        entry = self._catalog.remembered_tag(repository, tag)
        if entry is None:
            return None
        return entry.digest if self._is_fresh(repository, tag, entry) else None

    async def resolve(self, repository: Repository, tag: Tag) -> Manifest:
        """What the tag names: the fresh copy, else what the upstream says, else the stale copy.

        ManifestUnknown if the upstream has no such tag; an UpstreamFailure if it cannot be asked
        and nothing is stored.
        """
        lookup = await self._catalog.look(
            repository, tag, fresh=lambda entry: self._is_fresh(repository, tag, entry)
        )
        manifest = lookup.manifest
        if manifest is None:
            return _record(await self._current(repository, tag, lookup))
        match self._decide(repository, tag, lookup):
            case Fresh():
                return _record(_Resolved(manifest, Outcome.HIT))
            case MustFetch():
                return _record(await self._current(repository, tag, lookup))
            case ServeStale(reason):
                record_stale(reason)
                return manifest
            case ServeStaleAndRevalidate() | RevalidateWithin() as decision:
                resolved = await self._revalidate(repository, tag, lookup, decision)
                return manifest if resolved is None else _record(resolved)
            case never:
                assert_never(never)

    def _is_fresh(self, repository: Repository, tag: Tag, entry: TagEntry) -> bool:
        age = self._clock.wall() - entry.validated_at
        return self._lifetimes.of(repository, tag).is_fresh(age)

    def _decide(self, repository: Repository, tag: Tag, lookup: Lookup) -> Decision:
        entry = lookup.entry
        age = None if entry is None else self._clock.wall() - entry.validated_at
        until, reason = self._held_off.get(_key(repository, tag)) or (0.0, Reason.UNAVAILABLE)
        failure = self._upstreams[repository.registry].trouble
        now, timeout = self._clock.monotonic(), self._lifetimes.revalidation_timeout
        oldest = next(iter(self._unanswered[repository.registry].values()), now)
        trouble = Trouble(
            failure=None if failure is None else reason_of(failure),
            held_off=reason if now < until else None,
            slow=now > oldest + timeout,
        )
        life = self._lifetimes.of(repository, tag)
        return decide(age, life, revalidation_timeout=timeout, trouble=trouble)

    async def _revalidate(
        self,
        repository: Repository,
        tag: Tag,
        lookup: Lookup,
        decision: ServeStaleAndRevalidate | RevalidateWithin,
    ) -> _Resolved | None:
        """What the upstream says in time; None, recorded as stale, if it does not."""
        seconds, reason = 0.0, Reason.SLOW
        match decision:
            case ServeStaleAndRevalidate():
                reason = decision.reason
            case RevalidateWithin():
                seconds = decision.seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._current(repository, tag, lookup)
        except UpstreamFailure as failure:
            reason = reason_of(failure)
        except TimeoutError:
            pass
        record_stale(reason)
        return None

    async def _current(self, repository: Repository, tag: Tag, lookup: Lookup) -> _Resolved:
        """What the upstream says, by one question for all requests that need it meanwhile."""
        # Another request may have asked since this one looked into the catalog.
        digest = self.fresh(repository, tag)
        known = digest and self._catalog.remembered_manifest(repository, digest)
        if known:
            return _Resolved(known, Outcome.HIT)

        async def elsewhere() -> _Resolved | None:
            found = await self._catalog.look_nearest(repository, tag)
            if found.manifest is None or found.entry is None:
                return None
            if not self._is_fresh(repository, tag, found.entry):
                return None
            return _Resolved(found.manifest, Outcome.HIT)

        async def work() -> _Resolved:
            return await self._fetch(repository, tag, lookup)

        return await self._flights.do(_key(repository, tag), work, elsewhere)

    async def _fetch(self, repository: Repository, tag: Tag, lookup: Lookup) -> _Resolved:
        key, unanswered = _key(repository, tag), self._unanswered[repository.registry]
        unanswered[key] = self._clock.monotonic()
        try:
            resolved = await self._ask(repository, tag, lookup)
        except ManifestUnknown:
            if self._lifetimes.keep_deleted and lookup.manifest is not None:
                deleted = TagDeleted(f"{repository.registry} has no {repository.name}:{tag} now")
                self._hold_off(repository, tag, lookup, deleted)
                raise deleted from None
            await self._catalog.drop_tag(repository, tag)
            raise
        except UpstreamFailure as failure:
            self._hold_off(repository, tag, lookup, failure)
            raise
        finally:
            del unanswered[key]
        self._held_off.delete(key)
        return resolved

    async def _ask(self, repository: Repository, tag: Tag, lookup: Lookup) -> _Resolved:
        """One HEAD; a GET for what is not stored, or where HEAD does not answer usefully.

        A GET is a pull from the upstream's budget: BudgetReserved if that is nearly spent, and
        there is a copy that can be served instead.
        """
        head = await self._upstream_manifests.head(repository, tag)
        if head is not None and head.digest is not None:
            if (stored := await self._find_stored(repository, tag, head, lookup)) is not None:
                return stored
            await self._spend(repository, lookup)
            try:
                fetched = await self._upstream_manifests.fetch(repository, head.digest, tag=tag)
            except ManifestUnknown:
                # Moved on since, or an upstream that does not serve what it converted itself.
                _log.info("tag.moved", repository=str(repository), tag=tag, digest=head.digest)
            else:
                return await self._confirm(repository, tag, fetched)
        await self._spend(repository, lookup)
        fetched = await self._upstream_manifests.fetch(repository, tag, tag=tag)
        return await self._confirm(repository, tag, fetched)

    async def _find_stored(
        self, repository: Repository, tag: Tag, head: Head, lookup: Lookup
    ) -> _Resolved | None:
        """The stored manifest that HEAD has named, if the repository may serve it."""
        if head.digest is None:
            return None
        known = lookup
        if known.manifest is None or known.manifest.digest != head.digest:
            known = await self._catalog.look_manifest(
                repository,
                head.digest,
                known=Lookup(ignorant=lookup.ignorant),
                may_be_derived=False,
            )
        if known.manifest is not None:
            entry = TagEntry(known.manifest.digest, self._clock.wall())
            await self._catalog.put_tag(repository, tag, entry)
            return _Resolved(known.manifest, Outcome.REVALIDATED)
        manifest = self._upstream_manifests.granted_by_head(head, known)
        if manifest is None:
            return None
        entry = TagEntry(manifest.digest, self._clock.wall())
        await self._catalog.learn(repository, manifest, Proof.HEAD, tag=(tag, entry))
        return _Resolved(manifest, Outcome.REVALIDATED)

    async def _confirm(self, repository: Repository, tag: Tag, fetched: Manifest) -> _Resolved:
        """What was fetched is what the tag names, which the catalog learnt with it.

        Not if another request had begun to fetch it, by its digest.
        """
        entry = self._catalog.remembered_tag(repository, tag)
        if (
            entry is None
            or entry.digest != fetched.digest
            or not self._is_fresh(repository, tag, entry)
        ):
            entry = TagEntry(fetched.digest, self._clock.wall())
            await self._catalog.put_tag(repository, tag, entry)
        return _Resolved(fetched, Outcome.MISS)

    async def _spend(self, repository: Repository, lookup: Lookup) -> None:
        upstream = self._upstreams[repository.registry]
        if lookup.manifest is not None and await upstream.is_at_its_reserve():
            raise BudgetReserved(
                f"the pulls that {repository.registry} still grants are kept for new images"
            )

    def _hold_off(
        self, repository: Repository, tag: Tag, lookup: Lookup, failure: UpstreamFailure
    ) -> None:
        reason = reason_of(failure)
        life = self._lifetimes.of(repository, tag)
        # The rate limit will not have recovered in a second.
        seconds = min(life.ttl, _LONGEST_HOLD_OFF) if reason is Reason.BUDGET else _HOLD_OFF
        held_off = self._clock.monotonic() + seconds, reason
        self._held_off.put(_key(repository, tag), held_off, _HELD_OFF_COST)
        if (
            lookup.manifest is not None
            and lookup.entry is not None
            and not self._upstreams[repository.registry].offline
        ):
            _log.warning(
                "tag.served_stale",
                repository=str(repository),
                tag=tag,
                age=round(self._clock.wall() - lookup.entry.validated_at),
                reason=failure.message,
            )


def _record(resolved: _Resolved) -> Manifest:
    """The manifest; the trace of the request says where it came from."""
    current = trace.current()
    current.outcome = resolved.outcome
    current.stored = resolved.outcome is Outcome.MISS
    return resolved.manifest


def _key(repository: Repository, tag: Tag) -> str:
    return f"tag:{repository}:{tag}"
