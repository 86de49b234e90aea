"""The `Authorization` header for one registry, as its challenges ask for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never

from proxy.errors import (
    FailureContext,
    LoginRefused,
    Phase,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.lru import LruCache
from proxy.upstream.auth.challenge import Basic, Bearer, choose, parse_challenges
from proxy.upstream.auth.credentials import Credentials, CredentialsError
from proxy.upstream.auth.site import suffixes
from proxy.upstream.auth.tokens import Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from proxy.upstream.auth.challenge import Challenge
    from proxy.upstream.auth.login_watch import LoginWatch
    from proxy.upstream.auth.tokens import Tokens

# The memory for scopes that differ from what the repository's name suggests, in bytes.
_SCOPES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Authorization:
    """The header's value, what it is based on, and whether it was obtained for this request."""

    value: str = field(repr=False)
    basis: Grant | Credentials
    fresh: bool


class Authority:
    """Answers the challenges of one registry, in advance after it has seen one."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        realms: Collection[str],
        credentials: Callable[[], Credentials | None],
        tokens: Tokens,
        login: LoginWatch | None = None,
    ) -> None:
        """`credentials` is called each time, so that a changed file is noticed.

        `realms` are hosts that may be token servers, besides those of the registry's own site.
        """
        self._name = name
        self._url = url
        self._realms = realms
        self._source = credentials
        self._tokens = tokens
        self._login = login
        self._challenge: Challenge | None = None
        self._scopes: LruCache[str, str] = LruCache(_SCOPES)
        # Read before anybody waits for it.
        suffixes()

    async def anticipate(self, repository: str) -> Authorization | None:
        """Return what the registry will ask for `repository`, judging by its last challenge.

        None before the first one. UpstreamFailure if the token server fails; the challenge is
        forgotten then, because its realm may have moved.
        """
        if self._challenge is None:
            return None
        scope = self._scopes.get(repository) or f"repository:{repository}:pull"
        try:
            return await self._answer(self._challenge, scope, self._credentials(), None)
        except UpstreamFailure:
            self._challenge = None
            raise

    async def answer(
        self, repository: str, lines: Sequence[str], refused: Authorization | None
    ) -> Authorization:
        """Return what to send after a 401 with these `WWW-Authenticate` lines.

        UpstreamDenied if there is nothing, or nothing new: `refused` was sent before.
        """
        credentials = self._credentials()
        try:
            challenge = choose(
                parse_challenges(lines),
                registry=self._url,
                allowed=self._realms,
                credentials=credentials is not None,
            )
        except UpstreamInvalid as error:
            raise UpstreamInvalid(f"{self._name} cannot be asked: {error.message}") from None
        self._challenge = challenge
        expected = f"repository:{repository}:pull"
        scope = (challenge.scope if isinstance(challenge, Bearer) else None) or expected
        self._remember(repository, None if scope == expected else scope)
        answer = await self._answer(challenge, scope, credentials, refused)
        if answer is None:
            raise UpstreamDenied(
                f"{self._name} answered 401, and we have no login for it",
                context=FailureContext(status=401),
            )
        return answer

    def record_accepted(self) -> None:
        """Note that the registry has answered a request that was authorized."""
        if self._login is not None:
            self._login.record_accepted()

    async def _answer(
        self,
        challenge: Challenge | None,
        scope: str,
        credentials: Credentials | None,
        refused: Authorization | None,
    ) -> Authorization | None:
        try:
            return await self._choose(challenge, scope, credentials, refused)
        except LoginRefused as error:
            if self._login is not None:
                self._login.record_refused(error.message)
            raise

    async def _choose(
        self,
        challenge: Challenge | None,
        scope: str,
        credentials: Credentials | None,
        refused: Authorization | None,
    ) -> Authorization | None:
        match challenge:
            case Bearer(realm, service):
                grant = Grant(realm, service, scope, credentials)
                self._check_news(grant, refused)
                return await self._bearer(grant, refused)
            case Basic() if credentials is not None:
                self._check_news(credentials, refused)
                return Authorization(credentials.basic, credentials, fresh=True)
            case Basic() | None:
                return None
            case _:
                assert_never(challenge)

    def _check_news(self, basis: Grant | Credentials, refused: Authorization | None) -> None:
        if refused is not None and refused.fresh and refused.basis == basis:
            # A token may be good, and not for this repository.
            kind = LoginRefused if isinstance(basis, Credentials) else UpstreamDenied
            raise kind(
                f"{self._name} answered 401 to a fresh login", context=FailureContext(status=401)
            )

    async def _bearer(self, grant: Grant, refused: Authorization | None) -> Authorization:
        spent = refused.value.removeprefix("Bearer ") if refused is not None else None
        token = self._tokens.get(grant, refused=spent)
        if token is not None:
            return Authorization(f"Bearer {token}", grant, fresh=False)
        return Authorization(f"Bearer {await self._tokens.fetch(grant)}", grant, fresh=True)

    def _credentials(self) -> Credentials | None:
        try:
            return self._source()
        except CredentialsError as error:
            self._report_unreadable(f": {error}")
            raise UpstreamUnavailable(
                f"the credentials for {self._name} cannot be read: {error}",
                context=FailureContext(phase=Phase.PREPARE),
            ) from None
        except (OSError, ValueError) as error:
            self._report_unreadable(_why(error))
            raise UpstreamUnavailable(
                f"the credentials for {self._name} cannot be read",
                context=FailureContext(phase=Phase.PREPARE),
            ) from None

    def _report_unreadable(self, why: str) -> None:
        if self._login is not None:
            self._login.record_unreadable(f"the credentials for {self._name} cannot be read{why}")

    def _remember(self, repository: str, scope: str | None) -> None:
        if scope is None:
            self._scopes.delete(repository)
        else:
            self._scopes.put(repository, scope, len(repository) + len(scope))


def _why(error: OSError | ValueError) -> str:
    """The file and the reason, for the operator; nothing of the file's content."""
    if isinstance(error, OSError) and error.filename is not None:
        return f": {error.filename}: {error.strerror}"
    return ": the file is not text"
