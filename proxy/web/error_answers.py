"""Answers to requests that end in an error: refused, malformed, or beyond a limit."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp.http_exceptions import LineTooLong

from proxy.blobs.limits import RETRY_AFTER
from proxy.errors import (
    ManifestUnknown,
    NameUnknown,
    Overloaded,
    RegistryError,
    RequestHeadTooLong,
    RequestInvalid,
    Unauthorized,
    UpstreamDenied,
)
from proxy.telemetry import metrics
from proxy.web.access_log import AccessLogLine
from proxy.web.error_response import error_response
from proxy.web.head_limit import HeadTooLongError
from proxy.web.paths import ManifestTarget, TagsTarget
from proxy.web.recent_refusals import RecentRefusals

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.catalog.routing import Routes
    from proxy.oci.reference import Repository
    from proxy.web.access_control import AccessControl
    from proxy.web.access_log import AccessLog

_log = structlog.get_logger()

# What a client is told of a bug.
CRASHED: Final = "the proxy failed; see its log"


class ErrorAnswers:
    """Makes these answers; recent ones are remembered for old clients."""

    def __init__(self, routes: Routes, access_log: AccessLog) -> None:
        self._routes = routes
        self._access_log = access_log
        self._recent = RecentRefusals()

    def answer(
        self,
        request: web.BaseRequest,
        line: AccessLogLine,
        error: RegistryError,
        access: AccessControl | None,
    ) -> web.Response:
        """The response for `error`; `access` knows what a client must do to be let in."""
        target, challenge = line.target, None
        # Others behind the same address may not learn what a repository has that is not theirs.
        if isinstance(target, ManifestTarget) and not line.private:
            self._recent.record(request.remote, target.repository, target.reference, error)
        if access is not None and isinstance(error, Unauthorized):
            challenge = access.challenge(request, target, error)
        hint = self._hint(target, error)
        return error_response(request, line, error, hint, challenge=challenge)

    def explain(self, client: str | None, repository: Repository | None) -> str:
        """Why the client was refused before, for docker 1.6 to 1.13, which show only this."""
        return self._recent.explain(client, repository)

    def answer_malformed(
        self, request: web.BaseRequest, status: int, error: BaseException | None
    ) -> web.Response:
        """Answer a malformed request; `error` is for the log only."""
        line = AccessLogLine.begin()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request.crashed", id=line.id, exc_info=error)
            refusal = RegistryError(CRASHED)
        elif isinstance(error, LineTooLong | HeadTooLongError):
            refusal = RequestHeadTooLong("the head of the request, or a line of it, is too long")
        else:
            refusal = RequestInvalid("this is no HTTP request, or its head has too many lines")
        return self._close_with(request, line, refusal)

    async def answer_over_limit(self, request: web.BaseRequest) -> web.Response:
        """Answer a request on a connection beyond the limit."""
        metrics.TURNED_AWAY.labels("connections").inc()
        refusal = Overloaded("this proxy has too many clients", retry_after=RETRY_AFTER)
        return self._close_with(request, AccessLogLine.begin(), refusal)

    def _close_with(
        self, request: web.BaseRequest, line: AccessLogLine, error: RegistryError
    ) -> web.Response:
        response = error_response(request, line, error)
        response.force_close()
        line.status = response.status
        self._access_log.write(request, line)
        return response

    def _hint(self, target: object, error: RegistryError) -> str:
        """Return a hint that names the upstreams, if the name seems to begin with another."""
        if isinstance(target, ManifestTarget | TagsTarget) and isinstance(
            error, ManifestUnknown | NameUnknown | UpstreamDenied
        ):
            return self._routes.hint(target.repository)
        return ""
