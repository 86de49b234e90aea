"""Tokens where all processes of one proxy see them, so that one of them asks for all.

They are in memory that the processes share and that has no name: on no disk, in no cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache
from proxy.upstream.auth.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from proxy.ports import Lease, Leases
    from proxy.upstream.auth.tokens import Grant

    Ask: TypeAlias = Callable[[Grant], Coroutine[None, None, Token]]

# A token of Docker Hub has some 4 KiB. What is longer is fetched by each process for itself.
_SLOT: Final = 8 * 1024
_SLOTS: Final = 1024
# The key, when the token ends, its length, and a hash over all of the slot.
_HEAD: Final = struct.Struct("!32sdI32s")
# One that ends within so many seconds is not worth taking.
_WORTH_TAKING: Final = 10.0
# How soon it is noticed that another process has asked, in seconds.
_LOOK_EVERY: Final = 0.01
# What is remembered of the tokens that this process has had, in bytes, and of each.
_MEMORY: Final = 2**20
_COST: Final = 200


class TokenBoard:
    """A table with a place for each key, which another key may take.

    Nothing is locked: what is read while somebody else writes has a wrong hash, and is no token.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memory behind `descriptor`, which stays the caller's."""
        os.ftruncate(descriptor, _SLOT * _SLOTS)
        self._memory = mmap.mmap(descriptor, _SLOT * _SLOTS)

    def get(self, key: bytes) -> Token | None:
        """The token under `key`, with the life that is left to it."""
        start = _start(key)
        found, until, length, check = _HEAD.unpack_from(self._memory, start)
        if found != key or length > _SLOT - _HEAD.size or until - monotonic() < _WORTH_TAKING:
            return None
        start += _HEAD.size
        value = bytes(self._memory[start : start + length])
        if _check(key, until, value) != check:
            return None
        return Token(value.decode("ascii"), until - monotonic())

    def put(self, key: bytes, token: Token) -> None:
        """Have `token` under `key` for as long as it lives, if it is not too long."""
        # The clock since the start of the system, the same for all of its processes.
        until = monotonic() + token.lifetime
        value = token.value.encode("ascii")
        if len(value) <= _SLOT - _HEAD.size:
            head = _HEAD.pack(key, until, len(value), _check(key, until, value))
            start = _start(key)
            self._memory[start : start + len(head) + len(value)] = head + value


@dataclass(frozen=True, slots=True)
class Sharing:
    """With what the processes of one proxy share tokens."""

    board: TokenBoard
    leases: Leases

    def between(self, name: str, ask: Ask) -> Ask:
        """`ask`, which asks the token server of the registry `name`, but once for all of them."""
        return SharedTokenServer(ask, name=name, board=self.board, leases=self.leases).ask


class SharedTokenServer:
    """A token server that is asked by one process for all of them."""

    def __init__(
        self,
        ask: Ask,
        *,
        name: str,
        board: TokenBoard,
        leases: Leases,
    ) -> None:
        """`ask` asks the server of the registry that is called `name`."""
        self._ask = ask
        self._name = name
        self._board = board
        self._leases = leases
        self._had: LruCache[bytes, str] = LruCache(_MEMORY)

    async def ask(self, grant: Grant) -> Token:
        """A token that this process has not had yet: another one's, or a new one."""
        key = self._key(grant)
        lease = await self._claimed(key)
        try:
            token = self._board.get(key)
            # Who asks again has used up what there was, or it has been refused.
            if token is None or _mark(token) == self._had.get(key):
                token = await self._ask(grant)
                self._board.put(key, token)
        finally:
            if lease is not None:
                lease.release()
        self._had.put(key, _mark(token), _COST)
        return token

    def _key(self, grant: Grant) -> bytes:
        login = grant.credentials.basic if grant.credentials is not None else ""
        parts = (self._name, grant.realm, grant.service or "", grant.scope, login)
        return hashlib.sha256("\0".join(parts).encode()).digest()

    async def _claimed(self, key: bytes) -> Lease | None:
        """The lease on asking; None where there can be none, on a full disk."""
        try:
            while True:
                lease = await self._leases.claim(f"token:{key.hex()}")
                if lease is not None:
                    return lease
                await asyncio.sleep(_LOOK_EVERY)
        except OSError:
            return None


def _start(key: bytes) -> int:
    return int.from_bytes(key[:4], "big") % _SLOTS * _SLOT


def _check(key: bytes, until: float, value: bytes) -> bytes:
    return hashlib.sha256(key + struct.pack("!d", until) + value).digest()


def _mark(token: Token) -> str:
    return hashlib.sha256(token.value.encode()).hexdigest()
