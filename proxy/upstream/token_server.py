"""One question to a token server (distribution, docs/spec/auth/token.md)."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from yarl import URL

from proxy.errors import UpstreamInvalid, UpstreamUnavailable
from proxy.upstream.failures import refusal
from proxy.upstream.session import read_whole
from proxy.upstream.tokens import Token

if TYPE_CHECKING:
    from proxy.upstream.observation import Observation
    from proxy.upstream.session import Session
    from proxy.upstream.tokens import Grant

MAX_ANSWER: Final = 64 * 1024
# A token goes into a header: registries take 8 to 16 KiB of those.
MAX_TOKEN: Final = 16 * 1024
# The specification's default, and the least that a client may assume, in seconds.
MIN_LIFETIME: Final = 60.0
MAX_LIFETIME: Final = 86_400.0

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
        query = [("service", grant.service)] if grant.service else []
        query += [("scope", scope) for scope in grant.scope.split()]
        headers = {"Accept": "application/json"}
        if grant.credentials is not None:
            query.append(("account", grant.credentials.username))
            headers["Authorization"] = grant.credentials.basic
        try:
            url = URL(grant.realm, encoded=True).extend_query(query)
        except ValueError:
            raise UpstreamInvalid(f"{self._name} names a token realm that is no URL") from None
        with self._observation.of("token"):
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._exchange(url, headers)
            except TimeoutError:
                raise UpstreamUnavailable(
                    f"the token server of {self._name} gave no answer in time"
                ) from None

    async def _exchange(self, url: URL, headers: dict[str, str]) -> Token:
        answer = await self._session.token(url, headers)
        async with answer.response as response:
            if response.status != HTTPStatus.OK:
                failure = refusal(answer.place, response.status, response.headers)
                # It was not asked for the content, so it answered nothing about it.
                failure.status = None
                raise failure
            token = parse_token(
                await read_whole(answer, MAX_ANSWER), answer.place, datetime.now(UTC)
            )
        _log.debug("token.fetched", upstream=self._name, lifetime=token.lifetime)
        return token


def parse_token(raw: bytes, place: str, now: datetime) -> Token:
    """The token in a token server's answer; UpstreamInvalid, or UpstreamUnavailable if it has none.

    The sentence is about `place`. Without a believable life a token has 60 seconds.
    """
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        raise UpstreamInvalid(f"{place} sent something that is not JSON") from None
    if not isinstance(answer, dict):
        raise UpstreamInvalid(f"{place} sent JSON that is no object")
    value = answer.get("access_token") or answer.get("token")
    if not value:
        raise UpstreamUnavailable(f"{place} issued no token")
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _HEADER_SAFE.fullmatch(value):
        raise UpstreamInvalid(f"{place} issued a token that fits into no header")
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
