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

from proxy.errors import UpstreamFailure, UpstreamInvalid, UpstreamUnavailable
from proxy.upstream.auth.tokens import Token
from proxy.upstream.failures import refusal
from proxy.upstream.session import read_whole

if TYPE_CHECKING:
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
# What token servers that know no POST answer to one: GCR, Artifactory, ACR and others.
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
    """The token servers of one registry. Their realms have been vetted before."""

    def __init__(
        self, *, name: str, session: Session, timeout: float, observation: Observation
    ) -> None:
        """`timeout` in seconds for the whole of one question."""
        self._observation = observation
        self._name = name
        self._session = session
        self._timeout = timeout

    async def ask(self, grant: Grant) -> Token:
        """A token; an UpstreamFailure that says what the token server did instead."""
        with self._observation.of("token"):
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._asked(grant)
            except TimeoutError:
                raise UpstreamUnavailable(
                    f"the token server of {self._name} gave no answer in time"
                ) from None
            except UpstreamFailure as failure:
                # It was not asked for the content, so it answered nothing about it.
                failure.status = None
                raise

    async def _asked(self, grant: Grant) -> Token:
        if grant.credentials is not None and grant.credentials.identity:
            try:
                return await self._posted(grant, grant.credentials.password)
            except UpstreamFailure as failure:
                if failure.status not in _NO_POST:
                    raise
        return await self._got(grant)

    async def _posted(self, grant: Grant, identity_token: str) -> Token:
        """By OAuth 2, in exchange for an identity token (distribution, docs/spec/auth/oauth.md)."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": identity_token,
            "client_id": _CLIENT,
            "scope": grant.scope,
        }
        if grant.service:
            form["service"] = grant.service
        return await self._exchange(grant, [], {}, form=urlencode(form).encode())

    async def _got(self, grant: Grant) -> Token:
        query = [("service", grant.service)] if grant.service else []
        query += [("scope", scope) for scope in grant.scope.split()]
        headers = {}
        if grant.credentials is not None:
            if grant.credentials.username:
                query.append(("account", grant.credentials.username))
            headers["Authorization"] = grant.credentials.basic
        return await self._exchange(grant, query, headers)

    async def _exchange(
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
            raise UpstreamInvalid(f"{self._name} names a token realm that is no URL") from None
        answer = await self._session.token(
            url, {"Accept": "application/json", **headers}, form=form
        )
        async with answer.response as response:
            if response.status != HTTPStatus.OK:
                raise refusal(answer.endpoint, response.status, response.headers)
            token = parse_token(
                await read_whole(answer, MAX_ANSWER), answer.endpoint, datetime.now(UTC)
            )
        _log.debug("token.fetched", upstream=self._name, lifetime=token.lifetime)
        return token


def parse_token(raw: bytes, endpoint: str, now: datetime) -> Token:
    """The token in a token server's answer; UpstreamInvalid, or UpstreamUnavailable if it has none.

    The sentence is about `place`. Without a believable life a token has 60 seconds.
    """
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        raise UpstreamInvalid(f"{endpoint} sent something that is not JSON") from None
    if not isinstance(answer, dict):
        raise UpstreamInvalid(f"{endpoint} sent JSON that is no object")
    value = answer.get("access_token") or answer.get("token")
    if not value:
        raise UpstreamUnavailable(f"{endpoint} issued no token")
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _HEADER_SAFE.fullmatch(value):
        raise UpstreamInvalid(f"{endpoint} issued a token that fits into no header")
    remaining = _seconds(answer.get("expires_in")) - _age(answer.get("issued_at"), now)
    return Token(value, min(max(remaining, MIN_LIFETIME), MAX_LIFETIME))


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MIN_LIFETIME
    # Not a number, or more than a float can hold: neither is a life.
    return float(value) if 0 <= value <= MAX_LIFETIME**2 else MIN_LIFETIME


def _age(issued_at: object, now: datetime) -> float:
    """Seconds since the token was issued: 0 for a clock ahead of ours, or nothing readable."""
    if not isinstance(issued_at, str):
        return 0.0
    try:
        issued = datetime.fromisoformat(issued_at)
        age = now - (issued if issued.tzinfo else issued.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return 0.0
    return max(age.total_seconds(), 0.0)
