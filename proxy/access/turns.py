"""One piece of work at a time, in turn between clients, and between the users of a client."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# What may wait: of all clients, of one of them, and of one user there. Each has a password.
_MAX_WAITING: Final = 1024
_MAX_OF_CLIENT: Final = 32
_MAX_OF_USER: Final = 8
_RETRY_AFTER: Final = 2.0

_Users = OrderedDict[str, deque[asyncio.Future[None]]]


class Turns:
    """Turns at something costly. A client that wants many delays itself, and others little."""

    def __init__(self) -> None:
        """Needs no loop yet."""
        self._busy = False
        self._waiting = 0
        self._clients: OrderedDict[str, _Users] = OrderedDict()

    @asynccontextmanager
    async def turn(self, client: str, user: str) -> AsyncIterator[None]:
        """Run the block when it is this user's turn; Overloaded if too much is waiting."""
        await self._acquire(client, user)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, client: str, user: str) -> None:
        if not self._busy:
            self._busy = True
            return
        users = self._clients.get(client, _Users())
        of_client, of_user = sum(map(len, users.values())), len(users.get(user, ()))
        if self._waiting >= _MAX_WAITING or of_client >= _MAX_OF_CLIENT or of_user >= _MAX_OF_USER:
            raise Overloaded(
                "too many logins are being checked for this client", retry_after=_RETRY_AFTER
            )
        turn = asyncio.get_running_loop().create_future()
        self._clients.setdefault(client, users).setdefault(user, deque()).append(turn)
        self._waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        """Give the turn to the next client's next user; those that have left are skipped."""
        while self._clients:
            client, users = self._clients.popitem(last=False)
            user, turns = users.popitem(last=False)
            turn = turns.popleft()
            self._waiting -= 1
            if turns:
                users[user] = turns
            if users:
                self._clients[client] = users
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False
