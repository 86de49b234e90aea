"""The registry listener: one handler for `/v2/`, without a framework for the sake of latency.

It covers every request from parsing to error body, metrics and log line. A manifest that was served
before, and whose tag is fresh, is answered without an `await`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import (
    ApiRetired,
    RegistryError,
    StorageFailure,
    StoreError,
    Unsupported,
)
from proxy.kit.lru import LruCache
from proxy.oci.headers.accept import Accept
from proxy.oci.reference import Digest
from proxy.report.activity import Activity
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome
from proxy.web.access_log import AccessLog, AccessLogLine
from proxy.web.admission import Admission
from proxy.web.blob_response import BlobResponder
from proxy.web.error_answers import CRASHED, ErrorAnswers
from proxy.web.error_response import error_response
from proxy.web.headers import cache_status
from proxy.web.listing_response import ListingResponder, json_response
from proxy.web.manifest_response import prepare_manifest
from proxy.web.paths import (
    BlobTarget,
    ManifestTarget,
    ReferrersTarget,
    RetiredTarget,
    TagsTarget,
    Target,
    parse_target,
)
from proxy.web.prepared_answer import ANSWER_COST, PreparedAnswer, respond, respond_hit
from proxy.web.prepared_heads import PreparedHeads
from proxy.web.request import Request, connection_of, departure

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.blobs.closure import ClosureProofs
    from proxy.blobs.cold_requests import ColdRequests
    from proxy.blobs.recency import RecencyTracker
    from proxy.blobs.serve import Blobs
    from proxy.catalog.routing import Routes, Standby
    from proxy.manifests.listings import Listings
    from proxy.manifests.serve import Manifests
    from proxy.web.access_control import AccessControl

_log = structlog.get_logger()

# The memory of a parsed path, in bytes.
_TARGET_COST: Final = 1024
# The status in the log if the client disconnected before a response, as in nginx.
_CLIENT_CLOSED: Final = 499


class Registry:
    """The handler of the registry listener."""

    def __init__(
        self,
        *,
        routes: Routes,
        manifests: Manifests,
        blobs: Blobs,
        listings: Listings,
        standby: Standby,
        usage: RecencyTracker,
        range_on_miss: bool,
        memory: int,
        cold: ColdRequests,
        closure: ClosureProofs | None = None,
    ) -> None:
        """`memory` is the limit of the prepared responses, in bytes.

        Every client may pull everything, until `use_access` says otherwise. `closure` proves the
        blobs of images in repositories that are not open.
        """
        self._access: AccessControl | None = None
        self._everybody = Admission()
        self._closure = closure
        self._routes = routes
        self._manifests = manifests
        self._pages = ListingResponder(listings, standby)
        self._usage = usage
        # What the status page shows of the requests.
        self.activity = Activity()
        self._access_log = AccessLog(self.activity)
        self.error_answers = ErrorAnswers(routes, self._access_log)
        self._targets: LruCache[tuple[str, str], Target] = LruCache(memory // 8)
        self._answers: LruCache[tuple[object, ...], PreparedAnswer] = LruCache(memory)
        self._blobs = BlobResponder(
            blobs,
            standby=standby,
            range_on_miss=range_on_miss,
            cold=cold,
            answers=self._answers,
        )
        self.heads = PreparedHeads(
            memory // 4,
            fresh=manifests.fresh,
            usage=usage,
            access_log=self._access_log,
            closure=closure,
        )
        self.running = 0
        # Set when the process ends: then a cancelled request was not cancelled by its client.
        self.ending = False

    def use_access(self, access: AccessControl | None) -> None:
        """Ask `access` who may pull from now on; without it, every client may pull everything."""
        self._everybody.validity.has_ended = True
        self._everybody = Admission()
        self._access = access

    def forget_mutable(self) -> None:
        """Drop the responses and targets that depend on settings or on tags."""
        self._targets.clear()
        self._answers.clear()
        self.heads.forget()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; errors become error responses in the spec's form."""
        line = AccessLogLine.begin()
        self.running += 1
        try:
            response = await self._dispatch(request, line)
        except RegistryError as error:
            response = self.error_answers.answer(request, line, error, self._access)
        except (StoreError, OSError) as error:
            _log.error("storage.failed", id=line.id, path=request.raw_path[:500], error=str(error))
            response = error_response(
                request, line, StorageFailure("the proxy cannot use its storage")
            )
        except asyncio.CancelledError:
            line.status = line.status or _CLIENT_CLOSED
            # A client may disconnect as soon as it has the last byte.
            if not line.is_whole:
                line.error = "interrupted by shutdown" if self.ending else departure(request)
            self._access_log.write(request, line)
            raise
        except Exception:  # noqa: BLE001 -- the client gets a response in any case
            _log.exception("request.crashed", id=line.id, path=request.raw_path[:500])
            response = error_response(request, line, RegistryError(CRASHED))
        finally:
            self.running -= 1
        line.status = response.status
        self._access_log.write(request, line)
        if line.answer is not None and isinstance(request, Request):
            self.heads.put(request, line.answer, response, line)
        return response

    async def _dispatch(self, request: web.BaseRequest, line: AccessLogLine) -> web.StreamResponse:
        if (
            self._access is not None
            and not request.raw_path.startswith("/v2/")
            and (response := await self._access.tokens.answer(request, line))
        ):
            return response
        # A push to the v1 API gets the answer for that API instead.
        if request.method not in {"GET", "HEAD"} and not request.raw_path.startswith("/v1/"):
            raise Unsupported("a pull-through proxy takes no pushes and no deletes")
        target = line.target = self._target(request)
        if self._access is None:
            line.admission = self._everybody
        elif not self._access.recall(request, target, line):
            await self._access.admit(request, target, line)
        if isinstance(target, ManifestTarget):
            accept = Accept.parse(tuple(request.headers.getall("Accept", ())))
            answer = self._find_prepared(target, accept)
            if answer is None:
                return await self._manifest(request, target, accept, line)
            if self._access is not None and self._access.audits:
                await self._access.audit_manifest(request, target, line, answer.digest)
            if line.began >= answer.use.due:
                self._prove(target, answer, line)
            return self._repeat(request, answer, line)
        return await self._answer_other(request, target, line)

    def _repeat(
        self, request: web.BaseRequest, answer: PreparedAnswer, line: AccessLogLine
    ) -> web.StreamResponse:
        """Answer from memory."""
        line.answer = answer
        self._usage.tell(answer.use, line.began)
        return respond_hit(request, answer, line)

    async def _answer_other(
        self, request: web.BaseRequest, target: Target, line: AccessLogLine
    ) -> web.StreamResponse:
        """Answer every request that is not for a manifest."""
        if isinstance(target, BlobTarget):
            if (known := self._blobs.recall(request, target, line)) is not None:
                return self._repeat(request, known, line)
            request_trace = trace.begin(connection_of(request), line.limited)
            try:
                return await self._blobs.answer(request, target, line)
            finally:
                line.record(request_trace)
        if isinstance(target, TagsTarget | ReferrersTarget):
            return await self._pages.answer(request, target, line)
        if isinstance(target, RetiredTarget):
            raise ApiRetired(self.error_answers.explain(request.remote, target.repository))
        return json_response(b"{}")

    def _target(self, request: web.BaseRequest) -> Target:
        key = (request.raw_path, request.headers.get("Host", ""))
        target = self._targets.get(key)
        if target is None:
            target = parse_target(*key, self._routes)
            self._targets.put(key, target, _TARGET_COST + len(key[0]) + len(key[1]))
        return target

    def _find_prepared(self, target: ManifestTarget, accept: Accept) -> PreparedAnswer | None:
        """The prepared response, if the tag is fresh and there is one for this `Accept`."""
        reference = target.reference
        if isinstance(reference, Digest):
            digest: Digest | None = reference
        else:
            digest = self._manifests.fresh(target.repository, reference)
        return None if digest is None else self._answers.get((target, digest, accept))

    async def _manifest(
        self, request: web.BaseRequest, target: ManifestTarget, accept: Accept, line: AccessLogLine
    ) -> web.StreamResponse:
        request_trace = trace.begin(connection_of(request), line.limited)
        repository, reference = target.repository, target.reference
        try:
            if isinstance(reference, Digest):
                found = await self._manifests.by_digest(repository, reference, accept)
            else:
                found = await self._manifests.by_tag(
                    repository, reference, accept, by_head=request.method == "HEAD"
                )
        finally:
            line.record(request_trace)
        answer = prepare_manifest(found, target.ns, private=line.private)
        if found.lasting:
            # The tag may have moved meanwhile, so the key has the digest that it named.
            key = (target, found.named, accept)
            self._answers.put(key, answer, len(answer.body) + ANSWER_COST + accept.cost)
        if request_trace.outcome is not Outcome.MISS:
            # Of an image that was just fetched for the first time there are no blobs to touch.
            self._usage.tell(answer.use, line.began)
        self._prove(target, answer, line)
        if self._access is not None:
            await self._access.audit_manifest(request, target, line, answer.digest)
        return respond(request, answer, cache_status(request_trace), line)

    def _prove(self, target: ManifestTarget, answer: PreparedAnswer, line: AccessLogLine) -> None:
        """Obtain the grants of a closed image's blobs, so that it is whole in an outage."""
        if line.private and self._closure is not None:
            blobs = answer.use.blobs
            self._closure.start(target.repository, answer.digest, blobs, line.began)
