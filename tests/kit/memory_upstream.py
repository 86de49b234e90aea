"""A registry without a socket, whose next answers a test scripts."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.errors import BlobUnknown, ManifestUnknown, NameUnknown, RangeInvalid, RegistryError
from proxy.oci.reference import Digest
from proxy.ports import Fetched, Head

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from proxy.errors import UpstreamFailure
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Tag
    from proxy.ports import Late, Upstream

_PIECE = 10_000


@dataclass(frozen=True, slots=True)
class Script:
    """How one question is answered, where not as it should be.

    `error` comes instead of an answer. `cut` bytes come of a body, and then `failure`, or its end.
    `content` replaces the content. `gate` is waited for before the first byte; before
    that, the answer is `late`. `coding` is what the bytes may be encoded in. `pace` is called
    before each piece.
    """

    error: RegistryError | None = None
    cut: int | None = None
    failure: RegistryError | None = None
    content: bytes | None = None
    states_length: bool = True
    knows_ranges: bool = True
    validator: str | None = None
    gate: asyncio.Event | None = None
    coding: str | None = None
    late: UpstreamFailure | None = None
    pace: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked; the range is that of a blob."""

    kind: str
    name: str
    about: str
    start: int = 0
    end: int | None = None
    validator: str | None = None
    is_retry: bool = False


@dataclass(slots=True)
class MemoryStream:
    """One answer with a blob's bytes. Fits BlobStream."""

    start: int
    total: int | None
    validator: str | None
    body: bytes
    script: Script

    @property
    def coding(self) -> str | None:
        return self.script.coding

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.script.gate is not None:
            await self.script.gate.wait()
        body = self.body if self.script.cut is None else self.body[: self.script.cut]
        for offset in range(0, len(body), _PIECE):
            self.script.pace()
            yield body[offset : offset + _PIECE]
        if self.script.failure is not None:
            raise self.script.failure


@dataclass(slots=True)
class MemoryUpstream:
    """Every repository has all of its content. Fits Upstream."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[str, Fetched] = field(default_factory=dict)
    pages: dict[str, Page] = field(default_factory=dict)
    # The next answers, in the order of the questions; all is well when there are no more.
    scripts: deque[Script] = field(default_factory=deque)
    asked: list[Question] = field(default_factory=list)
    # Blob answers that are being read.
    streaming: int = 0
    closed: bool = False

    def add(self, content: bytes) -> Digest:
        """Have a blob."""
        digest = Digest.of(content)
        self.blobs[digest] = content
        return digest

    def count(self, kind: str) -> int:
        """How many questions of a kind came."""
        return sum(question.kind == kind for question in self.asked)

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        self._next(Question("manifest_head", name, str(reference)))
        found = self._manifest(name, reference)
        return Head(found.digest, found.content_type)

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        self._next(Question("manifest", name, str(reference)))
        return self._manifest(name, reference)

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        del expected, may_get
        script = self._next(Question("blob_head", name, digest))
        return len(self._blob(name, digest, script)) if script.states_length else None

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
    ) -> AsyncIterator[MemoryStream]:
        question = Question("blob", name, digest, start, end, validator, is_retry=is_retry)
        script = self._next(question)
        if script.late is not None:
            if late is None:
                raise script.late
            late(script.late)
        content = self._blob(name, digest, script)
        if not script.knows_ranges or (validator is not None and validator != script.validator):
            start, end = 0, None
        if start >= len(content) > 0:
            raise RangeInvalid("there is no such byte", size=len(content))
        start = max(0, len(content) + start) if start < 0 else start
        body = content[start : None if end is None else end + 1]
        total = len(content) if script.states_length else None
        self.streaming += 1
        try:
            yield MemoryStream(start, total, script.validator, body, script)
        finally:
            self.streaming -= 1

    async def tags(self, name: str, query: str) -> Page:
        self._next(Question("tags", name, query))
        if name not in self.pages:
            raise NameUnknown(f"there is no repository {name}")
        return self.pages[name]

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        self._next(Question("referrers", name, f"{digest}?{query}" if query else digest))
        return self.pages.get(digest)

    async def close(self) -> None:
        self.closed = True

    def _next(self, question: Question) -> Script:
        self.asked.append(question)
        script = self.scripts.popleft() if self.scripts else Script()
        if script.error is not None:
            raise script.error
        return script

    def _manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        if str(reference) not in self.manifests:
            raise ManifestUnknown(f"there is no manifest {name} {reference}")
        return self.manifests[str(reference)]

    def _blob(self, name: str, digest: Digest, script: Script) -> bytes:
        if script.content is not None:
            return script.content
        if digest not in self.blobs:
            raise BlobUnknown(f"there is no blob {name} {digest}")
        return self.blobs[digest]


if TYPE_CHECKING:
    _fits: Upstream = MemoryUpstream()
