"""The token endpoint over HTTP, and the version check that leads to it."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import web
from multidict import CIMultiDict

from proxy.access.authorization import login_of, parse_authorization
from proxy.errors import Denied, NameUnknown, RequestInvalid, Unauthorized
from proxy.telemetry import trace
from proxy.web.credentials import TOKEN_PATH
from proxy.web.headers import API_VERSION, NO_SNIFF, SERVER
from proxy.web.paths import TokenTarget
from proxy.web.request import connection_of

if TYPE_CHECKING:
    from proxy.access.logins import Logins
    from proxy.catalog.routing import Routes
    from proxy.web.access_log import AccessLogLine
    from proxy.web.credentials import CredentialReader

_MAX_FORM: Final = 64 * 1024
_FORM_TIMEOUT: Final = 10.0
_MAX_FIELDS: Final = 32
# docker 1.8 and 1.9 ask a mirror for this, and send a login only after a redirect to the real one.
_SLASHES: Final = re.compile(r"/{2,}v2/?")


class TokenEndpoint:
    """Gives out tokens at `/token`."""

    def __init__(
        self, logins: Logins, routes: Routes, credentials: CredentialReader, *, is_needed: bool
    ) -> None:
        """`is_needed`: some repository can be pulled with a login only."""
        self._logins = logins
        self._routes = routes
        self._credentials = credentials
        self._is_needed = is_needed

    async def answer(
        self, request: web.BaseRequest, line: AccessLogLine
    ) -> web.StreamResponse | None:
        """Answer the token endpoint, and `////v2/`; None for everything else."""
        path = request.raw_path.partition("?")[0]
        if path == TOKEN_PATH:
            line.target = TokenTarget()
            trace.begin(connection_of(request))
            return await self._issue(request)
        if not _SLASHES.fullmatch(path):
            return None
        headers = CIMultiDict([API_VERSION, SERVER, ("Location", "/v2/"), ("Content-Length", "0")])
        return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)

    async def check_version(self, request: web.BaseRequest) -> None:
        """Return if `/v2/` may be answered 200; Unauthorized, with the challenge, otherwise."""
        presented = self._credentials.read(request)
        if self._is_needed and presented.secure:
            await self._logins.require(presented, self._upstream(request))

    async def _issue(self, request: web.BaseRequest) -> web.Response:
        """GET with Basic, or POST of a form (RFC 6749, 4.3)."""
        if not self._is_needed:
            raise NameUnknown("this registry needs no tokens")
        if request.method not in {"GET", "POST"}:
            raise RequestInvalid("ask for a token by GET or POST")
        presented = self._credentials.read(request)
        if not presented.secure:
            raise Denied("this proxy takes logins over TLS only (access.allow_plain is false)")
        fields = await _fields(request)
        if request.method == "POST":
            login = login_of(fields)
        else:
            sent = presented.authorization
            found = None if sent is None else parse_authorization(sent)
            if isinstance(found, str):
                raise Unauthorized("a token is requested with a login, not with another token")
            login = found
        issued = await self._logins.token(
            login,
            has_scope=bool(fields.get("scope")),
            upstream=self._upstream(request),
            address=presented.address,
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        body = {
            "token": issued.value,
            "access_token": issued.value,
            "token_type": "Bearer",
            "expires_in": int(issued.lifetime),
            "issued_at": now.replace("+00:00", "Z"),
        }
        headers = CIMultiDict([SERVER, NO_SNIFF, ("Content-Type", "application/json")])
        headers["Cache-Control"] = "no-store"
        return web.Response(body=json.dumps(body).encode(), headers=headers)

    def _upstream(self, request: web.BaseRequest) -> str:
        """The upstream that a login without a repository is for."""
        return self._routes.by_host_or_default(request.headers.get("Host", ""))


async def _fields(request: web.BaseRequest) -> dict[str, list[str]]:
    """The fields of the query, or of the form; RequestInvalid if there are too many."""
    text = request.rel_url.raw_query_string
    if request.method == "POST":
        if request.content_type != "application/x-www-form-urlencoded":
            raise RequestInvalid("the body is no form")
        body = bytearray()
        try:
            async with asyncio.timeout(_FORM_TIMEOUT):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > _MAX_FORM:
                        raise RequestInvalid("the form is too large")
        except TimeoutError:
            raise RequestInvalid("the form did not arrive in time") from None
        text = body.decode("utf-8", "replace")
    try:
        return parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise RequestInvalid("there are too many fields") from None
