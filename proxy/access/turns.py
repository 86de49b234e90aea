"""One piece of work at a time, in turn between clients, and between the users of a client.

A client whose last login was wrong comes after all others for a while, and after such work there is
a rest as long as it took: so clients that guess passwords have the processor at most half of the
time, and a client that does not guess waits for one hash at most.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.kit.clock import Clock

# What may wait: of all clients, of one of them, and of one user there. Each has a password.
_MAX_WAITING: Final = 1024
_MAX_OF_CLIENT: Final = 32
_MAX_OF_USER: Final = 8
_RETRY_AFTER: Final = 2.0
# For how long a client comes after others, in seconds, and the memory for such clients.
_LAST_FOR: Final = 30.0
_MEMORY: Final = 2**20
_COST: Final = 256


class Turn:
    """One turn. `failed` is set by the work."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False


class _Queue:
    """Those who wait, in turn between clients and their users."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, OrderedDict[str, deque[asyncio.Future[None]]]]
        self._clients = OrderedDict()
        self.waiting = 0

    def count(self, client: str, user: str) -> tuple[int, int]:
        """How many of the client wait, and of the user there."""
        users = self._clients.get(client) or OrderedDict()
        return sum(map(len, users.values())), len(users.get(user, ()))

    def add(self, client: str, user: str, turn: asyncio.Future[None]) -> None:
        self._clients.setdefault(client, OrderedDict()).setdefault(user, deque()).append(turn)
        self.waiting += 1

    def take_over(self, client: str, other: _Queue) -> None:
        """Have those of the client wait here who wait in the other queue."""
        for user, turns in other._clients.pop(client, {}).items():
            for turn in turns:
                other.waiting -= 1
                self.add(client, user, turn)

    def wake_next(self) -> bool:
        """Wake the next client's next user; whether there was one. Those that left are skipped."""
        while self._clients:
            client, users = self._clients.popitem(last=False)
            user, turns = users.popitem(last=False)
            turn = turns.popleft()
            self.waiting -= 1
            if turns:
                users[user] = turns
            if users:
                self._clients[client] = users
            if not turn.done():
                turn.set_result(None)
                return True
        return False


class Turns:
    """Turns at something costly. A client that wants many delays itself, and others little."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Needs no loop yet."""
        self._clock = clock
        self._busy = False
        self._first, self._last = _Queue(), _Queue()
        self._rest: asyncio.TimerHandle | None = None
        # Until when clients come last, monotonic.
        self._suspects: LruCache[str, float] = LruCache(_MEMORY)

    @asynccontextmanager
    async def turn(self, client: str, user: str) -> AsyncIterator[Turn]:
        """Run the block when it is this user's turn; Overloaded if too much is waiting."""
        await self._acquire(client, user)
        turn, began = Turn(), self._clock.monotonic()
        try:
            yield turn
        finally:
            now = self._clock.monotonic()
            if turn.failed:
                self._suspects.put(client, now + _LAST_FOR, _COST)
                self._last.take_over(client, self._first)
            self._release(now - began if turn.failed else 0.0)

    async def _acquire(self, client: str, user: str) -> None:
        is_suspect = self._clock.monotonic() < (self._suspects.get(client) or 0.0)
        if not self._busy and not (is_suspect and self._rest is not None):
            self._busy = True
            return
        queue = self._last if is_suspect else self._first
        of_client, of_user = queue.count(client, user)
        waiting = self._first.waiting + self._last.waiting
        if waiting >= _MAX_WAITING or of_client >= _MAX_OF_CLIENT or of_user >= _MAX_OF_USER:
            raise Overloaded(
                "too many logins are being checked for this client", retry_after=_RETRY_AFTER
            )
        turn = asyncio.get_running_loop().create_future()
        queue.add(client, user, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(0.0)
            raise

    def _release(self, rest: float) -> None:
        """Give the turn on; to those who come last only after the rest."""
        if rest and self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(rest, self._end_rest)
        self._busy = self._first.wake_next() or (self._rest is None and self._last.wake_next())

    def _end_rest(self) -> None:
        self._rest = None
        if not self._busy:
            self._busy = self._last.wake_next()
