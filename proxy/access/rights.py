"""The rights that only an upstream can check, each kept for a while by an HMAC of its login."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.access.turns import Turns
from proxy.errors import ClientThrottled, Overloaded, Phase, UpstreamFailure, UpstreamOffline
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.ports.rights import Right
from proxy.telemetry import trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from proxy.access.turns import Turn
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Repository
    from proxy.ports.rights import Login, RightsRegistry

_MEMORY: Final = 8 * 2**20
_COST: Final = 256
# How long a registry that cannot be reached is not asked again, in seconds.
_UNREACHABLE_LIFE: Final = 2.0
# How long a login that a registry does not know is wrong, in seconds.
_WRONG_LIFE: Final = 30.0
# Questions to one registry at once, and how many of one client may wait. Each has a password.
_QUESTIONS: Final = 32
_MAX_OF_CLIENT: Final = 256


@dataclass(frozen=True, slots=True)
class RightsPolicy:
    """How long rights are kept, in seconds: `ttl`, and longer while a registry is unreachable.

    `denied` is for how long a refusal is kept.
    """

    ttl: float = 300.0
    stale_if_error: float = 0.0
    denied: float = 10.0


@dataclass(frozen=True, slots=True)
class _Known:
    granted: bool
    at: float


class _DroppedError(ClientThrottled):
    """A question had no turn, for its client has too many."""


class Rights:
    """What clients may pull, by their own logins, at the registries themselves."""

    def __init__(
        self,
        registries: Mapping[str, RightsRegistry],
        *,
        policy: RightsPolicy,
        flights: SingleFlight,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`registries` are those whose repositories have a rule that asks them, by upstream."""
        self._registries = registries
        self._policy = policy
        self._flights = flights
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: LruCache[bytes, _Known] = LruCache(_MEMORY)
        self._unreachable: dict[str, tuple[float, UpstreamFailure]] = {}
        self._turns = {
            name: Turns(
                _QUESTIONS,
                of_client=_MAX_OF_CLIENT,
                of_user=_MAX_OF_CLIENT,
                rests=False,
                clock=clock,
            )
            for name in registries
        }

    def recall(self, repository: Repository, login: Login | None) -> bool | None:
        """Whether the login may pull, or everybody may; None if the registry must be asked."""
        if self._recall(self._digest(str(repository), None)):
            return True
        return None if login is None else self._recall(self._digest(str(repository), login))

    def is_public(self, repository: Repository) -> bool:
        """Whether everybody may pull, as far as is known."""
        return self._recall(self._digest(str(repository), None)) is True

    def granted_until(self, repository: Repository, login: Login | None) -> float | None:
        """Return until when the login's or everybody's right is kept; None if there is none."""
        for asked in (None, login):
            known = self._known.get(self._digest(str(repository), asked))
            if known is not None and known.granted:
                return known.at + self._policy.ttl
        return None

    async def check(self, repository: Repository, subject: str, login: Login | None) -> bool:
        """Whether the login may pull. The registry is asked without a login first.

        So a public repository costs one question for everybody. An UpstreamFailure if it cannot be
        found out now: nothing new is granted then, and an old right is kept for `stale_if_error`.
        """
        known = self.recall(repository, login)
        if known is not None:
            return known
        failure: UpstreamFailure | None = None
        for asked in (None,) if login is None else (None, login):
            try:
                if await self._may_pull(repository, subject, asked):
                    return True
            except UpstreamFailure as error:
                failure = error
        if failure is not None:
            raise failure
        return False

    async def knows(self, upstream: str, login: Login) -> bool:
        """Whether the upstream's registry knows the login; an UpstreamFailure."""
        registry = self._registries.get(upstream)
        if registry is None:
            return False
        key = self._digest(upstream, login)
        known = self._known.get(key)
        if known is not None and self._clock.monotonic() < known.at + _WRONG_LIFE:
            return False

        async def knows(turn: Turn) -> bool:
            known = await registry.knows(login)
            turn.failed = not known
            return known

        if await self._ask(upstream, f"login:{key.hex()}", knows):
            return True
        self._known.put(key, _Known(granted=False, at=self._clock.monotonic()), _COST)
        return False

    def _recall(self, key: bytes) -> bool | None:
        known = self._known.get(key)
        if known is None:
            return None
        life = self._policy.ttl if known.granted else self._policy.denied
        return known.granted if self._clock.monotonic() < known.at + life else None

    async def _may_pull(self, repository: Repository, subject: str, login: Login | None) -> bool:
        key = self._digest(str(repository), login)
        known = self._recall(key)
        if known is not None:
            return known
        try:
            self._check_reachable(repository.registry)
            return await self._ask(
                repository.registry,
                # What is wanted is part of the question: of what is not there, a registry says no.
                f"right:{key.hex()}:{subject}",
                lambda turn: self._question(turn, repository, subject, login, key),
            )
        except UpstreamFailure as failure:
            if self._is_unreachable(repository.registry, failure) and self._is_kept(key):
                return True
            raise

    async def _question(
        self, turn: Turn, repository: Repository, subject: str, login: Login | None, key: bytes
    ) -> bool:
        registry = self._registries[repository.registry]
        right = await registry.may_pull(repository.name, subject, login)
        turn.failed = right is Right.REFUSED and login is not None
        if right is Right.UNKNOWN:
            self._known.delete(key)
            return False
        granted = right is Right.GRANTED
        self._known.put(key, _Known(granted, self._clock.monotonic()), _COST)
        return granted

    async def _ask(
        self, registry: str, key: str, work: Callable[[Turn], Coroutine[None, None, bool]]
    ) -> bool:
        """Ask when it is the client's turn, once for all that ask the same; Overloaded."""
        client = trace.client()

        async def in_turn() -> bool:
            try:
                async with self._turns[registry].turn(client, "") as turn:
                    return await work(turn)
            except Overloaded as error:
                # Others that ask the same have turns of their own.
                raise _DroppedError(
                    error.message,
                    retry_after=error.retry_after or 0.0,
                    concerns_caller=lambda: trace.client() == client,
                ) from None

        try:
            return await self._flights.do(key, in_turn)
        except _DroppedError as error:
            raise Overloaded(error.message, retry_after=error.retry_after) from None

    def _check_reachable(self, registry: str) -> None:
        until, failure = self._unreachable.get(registry, (0.0, None))
        if failure is not None and self._clock.monotonic() < until:
            raise failure

    def _is_unreachable(self, registry: str, failure: UpstreamFailure) -> bool:
        """Whether no connection to the registry can be made.

        An answer of any status is not that, nor is a slow one: a client could cause either.
        """
        if isinstance(failure, UpstreamOffline):
            return True
        if failure.context.phase is not Phase.CONNECT:
            return False
        if self._clock.monotonic() >= self._unreachable.get(registry, (0.0, failure))[0]:
            until = self._clock.monotonic() + _UNREACHABLE_LIFE
            self._unreachable[registry] = until, failure
        return True

    def _is_kept(self, key: bytes) -> bool:
        known = self._known.get(key)
        if known is None or not known.granted:
            return False
        kept = self._policy.ttl + self._policy.stale_if_error
        return self._clock.monotonic() < known.at + kept

    def _digest(self, place: str, login: Login | None) -> bytes:
        if login is None:
            text = f"{len(place)}:{place}"
        else:
            text = f"{len(place)}:{place}{len(login.username)}:{login.username}{login.password}"
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=16).digest()
