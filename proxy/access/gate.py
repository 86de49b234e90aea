"""Decides whether a client may pull from a repository, at each request, before anything is read.

So the answer to a client that may not pull is the same for what exists and for what does not.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.access.principals import ANONYMOUS, NOBODY, Principal, PrincipalKind
from proxy.access.rules import Mode
from proxy.errors import Denied, RegistryError, Unauthorized
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.access.identities import Identities, Presented
    from proxy.access.principals import Client
    from proxy.access.rights import Rights
    from proxy.access.rules import Rule, Rules
    from proxy.oci.reference import Repository

# What is written of a user's name, in characters.
_MAX_USER: Final = 255
_LOG_IN: Final = "log in to pull from this repository"
_NOT_YOURS: Final = "this login may not pull from this repository, or there is no such repository"
_CLEARTEXT: Final = (
    "this repository needs a login, and this proxy takes logins over TLS only "
    "(access.allow_plain is false)"
)
_NO_RULE: Final = "no rule of this proxy allows this repository"


class Gate:
    """The rules, applied to requests."""

    def __init__(self, rules: Rules, identities: Identities, rights: Rights) -> None:
        self._rules = rules
        self._identities = identities
        self._rights = rights
        # Metric children are bound once, because look-ups dominate the cost.
        self._counters: dict[tuple[str, str, str], Counter] = {}

    @property
    def want_logins(self) -> bool:
        """Whether some repository can be pulled with a login only."""
        return self._rules.want_logins

    def rule(self, repository: Repository, tag: str) -> Rule:
        """The rule for the repository, and for one of its tags if `tag` is not empty."""
        return self._rules.of(str(repository), tag)

    def admits_until(
        self, rule: Rule, repository: Repository, presented: Presented
    ) -> float | None:
        """Return until when a client that was just admitted needs no other decision, monotonic.

        None if that is not known. Changes of users and keys end it earlier.
        """
        if rule.mode is Mode.UPSTREAM:
            client = self._identities.recall(presented)
            login = None if client is None else client.login
            granted = self._rights.granted_until(repository, login)
        else:
            granted = math.inf
        known = self._identities.known_until(presented)
        if known is None and rule.mode is Mode.UPSTREAM and self._rights.is_public(repository):
            # A login that nobody has confirmed is not needed either.
            known = math.inf
        return None if granted is None or known is None else min(granted, known)

    async def admit(
        self, rule: Rule, repository: Repository, subject: str, presented: Presented
    ) -> Client:
        """Return the principal that the rule admits; Unauthorized or Denied otherwise.

        The errors do not reveal what exists. `subject` is what is requested of the repository, in
        case the upstream must be asked about it. UpstreamFailure if it cannot be asked.
        """
        client = NOBODY
        try:
            if rule.mode is not Mode.DENY:
                client = await self._identities.identify(presented)
            await self._require(rule, client, repository, subject)
        except Unauthorized as error:
            self.counter(rule, client, "unauthorized").inc()
            error.principal = str(client.principal)
            raise error if presented.secure else Denied(_CLEARTEXT) from None
        except Denied as error:
            error.principal = str(client.principal)
            self.counter(rule, client, "denied").inc()
            raise
        except RegistryError:
            self.counter(rule, client, "unknown").inc()
            raise
        client = self._with_confirmed_login(rule, client, repository, presented)
        self.counter(rule, client, "admitted").inc()
        return client

    def forget(self) -> None:
        """Look at every credential again: users or keys have changed."""
        self._identities.forget()

    def _with_confirmed_login(
        self, rule: Rule, client: Client, repository: Repository, presented: Presented
    ) -> Client:
        """The client, by the name of its login if the registry has just confirmed that.

        What everybody may pull confirms no login.
        """
        login = client.login
        if rule.mode is not Mode.UPSTREAM or login is None or self._rights.is_public(repository):
            return client
        self._identities.remember_confirmed(presented, client)
        if client.principal is not ANONYMOUS:
            return client
        name = f"{repository.registry}#{login.username[:_MAX_USER]}"
        return replace(client, principal=Principal(PrincipalKind.UPSTREAM, name))

    async def _require(
        self, rule: Rule, client: Client, repository: Repository, subject: str
    ) -> None:
        if rule.mode is Mode.DENY:
            raise Denied(rule.reason or _NO_RULE)
        if rule.mode is Mode.UPSTREAM:
            if await self._rights.check(repository, subject, client.login):
                return
            knows_client = client.login is not None
        else:
            if self._rules.admits(rule, client.principal):
                return
            knows_client = client.principal.kind is not PrincipalKind.ANONYMOUS
        if knows_client:
            raise Denied(_NOT_YOURS)
        raise Unauthorized("the login is wrong" if client.refused else _LOG_IN)

    def counter(self, rule: Rule, client: Client, decision: str) -> Counter:
        """The metric of such decisions."""
        key = (rule.mode, client.principal.kind, decision)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = metrics.ACCESS.labels(*key)
        return counter
