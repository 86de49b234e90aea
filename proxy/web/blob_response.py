"""Blob responses: whole, a range, or only the headers; from the store or a running transfer."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.blobs.recency import BlobUse
from proxy.blobs.self_healing import StoredBlob
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome
from proxy.web.blob_body import BlobBodies
from proxy.web.conditions import not_modified, range_applies
from proxy.web.headers import cache_status, content_headers, make_private
from proxy.web.passed_ranges import PassedRanges
from proxy.web.prepared import MAX_BODY
from proxy.web.prepared_answer import ANSWER_COST, PreparedAnswer, respond
from proxy.web.ranges import ByteRange, parse_range

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from proxy.blobs.cold_requests import ColdRequests
    from proxy.blobs.serve import Blobs
    from proxy.blobs.source import Source
    from proxy.catalog.routing import Standby
    from proxy.kit.lru import LruCache
    from proxy.oci.reference import Digest, Repository
    from proxy.web.access_log import AccessLogLine
    from proxy.web.paths import BlobTarget

# Schema 1 names blobs by digest only, so their media types are unknown.
_TYPE: Final = "application/octet-stream"


class BlobResponder:
    """Answers GET and HEAD of blobs."""

    def __init__(
        self,
        blobs: Blobs,
        *,
        standby: Standby,
        range_on_miss: bool,
        cold: ColdRequests,
        answers: LruCache[tuple[object, ...], PreparedAnswer],
    ) -> None:
        """`standby` answers where a registry is down.

        `range_on_miss`: forward a range of a blob that is not cached to the upstream. `cold` counts
        requests for such blobs. Small ones that were served are kept in `answers`.
        """
        self._answers = answers
        self._blobs = blobs
        self._standby = standby
        self._range_on_miss = range_on_miss
        self._cold = cold
        self._passed_ranges = PassedRanges(blobs)
        self._bodies = BlobBodies()

    def recall(
        self, request: web.BaseRequest, target: BlobTarget, line: AccessLogLine
    ) -> PreparedAnswer | None:
        """A small blob that was served through the repository before; None for a part of it."""
        if "Range" in request.headers:
            return None
        return self._answers.get((target, line.private))

    async def answer(
        self, request: web.BaseRequest, target: BlobTarget, line: AccessLogLine
    ) -> web.StreamResponse:
        """Send the blob; the number of bytes sent is noted in `line`."""
        response = await self._standby.ask(
            target.repository,
            lambda repository: self._answer(request, replace(target, repository=repository), line),
        )
        if (answer := line.answer) is not None:
            cost = len(answer.body) + ANSWER_COST
            self._answers.put((target, line.private), answer, cost)
        return response

    async def _answer(
        self, request: web.BaseRequest, target: BlobTarget, line: AccessLogLine
    ) -> web.StreamResponse:
        headers = content_headers(target.digest, _TYPE, target.ns)
        headers["Accept-Ranges"] = "bytes"
        # Content-addressed, so clients never need to revalidate it.
        headers["Cache-Control"] = "max-age=31536000, immutable"
        if line.private:
            make_private(headers)
        line.media_type = _TYPE
        wanted = None
        if range_applies(request.headers.get("If-Range"), target.digest):
            wanted = parse_range(request.headers.get("Range"))
        is_not_modified = not_modified(request.headers.getall("If-None-Match", ()), target.digest)
        if request.method == "HEAD" or is_not_modified:
            size = await self._blobs.size(target.repository, target.digest)
            return _head(headers, size, is_not_modified=is_not_modified)
        source = await self._blobs.find(
            target.repository, target.digest, in_parts=wanted is not None
        )
        try:
            with self._cold.count():
                if (
                    wanted is not None
                    and self._range_on_miss
                    and self._blobs.ranges.are_passed(target.repository)
                    and not await self._is_near(source, target.repository, target.digest, wanted)
                ):
                    passed = await self._passed_ranges.send(request, target, headers, wanted, line)
                    if passed is not None:
                        return passed
                if source is None:
                    source = await self._blobs.fetch(target.repository, target.digest)
                url = await self._blobs.url(target.digest, source, private=line.private)
                if url is not None:
                    return _redirect(headers, url)
                if wanted is None and source.size <= MAX_BODY:
                    return await self._send_small(request, source, target, headers, line)
                return await self._bodies.send(request, source, headers, wanted, line)
        finally:
            if source is not None:
                source.close()

    async def _send_small(
        self,
        request: web.BaseRequest,
        source: Source,
        target: BlobTarget,
        headers: CIMultiDict[str],
        line: AccessLogLine,
    ) -> web.StreamResponse:
        """Send a blob from memory, where it is kept once it is stored."""
        current = trace.current()
        is_hit, status = current.outcome is Outcome.HIT, cache_status(current)
        content = await self._blobs.content(target.digest, source)
        headers["Content-Length"] = str(len(content))
        answer = PreparedAnswer.of(
            content,
            headers,
            digest=target.digest,
            media_type=_TYPE,
            use=BlobUse((target.digest,)),
        )
        # What a mirror has delivered is nobody's grant: the registry is asked when it is back. And
        # for what is being uploaded the store will have a URL.
        if is_hit and isinstance(source, StoredBlob) and not target.repository.is_at_mirrors:
            line.answer = answer
        return respond(request, answer, status, line)

    async def _is_near(
        self, source: Source | None, repository: Repository, digest: Digest, wanted: ByteRange
    ) -> bool:
        """Whether the range is stored, about to be fetched, or the whole blob."""
        if source is not None:
            return source.is_near(wanted.within(source.size)[0])
        if wanted.first == 0 and wanted.last is None:
            return True
        return wanted.first is not None and await self._blobs.has_begun(
            repository, digest, wanted.first
        )


def _head(headers: CIMultiDict[str], size: int, *, is_not_modified: bool) -> web.Response:
    headers["Cache-Status"] = cache_status(trace.current())
    if is_not_modified:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers["Content-Length"] = str(size)
    return web.Response(headers=headers)


def _redirect(headers: CIMultiDict[str], url: str) -> web.Response:
    """A redirect to the object in the bucket, which also answers ranges."""
    del headers["ETag"], headers["Accept-Ranges"], headers["Content-Type"]
    # The URL expires within minutes, and anyone can use it.
    headers["Cache-Control"] = "no-store"
    headers["Cache-Status"] = cache_status(trace.current())
    headers["Location"] = url
    headers["Content-Length"] = "0"
    return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)
