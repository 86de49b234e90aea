"""Listings: a repository's tags, and what refers to a manifest. The upstream's, not the cache's."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.errors import ManifestUnknown, UpstreamFailure, UpstreamInvalid
from proxy.kit.clock import SYSTEM_CLOCK
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
from proxy.oci.headers.link import Page, keep_parameter
from proxy.oci.manifest import Index
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Tag
from proxy.ports.catalog import Listing
from proxy.telemetry import trace
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
_EMPTY_INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": []}, separators=(",", ":")
).encode()


def _encode(page: Page) -> bytes:
    head = {"next": page.following, "filtered": page.filtered}
    return json.dumps(head).encode() + b"\n" + page.raw


def _decode(value: bytes) -> Page | None:
    head, _, raw = value.partition(b"\n")
    try:
        read = json.loads(head)
        return Page(raw, read["next"], read["filtered"])
    except (ValueError, KeyError, TypeError):
        return None


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

    async def tags(self, repository: Repository, query: str) -> Page:
        """One page of tags, under the name as addressed; NameUnknown or an UpstreamFailure."""
        upstream = self._upstreams[repository.registry]
        page = await self._page(
            repository, f"tags:{query}", lambda: upstream.tags(repository.name, query)
        )
        names = _strings(_read(page.raw).get("tags"))
        body = json.dumps({"name": repository.addressed, "tags": names}).encode()
        return Page(body, page.following)

    async def referrers(
        self, repository: Repository, digest: Digest, query: str, artifact_type: str | None
    ) -> Page:
        """One page of referrers, filtered if that is asked for; empty where there are none.

        Of a manifest that was made here no upstream knows anything. An upstream without the API
        keeps referrers in an index under a tag (distribution spec, "Referrers Tag Schema").
        """
        if await self._catalog.origin(digest) is not None:
            trace.current().outcome = Outcome.HIT
            return Page(_EMPTY_INDEX, filtered=artifact_type is not None)
        upstream = self._upstreams[repository.registry]

        async def ask() -> Page:
            page = await upstream.referrers(repository.name, digest, query)
            return page or await self._from_tag(repository, digest)

        page = await self._page(repository, f"referrers:{digest}:{query}", ask)
        if artifact_type is None:
            return page
        page = replace(
            page, following=keep_parameter(page.following, "artifactType", artifact_type)
        )
        return page if page.filtered else _filter(page, artifact_type)

    async def _from_tag(self, repository: Repository, digest: Digest) -> Page:
        try:
            index = await self._tags.resolve(repository, Tag(f"{digest.algorithm}-{digest.hex}"))
        except ManifestUnknown:
            return Page(_EMPTY_INDEX)
        if not isinstance(index, Index):
            raise UpstreamInvalid(f"the upstream's list of referrers of {digest} is no index")
        return Page(index.raw)

    async def _page(
        self, repository: Repository, name: str, ask: Callable[[], Awaitable[Page]]
    ) -> Page:
        """The fresh page, else what the upstream says, else the stale page."""
        stored = await self._catalog.listing(repository, name)
        page = None if stored is None else _decode(stored.value)
        now, life = self._clock.wall(), self._lifetimes.default
        age = None if stored is None or page is None else now - stored.fetched_at
        failure = self._upstreams[repository.registry].trouble
        decision = decide(
            age,
            life,
            revalidation_timeout=self._lifetimes.revalidation_timeout,
            trouble=Trouble(failure=None if failure is None else reason_of(failure)),
        )

        async def work() -> Page:
            page = await ask()
            _read(page.raw)
            if len(page.raw) <= _CACHED_LIMIT:
                listing = Listing(_encode(page), self._clock.wall())
                await self._catalog.put_listing(repository, name, listing)
            return page

        key = f"list:{repository}:{name}"
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
        return fetched


def _read(raw: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UpstreamInvalid("the upstream's listing is not JSON")
    return document


def _strings(value: object) -> list[str]:
    """Old registries say null for none."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _filter(page: Page, artifact_type: str) -> Page:
    document = dict(_read(page.raw))
    manifests = document.get("manifests")
    document["manifests"] = [
        item
        for item in (manifests if isinstance(manifests, list) else [])
        if isinstance(item, dict) and item.get("artifactType") == artifact_type
    ]
    return Page(json.dumps(document).encode(), page.following, filtered=True)
