"""What the catalog keeps, as values, and the layers that it is kept in.

The catalog is asked nearest layer first: memory of the process, then the shared cache, then the
durable index. A layer is never the only copy of what cannot be had again: derived manifests are in
a `DerivedStore`, durable before their digest is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from proxy.oci.derivation import Origin
    from proxy.oci.derived_record import DerivedRecord
    from proxy.oci.layer import LayerFacts
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Tag

# What is validated later than so many seconds from now was validated by a clock that was wrong. It
# is no reason to keep it: else it would be the newest for as long as the clock was ahead.
MAX_CLOCK_SKEW: Final = 300.0


@dataclass(frozen=True, slots=True)
class TagEntry:
    """What a tag named when the upstream was last asked, and when (seconds since 1970)."""

    digest: Digest
    validated_at: float


class Proof(StrEnum):
    """How a repository was shown to have some content."""

    DELIVERED = "delivered"  # its upstream has sent the bytes there
    HEAD = "head"  # its upstream has answered HEAD there, with the stored length
    RANGES = "ranges"  # random ranges of its upstream's equal ours
    DERIVED = "derived"  # made here, from a source that the repository has


@dataclass(frozen=True, slots=True)
class Grant:
    """A repository has this content.

    `media_type` is what its upstream calls a manifest, and None for a blob.
    """

    proof: Proof
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A manifest of the repository names this content, which proves nothing by itself.

    `media_type` is the descriptor's for a manifest, None for a blob; `size` is in bytes.
    """

    media_type: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """What one layer has on one question. Nothing of it is verified yet.

    `raw` are a manifest's bytes, whichever repository they came through. `granted_to` are some
    other repositories of the same upstream that have been granted the content.
    `knows_repository` is False only where the layer is sure to have nothing of the repository.
    """

    tag: TagEntry | None = None
    grant: Grant | None = None
    claim: Claim | None = None
    raw: bytes | None = None
    origin: bytes | None = None
    granted_to: tuple[str, ...] = ()
    knows_repository: bool = True


NOTHING = Found()


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of tags or referrers as it was encoded, and when it was fetched (since 1970)."""

    value: bytes
    fetched_at: float


@dataclass(slots=True)
class Batch:
    """What one pull has learnt, written at once. Repositories are named `registry/name`."""

    tags: list[tuple[str, Tag, TagEntry]] = field(default_factory=list)
    manifests: list[tuple[Manifest, Origin | None]] = field(default_factory=list)
    grants: list[tuple[str, Digest, Grant]] = field(default_factory=list)
    claims: list[tuple[str, Digest, Digest, Claim]] = field(default_factory=list)
    representations: list[tuple[str, Digest]] = field(default_factory=list)
    listings: list[tuple[str, str, Listing]] = field(default_factory=list)
    layers: list[LayerFacts] = field(default_factory=list)
    touched: list[Digest] = field(default_factory=list)


class Layer(Protocol):
    """One layer of the catalog.

    An outage of what is behind it looks like a miss and is counted where it happens: no method
    raises for it.
    """

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """The tag's entry, and the manifest and the repository's grant for what it names."""
        ...

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """The manifest's bytes, and what the repository has to do with it."""
        ...

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """What the repository has to do with the blob."""
        ...

    async def look_representation(self, key: str) -> Digest | None:
        """What was made under `key`, which names the source, the target and every input."""
        ...

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """The stored page of tags or referrers called `name`."""
        ...

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        """What is known of the layer's bytes, whichever repository they came through."""
        ...

    async def commit(self, batch: Batch) -> None:
        """Write all of it; returns when the death of this process no longer loses it.

        A layer that is slow or full returns all the same, and so may a cache for what is no
        derived content: what is lost is learned again.
        """
        ...

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        ...

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Forget the listings of the repository, and with `tags` all its tags, from before `now`.

        False if the layer cannot be reached, so that it must be tried again.
        """
        ...

    async def purge_all(self, now: float) -> bool:
        """Forget the tags and listings of all repositories from before `now`; False as above.

        Nothing where replicas share the layer: each purge was done there when it was asked for.
        """
        ...

    def forget_mutable(self) -> None:
        """Drop from memory what another process may have changed."""
        ...

    async def close(self) -> None:
        """Finish the writes that were asked for, and release every connection and file."""
        ...


class RemovesContent(Protocol):
    """A layer from which the content of a repository can be removed."""

    async def list_content(self, repository: str) -> Collection[Digest]:
        """What the repository has been granted, as far as it can be listed."""
        ...

    async def remove(
        self, repository: str, digests: Collection[Digest]
    ) -> Collection[Digest] | None:
        """Forget the repository's grants and claims of them, and its tags that name them.

        Bytes that no other repository has been granted are forgotten, too. Returns the digests that
        none has, as far as it is known here; None if it must be tried again.
        """
        ...


class DerivedStore(Protocol):
    """What was made here, and no upstream has: durable, and apart from every bounded layer.

    These are manifests, and configs that were made with them.
    """

    async def get(self, digest: Digest, repository: str | None = None) -> DerivedRecord | None:
        """The record, or None if there is none that can be read. It counts as used today.

        It names `repository`, if that is given and has been granted the content. One
        without its content is damaged: its origin is enough to make it again. StoreError if the
        store cannot be asked.
        """
        ...

    async def put(self, record: DerivedRecord) -> DerivedRecord:
        """Store it durably, with the repositories of a record that exists added to its own.

        The content that is stored first stays, so that all processes send the same signature.
        Returns what is stored now; StoreError if it cannot be.
        """
        ...

    async def replace(self, record: DerivedRecord) -> None:
        """Store it in place of one whose bytes are damaged; StoreError if it cannot be."""
        ...

    async def remove(self, digest: Digest, repository: str) -> None:
        """Take the repository from the record; the last one's record goes. StoreError."""
        ...

    def records(self) -> AsyncIterator[DerivedRecord]:
        """All of them, for a catalog that has lost its index. What cannot be read is left out."""
        ...
