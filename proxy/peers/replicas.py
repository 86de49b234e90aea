"""The other replicas, as questions are put to them: who is asked, and who is passed over."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from proxy.errors import RegistryError, UpstreamUnavailable
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.peers.answers import NoNews
from proxy.peers.client import PeerFailed
from proxy.peers.handover import Handover
from proxy.peers.membership import Membership, Reason
from proxy.peers.owners import above, rank
from proxy.peers.prefixes import Prefixes
from proxy.peers.questions import Question, Subject
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from proxy.kit.clock import Clock
    from proxy.oci.reference import Repository
    from proxy.peers.answers import News, Value
    from proxy.peers.client import PeerClient, PeerStream
    from proxy.report.replicas import PeerState

_log = structlog.get_logger()

T = TypeVar("T")

# So many owners are tried before this replica asks upstream itself. Each may be silent for half of
# `peers.timeout` before it sends the head of its answer.
_OWNERS_TRIED: Final = 2

# The interval at which replicas are probed, in seconds.
_PROBE_EVERY: Final = 1.0

# A replica that starts asks so often, a few others each time, until one of them answers.
_CAUGHT_UP_WITHIN: Final = 5

# By then all replicas have learnt of a purge: each asks three others each second. In seconds.
_PURGE_SPREADS: Final = 30.0
_PURGE_MEMORY: Final = 2**20
_PURGE_COST: Final = 300
# A name is for people.
_LONGEST_NAME: Final = 253
_CHANGING: Final = {Subject.TAG, Subject.TAGS, Subject.REFERRERS}

# The key that this task answers for as its owner, because another replica has asked.
acting_for: ContextVar[str | None] = ContextVar("acting_for", default=None)


class Replicas:
    """One process's view of the others."""

    def __init__(
        self,
        client: PeerClient,
        *,
        name: str = "",
        zone: str = "",
        timeout: float = math.inf,
        clock: Clock = SYSTEM_CLOCK,
        sample: Callable[[Sequence[str], int], Iterable[str]] = random.sample,
    ) -> None:
        """`name` and `zone` are this replica's, "" for none; `sample` chooses who is probed.

        `timeout` is how long a question may wait for silent replicas, in seconds.
        """
        self.timeout = timeout
        self.name = name
        self.zone = zone
        self._client = client
        client.count = self.count_received
        self._clock = clock
        # The moment at which the clock that only goes on was at 0.
        self._began = clock.wall() - clock.monotonic()
        self._sample = sample
        self._woken = asyncio.Event()
        self._fetched: Counter[str] = Counter()
        self.handover = Handover()
        self._prefixes = Prefixes()
        # When each repository was purged, and each tag.
        self._purged: LruCache[str, float] = LruCache(_PURGE_MEMORY)
        self._all_purged = float("-inf")
        # It learns what the others know already.
        self._is_joining = False
        self.membership = Membership()
        # What replicas tell each other. There is none before all of this process is there.
        self.news: News = NoNews()

    @property
    def own(self) -> str | None:
        """Where other replicas reach this one."""
        return self.membership.own

    def ranking(self, key: str) -> list[str]:
        """All that are live, the owner of `key` first."""
        return rank(key, self.membership.live())

    def owners(self, key: str) -> Sequence[str]:
        """The replicas to ask before upstream is asked here; none if this one owns `key`."""
        if acting_for.get() == key:
            return ()
        return above(self.own, self.ranking(key))[:_OWNERS_TRIED]

    def first_of_zone(self, key: str) -> str | None:
        """The replica of this zone that asks the owner for all of the zone, if it is another one.

        None if this is the zone of the owner. It ranks above this replica: questions only go up.
        """
        if not self.zone:
            return None
        ranked = self.owners(key) and self.ranking(key)
        mine = [one for one in ranked if one == self.own or self._is_near(one)]
        if not mine or mine[0] in {self.own, ranked[0]}:
            return None
        return mine[0]

    def count_received(self, address: str, size: int) -> None:
        """Count bytes received from the replica."""
        metrics.PEER_RECEIVED_BYTES.labels(self._zone_label(address)).inc(size)
        self.membership.count(address, received=size)

    def count_sent(self, address: str, size: int) -> None:
        """Count bytes sent to the replica."""
        metrics.PEER_SENT_BYTES.labels(self._zone_label(address)).inc(size)
        self.membership.count(address, sent=size)

    def _zone_label(self, address: str) -> str:
        return "own" if self._is_near(address) else "other"

    def _is_near(self, address: str) -> bool:
        return self.membership.zone_of(address) == self.zone

    def others(self, key: str, count: int) -> Sequence[str]:
        """Those that rank next, which owned `key` when there were fewer replicas, or more."""
        ranked = rank(key, self.membership.present())
        return [address for address in ranked if address != self.own][:count]

    @contextmanager
    def fetching(self, question: Question) -> Iterator[None]:
        """Note that this process fetches a blob from upstream while the block runs."""
        key = question.key
        self._fetched[key] += 1
        self.handover.add(question)
        try:
            yield
        finally:
            self._fetched[key] -= 1
            if not self._fetched[key]:
                del self._fetched[key]

    def is_fetching(self, key: str) -> bool:
        """Whether this process fetches `key` from upstream now, and not from another replica."""
        return key in self._fetched

    async def ask(
        self, address: str, question: Question, read: Callable[[Value], T], *, body: bytes = b""
    ) -> T:
        """Return what `read` makes of the answer; PeerFailed, and the replica is left out.

        `read` raises ValueError, KeyError or TypeError, or RegistryError, for an answer that cannot
        be right. `body` is for the replica to store.
        """
        try:
            value = await self._client.ask(address, question, body)
            try:
                answer = read(value)
            except (ValueError, KeyError, TypeError, RegistryError) as error:
                raise PeerFailed(Reason.LYING, f"its answer is wrong: {error}") from None
        except PeerFailed as failure:
            self.pass_over(address, failure)
            raise
        if question.subject is not Subject.HEALTH:
            self.membership.succeed(address)
        return answer

    @asynccontextmanager
    async def stream(self, address: str, question: Question) -> AsyncIterator[PeerStream]:
        """The bytes of a blob; PeerFailed as for `ask`, also while they are read."""
        try:
            async with self._client.stream(address, question) as stream:
                yield stream
            self.membership.succeed(address)
        except PeerFailed as failure:
            self.pass_over(address, failure)
            raise

    def pass_over(self, address: str, failure: PeerFailed) -> None:
        """Leave the replica out until a probe succeeds."""
        metrics.PEER_PASSED_OVER.labels(failure.reason).inc()
        if self.membership.leave_out(address, failure.reason, self._clock.monotonic()):
            _log.warning("peer.left_out", peer=address, reason=failure.reason, message=str(failure))
        self._count()

    def fail_midway(
        self, address: str, question: Question, failure: PeerFailed
    ) -> UpstreamUnavailable:
        """Leave the replica out, and ask others for this blob; what is raised for it."""
        self.pass_over(address, failure)
        self.doubt(address, question)
        return UpstreamUnavailable(f"the replica {address}: {failure}")

    def doubt(self, address: str, question: Question) -> None:
        """Ask others for this blob for a while."""
        self._prefixes.doubt(question, address, self._clock.monotonic())

    def is_doubted(self, address: str, question: Question) -> bool:
        """Whether other replicas should be asked for this blob."""
        return self._prefixes.is_doubted(question, address, self._clock.monotonic())

    def note_begun(self, address: str, question: Question) -> None:
        """A replica asks for a blob from `question.start` on: it has what is before that."""
        if question.start > 0 and question.end is None:
            self._prefixes.note(question, address, self._clock.monotonic())

    def has_begun(self, question: Question) -> str | None:
        """The replica that has most of the blob from `question.start` on."""
        if question.start < 0 or question.end is not None:
            return None
        return self._prefixes.best(question, self._clock.monotonic())

    def discover(self, addresses: Iterable[str], own: str | None) -> None:
        """Set the replicas; `own` is the address of this one, if it has one."""
        self.membership.discover(addresses, own, self._clock.monotonic())
        self._client.own = own
        self._count()

    def hear(self, address: str) -> None:
        """Note that a replica has asked something: if it is left out, probe it."""
        if self.membership.hasten(address):
            self._woken.set()

    async def wait(self) -> None:
        """Return when it is time for the next probes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), _PROBE_EVERY)
        self._woken.clear()

    async def catch_up(self) -> None:
        """Learn recent purges before this replica serves, if any of the others can be asked."""
        self._is_joining = True
        try:
            for _ in range(_CAUGHT_UP_WITHIN):
                # Those that do not answer are left out, so that others are asked next.
                if await self.probe() or not any(
                    reason is None for reason in self.membership.states().values()
                ):
                    return
        finally:
            self._is_joining = False

    async def probe(self) -> bool:
        """Probe the replicas that are left out, and a few others; learn their purges.

        Returns whether one of them has answered.
        """
        due = self.membership.due(self._clock.monotonic(), self._sample)
        question = Question(Subject.HEALTH, query=await self.news.mark())
        answers = await asyncio.gather(*(self._probe(address, question) for address in due))
        for told in answers:
            if told:
                with suppress(ValueError):
                    await self.news.learn(told)
        return any(told is not None for told in answers)

    async def _probe(self, address: str, question: Question) -> Any:
        """Return the purges that a replica knows and we do not; None if it does not answer."""
        try:
            told, name, zone = await self.ask(address, question, _read_health)
        except (PeerFailed, RegistryError):
            return None
        self.membership.introduce(address, name, zone)
        if self.membership.confirm(address, self._clock.monotonic()):
            _log.info("peer.taken_back", peer=address)
            self._count()
        return told

    def report(self) -> tuple[PeerState, ...]:
        """How each of the others is doing, `since` when (in seconds since 1970)."""
        return tuple(
            replace(peer, since=self._began + peer.since) for peer in self.membership.report()
        )

    def note_purge(self, repository: Repository | None, tag: str) -> None:
        """Ask the registry itself about the tag until all replicas have forgotten it.

        `tag` is `*` for all, and "" for none. The listings of the repository are forgotten always.
        Without a repository it is about all of them, unless only this replica was away.
        """
        now = self._clock.monotonic()
        if repository is None:
            if not self._is_joining:
                self._all_purged = now
            return
        for key in {str(repository), f"{repository}:{tag}"}:
            self._purged.put(key, now, _PURGE_COST)

    async def is_purged(self, question: Question) -> bool:
        """Whether the question is about what was purged so lately that not all may know it."""
        if question.subject not in _CHANGING:
            return False
        # Another process of this machine may have been asked to purge it.
        await self.news.mark()
        repository = f"{question.registry}/{question.name}"
        keys = [repository]
        if question.subject is Subject.TAG:
            keys = [f"{repository}:*", f"{repository}:{question.reference}"]
        last = max(self._all_purged, *(self._purged.get(key) or float("-inf") for key in keys))
        return self._clock.monotonic() - last < _PURGE_SPREADS

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _count(self) -> None:
        left_out = sum(reason is not None for reason in self.membership.states().values())
        metrics.PEERS.labels("left_out").set(left_out)
        metrics.PEERS.labels("live").set(len(self.membership.states()) - left_out)


def _read_health(value: Value) -> tuple[Any, str, str]:
    """Return the purges, the name and the zone that a replica states."""
    about = value.about
    return about["news"], str(about.get("name", ""))[:_LONGEST_NAME], str(about.get("zone", ""))
