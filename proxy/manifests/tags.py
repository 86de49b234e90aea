"""Tags, the only thing that changes: the digest that each names now, as far as can be known.

If a stored copy exists, a request waits for the upstream at most `revalidation_timeout`; a later
answer is for the next request. An upstream's failure never costs a stored copy.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

import structlog

from proxy.errors import ClientThrottled, ManifestUnknown, TagDeleted, UpstreamFailure
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
from proxy.manifests.resolved import Resolved
from proxy.manifests.revalidation import Revalidation
from proxy.manifests.slowness import Slowness
from proxy.manifests.stale import record_stale
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.catalog.lookup import Lookup
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import MonitoredUpstream
    from proxy.ports.catalog import TagEntry

_log = structlog.get_logger()

# A tag whose upstream has just failed is not asked for again at once, in seconds.
_HOLD_OFF: Final = 1.0
_LONGEST_HOLD_OFF: Final = 60.0
_HELD_OFF_MEMORY: Final = 2**20
_HELD_OFF_COST: Final = 512


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
        head_first: Collection[str] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`head_first` are the upstreams where others deliver what a HEAD of the registry names."""
        self._head_first = head_first
        self._catalog = catalog
        self._upstreams = upstreams
        self._flights = flights
        self._lifetimes = lifetimes
        self._clock = clock
        self._revalidation = Revalidation(
            catalog=catalog,
            upstream_manifests=upstream_manifests,
            upstreams=upstreams,
            is_fresh=self._is_fresh,
            clock=clock,
        )
        self._held_off: LruCache[str, tuple[float, Reason]] = LruCache(_HELD_OFF_MEMORY)
        self._slowness = Slowness(clock)

    def forget(self) -> None:
        """Drop the memory of failures, so that every question may be asked again."""
        self._held_off.clear()

    def fresh(self, repository: Repository, tag: Tag) -> Digest | None:
        """What the tag names, if memory alone has a fresh entry."""
        entry = self._catalog.remembered_tag(repository, tag)
        if entry is None:
            return None
        return entry.digest if self._is_fresh(repository, tag, entry) else None

    async def resolve(self, repository: Repository, tag: Tag, *, by_head: bool = False) -> Manifest:
        """What the tag names: the fresh copy, else what the upstream says, else the stale copy.

        ManifestUnknown if the upstream has no such tag; an UpstreamFailure if it cannot be asked
        and nothing is stored. The trace says which it is. A client that asks `by_head` costs the
        upstream a HEAD at first.
        """
        return _record(await self.find(repository, tag, by_head=by_head))

    async def consider(self, repository: Repository, tag: Tag) -> tuple[Lookup, Decision]:
        """What is known of the tag, and what a request for it would do now."""
        lookup = await self._look(repository, tag)
        return lookup, self._decide(repository, tag, lookup)

    async def find_stored(
        self, repository: Repository, tag: Tag, *, may_be_stale: bool
    ) -> Resolved | None:
        """What the tag names, if that is stored, and fresh unless it may be stale."""
        lookup = await self._look(repository, tag)
        if lookup.manifest is None or lookup.entry is None:
            return None
        if self._is_fresh(repository, tag, lookup.entry):
            return Resolved(lookup.manifest, Outcome.HIT, lookup.entry.validated_at)
        if not may_be_stale or self._is_too_old(repository, tag, lookup.entry):
            return None
        return Resolved.of_stale(lookup.manifest, lookup.entry, Reason.UNAVAILABLE)

    async def find(self, repository: Repository, tag: Tag, *, by_head: bool = False) -> Resolved:
        """The same as `resolve`, with its age."""
        lookup = await self._look(repository, tag, by_head=by_head)
        manifest, entry = lookup.manifest, lookup.entry
        if manifest is None or entry is None:
            return await self._current(repository, tag, lookup)
        match self._decide(repository, tag, lookup):
            case Fresh():
                return Resolved(manifest, Outcome.HIT, entry.validated_at)
            case MustFetch():
                return await self._current(repository, tag, lookup)
            case ServeStale(reason):
                return Resolved.of_stale(manifest, entry, reason)
            case ServeStaleAndRevalidate() | RevalidateWithin() as decision:
                found = await self._revalidate(repository, tag, lookup, decision)
                return (
                    found
                    if isinstance(found, Resolved)
                    else Resolved.of_stale(manifest, entry, found)
                )
            case never:
                assert_never(never)

    async def _look(self, repository: Repository, tag: Tag, *, by_head: bool = False) -> Lookup:
        """Look the tag up; where a HEAD is always sent first, no repository counts as new."""
        lookup = await self._catalog.look(
            repository, tag, fresh=lambda entry: self._is_fresh(repository, tag, entry)
        )
        if by_head or repository.registry in self._head_first:
            return replace(lookup, is_of_new_repository=False)
        return lookup

    def _is_fresh(self, repository: Repository, tag: Tag, entry: TagEntry) -> bool:
        age = self._clock.wall() - entry.validated_at
        return self._lifetimes.of(repository, tag).is_fresh(age)

    def _is_too_old(self, repository: Repository, tag: Tag, entry: TagEntry) -> bool:
        age = self._clock.wall() - entry.validated_at
        return age > self._lifetimes.of(repository, tag).longest

    def _decide(self, repository: Repository, tag: Tag, lookup: Lookup) -> Decision:
        entry = lookup.entry
        age = None if entry is None else self._clock.wall() - entry.validated_at
        until, reason = self._held_off.get(_key(repository, tag)) or (0.0, Reason.UNAVAILABLE)
        failure = self._upstreams[repository.registry].trouble
        now, timeout = self._clock.monotonic(), self._lifetimes.revalidation_timeout
        trouble = Trouble(
            failure=None if failure is None else reason_of(failure),
            held_off=reason if now < until else None,
            slow=self._slowness.is_slow(repository, timeout),
        )
        life = self._lifetimes.of(repository, tag)
        return decide(age, life, revalidation_timeout=timeout, trouble=trouble)

    async def _revalidate(
        self,
        repository: Repository,
        tag: Tag,
        lookup: Lookup,
        decision: ServeStaleAndRevalidate | RevalidateWithin,
    ) -> Resolved | Reason:
        """Return the upstream's answer if it comes in time; else why the stale copy is served."""
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
            if seconds:
                self._slowness.add(repository)
        return reason

    async def _current(self, repository: Repository, tag: Tag, lookup: Lookup) -> Resolved:
        """What the upstream says, by one question for all requests that need it meanwhile."""
        # Another request may have asked since this one looked into the catalog.
        entry = self._catalog.remembered_tag(repository, tag)
        if entry is not None and self._is_fresh(repository, tag, entry):
            known = self._catalog.remembered_manifest(repository, entry.digest)
            if known is not None:
                return Resolved(known, Outcome.HIT, entry.validated_at)

        async def elsewhere() -> Resolved | None:
            found = await self._catalog.look_nearest(repository, tag)
            if found.manifest is None or found.entry is None:
                return None
            if not self._is_fresh(repository, tag, found.entry):
                return None
            return Resolved(found.manifest, Outcome.HIT, found.entry.validated_at)

        async def work() -> Resolved:
            return await self._fetch(repository, tag, lookup)

        return await self._flights.do(_key(repository, tag), work, elsewhere)

    async def _fetch(self, repository: Repository, tag: Tag, lookup: Lookup) -> Resolved:
        self._slowness.begin(repository, tag)
        is_answered = False
        try:
            resolved = await self._revalidation.ask(repository, tag, lookup)
            is_answered = True
        except ManifestUnknown:
            is_answered = True
            if self._lifetimes.keep_deleted and lookup.manifest is not None:
                deleted = TagDeleted(f"{repository.registry} has no {repository.name}:{tag} now")
                self._hold_off(repository, tag, lookup, deleted)
                raise deleted from None
            await self._catalog.drop_tag(repository, tag)
            raise
        except ClientThrottled:
            # Other clients may ask.
            raise
        except UpstreamFailure as failure:
            is_answered = failure.status is not None
            self._hold_off(repository, tag, lookup, failure)
            raise
        finally:
            self._slowness.end(repository, tag, is_answered=is_answered)
        self._held_off.delete(_key(repository, tag))
        return resolved

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


def _record(resolved: Resolved) -> Manifest:
    """The manifest; the trace of the request says where it came from."""
    if resolved.stale is not None:
        record_stale(resolved.stale)
        return resolved.manifest
    current = trace.current()
    current.outcome = resolved.outcome
    current.stored = resolved.outcome is Outcome.MISS
    return resolved.manifest


def _key(repository: Repository, tag: Tag) -> str:
    return f"tag:{repository}:{tag}"
