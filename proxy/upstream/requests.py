"""Requests to one registry with whatever it asks for in `Authorization`."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    FailedAt,
    FailureContext,
    Phase,
    UpstreamDenied,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.upstream.auth.elsewhere import RedirectLogins
from proxy.upstream.failures import refusal
from proxy.upstream.session import drain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from proxy.kit.clock import Clock
    from proxy.ports import Late
    from proxy.upstream.auth.authority import Authority
    from proxy.upstream.auth.elsewhere import RedirectAuthorities
    from proxy.upstream.observation import Tally
    from proxy.upstream.session import Answer, Session

# The first attempt is authorized as the registry's last challenge wants it. Two more answer the
# challenge to that one: with a cached token, and with a new one. The fourth is for a token that
# another request has renewed meanwhile, and two are for a registry that this one redirects to.
_ATTEMPTS: Final = 6
# How many times the timeout an answer is awaited that somebody waits for anyway, as a cache in
# front of a registry may have to fetch the whole of a large blob first.
_PATIENCE: Final = 10


class AuthorizedRequests:
    """Sends requests, answers challenges, and tells useful answers from failures."""

    def __init__(
        self,
        *,
        name: str,
        session: Session,
        authority: Authority,
        redirected: RedirectAuthorities,
        timeout: float,
        silence: float = math.inf,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`name` is what people call the registry; `timeout` is of `deadline`, in seconds.

        `silence` is how long a connection may be silent, if that is less.
        `redirected` are the authorities of where the registry redirects to.
        """
        self._name = name
        self._session = session
        self._authority = authority
        self._redirected = redirected
        self._timeout = timeout
        self._reminder = min(timeout, silence)
        self._clock = clock

    async def send(
        self,
        tally: Tally,
        method: str,
        name: str,
        path: str,
        headers: Mapping[str, str],
        *,
        may_be_late: bool = False,
    ) -> Answer:
        """Return the registry's answer about its repository `name`, whatever its status is.

        UpstreamDenied if it answers every login with 401. One that `may_be_late` is silent for
        longer than a body may be.
        """
        authorization = await self._authority.anticipate(name)
        elsewhere = RedirectLogins(self._redirected, name)
        for _ in range(_ATTEMPTS):
            answer = await self._session.send(
                method,
                f"/v2/{name}/{path}",
                headers=headers,
                authorization=authorization.value if authorization else None,
                elsewhere=elsewhere.value,
                silence=_PATIENCE * self._timeout if may_be_late else None,
            )
            if answer.response.status != HTTPStatus.UNAUTHORIZED:
                break
            lines = answer.response.headers.getall("WWW-Authenticate", [])
            if answer.at is FailedAt.REDIRECT:
                if not await elsewhere.answer(answer.url, lines):
                    break
                await drain(answer.response)
                continue
            await drain(answer.response)
            authorization = await self._authority.answer(name, lines, refused=authorization)
        else:
            raise UpstreamDenied(
                f"{self._name} answered 401 to every login", context=FailureContext(status=401)
            )
        tally.begin(answer.response.headers)
        if authorization is not None:
            self._authority.record_accepted()
        return answer

    @asynccontextmanager
    async def deadline(self, late: Late | None = None) -> AsyncIterator[None]:
        """Raise UpstreamUnavailable if the block takes longer than the timeout.

        With `late`, call that with the failure each time that the timeout has passed, and raise
        only after several times as long.
        """
        if late is None:
            async with self._limit(self._timeout):
                yield
            return
        reminder = _Reminder(
            self._reminder,
            lambda: late(self._too_late(self._reminder, "; it is still awaited, so try again")),
        )
        try:
            async with self._limit(_PATIENCE * self._timeout):
                yield
        finally:
            reminder.stop()

    @asynccontextmanager
    async def _limit(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise self._too_late(seconds) from None

    def _too_late(self, seconds: float, advice: str = "") -> UpstreamUnavailable:
        return UpstreamUnavailable(
            f"{self._name} did not answer completely within {seconds:g} s{advice}",
            context=FailureContext(phase=Phase.WAIT),
        )

    def check(self, answer: Answer, *expected: HTTPStatus) -> None:
        """Raise an UpstreamFailure unless the status is expected."""
        response = answer.response
        if response.status not in expected:
            raise refusal(
                answer.endpoint,
                answer.at,
                response.status,
                response.headers,
                now=self._clock.wall(),
            )


class _Reminder:
    """Calls `remind` every so many seconds until it is stopped."""

    def __init__(self, seconds: float, remind: Callable[[], None]) -> None:
        self._seconds = seconds
        self._remind = remind
        self._start()

    def stop(self) -> None:
        self._next.cancel()

    def _start(self) -> None:
        self._next = asyncio.get_running_loop().call_later(self._seconds, self._ring)

    def _ring(self) -> None:
        self._start()
        self._remind()
