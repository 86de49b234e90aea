"""One question to a token server (distribution, docs/spec/auth/token.md)."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import structlog
from yarl import URL

from proxy.errors import (
    FailedAt,
    FailureContext,
    LoginRefused,
    Phase,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.upstream.auth.tokens import Token
from proxy.upstream.failures import refusal
from proxy.upstream.operation import Kind
from proxy.upstream.session import read_content

if TYPE_CHECKING:
    from proxy.kit.clock import Clock
    from proxy.upstream.auth.tokens import Grant
    from proxy.upstream.observation import Observation
    from proxy.upstream.session import Session

MAX_ANSWER: Final = 64 * 1024
# A token goes into a header: registries take 8 to 16 KiB of those.
MAX_TOKEN: Final = 16 * 1024
# The specification's default, and the least that a client may assume, in seconds.
MIN_LIFETIME: Final = 60.0
MAX_LIFETIME: Final = 86_400.0

# As distribution's token specification wants one: 4 to 32 characters.
_CLIENT: Final = "lighterage"
# How token servers that do not support POST answer one: GCR, Artifactory, ACR and others.
_NO_POST: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
    }
)

_HEADER_SAFE: Final = re.compile(r"[!-~]+")

_log = structlog.get_logger()


class TokenServer:
    """The token servers of one registry. The caller has vetted their realms."""

    def __init__(
        self,
        *,
        name: str,
        session: Session,
        timeout: float,
        observation: Observation,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`timeout` in seconds for the whole of one question."""
        self._observation = observation
        self._name = name
        self._session = session
        self._timeout = timeout
        self._clock = clock

    async def ask(self, grant: Grant) -> Token:
        """Return a new token; an UpstreamFailure says what the token server did instead."""
        with self._observation.of(Kind.TOKEN):
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._exchange(grant)
            except TimeoutError:
                raise UpstreamUnavailable(
                    f"the token server of {self._name} gave no answer in time",
                    context=FailureContext(at=FailedAt.TOKEN_SERVER, phase=Phase.WAIT),
                ) from None

    async def _exchange(self, grant: Grant) -> Token:
        if grant.credentials is not None and grant.credentials.identity:
            try:
                return await self._post(grant, grant.credentials.password)
            except UpstreamFailure as failure:
                if failure.context.status not in _NO_POST:
                    raise
        return await self._get(grant)

    async def _post(self, grant: Grant, identity_token: str) -> Token:
        """Exchange an identity token by OAuth 2 (distribution, docs/spec/auth/oauth.md)."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": identity_token,
            "client_id": _CLIENT,
            "scope": grant.scope,
        }
        if grant.service:
            form["service"] = grant.service
        return await self._request(grant, [], {}, form=urlencode(form).encode())

    async def _get(self, grant: Grant) -> Token:
        query = [("service", grant.service)] if grant.service else []
        query += [("scope", scope) for scope in grant.scope.split()]
        headers = {}
        if grant.credentials is not None:
            if grant.credentials.username:
                query.append(("account", grant.credentials.username))
            headers["Authorization"] = grant.credentials.basic
        return await self._request(grant, query, headers)

    async def _request(
        self,
        grant: Grant,
        query: list[tuple[str, str]],
        headers: dict[str, str],
        *,
        form: bytes | None = None,
    ) -> Token:
        try:
            url = URL(grant.realm, encoded=True).extend_query(query)
        except ValueError:
            raise UpstreamInvalid(f"{self._name} names a token realm that is not a URL") from None
        answer = await self._session.token(
            url, {"Accept": "application/json", **headers}, form=form
        )
        async with answer.response as response:
            if response.status != HTTPStatus.OK:
                failure = refusal(
                    answer.endpoint,
                    answer.at,
                    response.status,
                    response.headers,
                    now=self._clock.wall(),
                )
                # 403 may be about the repository; 401 is about the login (RFC 9110, 15.5.2).
                if response.status == HTTPStatus.UNAUTHORIZED and grant.credentials is not None:
                    raise LoginRefused(failure.message, context=failure.context)
                raise failure
            raw = await read_content(answer, MAX_ANSWER)
            now = datetime.fromtimestamp(self._clock.wall(), UTC)
            token = parse_token(raw, answer.endpoint, now)
        _log.debug("token.fetched", upstream=self._name, lifetime=token.lifetime)
        return token


def parse_token(raw: bytes, endpoint: str, now: datetime) -> Token:
    """Return the token in an answer; UpstreamInvalid, or UpstreamUnavailable if it has none.

    `endpoint` is the subject of the error's sentence. A token without a plausible lifetime has 60
    seconds.
    """
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        raise UpstreamInvalid(f"{endpoint} sent something that is not JSON") from None
    if not isinstance(answer, dict):
        raise UpstreamInvalid(f"{endpoint} sent JSON that is not an object")
    value = answer.get("access_token") or answer.get("token")
    if not value:
        raise UpstreamUnavailable(f"{endpoint} issued no token")
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _HEADER_SAFE.fullmatch(value):
        raise UpstreamInvalid(f"{endpoint} issued a token that no header can carry")
    remaining = _seconds(answer.get("expires_in")) - _age(answer.get("issued_at"), now)
    return Token(value, min(max(remaining, MIN_LIFETIME), MAX_LIFETIME))


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MIN_LIFETIME
    # Not a number, or more than a float can hold: neither is a lifetime.
    return float(value) if 0 <= value <= MAX_LIFETIME**2 else MIN_LIFETIME


def _age(issued_at: object, now: datetime) -> float:
    """Return the seconds since the token was issued; 0 if unreadable, or in the future."""
    if not isinstance(issued_at, str):
        return 0.0
    try:
        issued = datetime.fromisoformat(issued_at)
        age = now - (issued if issued.tzinfo else issued.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return 0.0
    return max(age.total_seconds(), 0.0)
