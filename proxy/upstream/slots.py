"""How many requests may be under way to one upstream, and which of those that wait is next.

Neither transfers of blobs nor what a client asks first (manifests, sizes, listings) can have all of
the connections. The HTTP client could let requests wait, too, but then nobody could tell whether
the registry keeps us waiting, or our own limit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.errors import FailureContext, Phase, UpstreamSaturated
from proxy.kit.shares import Shares
from proxy.telemetry import metrics, trace
from proxy.upstream.operation import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# How long a request waits for its turn, in seconds; also the `Retry-After` of one that has waited.
_LONGEST_WAIT: Final = 5.0
# One connection in so many is out of reach for transfers, and another one for all else.
_KEPT: Final = 8
# So many transfers may wait, and so many other requests.
_MOST_WAITING: Final = 512


@dataclass(eq=False, slots=True)
class _Waiting:
    client: str
    turn: asyncio.Future[None]


@dataclass(slots=True)
class _Lane:
    """The requests that compete with one another: those under way, and those that wait."""

    taken: int = 0
    waiting: dict[_Waiting, None] = field(default_factory=dict)
    shares: Shares[_Waiting] = field(default_factory=Shares)

    def add(self, waiting: _Waiting) -> None:
        self.waiting[waiting] = None
        self.shares.add(waiting.client, waiting)

    def remove(self, waiting: _Waiting) -> None:
        self.waiting.pop(waiting, None)
        self.shares.remove(waiting.client, waiting)


class Slots:
    """The slots of one upstream. The client that has least of them is next."""

    def __init__(
        self,
        connections: int,
        *,
        name: str,
        longest_wait: float = _LONGEST_WAIT,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        """`connections` are at least two; `name` is what people call the upstream."""
        self._connections = connections
        self._most = connections - max(1, connections // _KEPT)
        self._name = name
        self._longest_wait = longest_wait
        self._most_waiting = most_waiting
        self._transfers, self._questions = _Lane(), _Lane()
        self._held: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many requests are under way."""
        return self._transfers.taken + self._questions.taken

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._transfers.waiting) + len(self._questions.waiting)

    @asynccontextmanager
    async def hold(self, kind: Kind) -> AsyncIterator[None]:
        """Hold a slot while the block runs; UpstreamSaturated if none comes free in time."""
        lane = self._transfers if kind is Kind.BLOB else self._questions
        client = trace.client()
        await self._take(lane, client)
        try:
            yield
        finally:
            self._give_back(lane, client)

    async def _take(self, lane: _Lane, client: str) -> None:
        if self._has_room(lane):
            self._grant(lane, client)
            return
        self._make_room_to_wait(lane, client)
        waiting = _Waiting(client, asyncio.get_running_loop().create_future())
        lane.add(waiting)
        try:
            async with asyncio.timeout(self._longest_wait):
                await waiting.turn
        except BaseException as error:
            lane.remove(waiting)
            if _has_come(waiting.turn):
                # At the very moment when the wait ended otherwise.
                self._give_back(lane, client)
            if isinstance(error, TimeoutError):
                raise self._refuse() from None
            raise

    def _make_room_to_wait(self, lane: _Lane, client: str) -> None:
        """Have the newest request of the client that waits most often give way, if it must."""
        if len(lane.waiting) < self._most_waiting:
            return
        greediest = lane.shares.of_greediest(client)
        if not greediest:
            raise self._refuse()
        newest = greediest[-1]
        lane.remove(newest)
        if not newest.turn.done():
            newest.turn.set_exception(self._refuse())

    def _has_room(self, lane: _Lane) -> bool:
        return lane.taken < self._most and self.taken < self._connections

    def _grant(self, lane: _Lane, client: str) -> None:
        lane.taken += 1
        if client:
            self._held[client] += 1

    def _give_back(self, lane: _Lane, client: str) -> None:
        lane.taken -= 1
        if client:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]
        for each in (self._questions, self._transfers):
            while each.waiting and self._has_room(each):
                chosen = min(each.waiting, key=lambda waiting: self._held[waiting.client])
                each.remove(chosen)
                # One that is cancelled is still here until its task takes notice.
                if not chosen.turn.done():
                    self._grant(each, chosen.client)
                    chosen.turn.set_result(None)

    def _refuse(self) -> UpstreamSaturated:
        metrics.WITHHELD.labels(self._name, "connections").inc()
        return UpstreamSaturated(
            f"all connections that this proxy may open to {self._name} are in use",
            retry_after=self._longest_wait,
            context=FailureContext(phase=Phase.PREPARE),
        )


def _has_come(turn: asyncio.Future[None]) -> bool:
    return turn.done() and not turn.cancelled() and turn.exception() is None
