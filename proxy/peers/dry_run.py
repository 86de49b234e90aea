"""In place of the other replicas: none is asked, and which one would be is said. Fits Replicas."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from proxy.errors import WouldAsk
from proxy.peers.answers import NotStored
from proxy.peers.questions import Effort, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from proxy.peers.answers import Value
    from proxy.peers.client import PeerStream
    from proxy.peers.membership import Membership
    from proxy.peers.questions import Question
    from proxy.peers.replicas import Replicas

_REQUESTS: Final = {
    Subject.BLOB: "GET of blob",
    Subject.BLOB_SIZE: "HEAD of blob",
    Subject.TAGS: "list of tags of",
    Subject.REFERRERS: "referrers of",
    Subject.LAYER: "look into layer",
}
_WHERE: Final = {
    Effort.OWNER: "by way of the replica {}, its owner",
    Effort.FOLLOW: "from the replica {}, which reads it for its zone",
    Effort.ARRIVED: "from the replica {}, which has its beginning",
    Effort.STALE: "from the replica {}, which may have a copy",
}


class DryRunReplicas:
    """For one question: `real` says who owns what, and who is well."""

    def __init__(self, real: Replicas) -> None:
        self._real = real
        # Those that would be asked for what they have, before the upstream is asked.
        self._former_owners: list[str] = []

    @property
    def membership(self) -> Membership:
        """Which replicas there are."""
        return self._real.membership

    @property
    def timeout(self) -> float:
        """How long a question may wait for silent replicas, in seconds."""
        return self._real.timeout

    def condition(self) -> str:
        """What to add to a request that is sent only if none of the replicas has the content."""
        return f", unless {' or '.join(self._former_owners)} has it" if self._former_owners else ""

    def owners(self, key: str) -> Sequence[str]:
        """The replicas to ask before upstream is asked here."""
        return self._real.owners(key)

    def others(self, key: str, count: int) -> Sequence[str]:
        """Those that rank next."""
        return self._real.others(key, count)

    def first_of_zone(self, key: str) -> str | None:
        """The replica of this zone that asks the owner for all of the zone."""
        return self._real.first_of_zone(key)

    async def is_purged(self, question: Question) -> bool:
        """Whether the upstream is asked itself, as not all replicas may know of a purge."""
        return await self._real.is_purged(question)

    def is_doubted(self, address: str, question: Question) -> bool:
        """Whether others are asked for this blob."""
        return self._real.is_doubted(address, question)

    def has_begun(self, question: Question) -> str | None:
        """The replica that has most of the blob from where it is asked for."""
        return self._real.has_begun(question)

    @contextmanager
    def fetching(self, _question: Question) -> Iterator[None]:
        """Nothing is fetched."""
        yield

    async def ask(
        self, address: str, question: Question, _read: Callable[[Value], object], **_: bytes
    ) -> NoReturn:
        """WouldAsk; NotStored of a replica that would only be asked for what it has."""
        self._would(address, question)

    @asynccontextmanager
    async def stream(self, address: str, question: Question) -> AsyncIterator[PeerStream]:
        """The same."""
        self._would(address, question)
        yield

    def _would(self, address: str, question: Question) -> NoReturn:
        if question.effort is Effort.STORED:
            self._former_owners.append(address)
            raise NotStored
        request = _REQUESTS.get(question.subject)
        if request is None:
            request = "GET of manifest" if question.raw else "HEAD of manifest"
        reference = "" if question.reference is None else f" {question.reference}"
        where = _WHERE[question.effort].format(address)
        raise WouldAsk(f"{request} {question.name}{reference}, {where}")
