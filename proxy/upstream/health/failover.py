"""A registry and its mirrors, in the order in which they are asked; fits ports.Upstream."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import BlobUnknown, ManifestUnknown, NameUnknown, UpstreamFailure
from proxy.upstream.decorator import UpstreamDecorator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.ports import Upstream
    from proxy.upstream.operation import Operation

T = TypeVar("T")

# A mirror need not have everything: whether something exists, only the registry knows.
_TRY_THE_NEXT: Final = (UpstreamFailure, ManifestUnknown, BlobUnknown, NameUnknown)


class FailoverUpstream(UpstreamDecorator):
    """Asks each mirror in turn and then the registry itself, whose answer is final.

    Listings are the other way round: a mirror may list only what it happens to have, so it is asked
    when the registry fails. An interrupted blob may be resumed at another mirror: its digest says
    whether the parts belong together.
    """

    def __init__(self, registry: Upstream, *, mirrors: Sequence[Upstream]) -> None:
        """Each mirror should have a circuit breaker of its own: one that is down is skipped."""
        self._registry = registry
        self._mirrors = mirrors

    async def close(self) -> None:
        """Close the mirrors and the registry."""
        for upstream in (*self._mirrors, self._registry):
            await upstream.close()

    async def _apply(self, operation: Operation, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        if operation.is_listing:
            return await self._ask_registry_first(ask)
        for mirror in self._mirrors:
            with suppress(*_TRY_THE_NEXT):
                return await ask(mirror)
        return await ask(self._registry)

    async def _ask_registry_first(self, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        try:
            return await ask(self._registry)
        except UpstreamFailure:
            for mirror in self._mirrors:
                with suppress(*_TRY_THE_NEXT):
                    return await ask(mirror)
            raise
