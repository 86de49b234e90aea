"""Listings: a repository's tags, and what refers to a manifest. The upstream's, not the cache's."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from time import time
from typing import TYPE_CHECKING, Final

from proxy.errors import ManifestUnknown, UpstreamFailure, UpstreamInvalid
from proxy.manifests.staleness import Reason, reason_of, served
from proxy.oci.headers.link import Page, keep_parameter
from proxy.oci.manifest import Index
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Tag
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.manifests.tags import Tags
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import ManifestCache, MonitoredUpstream

# A repository can have a hundred thousand tags; a page of them is not worth pushing others out.
_CACHED_LIMIT: Final = 256 * 1024
_EMPTY_INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": []}, separators=(",", ":")
).encode()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A page, and when it was had."""

    page: Page
    had_at: float

    def encode(self) -> bytes:
        head = {"at": self.had_at, "next": self.page.following, "filtered": self.page.filtered}
        return json.dumps(head).encode() + b"\n" + self.page.raw

    @classmethod
    def decode(cls, value: bytes | None) -> _Kept | None:
        head, _, raw = (value or b"").partition(b"\n")
        try:
            read = json.loads(head)
            return cls(Page(raw, read["next"], read["filtered"]), float(read["at"]))
        except (ValueError, KeyError, TypeError):
            return None


class Listings:
    """Pages of tags and referrers, kept while a tag is believed, and while the upstream fails."""

    def __init__(
        self,
        *,
        cache: ManifestCache,
        catalog: Catalog,
        tags: Tags,
        upstreams: Mapping[str, MonitoredUpstream],
        flights: SingleFlight,
        lifetimes: Lifetimes,
    ) -> None:
        """Of the `lifetimes` what holds for tags without a rule holds for pages."""
        self._cache = cache
        self._catalog = catalog
        self._tags = tags
        self._upstreams = upstreams
        self._flights = flights
        self._lifetimes = lifetimes

    async def tags(self, repository: Repository, query: str) -> Page:
        """One page of tags, under the name as addressed; NameUnknown or an UpstreamFailure."""
        upstream = self._upstreams[repository.registry]
        page = await self._kept(
            repository,
            f"tags:{repository}:{query}",
            lambda: upstream.tags(repository.name, query),
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

        page = await self._kept(repository, f"referrers:{repository}:{digest}:{query}", ask)
        if artifact_type is None:
            return page
        page = replace(
            page, following=keep_parameter(page.following, "artifactType", artifact_type)
        )
        return page if page.filtered else _filtered(page, artifact_type)

    async def _from_tag(self, repository: Repository, digest: Digest) -> Page:
        try:
            index = await self._tags.resolve(repository, Tag(f"{digest.algorithm}-{digest.hex}"))
        except ManifestUnknown:
            return Page(_EMPTY_INDEX)
        if not isinstance(index, Index):
            raise UpstreamInvalid(f"the upstream's list of referrers of {digest} is no index")
        return Page(index.raw)

    async def _kept(
        self, repository: Repository, key: str, ask: Callable[[], Awaitable[Page]]
    ) -> Page:
        """The page, had within `ttl`, or now, or before if the upstream fails."""
        kept = _Kept.decode(await self._cache.get(key))
        if kept and kept.had_at <= await self._catalog.void_before("listings", repository):
            kept = None
        if kept is not None and self._lifetimes.default.is_fresh(time() - kept.had_at):
            trace.current().outcome = Outcome.HIT
            return kept.page

        async def work() -> Page:
            page = await ask()
            _read(page.raw)
            if len(page.raw) <= _CACHED_LIMIT:
                had = _Kept(page, time()).encode()
                life = self._lifetimes.default.ttl + self._lifetimes.default.stale_if_error
                await self._cache.put(key, had, life=life)
            return page

        trouble = self._upstreams[repository.registry].trouble
        revalidation_timeout = self._lifetimes.revalidation_timeout if trouble is None else 0.0
        try:
            async with asyncio.timeout(None if kept is None else revalidation_timeout):
                page = await self._flights.do(key, work)
        except (UpstreamFailure, TimeoutError) as failure:
            if kept is None:
                raise
            known = failure if isinstance(failure, UpstreamFailure) else trouble
            served(Reason.SLOW if known is None else reason_of(known))
            return kept.page
        trace.current().outcome = Outcome.MISS
        return page


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


def _filtered(page: Page, artifact_type: str) -> Page:
    document = dict(_read(page.raw))
    manifests = document.get("manifests")
    document["manifests"] = [
        item
        for item in (manifests if isinstance(manifests, list) else [])
        if isinstance(item, dict) and item.get("artifactType") == artifact_type
    ]
    return Page(json.dumps(document).encode(), page.following, filtered=True)
