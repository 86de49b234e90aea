"""Compares passwords with hashes: one at a time, in a thread that yields to the event loop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.access import htpasswd
from proxy.access.turns import Turns
from proxy.kit.threads import in_thread, threads_that_give_way

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from proxy.access.turns import Turn

# A client waits for its hash, also where others keep all processors busy: so it gives way a little.
# The rests after wrong logins bound the rest of what the event loop loses.
_NICE: Final = 2


class Hashing:
    """The one thread for hashes, and whose turn it is."""

    def __init__(self) -> None:
        """The thread starts with the first hash."""
        self._turns = Turns()
        self._thread = threads_that_give_way(1, "hash", nice=_NICE)

    def turn(self, client: str, user: str) -> AbstractAsyncContextManager[Turn]:
        """Run the block when it is this user's turn; Overloaded if too many are waiting."""
        return self._turns.turn(client, user)

    async def matches(self, hashed: str, password: str) -> bool:
        """Whether the password has this hash; within a turn."""
        return await in_thread(partial(htpasswd.matches, hashed, password), executor=self._thread)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
