"""Conversions that read layers: each runs once, for as long as it takes, and nobody waits forever.

A request waits for a bounded time; the conversion goes on without it, and the next request finds
what it has made. The number of conversions that have begun is bounded, too. When all places are
taken, the client that has most gives one up to a client that has fewer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.blobs.limits import RETRY_AFTER, FairGate
from proxy.errors import ConversionPending, Overloaded
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.blobs.cold_requests import ColdRequests
    from proxy.kit.singleflight import SingleFlight

T = TypeVar("T")

# How many conversions may wait for one of those that decompress.
_WAITING: Final = 64


class _Running:
    """A conversion that has begun, in the name of the client that began it. Fits Holder."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.gave_way = False
        self._task = asyncio.current_task()

    def give_way(self) -> None:
        """End it: what it has found out about layers is kept for the next try."""
        self.gave_way = True
        if self._task is not None:
            self._task.cancel()


class PendingConversions:
    """The conversions that run or wait, and the requests that wait for them."""

    def __init__(
        self, *, flights: SingleFlight, cold: ColdRequests, concurrency: int, timeout: float
    ) -> None:
        """`concurrency` conversions decompress at once; a request waits up to `timeout` seconds."""
        self._flights = flights
        self._cold = cold
        self._places = FairGate(concurrency + _WAITING)
        self._timeout = timeout

    async def run(
        self,
        key: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        elsewhere: Callable[[], Coroutine[Any, Any, T | None]],
    ) -> T:
        """Return the result of `work`, as SingleFlight does; the request counts as a cold one.

        ConversionPending if it takes longer than a request waits; Overloaded if there is no place.
        """
        holder = trace.current().holder
        client = "" if holder is None else holder.client
        with self._cold.count(is_cold=True):
            limit = asyncio.timeout(self._timeout)
            try:
                async with limit:
                    return await self._flights.do(key, lambda: self._run(client, work), elsewhere)
            except TimeoutError:
                if not limit.expired():
                    raise
        raise ConversionPending(
            "the image is being converted, which takes a while; try again", retry_after=RETRY_AFTER
        )

    async def _run(self, client: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        running = _Running(client)
        # What the conversion takes of other limits is its own, not a connection's, which may serve
        # another request by then.
        trace.begin(running)
        with self._places.hold(running) as has_place:
            if not has_place:
                metrics.TURNED_AWAY.labels("conversions").inc()
                raise Overloaded(
                    "this proxy is converting as many images as it may at once",
                    retry_after=RETRY_AFTER,
                )
            with metrics.CONVERSIONS_RUNNING.track_inprogress():
                try:
                    return await work()
                except asyncio.CancelledError:
                    if not running.gave_way:
                        raise
                    metrics.TURNED_AWAY.labels("conversions").inc()
        raise Overloaded(
            "this client has more images converted at once than others", retry_after=RETRY_AFTER
        )
