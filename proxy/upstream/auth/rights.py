"""Asks a registry what a client's own login may pull there. Fits ports.rights.RightsRegistry.

Nothing of ours is sent: neither our login nor our certificate. Nothing is kept between two
questions, so no login profits from another one's token. Circuits and the negative cache are not
asked either: a client could make them answer. A question counts for the client that causes it.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamDenied, UpstreamFailure, UpstreamOffline
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.singleflight import SingleFlight
from proxy.oci.mediatype import UPSTREAM_ACCEPT
from proxy.ports.rights import Right
from proxy.upstream.auth.authority import Authority
from proxy.upstream.auth.challenge import Basic, Bearer, choose, parse_challenges
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.elsewhere import RedirectAuthorities
from proxy.upstream.auth.token_server import TokenServer
from proxy.upstream.auth.tokens import Grant, Tokens
from proxy.upstream.observation import Observation
from proxy.upstream.operation import Kind
from proxy.upstream.requests import AuthorizedRequests
from proxy.upstream.session import Session, drain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from proxy.kit.clock import Clock
    from proxy.ports.rights import Login
    from proxy.upstream.client_rate import ClientRate
    from proxy.upstream.observation import Observed
    from proxy.upstream.transport import Transport


_CONNECTIONS: Final = 32


class RegistryRights:
    """One registry. It connects when it is asked for something."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        prefix: str = "",
        transport: Transport,
        realms: Collection[str] = (),
        is_offline: Callable[[], bool] = lambda: False,
        observe: Callable[[Observed], None] = lambda _observed: None,
        rate: ClientRate | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """The arguments are those of `RegistryClient`. While `is_offline`, nothing is asked."""
        self._rate = rate
        self._name = name
        self._url = url
        self._prefix = f"{prefix}/" if prefix else ""
        self._realms = realms
        self._is_offline = is_offline
        self._timeout = transport.answer_timeout
        self._observation = Observation(observe, clock)
        self._clock = clock
        self._session = Session(
            name=name,
            url=url,
            # Questions of clients leave the other connections to the content.
            transport=replace(
                transport, own_tls=None, connections=min(_CONNECTIONS, transport.connections)
            ),
            trusted=realms,
        )
        self._server = TokenServer(
            name=name,
            session=self._session,
            timeout=transport.answer_timeout,
            observation=self._observation,
            clock=clock,
        )
        self._flights = SingleFlight()

    async def may_pull(self, name: str, subject: str, login: Login | None) -> Right:
        """One HEAD of what is wanted, and a page of one tag where the registry has it not.

        We hand out digests that no registry has, and keep what a registry has deleted.
        """
        self._require_online()
        requests = self._requests_as(login)
        try:
            if subject and await self._is_there(requests, "HEAD", name, subject):
                return Right.GRANTED
            if await self._is_there(requests, "GET", name, "tags/list?n=1"):
                return Right.GRANTED
        except UpstreamDenied:
            return Right.REFUSED
        return Right.UNKNOWN

    async def knows(self, login: Login) -> bool:
        """Whether the registry lets the login in, or its token server does."""
        self._require_online()
        self._spend()
        credentials = _credentials(login)
        requests = self._requests_as(login)
        with self._observation.of(Kind.RIGHT) as tally:
            async with requests.deadline():
                answer = await self._session.send("GET", "/v2/", headers={}, authorization=None)
                tally.begin(answer.response.headers)
                lines = answer.response.headers.getall("WWW-Authenticate", [])
                await drain(answer.response)
                if answer.response.status != HTTPStatus.UNAUTHORIZED:
                    # It takes everybody, and so says nothing about a login.
                    return False
                challenge = choose(
                    parse_challenges(lines),
                    registry=self._url,
                    allowed=self._realms,
                    credentials=True,
                )
                try:
                    if isinstance(challenge, Bearer):
                        await self._server.ask(
                            Grant(challenge.realm, challenge.service, "", credentials)
                        )
                        return True
                except UpstreamDenied:
                    return False
                if not isinstance(challenge, Basic):
                    return False
                answer = await self._session.send(
                    "GET", "/v2/", headers={}, authorization=credentials.basic
                )
                await drain(answer.response)
                if answer.response.status == HTTPStatus.UNAUTHORIZED:
                    return False
                requests.check(answer, HTTPStatus.OK)
                return True

    async def close(self) -> None:
        """Close every connection."""
        await self._flights.close()
        await self._session.close()

    async def _is_there(
        self, requests: AuthorizedRequests, method: str, name: str, path: str
    ) -> bool:
        """Whether it answers 200; False for 404, UpstreamDenied for 401 and 403."""
        self._spend()
        with self._observation.of(Kind.RIGHT) as tally:
            async with requests.deadline():
                answer = await requests.send(
                    tally, method, self._prefix + name, path, {"Accept": UPSTREAM_ACCEPT}
                )
            try:
                if answer.response.status == HTTPStatus.NOT_FOUND:
                    return False
                requests.check(answer, HTTPStatus.OK)
            except UpstreamFailure as failure:
                # Where it redirects to has another opinion of HEAD than the registry itself.
                if isinstance(failure, UpstreamDenied) or method != "HEAD":
                    raise
                return False
            finally:
                # Of a list that ignores `n` nothing is read.
                answer.response.close()
            return True

    def _requests_as(self, login: Login | None) -> AuthorizedRequests:
        """Requests with this login, and with nothing that an earlier question has left."""
        credentials = None if login is None else _credentials(login)
        tokens = Tokens(
            self._server.ask, registry=self._name, flights=self._flights, clock=self._clock
        )
        authority = Authority(
            name=self._name,
            url=self._url,
            realms=self._realms,
            credentials=lambda: credentials,
            tokens=tokens,
        )
        return AuthorizedRequests(
            name=self._name,
            session=self._session,
            authority=authority,
            redirected=RedirectAuthorities(name=self._name, realms=self._realms, tokens=tokens),
            timeout=self._timeout,
            clock=self._clock,
        )

    def _spend(self) -> None:
        """Count a question for the client that causes it; ClientThrottled."""
        if self._rate is not None:
            self._rate.spend(self._name)

    def _require_online(self) -> None:
        if self._is_offline():
            raise UpstreamOffline(f"{self._name} is set to be offline, and cannot be asked")


def _credentials(login: Login) -> Credentials:
    return Credentials(login.username, login.password)
