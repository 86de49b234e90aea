"""Listings: a repository's tags, and what refers to a manifest. The upstream's, not the cache's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from proxy.errors import ManifestUnknown, UpstreamFailure, UpstreamInvalid
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.manifests.freshness import (
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
from proxy.manifests.stored_page import decode, encode, referrers_slot, tags_slot
from proxy.oci.headers.link import Page, canonical, keep_parameter
from proxy.oci.listing import (
    EMPTY_INDEX,
    check_referrers,
    check_tags,
    filter_referrers,
    name_tags,
    referrers_tag,
)
from proxy.oci.manifest import Index
from proxy.oci.reference import Tag
from proxy.ports.catalog import Listing
from proxy.telemetry import metrics, trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.manifests.tags import Tags
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import MonitoredUpstream

# A repository can have a hundred thousand tags; a page of them is not worth pushing others out.
_CACHED_LIMIT: Final = 256 * 1024

# The parameters of the distribution spec. With any other one, what a client sends is passed on, and
# never cached, unless it is the cursor of a page that we have linked to.
_PAGING: Final = frozenset({"n", "last"})
_LINKS_MEMORY: Final = 2**20
_LINK_COST: Final = 300


@dataclass(frozen=True, slots=True)
class _Question:
    """A page of `listing`, as a client asks for it, and where its answer is stored."""

    listing: str
    query: str
    slot: str
    asked: str | None = None

    @property
    def is_common(self) -> bool:
        names = {name for name, _ in parse_qsl(self.query, keep_blank_values=True)}
        if self.asked is not None:
            names.discard("artifactType")
        return names <= _PAGING

    @property
    def stored_as(self) -> str:
        """What tells it from the other pages of its slot."""
        return self.query if self.asked is None else self.asked


class Listings:
    """Pages of tags and referrers, as fresh as tags are, and served stale as tags are."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        tags: Tags,
        upstreams: Mapping[str, MonitoredUpstream],
        flights: SingleFlight,
        lifetimes: Lifetimes,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Of the `lifetimes` what holds for tags without a rule holds for pages."""
        self._catalog = catalog
        self._tags = tags
        self._upstreams = upstreams
        self._flights = flights
        self._lifetimes = lifetimes
        self._clock = clock
        # The queries of the pages that this process has linked to.
        self._handed_out: LruCache[tuple[str, str], bool] = LruCache(_LINKS_MEMORY)

    async def tags(self, repository: Repository, query: str) -> Page:
        """One page of tags, under the name as addressed; NameUnknown or an UpstreamFailure."""
        upstream = self._upstreams[repository.registry]

        async def ask() -> Page:
            page = await upstream.tags(repository.name, query)
            check_tags(page.raw)
            return page

        page = await self._page(repository, _Question("tags", query, tags_slot(query)), ask)
        return replace(page, raw=name_tags(page.raw, repository.addressed))

    async def referrers(
        self, repository: Repository, digest: Digest, query: str, artifact_type: str | None
    ) -> Page:
        """One page of referrers, filtered if that is asked for; empty where there are none.

        Of a manifest that was made here no upstream knows anything. An upstream without the API
        keeps referrers in an index under a tag (distribution spec, "Referrers Tag Schema").
        """
        if await self._catalog.origin(digest) is not None:
            trace.current().outcome = Outcome.HIT
            return Page(EMPTY_INDEX, filtered=artifact_type is not None)
        upstream = self._upstreams[repository.registry]

        async def ask() -> Page:
            page = await upstream.referrers(repository.name, digest, query)
            if page is None:
                return await self._from_tag(repository, digest)
            check_referrers(page.raw)
            return page

        # With a digest in it, no page of another manifest can be taken for this one.
        asked = f"{digest}?{query}"
        page = await self._page(
            repository, _Question(f"referrers:{digest}", query, referrers_slot(asked), asked), ask
        )
        if artifact_type is None:
            return page
        page = replace(
            page, following=keep_parameter(page.following, "artifactType", artifact_type)
        )
        self._remember(f"{repository}:referrers:{digest}", page)
        if page.filtered:
            return page
        return replace(page, raw=filter_referrers(page.raw, artifact_type), filtered=True)

    async def _from_tag(self, repository: Repository, digest: Digest) -> Page:
        try:
            index = await self._tags.resolve(repository, Tag(referrers_tag(digest)))
        except ManifestUnknown:
            return Page(EMPTY_INDEX)
        if digest.matches(index.raw):
            # Some registries, such as GitLab's, read the tag as the digest that it looks like.
            # What an index lists itself are not its referrers.
            return Page(EMPTY_INDEX)
        if not isinstance(index, Index):
            raise UpstreamInvalid(f"the upstream's list of referrers of {digest} is no index")
        return Page(index.raw)

    async def _page(
        self, repository: Repository, question: _Question, ask: Callable[[], Awaitable[Page]]
    ) -> Page:
        """The fresh page, else what the upstream says, else the stale page."""
        listing = f"{repository}:{question.listing}"
        is_cached = question.is_common or (listing, question.query) in self._handed_out
        stored = await self._catalog.listing(repository, question.slot) if is_cached else None
        page = _decode(stored, question.stored_as, self._clock.wall())
        life = self._lifetimes.default
        failure = self._upstreams[repository.registry].trouble
        decision = decide(
            None if page is None else page.age,
            life,
            revalidation_timeout=self._lifetimes.revalidation_timeout,
            trouble=Trouble(failure=None if failure is None else reason_of(failure)),
        )

        async def work() -> Page:
            page = await ask()
            if is_cached and len(page.raw) <= _CACHED_LIMIT:
                value = encode(page, question.stored_as)
                found = Listing(value, self._clock.wall() - page.age)
                await self._catalog.put_listing(repository, question.slot, found)
            return page

        self._remember(listing, page)
        key = f"list:{listing}?{question.query}"
        if page is None:
            decision = MustFetch()
        match decision:
            case Fresh() if page is not None:
                trace.current().outcome = Outcome.HIT
                return page
            case ServeStale(reason) if page is not None:
                record_stale(reason)
                return page
            case ServeStaleAndRevalidate(reason):
                wait: float | None = 0.0
            case RevalidateWithin(seconds):
                wait, reason = seconds, Reason.SLOW
            case _:
                wait, reason = None, Reason.SLOW
        try:
            async with asyncio.timeout(wait):
                fetched = await self._flights.do(key, work)
        except (UpstreamFailure, TimeoutError) as error:
            if page is None or wait is None:
                raise
            record_stale(reason_of(error) if isinstance(error, UpstreamFailure) else reason)
            return page
        trace.current().outcome = Outcome.MISS
        self._remember(listing, fetched)
        return fetched

    def _remember(self, listing: str, page: Page | None) -> None:
        """Cache the page that we link to, too: its query is the upstream's, not a client's."""
        if page is not None and page.following is not None:
            query = canonical(page.following)
            cost = len(listing) + len(query) + _LINK_COST
            self._handed_out.put((listing, query), True, cost)  # noqa: FBT003 -- a set


def _decode(stored: Listing | None, query: str, now: float) -> Page | None:
    """The page with its age; one that cannot be read is a miss, and counted."""
    try:
        page = None if stored is None else decode(stored.value, query)
    except UpstreamInvalid:
        metrics.CACHE_ERRORS.labels("decode").inc()
        return None
    return None if stored is None or page is None else replace(page, age=now - stored.fetched_at)
