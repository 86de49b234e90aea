"""The registry's listener: one handler for `/v2/`, without framework, because each µs counts here.

Everything around an answer happens in this one place: parsing, the error body, metrics, the log
line. A manifest that was served before, and whose tag is fresh, is answered without one `await`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web
from multidict import CIMultiDict

from proxy.blobs.limits import RETRY_AFTER
from proxy.errors import (
    Overloaded,
    RangeInvalid,
    RegistryError,
    RequestInvalid,
    StorageFailure,
    Unsupported,
)
from proxy.kit.lru import LruCache
from proxy.oci.headers.accept import Accept
from proxy.oci.headers.link import link_to
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.telemetry import metrics, trace
from proxy.web.access_log import AccessLog, AccessLogLine
from proxy.web.blob_response import GONE, BlobResponder
from proxy.web.conditions import not_modified
from proxy.web.errors import body_of, status_of
from proxy.web.headers import API_VERSION, HIT, NO_SNIFF, SERVER, cache_status
from proxy.web.manifest_response import Answer
from proxy.web.paths import (
    BlobTarget,
    ManifestTarget,
    ReferrersTarget,
    TagsTarget,
    Target,
    parse_target,
)
from proxy.web.prepared import PreparedResponse

if TYPE_CHECKING:
    from proxy.blobs.recency import RecencyTracker
    from proxy.blobs.serve import Blobs
    from proxy.catalog.routing import Routes
    from proxy.manifests.listings import Listings
    from proxy.manifests.serve import Manifests

_log = structlog.get_logger()

# What a parsed path costs in memory, and an answer besides its body.
_TARGET_COST: Final = 1024
_ANSWER_COST: Final = 2048
# For the log: who left before there was an answer was told nothing. nginx's number.
_LEFT: Final = 499
_CRASHED: Final = "the proxy failed; its log says how"


class Registry:
    """The handler of the registry listener."""

    def __init__(
        self,
        *,
        routes: Routes,
        manifests: Manifests,
        blobs: Blobs,
        listings: Listings,
        usage: RecencyTracker,
        range_on_miss: bool,
        memory: int,
    ) -> None:
        """`memory` bounds, in bytes, the answers that are kept ready."""
        self._routes = routes
        self._manifests = manifests
        self._listings = listings
        self._usage = usage
        self._delivery = BlobResponder(blobs, range_on_miss=range_on_miss)
        self._lines = AccessLog()
        self._targets: LruCache[tuple[str, str], Target] = LruCache(memory // 8)
        self._answers: LruCache[tuple[object, ...], Answer] = LruCache(memory)
        self.running = 0
        # Set when the process ends: what still runs is cut off then, and not left by its client.
        self.ending = False

    def forget_mutable(self) -> None:
        """Drop what depends on settings and on what repositories have."""
        self._targets.clear()
        self._answers.clear()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; what goes wrong becomes an error in the spec's form."""
        line = AccessLogLine.begin()
        self.running += 1
        try:
            response = await self._answered(request, line)
        except RegistryError as error:
            response = _refused(request, line, error)
        except OSError as error:
            _log.error("storage.failed", id=line.id, path=request.raw_path[:500], error=str(error))
            response = _refused(request, line, StorageFailure("the proxy cannot use its storage"))
        except asyncio.CancelledError:
            line.status = line.status or _LEFT
            line.error = "cut off at the end of the proxy" if self.ending else GONE
            self._lines.write(request, line)
            raise
        except Exception:  # noqa: BLE001 -- whatever it is, the client gets an answer
            _log.exception("request.crashed", id=line.id, path=request.raw_path[:500])
            response = _refused(request, line, RegistryError(_CRASHED))
        finally:
            self.running -= 1
        line.status = response.status
        self._lines.write(request, line)
        return response

    def rejected(
        self, request: web.BaseRequest, status: int, error: BaseException | None
    ) -> web.Response:
        """The answer to what never became a request; `error` says why, to the log only."""
        line = AccessLogLine.begin()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request.crashed", id=line.id, exc_info=error)
            refusal = RegistryError(_CRASHED)
        else:
            refusal = RequestInvalid("this is no HTTP request, or its head is too long")
        return self._hung_up(request, line, refusal)

    async def turned_away(self, request: web.BaseRequest) -> web.Response:
        """The answer to a request on a connection for which there is no room."""
        metrics.TURNED_AWAY.labels("connections").inc()
        refusal = Overloaded("this proxy has too many clients", retry_after=RETRY_AFTER)
        return self._hung_up(request, AccessLogLine.begin(), refusal)

    def _hung_up(
        self, request: web.BaseRequest, line: AccessLogLine, error: RegistryError
    ) -> web.Response:
        response = _refused(request, line, error)
        response.force_close()
        line.status = response.status
        self._lines.write(request, line)
        return response

    async def _answered(self, request: web.BaseRequest, line: AccessLogLine) -> web.StreamResponse:
        # A push to the v1 API hears, too, that there is none.
        if request.method not in {"GET", "HEAD"} and not request.raw_path.startswith("/v1/"):
            raise Unsupported("a pull-through proxy takes no pushes and no deletes")
        target = line.target = self._target(request)
        if isinstance(target, ManifestTarget):
            accept = Accept.parse(tuple(request.headers.getall("Accept", ())))
            answer = self._ready(target, accept)
            if answer is None:
                return await self._manifest(request, target, accept, line)
            line.outcome, line.rule = "hit", answer.rule
            if line.began >= answer.use.due:
                self._usage.tell(answer.use, line.began)
            return _again(request, answer, line)
        if isinstance(target, BlobTarget):
            happened = trace.begin()
            try:
                return await self._delivery.answer(request, target, line)
            finally:
                line.take(happened)
        if isinstance(target, TagsTarget | ReferrersTarget):
            return await self._page(target, line)
        return _json(b"{}")

    def _target(self, request: web.BaseRequest) -> Target:
        key = (request.raw_path, request.headers.get("Host", ""))
        target = self._targets.get(key)
        if target is None:
            target = parse_target(*key, self._routes)
            self._targets.put(key, target, _TARGET_COST + len(key[0]) + len(key[1]))
        return target

    def _ready(self, target: ManifestTarget, accept: Accept) -> Answer | None:
        """The prepared answer, if the tag is fresh and was answered like this before."""
        reference = target.reference
        if isinstance(reference, Digest):
            digest: Digest | None = reference
        else:
            digest = self._manifests.fresh(target.repository, reference)
        return None if digest is None else self._answers.get((target, digest, accept))

    async def _page(
        self, target: TagsTarget | ReferrersTarget, line: AccessLogLine
    ) -> web.Response:
        happened = trace.begin()
        try:
            if isinstance(target, TagsTarget):
                page = await self._listings.tags(target.repository, target.query)
                response = _json(page.raw)
            else:
                page = await self._listings.referrers(
                    target.repository, target.digest, target.query, target.artifact_type
                )
                response = _json(page.raw, MediaType.OCI_INDEX)
        finally:
            line.take(happened)
        if page.filtered:
            response.headers["OCI-Filters-Applied"] = "artifactType"
        if page.following is not None:
            response.headers["Link"] = link_to(target.path, page.following, ns=target.ns)
        if target.ns is not None:
            response.headers["OCI-Namespace"] = target.ns
        response.headers["Cache-Status"] = cache_status(happened)
        line.sent = len(page.raw)
        return response

    async def _manifest(
        self, request: web.BaseRequest, target: ManifestTarget, accept: Accept, line: AccessLogLine
    ) -> web.StreamResponse:
        happened = trace.begin()
        repository, reference = target.repository, target.reference
        try:
            if isinstance(reference, Digest):
                found = await self._manifests.by_digest(repository, reference, accept)
            else:
                found = await self._manifests.by_tag(repository, reference, accept)
        finally:
            line.take(happened)
        answer = Answer.of(found, target.ns)
        if found.lasting:
            # The tag may name something else by now; this is the answer for what it named.
            key = (target, found.named, accept)
            self._answers.put(key, answer, len(answer.body) + _ANSWER_COST + accept.cost)
        self._usage.tell(answer.use, line.began)
        return _respond(request, answer, cache_status(happened), line)


def _json(body: bytes, media_type: str = "application/json") -> web.Response:
    headers = CIMultiDict([API_VERSION, NO_SNIFF, SERVER, ("Content-Type", media_type)])
    return web.Response(body=body, headers=headers)


def _again(request: web.BaseRequest, answer: Answer, line: AccessLogLine) -> web.StreamResponse:
    """A hit: the bytes that are ready, unless the client wants something out of the ordinary."""
    if "If-None-Match" in request.headers or not PreparedResponse.suits(request, answer.body):
        return _respond(request, answer, HIT, line)
    line.media_type, line.mixed = answer.media_type, answer.mixed
    line.repeated = answer.logged
    if request.method == "HEAD":
        return answer.head
    line.sent = len(answer.body)
    return answer.whole


def _respond(
    request: web.BaseRequest, answer: Answer, status: str, line: AccessLogLine
) -> web.StreamResponse:
    """The answer, or 304 to who has it: compared with what was negotiated, not what is stored."""
    line.media_type, line.mixed = answer.media_type, answer.mixed
    headers = answer.headers.copy()
    headers["Cache-Status"] = status
    conditions = request.headers.getall("If-None-Match", ())
    if conditions and not_modified(conditions, answer.digest):
        del headers["Content-Length"]
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    line.sent = len(answer.body)
    return web.Response(body=answer.body, headers=headers)


def _refused(request: web.BaseRequest, line: AccessLogLine, error: RegistryError) -> web.Response:
    """The error's status and body; for HEAD the same headers."""
    body = body_of(error)
    headers = CIMultiDict(
        [
            API_VERSION,
            NO_SNIFF,
            SERVER,
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Request-Id", line.id),
        ]
    )
    if isinstance(line.target, ManifestTarget):
        # Another client may get what this one cannot read; a cache before us must not say no to it.
        headers["Vary"] = "Accept"
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, RangeInvalid):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, Unsupported):
        headers["Allow"] = "GET, HEAD"
    line.error = error.message
    head = request.method == "HEAD"
    return web.Response(status=status_of(error), headers=headers, body=None if head else body)
