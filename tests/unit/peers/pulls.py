"""What clients of replicas in memory ask for, and what they may get."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from proxy.errors import RegistryError
from proxy.oci.headers.accept import Accept
from proxy.oci.reference import Digest, Repository
from proxy.telemetry import trace
from tests.kit.accept_lines import ONLY_V2S2
from tests.kit.memory_fleet import CARGO, HUB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.oci.reference import Tag
    from proxy.telemetry.trace import Trace
    from tests.kit.memory_fleet import MemoryReplica

# Has nothing of what the other one has, and that has nothing of this one.
OTHER: Final = Repository(HUB, "library/other", "library/other")
_V2S2: Final = Accept.parse(tuple(value for _, value in ONLY_V2S2))
_ANYTHING: Final = Accept.parse(("*/*",))


@dataclass(slots=True)
class Pull:
    """One request of a client of `replica`: what was asked, and what came of it."""

    what: str
    replica: MemoryReplica
    ask: Callable[[], Awaitable[bytes]]
    # Whether a replica has the answer in its own stores.
    is_stored: Callable[[MemoryReplica], Awaitable[bool]]
    digest: Digest | None = None
    tag: Tag | None = None
    size: int = 0
    # Whether the upstream has it, too; and whether nobody may get it.
    is_derived: bool = False
    is_secret: bool = False
    # When it began, and the replicas that had the answer then.
    began: float = 0.0
    holders: frozenset[str] = frozenset()
    error: RegistryError | None = None
    content: bytes = b""
    # What it was made from, and how it was found.
    named: Digest | None = None
    trace: Trace | None = None

    async def run(self) -> None:
        self.trace = trace.begin()
        try:
            self.content = await self.ask()
        except RegistryError as error:
            self.error = error

    @property
    def failure(self) -> str:
        """How it failed."""
        return f"{self.what} of {self.replica.address}: {self.error!r}"


@dataclass(slots=True)
class History:
    """What a tag has named, and since when; and when each replica was asked to forget it."""

    named: list[tuple[float, Digest]] = field(default_factory=list)
    purged: dict[str, float] = field(default_factory=dict)

    def since(self, moment: float) -> set[Digest]:
        """All that it has named at any time from `moment` on."""
        ends = [after for _, (after, _) in pairwise(self.named)]
        return {
            digest
            for (_, digest), end in zip(self.named, [*ends, float("inf")], strict=True)
            if end >= moment
        }


def blob(replica: MemoryReplica, digest: Digest, size: int) -> Pull:
    """A blob of the repository that clients may read."""

    async def is_stored(other: MemoryReplica) -> bool:
        source = await other.blobs.find_stored(CARGO, digest)
        if source is not None:
            source.close()
        return source is not None

    return Pull(
        f"blob {digest}",
        replica,
        lambda: replica.blobs.read(CARGO, digest, limit=size),
        is_stored,
        digest=digest,
        size=size,
    )


def secret(replica: MemoryReplica, digest: Digest, size: int) -> Pull:
    """A blob of another repository, by the name of one that has it not; and the other way round."""

    async def ask() -> bytes:
        with suppress(RegistryError):
            await replica.blobs.read(OTHER, digest, limit=size)
        return await replica.blobs.read(CARGO, digest, limit=size)

    async def is_stored(_: MemoryReplica) -> bool:
        return False

    return Pull(f"secret {digest}", replica, ask, is_stored, digest=digest, is_secret=True)


def manifest(replica: MemoryReplica, digest: Digest) -> Pull:
    """A manifest by its digest."""

    async def ask() -> bytes:
        return (await replica.manifests.by_digest(CARGO, digest, _ANYTHING)).manifest.raw

    async def is_stored(other: MemoryReplica) -> bool:
        return (await other.fetches.find_stored(CARGO, digest)).manifest is not None

    return Pull(f"manifest {digest}", replica, ask, is_stored, digest=digest)


def tagged(replica: MemoryReplica, tag: Tag, *, converted: bool = False) -> Pull:
    """What a tag names; `converted`: for a client that knows docker's types only."""

    async def ask() -> bytes:
        found = await replica.manifests.by_tag(CARGO, tag, _V2S2 if converted else _ANYTHING)
        pull.named, pull.digest = found.converted_from or found.named, found.manifest.digest
        return found.manifest.raw

    async def is_stored(other: MemoryReplica) -> bool:
        return await other.tags.find_stored(CARGO, tag, may_be_stale=True) is not None

    what = f"tag {tag}{' converted' * converted}"
    pull = Pull(what, replica, ask, is_stored, tag=tag, is_derived=converted)
    return pull


def derived(replica: MemoryReplica, digest: Digest) -> Pull:
    """A manifest that was made by some replica, by its digest."""

    async def ask() -> bytes:
        return (await replica.manifests.by_digest(CARGO, digest, _ANYTHING)).manifest.raw

    async def is_stored(other: MemoryReplica) -> bool:
        return digest in other.derived.stored

    return Pull(f"derived {digest}", replica, ask, is_stored, digest=digest, is_derived=True)
