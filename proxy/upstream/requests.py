"""Requests to one registry with whatever it asks for in `Authorization`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    FailedAt,
    FailureContext,
    Phase,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.upstream.failures import refusal
from proxy.upstream.session import drain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from proxy.kit.clock import Clock
    from proxy.upstream.auth.authority import Authority
    from proxy.upstream.observation import Tally
    from proxy.upstream.session import Answer, Session

# The first attempt is authorized as the registry's last challenge wants it. Two more answer the
# challenge to that one: with a cached token, and with a new one. The fourth is for a token that
# another request has renewed meanwhile.
_ATTEMPTS: Final = 4


class AuthorizedRequests:
    """Sends requests, answers challenges, and tells useful answers from failures."""

    def __init__(
        self,
        *,
        name: str,
        session: Session,
        authority: Authority,
        timeout: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`name` is what people call the registry; `timeout` is of `deadline`, in seconds."""
        self._name = name
        self._session = session
        self._authority = authority
        self._timeout = timeout
        self._clock = clock

    async def send(
        self, tally: Tally, method: str, name: str, path: str, headers: Mapping[str, str]
    ) -> Answer:
        """Return the registry's answer about its repository `name`, whatever its status is.

        UpstreamDenied if it answers every login with 401.
        """
        authorization = await self._authority.anticipate(name)
        for _ in range(_ATTEMPTS):
            answer = await self._session.send(
                method,
                f"/v2/{name}/{path}",
                headers=headers,
                authorization=authorization.value if authorization else None,
            )
            if answer.response.status != HTTPStatus.UNAUTHORIZED or answer.at is FailedAt.REDIRECT:
                tally.begin(answer.response.headers)
                return answer
            lines = answer.response.headers.getall("WWW-Authenticate", [])
            await drain(answer.response)
            authorization = await self._authority.answer(name, lines, refused=authorization)
        raise UpstreamDenied(
            f"{self._name} answered 401 to every login", context=FailureContext(status=401)
        )

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Raise UpstreamUnavailable if the block takes longer than the timeout."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            raise UpstreamUnavailable(
                f"{self._name} gave no whole answer within {self._timeout:g} s",
                context=FailureContext(phase=Phase.WAIT),
            ) from None

    def check(self, answer: Answer, *expected: HTTPStatus) -> None:
        """Raise an UpstreamFailure unless the status is expected and the body is not encoded."""
        response = answer.response
        if response.status not in expected:
            raise refusal(
                answer.endpoint,
                answer.at,
                response.status,
                response.headers,
                now=self._clock.wall(),
            )
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise UpstreamInvalid(
                f"{answer.endpoint} sent a Content-Encoding that was not requested",
                context=answer.context,
            )
