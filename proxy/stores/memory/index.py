"""The catalog's index in process memory, unbounded: for tests, and for nothing that must last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.ports.catalog import NOTHING, Claim, Found, Grant

if TYPE_CHECKING:
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Tag
    from proxy.ports.catalog import Batch, Listing, TagEntry

# How many other repositories of the same upstream are named beside a claim.
_OTHERS = 8


@dataclass(slots=True)
class _Repository:
    """What is stored of one repository, and from which moments on it counts."""

    tags: dict[str, TagEntry] = field(default_factory=dict)
    grants: dict[Digest, Grant] = field(default_factory=dict)
    claims: dict[Digest, Claim] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    tags_purged: float = 0.0
    listings_purged: float = 0.0


class MemoryIndex:
    """What was committed, in dictionaries. Fits Layer."""

    def __init__(self) -> None:
        self._repositories: dict[str, _Repository] = {}
        self._contents: dict[Digest, tuple[bytes, bytes | None]] = {}
        self._representations: dict[str, Digest] = {}
        self._layers: dict[Digest, LayerFacts] = {}

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """The tag's entry, unless it was purged, with the manifest and grant for what it names."""
        known = self._repositories.get(repository)
        if known is None:
            return Found(knows_repository=False)
        entry = known.tags.get(tag)
        if entry is None or entry.validated_at <= known.tags_purged:
            return NOTHING
        raw, origin = self._contents.get(entry.digest, (None, None))
        return Found(entry, known.grants.get(entry.digest), None, raw, origin)

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """The bytes, and the repository's grant or claim."""
        raw, origin = self._contents.get(digest, (None, None))
        found = await self.look_blob(repository, digest)
        return Found(None, found.grant, found.claim, raw, origin, found.granted_to)

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """The repository's grant, or its claim and the others of its upstream with a grant."""
        known = self._repositories.get(repository, _Repository())
        grant = known.grants.get(digest)
        others: tuple[str, ...] = ()
        if grant is None:
            registry = repository.partition("/")[0] + "/"
            others = tuple(
                name
                for name, other in self._repositories.items()
                if name.startswith(registry) and digest in other.grants
            )
        return Found(None, grant, known.claims.get(digest), None, None, others[:_OTHERS])

    async def look_representation(self, key: str) -> Digest | None:
        """What was made under `key`."""
        return self._representations.get(key)

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """The page, unless it was purged."""
        known = self._repositories.get(repository, _Repository())
        listing = known.listings.get(name)
        return None if listing is None or listing.fetched_at <= known.listings_purged else listing

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        """What is known of the layer's bytes."""
        return self._layers.get(digest)

    async def commit(self, batch: Batch) -> None:
        """Take all of it."""
        for name, tag, entry in batch.tags:
            self._of(name).tags[tag] = entry
        for manifest, origin in batch.manifests:
            _, before = self._contents.get(manifest.digest, (b"", None))
            encoded = before if origin is None else origin.encode()
            self._contents[manifest.digest] = manifest.raw, encoded
        for name, digest, grant in batch.grants:
            self._of(name).grants[digest] = grant
        for name, _, digest, claim in batch.claims:
            self._of(name).claims[digest] = claim
        self._representations.update(batch.representations)
        self._layers.update((facts.digest, facts) for facts in batch.layers)
        for name, page, listing in batch.listings:
            self._of(name).listings[page] = listing

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        self._of(repository).tags.pop(tag, None)

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Have listings, and with `tags` the tags, count only if they are newer than `now`."""
        known = self._of(repository)
        known.listings_purged = max(known.listings_purged, now)
        if tags:
            known.tags_purged = max(known.tags_purged, now)
        return True

    async def purge_all(self, now: float) -> bool:
        """Have the listings and tags of all repositories count only if they are newer."""
        for repository in self._repositories:
            await self.purge(repository, now, tags=True)
        return True

    def forget_mutable(self) -> None:
        """Nothing: no other process can change what is here."""

    async def close(self) -> None:
        """Nothing is open."""

    def _of(self, repository: str) -> _Repository:
        return self._repositories.setdefault(repository, _Repository())
