"""Responses for listings: the tags of a repository, and the referrers of a digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from proxy.oci.headers.link import link_to
from proxy.oci.mediatype import MediaType
from proxy.telemetry import trace
from proxy.web.headers import API_VERSION, NO_SNIFF, SERVER, cache_status, make_private
from proxy.web.paths import TagsTarget
from proxy.web.request import connection_of

if TYPE_CHECKING:
    from proxy.catalog.routing import Standby
    from proxy.manifests.listings import Listings
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Repository
    from proxy.web.access_log import AccessLogLine
    from proxy.web.paths import ReferrersTarget


class ListingResponder:
    """Answers requests for a page of a listing."""

    def __init__(self, listings: Listings, standby: Standby) -> None:
        """`standby` answers where a registry is down."""
        self._listings = listings
        self._standby = standby

    async def answer(
        self, request: web.BaseRequest, target: TagsTarget | ReferrersTarget, line: AccessLogLine
    ) -> web.Response:
        """Send the page that is asked for."""
        request_trace = trace.begin(connection_of(request), line.limited)
        try:
            page = await self._standby.ask(
                target.repository, lambda repository: self._ask(repository, target)
            )
        finally:
            line.record(request_trace)
        is_tags = isinstance(target, TagsTarget)
        response = (
            json_response(page.raw) if is_tags else json_response(page.raw, MediaType.OCI_INDEX)
        )
        if page.filtered:
            response.headers["OCI-Filters-Applied"] = "artifactType"
        if page.following is not None:
            response.headers["Link"] = link_to(target.path, page.following, ns=target.ns)
        if target.ns is not None:
            response.headers["OCI-Namespace"] = target.ns
        response.headers["Cache-Status"] = cache_status(request_trace)
        if line.private:
            make_private(response.headers)
        line.sent = len(page.raw)
        return response

    async def _ask(self, repository: Repository, target: TagsTarget | ReferrersTarget) -> Page:
        if isinstance(target, TagsTarget):
            return await self._listings.tags(repository, target.query)
        return await self._listings.referrers(
            repository, target.digest, target.query, target.artifact_type
        )


def json_response(body: bytes, media_type: str = "application/json") -> web.Response:
    """A response of the registry API with a JSON body."""
    headers = CIMultiDict([API_VERSION, NO_SNIFF, SERVER, ("Content-Type", media_type)])
    return web.Response(body=body, headers=headers)
