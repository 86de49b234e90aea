"""An upstream that sends nothing, and says what would be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import WouldAsk
from proxy.upstream.decorator import UpstreamDecorator
from proxy.upstream.operation import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.errors import UpstreamFailure
    from proxy.ports import MonitoredUpstream, Upstream
    from proxy.upstream.operation import Operation

T = TypeVar("T")

_REQUESTS: Final = {
    Kind.MANIFEST_HEAD: "HEAD of manifest",
    Kind.MANIFEST: "GET of manifest",
    Kind.BLOB_HEAD: "HEAD of blob",
    Kind.BLOB: "GET of blob",
    Kind.TAGS: "list of tags of",
    Kind.REFERRERS: "referrers of",
}


class DryRunUpstream(UpstreamDecorator):
    """Fits MonitoredUpstream. Every question raises WouldAsk, or why no request would be sent."""

    def __init__(
        self,
        real: MonitoredUpstream,
        *,
        check: Callable[[Operation], None] | None = None,
        where: Callable[[], str] = lambda: "",
    ) -> None:
        """`real` is what requests of clients ask; its state is this one's.

        `check` raises what an operation would fail with, unless that is `trouble`. `where` is what
        is said after each operation: at which place, and on what condition.
        """
        self._real = real
        self._check = self._raise_trouble if check is None else check
        self._where = where

    @property
    def offline(self) -> bool:
        """Whether the settings forbid requests to it."""
        return self._real.offline

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why no useful answer is to be expected now."""
        return self._real.trouble

    async def is_at_its_reserve(self) -> bool:
        """Whether its pulls are kept for new images."""
        return await self._real.is_at_its_reserve()

    async def _apply(self, operation: Operation, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        del ask
        self._check(operation)
        subject = "" if operation.kind is Kind.TAGS else f" {operation.subject}"
        request = f"{_REQUESTS[operation.kind]} {operation.repository}{subject}"
        raise WouldAsk(f"{request}{self._where()}")

    def _raise_trouble(self, _operation: Operation) -> None:
        if (failure := self.trouble) is not None:
            raise failure

    async def close(self) -> None:
        """Nothing is open."""
