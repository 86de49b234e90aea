"""Tokens in memory that all processes of one proxy share, so that one of them asks for all.

The memory has no name: a token is on no disk, and in no cache.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.upstream.auth.tokens import Token

if TYPE_CHECKING:
    from proxy.kit.clock import Clock
    from proxy.ports import Leases

# A token of Docker Hub has some 4 KiB. A longer one than this is fetched by each process.
_SLOT: Final = 8 * 1024
_SLOTS: Final = 1024
# The key, when the token expires, its length, and a hash over the whole slot.
_HEAD: Final = struct.Struct("!32sdI32s")
# A token that expires within so many seconds is not worth taking.
_WORTH_TAKING: Final = 10.0


class TokenBoard:
    """A table with one slot for each key; keys that share a slot replace each other.

    Nothing is locked: a slot that is read while another process writes it has a wrong hash, and
    counts as empty.
    """

    def __init__(self, descriptor: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """Map the memory behind `descriptor`, which stays the caller's."""
        self._clock = clock
        os.ftruncate(descriptor, _SLOT * _SLOTS)
        self._memory = mmap.mmap(descriptor, _SLOT * _SLOTS)

    def get(self, key: bytes) -> Token | None:
        """Return the token under `key`, with the lifetime that is left of it."""
        start, now = _start(key), self._clock.monotonic()
        found, until, length, check = _HEAD.unpack_from(self._memory, start)
        if found != key or length > _SLOT - _HEAD.size or until - now < _WORTH_TAKING:
            return None
        start += _HEAD.size
        value = bytes(self._memory[start : start + length])
        if _check(key, until, value) != check:
            return None
        return Token(value.decode("ascii"), until - now)

    def put(self, key: bytes, token: Token) -> None:
        """Keep `token` under `key` until it expires, if it fits into a slot."""
        # The monotonic clock is the same in all processes of one machine.
        until = self._clock.monotonic() + token.lifetime
        value = token.value.encode("ascii")
        if len(value) <= _SLOT - _HEAD.size:
            head = _HEAD.pack(key, until, len(value), _check(key, until, value))
            start = _start(key)
            self._memory[start : start + len(head) + len(value)] = head + value


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the processes of one proxy share tokens with: memory, and turns to ask."""

    board: TokenBoard
    leases: Leases


def _start(key: bytes) -> int:
    return int.from_bytes(key[:4], "big") % _SLOTS * _SLOT


def _check(key: bytes, until: float, value: bytes) -> bytes:
    return hashlib.sha256(key + struct.pack("!d", until) + value).digest()
