"""The token endpoint and the version check: who logs in, and what a wrong login gets.

A login without a scope is `docker login`: it is right or wrong. One with a scope is the first step
of a pull, and a 401 there would send most clients to the upstream without a word. So it gets an
anonymous token, and the object's 401 or 403 says the rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.access.principals import ANONYMOUS, NOBODY, Client
from proxy.errors import RegistryError, Unauthorized
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from proxy.access.identities import Identities, Presented
    from proxy.access.rights import Rights
    from proxy.access.tokens import Issued
    from proxy.ports.rights import Login

_WRONG = "the login is wrong"


class Logins:
    """Gives out tokens."""

    def __init__(self, identities: Identities, rights: Rights) -> None:
        self._identities = identities
        self._rights = rights

    async def token(
        self, login: Login | None, *, has_scope: bool, upstream: str, address: str
    ) -> Issued:
        """Return a token for a login, or an anonymous one; Unauthorized for a wrong `docker login`.

        `upstream` is the one whose login this may be. UpstreamFailure if it cannot be asked.
        """
        client = NOBODY if login is None else await self._identities.check(login, address)
        if client.refused and not has_scope:
            await self._require_known(client, upstream)
        outcome = "anonymous" if client.principal is ANONYMOUS else "issued"
        metrics.LOGINS.labels("wrong" if client.refused and has_scope else outcome).inc()
        return self._identities.issue(replace(client, refused=False))

    async def require(self, presented: Presented, upstream: str) -> None:
        """Return if the version check may be answered: to a valid token, or to a right login.

        Unauthorized otherwise, which tells the client where tokens are.
        """
        if presented.authorization is None:
            raise Unauthorized("log in, or request an anonymous token")
        client = await self._identities.identify(presented)
        if client.refused:
            await self._require_known(client, upstream)
        elif client is NOBODY and presented.authorization.lower().startswith("basic"):
            raise Unauthorized("log in, or request an anonymous token")

    async def _require_known(self, client: Client, upstream: str) -> None:
        try:
            known = client.login is not None and await self._rights.knows(upstream, client.login)
        except RegistryError:
            metrics.LOGINS.labels("unknown").inc()
            raise
        if not known:
            metrics.LOGINS.labels("wrong").inc()
            raise Unauthorized(_WRONG)
