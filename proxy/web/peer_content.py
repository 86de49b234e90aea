"""The answers of this replica to others: its tags, manifests, blobs and listings."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, RangeInvalid, StorageFailure
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.oci.reference import Digest, Repository, Tag
from proxy.peers.answers import NotStored, Value
from proxy.peers.questions import Effort, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from proxy.blobs.serve import Blobs
    from proxy.blobs.source import Source
    from proxy.kit.clock import Clock
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.listings import Listings
    from proxy.manifests.measuring import LayerMeasuring
    from proxy.manifests.tags import Tags
    from proxy.oci.manifest import Manifest
    from proxy.peers.answers import Stream
    from proxy.peers.derived import DerivedContent
    from proxy.peers.questions import Question

# The bytes of a blob that are read and sent at a time.
_PIECE: Final = 256 * 1024


class PeerContent:
    """Fits peers.answers.Content. Who may read is decided where the client asks."""

    def __init__(
        self,
        *,
        registries: Collection[str],
        naming: Callable[[Repository, Digest], Awaitable[Value]],
        tags: Tags,
        upstream_manifests: UpstreamManifests,
        blobs: Blobs,
        listings: Listings,
        derived: DerivedContent,
        measuring: LayerMeasuring,
        is_fetching: Callable[[str], bool],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`registries` are the names of the upstreams; `naming` is what they have named.

        `is_fetching`: whether something is fetched from upstream, and not from another replica. A
        transfer from that one may wait for the question that is asked.
        """
        self._registries = registries
        self._naming = naming
        self._tags = tags
        self._upstream_manifests = upstream_manifests
        self._blobs = blobs
        self._listings = listings
        self._derived = derived
        self._measuring = measuring
        self._is_fetching = is_fetching
        self._clock = clock

    async def value(self, question: Question) -> Value:
        """The answer to a question about anything but the bytes of a blob."""
        if question.subject in {Subject.TAGS, Subject.REFERRERS}:
            return await self._page(question)
        if question.subject is Subject.DERIVED and isinstance(question.reference, Digest):
            return Value(raw=await self._derived.get(question.reference))
        repository = self._repository(question)
        match question.subject, question.reference:
            case Subject.TAG, Tag() as tag:
                return await self._tag(repository, tag, question)
            case Subject.MANIFEST, Digest() as digest:
                return _of_manifest(await self._manifest(repository, digest, question), question)
            case _, Digest() as digest:
                return await self._about_blob(repository, digest, question)
        raise NotStored

    async def _about_blob(
        self, repository: Repository, digest: Digest, question: Question
    ) -> Value:
        match question.subject:
            case Subject.COPY:
                return await self._copy(repository, digest)
            case Subject.NAMING:
                return await self._naming(repository, digest)
            case Subject.LAYER:
                await self._require_grant(repository, digest, question)
                return await self._layer(repository, digest, question)
            case Subject.BLOB_SIZE:
                await self._require_grant(repository, digest, question)
                return Value({"size": await self._size(repository, digest, question)})
            case _:
                raise NotStored

    async def store(self, question: Question, body: bytes) -> Value:
        """Store a derived manifest of another replica; the record that is stored now."""
        if question.subject is Subject.DERIVED and isinstance(question.reference, Digest):
            return Value(raw=await self._derived.put(question.reference, body))
        raise NotStored

    @asynccontextmanager
    async def stream(self, question: Question) -> AsyncIterator[Stream]:
        """The bytes of a blob."""
        repository, digest = self._repository(question), question.reference
        if not isinstance(digest, Digest):
            raise NotStored
        await self._require_grant(repository, digest, question)
        if question.effort is Effort.ARRIVED:
            async with self._stream_arrived(repository, digest, question.start) as stream:
                yield stream
            return
        source = await self._source(repository, digest, question)
        if source is None:
            # Of a range of what is not here the upstream's bytes are passed on, unverified.
            suffix = question.start < 0
            first, last = (None, -question.start) if suffix else (question.start, question.end)
            async with self._blobs.ranges.open(repository, digest, first, last) as body:
                yield body
            return
        try:
            yield _SourceStream(source, question.start, question.end)
        finally:
            source.close()

    @asynccontextmanager
    async def _stream_arrived(
        self, repository: Repository, digest: Digest, start: int
    ) -> AsyncIterator[Stream]:
        """What has arrived of the blob from `start` on."""
        arrived = self._blobs.open_arrived(repository, digest)
        if arrived is None:
            raise NotStored
        source, length = arrived
        try:
            if length <= start:
                raise NotStored
            yield _SourceStream(source, start, length - 1)
        finally:
            source.close()

    def _repository(self, question: Question) -> Repository:
        if question.registry not in self._registries:
            # The asker has other settings, perhaps newer ones.
            raise NotStored
        return Repository(question.registry, question.name, question.name)

    async def _require_grant(
        self, repository: Repository, digest: Digest, question: Question
    ) -> None:
        """NotStored if the repository is closed at the asker, and has a claim here only.

        The asker then asks the registry itself: a claim never becomes a right there.
        """
        if question.granted and await self._blobs.is_claimed(repository, digest):
            raise NotStored

    async def _page(self, question: Question) -> Value:
        if question.effort is not Effort.OWNER:
            raise NotStored
        repository, query = self._repository(question), question.query
        if isinstance(question.reference, Digest):
            page = await self._listings.referrers(repository, question.reference, query, None)
        else:
            page = await self._listings.tags(repository, query)
        about = {
            "following": page.following,
            "filtered": page.filtered,
            "age": max(0.0, page.age),
        }
        return Value(about, page.raw)

    async def _tag(self, repository: Repository, tag: Tag, question: Question) -> Value:
        if question.effort is Effort.OWNER:
            found = await self._tags.find(repository, tag)
        else:
            may_be_stale = question.effort is Effort.STALE
            stored = await self._tags.find_stored(repository, tag, may_be_stale=may_be_stale)
            if stored is None:
                raise NotStored
            found = stored
        value = _of_manifest(found.manifest, question)
        age = max(0.0, self._clock.wall() - found.validated_at)
        return Value({**value.about, "age": age, "stale": found.stale}, value.raw)

    async def _manifest(
        self, repository: Repository, digest: Digest, question: Question
    ) -> Manifest:
        stored = await self._upstream_manifests.find_stored(
            repository, digest, claims_suffice=not question.granted
        )
        if stored.manifest is not None:
            return stored.manifest
        if question.effort is not Effort.OWNER:
            raise NotStored
        return await self._upstream_manifests.obtain(repository, digest, stored)

    async def _layer(self, repository: Repository, digest: Digest, question: Question) -> Value:
        """The facts of a layer, or why it is refused."""
        if question.effort is not Effort.OWNER:
            raise NotStored
        try:
            facts = await self._measuring.measure_here(repository, digest)
        except ConversionRefused as refusal:
            return Value({"refused": str(refusal), "reason": refusal.reason})
        return Value(facts.encode())

    async def _size(self, repository: Repository, digest: Digest, question: Question) -> int:
        if question.effort is Effort.OWNER:
            return await self._blobs.size(repository, digest)
        blob = await self._blobs.find_stored(repository, digest)
        if blob is None:
            raise NotStored
        blob.close()
        return blob.size

    async def _copy(self, repository: Repository, digest: Digest) -> Value:
        """Return when the blob is here, whole."""
        source = await self._blobs.open(repository, digest)
        try:
            if source.size > 0:
                await source.read(source.size - 1, 1)
        finally:
            source.close()
        return Value()

    async def _source(
        self, repository: Repository, digest: Digest, question: Question
    ) -> Source | None:
        """The blob; None if a range of it is to be had from upstream only."""
        if question.effort in {Effort.STORED, Effort.STALE}:
            blob = await self._blobs.find_stored(
                repository, digest, or_running=self._is_fetching(question.key)
            )
            if blob is None:
                raise NotStored
            return blob
        if question.start >= 0 and question.end is None:
            return await self._blobs.open(repository, digest)
        source = await self._blobs.find(repository, digest)
        if source is None or source.is_near(max(0, question.start)):
            return source
        source.close()
        return None


class _SourceStream:
    """Bytes of a blob as they may be sent. Fits peers.answers.Stream."""

    def __init__(self, source: Source, start: int, end: int | None) -> None:
        """RangeInvalid if there are no such bytes."""
        self.total = source.size
        self.start = max(0, self.total + start) if start < 0 else start
        if self.start >= self.total and (self.total > 0 or start > 0):
            raise RangeInvalid("no byte of the blob is in the range", size=self.total)
        self._source = source
        self._stop = self.total if end is None else min(self.total, end + 1)

    async def chunks(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes as they may be sent."""
        offset = self.start
        while offset < self._stop:
            piece = await self._source.read(offset, min(_PIECE, self._stop - offset))
            if not piece:
                raise StorageFailure("the blob is not there any more")
            yield piece
            offset += len(piece)


def _of_manifest(manifest: Manifest, question: Question) -> Value:
    about = {
        "digest": manifest.digest,
        "type": manifest.media_type,
        "size": len(manifest.raw),
        "age": 0.0,
    }
    return Value(about, manifest.raw if question.raw else b"")
