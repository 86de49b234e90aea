"""An upstream that one replica asks for all of them. Fits ports.MonitoredUpstream.

A replica asks the owner of what it needs, and only the owner asks the registry. If the owner cannot
be asked, the next in rank stands in for it, and at last this replica itself.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import (
    Overloaded,
    RegistryError,
    StorageFailure,
    UpstreamFailure,
)
from proxy.oci.reference import Digest
from proxy.peers.answers import NotStored
from proxy.peers.client import PeerFailed
from proxy.peers.followed_stream import HELD_BACK, FollowedStream, verify
from proxy.peers.questions import Effort, Question, Subject
from proxy.peers.silence import SilenceBudget
from proxy.peers.tree import Tree
from proxy.peers.upstream_answers import read_fetched, read_head, read_page
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Tag
    from proxy.peers.answers import Value
    from proxy.peers.replicas import Replicas
    from proxy.ports import BlobStream, Fetched, Head, Late, MonitoredUpstream

T = TypeVar("T")

# An owner that has nothing asks so many others, which may have owned it before; and so many where
# the upstream fails.
_FORMER_OWNERS: Final = 2
_ANYBODY: Final = 8
# Errors of the replica itself. All others of an owner are the upstream's.
_OF_THE_REPLICA: Final = (Overloaded, StorageFailure)


class PeerUpstream:
    """One registry, behind the replicas that own its content."""

    def __init__(
        self,
        registry: str,
        upstream: MonitoredUpstream,
        replicas: Replicas,
        *,
        spend: Callable[[], None] = lambda: None,
        is_open: Callable[[str], bool] = lambda _repository: True,
    ) -> None:
        """`registry` is the upstream's name in the settings of all replicas.

        `is_open`: whether everybody may read a repository, named `registry/name`. Of another one
        only what the registry has granted is taken from replicas, and nothing that they claim.

        `spend` counts a question to another replica as a request that the current client causes.
        """
        self._registry = registry
        self._spend = spend
        self._is_open = is_open
        self._upstream = upstream
        self._replicas = replicas
        self._tree = Tree(replicas)

    @property
    def offline(self) -> bool:
        """Whether the settings forbid requests to the registry; not to the replicas."""
        return self._upstream.offline

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why the registry is not asked now, as far as this replica knows."""
        return self._upstream.trouble

    async def is_at_its_reserve(self) -> bool:
        """Whether a GET of a manifest should wait while a stored copy can be served instead."""
        return await self._upstream.is_at_its_reserve()

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404."""
        return await self._ask(
            self._question(_subject(reference), name, reference),
            lambda value: read_head(value, reference),
            lambda: self._upstream.head_manifest(name, reference),
        )

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        return await self._ask(
            replace(self._question(_subject(reference), name, reference), raw=True),
            lambda value: read_fetched(value, reference),
            lambda: self._upstream.manifest(name, reference),
        )

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """HEAD; BlobUnknown for 404. An owner knows itself what to expect."""
        return await self._ask(
            self._question(Subject.BLOB_SIZE, name, digest),
            lambda value: int(value.about["size"]),
            lambda: self._upstream.blob_size(name, digest, expected=expected, may_get=may_get),
        )

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
        late: Late | None = None,
        is_retry: bool = False,
    ) -> AsyncIterator[BlobStream]:
        """GET; BlobUnknown for 404."""
        question = replace(self._question(Subject.BLOB, name, digest), start=start, end=end)
        async with AsyncExitStack() as stack:

            async def follow(address: str, question: Question) -> BlobStream:
                async with AsyncExitStack() as attempt:
                    stream = await attempt.enter_async_context(
                        self._replicas.stream(address, question)
                    )
                    fail = partial(self._replicas.fail_midway, address, question)
                    followed: BlobStream = FollowedStream(stream, digest, fail)
                    if question.end is None and (stream.total or HELD_BACK) < HELD_BACK:
                        followed = await verify(stream, digest)
                    await stack.enter_async_context(attempt.pop_all())
                trace.record_source(f"replica {address}")
                return followed

            async def join(address: str, question: Question) -> BlobStream:
                if self._replicas.is_doubted(address, question):
                    raise NotStored
                return await self._tree.join(address, question, follow)

            async def fetch() -> BlobStream:
                if (begun := await self._take_prefix(question, follow)) is not None:
                    return begun
                trace.record_source("")
                stack.enter_context(
                    self._replicas.fetching(self._question(Subject.BLOB, name, digest))
                )
                return await stack.enter_async_context(
                    self._upstream.blob(
                        name,
                        digest,
                        start=start,
                        end=end,
                        validator=validator,
                        late=late,
                        is_retry=is_retry,
                    )
                )

            yield await self._resolve(question, join, fetch)

    async def _take_prefix(
        self, question: Question, follow: Callable[[str, Question], Awaitable[BlobStream]]
    ) -> BlobStream | None:
        """What another replica has got of a blob from an owner that has failed since.

        What follows it is asked for when it has ended, as after an interruption.
        """
        address = self._replicas.has_begun(question)
        if address is None:
            return None
        try:
            return _record(await follow(address, replace(question, effort=Effort.ARRIVED)))
        except (PeerFailed, NotStored, RegistryError):
            self._replicas.doubt(address, question)
            return None

    async def tags(self, name: str, query: str) -> Page:
        """One page of tags; NameUnknown for 404."""
        return await self._ask(
            replace(self._question(Subject.TAGS, name), query=query),
            read_page,
            lambda: self._upstream.tags(name, query),
        )

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of referrers; None where there is no such API."""
        return await self._ask(
            replace(self._question(Subject.REFERRERS, name, digest), query=query),
            read_page,
            lambda: self._upstream.referrers(name, digest, query),
        )

    async def close(self) -> None:
        """The registry's connections are closed by their own owner."""

    def _question(
        self, subject: Subject, name: str, reference: Digest | Tag | None = None
    ) -> Question:
        is_open = self._is_open(f"{self._registry}/{name}")
        return Question(subject, self._registry, name, reference, granted=not is_open)

    async def _ask(
        self,
        question: Question,
        read: Callable[[Value], T],
        ask_upstream: Callable[[], Awaitable[T]],
    ) -> T:
        return await self._resolve(
            question,
            lambda address, question: self._replicas.ask(address, question, read),
            ask_upstream,
        )

    async def _resolve(
        self,
        question: Question,
        ask_peer: Callable[[str, Question], Awaitable[T]],
        ask_upstream: Callable[[], Awaitable[T]],
    ) -> T:
        """What the owner answers; as the owner, what another replica has, or the registry."""
        if await self._replicas.is_purged(question):
            return await ask_upstream()
        owners = self._replicas.owners(question.key)
        if owners:
            self._spend()
        budget = SilenceBudget(self._replicas.timeout)
        try:
            return _record(await _first(owners, question, ask_peer, budget, _OF_THE_REPLICA))
        except NotStored:
            pass
        if owners:
            metrics.PEER_DUPLICATES.labels(question.subject).inc()
        stored = replace(question, effort=Effort.STORED)
        asked = self._replicas.others(question.key, _FORMER_OWNERS)
        try:
            return _record(await _first(asked, stored, ask_peer, budget, RegistryError))
        except NotStored:
            pass
        try:
            return await ask_upstream()
        except UpstreamFailure:
            stale = replace(question, effort=Effort.STALE)
            try:
                anybody = self._replicas.others(question.key, _ANYBODY)
                # However long it takes: nobody else has an answer.
                unlimited = SilenceBudget(math.inf)
                return _record(await _first(anybody, stale, ask_peer, unlimited, RegistryError))
            except NotStored:
                pass
            raise


async def _first(
    addresses: Sequence[str],
    question: Question,
    ask_peer: Callable[[str, Question], Awaitable[T]],
    budget: SilenceBudget,
    passed_over: type[RegistryError] | tuple[type[RegistryError], ...],
) -> T:
    """The first answer of a replica that has one; NotStored if there is none within the budget.

    The errors in `passed_over` are no answer.
    """
    for address in addresses:
        if budget.is_spent:
            break
        try:
            return await ask_peer(address, question)
        except PeerFailed as failure:
            budget.spend(failure.lost)
        except NotStored:
            continue
        except passed_over:
            continue
    raise NotStored


def _record(answer: T) -> T:
    """The answer; the trace of the request says that it is another replica's."""
    trace.current().peer_calls += 1
    return answer


def _subject(reference: Digest | Tag) -> Subject:
    return Subject.MANIFEST if isinstance(reference, Digest) else Subject.TAG
