"""Tokens, cached until shortly before they expire, and fetched once for all waiting requests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.upstream.auth.credentials import Credentials
    from proxy.upstream.auth.token_board import TokenBoard

# The memory for all tokens of one registry, in bytes: a thousand of Docker Hub's.
_MEMORY: Final = 4 * 2**20
_OVERHEAD: Final = 1024
# A token is replaced when this share of its lifetime is left, or these seconds if they are more.
_EARLY_SHARE: Final = 0.1
_EARLY: Final = 10.0
# The memory for digests of the tokens that were used, in bytes, and for each of them.
_USED_MEMORY: Final = 2**20
_USED_COST: Final = 200


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token permits, and to whom: the key under which it is cached.

    The registry's origin is not part of it: each registry has its own `Tokens`.
    """

    realm: str
    service: str | None
    scope: str
    credentials: Credentials | None

    def key(self, registry: str) -> bytes:
        """Return 32 bytes that stand for the grant at the registry called `registry`."""
        login = self.credentials.basic if self.credentials is not None else ""
        parts = (registry, self.realm, self.service or "", self.scope, login)
        return hashlib.sha256("\0".join(parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it was issued; `lifetime` in seconds from now."""

    value: str = field(repr=False)
    lifetime: float

    @property
    def mark(self) -> str:
        """Which token it is, for memory that outlives it."""
        return hashlib.sha256(self.value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Cached:
    token: Token
    until: float


class Tokens:
    """The tokens of one registry; the least recently used is evicted first."""

    def __init__(
        self,
        ask: Callable[[Grant], Coroutine[None, None, Token]],
        *,
        registry: str,
        flights: SingleFlight,
        board: TokenBoard | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`ask` gets a token from its server; its failure is raised for every waiting request.

        `board` is where other processes put theirs; with it, `flights` need leases.
        """
        self._ask = ask
        self._registry = registry
        self._flights = flights
        self._board = board
        self._clock = clock
        self._cached: LruCache[Grant, _Cached] = LruCache(_MEMORY)
        self._used: LruCache[bytes, str] = LruCache(_USED_MEMORY)

    def get(self, grant: Grant, *, refused: str | None = None) -> str | None:
        """Return a cached token that is still good, and is not the `refused` one."""
        cached = self._cached.get(grant)
        if cached is None:
            return None
        if cached.token.value == refused or self._clock.monotonic() >= cached.until:
            self._cached.delete(grant)
            return None
        return cached.token.value

    async def fetch(self, grant: Grant) -> str:
        """Return a token that this process has not used yet: another process's, or a new one.

        UpstreamFailure. The fetch continues when a caller is cancelled, for the others.
        """
        key = grant.key(self._registry)
        board = self._board

        async def ask() -> Token:
            token = await self._ask(grant)
            if board is not None:
                board.put(key, token)
            self._keep(grant, key, token)
            return token

        async def take() -> Token | None:
            token = None if board is None else board.get(key)
            # One that was used before has expired, or was refused.
            if token is None or token.mark == self._used.get(key):
                return None
            self._keep(grant, key, token)
            return token

        elsewhere = None if board is None else take
        return (await self._flights.do(f"token:{key.hex()}", ask, elsewhere)).value

    def _keep(self, grant: Grant, key: bytes, token: Token) -> None:
        early = max(_EARLY, _EARLY_SHARE * token.lifetime)
        cached = _Cached(token, self._clock.monotonic() + token.lifetime - early)
        self._cached.put(grant, cached, len(token.value) + len(grant.scope) + _OVERHEAD)
        if self._board is not None:
            self._used.put(key, token.mark, _USED_COST)
