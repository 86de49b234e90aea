"""The response for a domain error: its status, body and headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from proxy.errors import Denied, RangeInvalid, Unauthorized, Unsupported
from proxy.web.errors import body_of, status_of
from proxy.web.headers import API_VERSION, NO_SNIFF, SERVER, make_private
from proxy.web.paths import ManifestTarget

if TYPE_CHECKING:
    from proxy.errors import RegistryError
    from proxy.web.access_log import AccessLogLine


def error_response(
    request: web.BaseRequest,
    line: AccessLogLine,
    error: RegistryError,
    hint: str = "",
    *,
    challenge: str | None = None,
) -> web.Response:
    """The error's status, headers and body, with `hint` after its message; no body for HEAD.

    `challenge` is the `WWW-Authenticate` of a 401.
    """
    body = body_of(error, hint)
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
        # Another client may accept the manifest, so a cache in front must not reuse this response.
        headers["Vary"] = "Accept"
    if line.private or isinstance(error, Unauthorized | Denied):
        make_private(headers)
        headers["Cache-Control"] = "no-store"
    if challenge is not None:
        headers["WWW-Authenticate"] = challenge
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, RangeInvalid):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, Unsupported):
        headers["Allow"] = "GET, HEAD"
    line.error = error.message + hint
    head = request.method == "HEAD"
    return web.Response(status=status_of(error), headers=headers, body=None if head else body)
