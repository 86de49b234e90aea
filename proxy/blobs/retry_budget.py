"""How often an upstream that sends part of a blob is asked for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import UpstreamInvalid
from proxy.kit.backoff import Backoff

if TYPE_CHECKING:
    from proxy.errors import UpstreamFailure
    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest

_log = structlog.get_logger()

# So many attempts in a row may bring less than this, in bytes.
_FRUITLESS_ATTEMPTS: Final = 4
_PROGRESS: Final = 64 * 1024
# Between two attempts: half a second at most, and not the same for all that were cut off together.
_PAUSE: Final = Backoff(first=0.5, longest=0.5)


class RetryBudget:
    """The attempts at one blob. Progress restores the budget."""

    __slots__ = ("_clock", "_digest", "_fruitless")

    def __init__(self, digest: Digest, clock: Clock) -> None:
        self._digest = digest
        self._clock = clock
        self._fruitless = 0

    async def spend(self, failure: UpstreamFailure, *, received: int, gained: int) -> None:
        """Wait until the next attempt is due; raises `failure` if no attempt is left.

        `received` bytes have arrived in all, and the last attempt brought `gained` of them.
        """
        self._fruitless = 0 if gained >= _PROGRESS else self._fruitless + 1
        if isinstance(failure, UpstreamInvalid) or self._fruitless >= _FRUITLESS_ATTEMPTS:
            raise failure
        _log.info("blob.resumed", digest=self._digest, received=received, reason=failure.message)
        await self._clock.sleep(_PAUSE.pause(1))
