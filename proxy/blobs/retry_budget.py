"""How often an upstream that breaks off is asked for the rest of a blob."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import UpstreamInvalid

if TYPE_CHECKING:
    from proxy.errors import UpstreamFailure
    from proxy.oci.reference import Digest

_log = structlog.get_logger()

# So many times in vain; one that brings less than so many bytes is in vain, too.
_TRIES: Final = 4
_PROGRESS: Final = 64 * 1024
_PAUSE: Final = 0.5


class RetryBudget:
    """The attempts at one blob."""

    __slots__ = ("_digest", "_in_vain")

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._in_vain = 0

    async def next_attempt(self, failure: UpstreamFailure, *, received: int, more: int) -> None:
        """Wait for the next one; raises `failure` if there should be none.

        `received` bytes are here in all, and the last attempt has brought `more` of them.
        """
        self._in_vain = 0 if more >= _PROGRESS else self._in_vain + 1
        if isinstance(failure, UpstreamInvalid) or self._in_vain >= _TRIES:
            raise failure
        _log.info("blob.resumed", digest=self._digest, received=received, reason=failure.message)
        await asyncio.sleep(_PAUSE)
