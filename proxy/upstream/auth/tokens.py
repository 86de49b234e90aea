"""Tokens, kept until shortly before they end, and fetched once for everybody who needs one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.upstream.auth.credentials import Credentials

# All tokens of one registry together, in bytes: a thousand of Docker Hub's.
_MEMORY: Final = 4 * 2**20
_OVERHEAD: Final = 1024
# A token is replaced when this part of its life is left, or these seconds if they are more.
_EARLY_SHARE: Final = 0.1
_EARLY: Final = 10.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is good for, and whose it is: the key that it is kept under.

    The registry's origin needs no place in it: each registry has its own `Tokens`.
    """

    realm: str
    service: str | None
    scope: str
    credentials: Credentials | None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it was issued; `lifetime` in seconds from now."""

    value: str = field(repr=False)
    lifetime: float


@dataclass(frozen=True, slots=True)
class _Kept:
    token: Token
    until: float


class Tokens:
    """The tokens of one registry; the least recently used goes first."""

    def __init__(self, fetch: Callable[[Grant], Coroutine[None, None, Token]]) -> None:
        """`fetch` asks the token server; what it raises is raised for everybody who waits."""
        self._fetch = fetch
        self._kept: LruCache[Grant, _Kept] = LruCache(_MEMORY)
        self._fetching: dict[Grant, asyncio.Task[Token]] = {}

    def kept(self, grant: Grant, *, refused: str | None = None) -> str | None:
        """A token that is still good, and is not the one that the registry has just refused."""
        entry = self._kept.get(grant)
        if entry is None:
            return None
        if entry.token.value == refused or monotonic() >= entry.until:
            self._kept.delete(grant)
            return None
        return entry.token.value

    async def fetch(self, grant: Grant) -> str:
        """A new token. The fetch goes on when a caller leaves, for the others and the next."""
        task = self._fetching.get(grant)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._renew(grant))
            self._fetching[grant] = task
            task.add_done_callback(lambda done: self._fetched(grant, done))
        return (await asyncio.shield(task)).value

    async def close(self) -> None:
        """Stop every fetch, and return when it has ended."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self, grant: Grant) -> Token:
        token = await self._fetch(grant)
        early = max(_EARLY, _EARLY_SHARE * token.lifetime)
        kept = _Kept(token, monotonic() + token.lifetime - early)
        self._kept.put(grant, kept, len(token.value) + len(grant.scope) + _OVERHEAD)
        return token

    def _fetched(self, grant: Grant, task: asyncio.Task[Token]) -> None:
        del self._fetching[grant]
        if not task.cancelled():
            # Whoever waited has it; asking here keeps asyncio from reporting it if nobody did.
            task.exception()
