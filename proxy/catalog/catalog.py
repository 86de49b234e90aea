"""What the proxy knows, as one: tags, manifests, grants, claims, representations and listings.

Layers are asked nearest first and written all at once. Values that cannot be read, or are not what
their digest names, are misses.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.catalog.batches import batch_of, batch_of_derived, representation_key
from proxy.catalog.derived import DerivedContent
from proxy.catalog.lookup import UNKNOWN, Lookup
from proxy.catalog.memory import CatalogMemory
from proxy.catalog.merging import access_of, merge, supersedes
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import Batch, Claim, Found, Grant, Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from proxy.kit.clock import Clock
    from proxy.oci.derivation import ConversionInputs, DerivedBlob, Origin
    from proxy.oci.derived_record import DerivedRecord
    from proxy.oci.manifest import Manifest
    from proxy.oci.mediatype import MediaType
    from proxy.oci.reference import Repository
    from proxy.ports.catalog import DerivedStore, Layer, Listing, TagEntry

# Use is noted for eviction so often for each manifest, in seconds.
_TOUCH_EVERY: Final = 3600.0
_TOUCH_COST: Final = 200
_TOUCH_MEMORY: Final = 2**20
# For a question about the repository: which tag makes no difference.
_ANY_TAG: Final = Tag("latest")


class Catalog:
    """The layers as one. Memory is asked first, and bounded in bytes."""

    def __init__(
        self,
        layers: Sequence[Layer],
        derived: DerivedStore,
        *,
        memory: int,
        is_open: Callable[[str], bool] = lambda _repository: True,
        mirrored: Collection[str] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`layers` are the shared cache, if there is one, and the durable index.

        `is_open`: whether every client may read all of a repository, named `registry/name`.
        `mirrored` are the upstreams of which it matters what a manifest names: they have mirrors.
        """
        self._layers = tuple(layers)
        self.is_open = is_open
        self._derived = DerivedContent(derived)
        self._memory = CatalogMemory(memory, mirrored)
        self._clock = clock
        self._touched: LruCache[Digest, float] = LruCache(_TOUCH_MEMORY)

    def forget_mutable(self) -> None:
        """Drop from memory what another process may have changed."""
        self._memory.forget_mutable()
        for layer in self._layers:
            layer.forget_mutable()

    # -- tags --------------------------------------------------------------------------------

    def remembered_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """The tag's entry, if this process remembers it."""
        return self._memory.tag(str(repository), tag)

    async def look(
        self, repository: Repository, tag: Tag, *, fresh: Callable[[TagEntry], bool]
    ) -> Lookup:
        """The tag's newest entry, and the manifest that it names.

        A layer with an entry that is not `fresh` does not end the search: further out there may be
        a newer one, if the nearer layer took no writes for a while.
        """
        name = str(repository)
        entry = self._memory.tag(name, tag)
        if entry is not None and fresh(entry):
            return replace(await self.look_manifest(repository, entry.digest), entry=entry)
        best, found_at, ignorant = Found(tag=entry), 0, set[int]()
        for distance, layer in enumerate(self._layers):
            found = await layer.look_tag(name, tag)
            if not found.knows_repository:
                ignorant.add(distance)
            if supersedes(found, best, self._clock.wall()):
                best, found_at = found, distance
            if best.tag is not None and fresh(best.tag):
                break
        if best.tag is None:
            is_new = len(ignorant) == len(self._layers)
            return Lookup(ignorant=frozenset(ignorant), is_of_new_repository=is_new)
        self._memory.put_tag(name, tag, best.tag)
        lookup = self._verify(name, best.tag.digest, best)
        if lookup.manifest is None:
            lookup = await self.look_manifest(repository, best.tag.digest, known=lookup)
        elif found_at > 0:
            batch = batch_of(name, lookup, (tag, best.tag))
            await self._write(batch, self._layers[:found_at])
        return replace(lookup, entry=best.tag)

    async def look_nearest(self, repository: Repository, tag: Tag) -> Lookup:
        """What another process may have left since `look`: one question to the nearest layer."""
        if not self._layers:
            return UNKNOWN
        found = await self._layers[0].look_tag(str(repository), tag)
        if found.tag is None:
            return UNKNOWN
        return replace(self._verify(str(repository), found.tag.digest, found), entry=found.tag)

    async def knows(self, repository: Repository, reference: Digest | Tag | None) -> bool:
        """Whether a tag or manifest is cached; without `reference`, anything of the repository.

        A layer that cannot list what it has counts as knowing every repository.
        """
        if isinstance(reference, Tag):
            return (await self.look(repository, reference, fresh=lambda _: True)).entry is not None
        if isinstance(reference, Digest):
            found = await self.look_manifest(repository, reference)
            return found.manifest is not None or found.raw is not None
        for layer in self._layers:
            if (await layer.look_tag(str(repository), _ANY_TAG)).knows_repository:
                return True
        return False

    async def put_tag(self, repository: Repository, tag: Tag, entry: TagEntry) -> None:
        """The upstream has confirmed what the tag names."""
        self._memory.put_tag(str(repository), tag, entry)
        await self._write(Batch(tags=[(str(repository), tag, entry)], touched=self._due(entry)))

    async def touch(
        self, repository: Repository, tag: Tag | None, digests: Collection[Digest]
    ) -> None:
        """Count as used now what is known of a tag and of some content: eviction is by use."""
        batch = Batch(touched=list(digests))
        if tag is not None:
            entry = (await self.look(repository, tag, fresh=lambda _: True)).entry
            batch.tags = [] if entry is None else [(str(repository), tag, entry)]
        await self._write(batch)

    async def drop_tag(self, repository: Repository, tag: Tag) -> None:
        """The upstream has no such tag any more."""
        name = str(repository)
        self._memory.drop_tag(name, tag)
        await asyncio.gather(*(layer.drop_tag(name, tag) for layer in self._layers))

    async def purge(self, repository: Repository, *, tags: bool) -> bool:
        """Forget the repository's listings, and with `tags` all its tags.

        False if a layer did not take it, and it must be tried again.
        """
        now = self._clock.wall()
        return all(
            await asyncio.gather(
                *(layer.purge(str(repository), now, tags=tags) for layer in self._layers)
            )
        )

    async def purge_all(self) -> bool:
        """Forget all tags and listings that only this replica has; False as for `purge`."""
        now = self._clock.wall()
        return all(await asyncio.gather(*(layer.purge_all(now) for layer in self._layers)))

    # -- manifests ---------------------------------------------------------------------------

    def remembers_access(self, repository: Repository, digest: Digest) -> bool:
        """Whether this process knows already that the repository may serve the content."""
        return self._memory.access(str(repository), digest) is not None

    def remembered_manifest(self, repository: Repository, digest: Digest) -> Manifest | None:
        """The manifest, if this process remembers it, and that the repository may serve it."""
        access = self._memory.access(str(repository), digest)
        if access is None or access.media_type is None:
            return None
        return self._memory.manifest(digest, access.media_type)

    async def look_manifest(
        self,
        repository: Repository,
        digest: Digest,
        *,
        known: Lookup = UNKNOWN,
        may_be_derived: bool = True,
    ) -> Lookup:
        """The manifest, if the repository has been granted it, or a claim suffices.

        `known` is what a look-up of a tag has found already. A digest that the upstream has just
        named is not looked for among the derived ones: it is none of them.
        """
        name = str(repository)
        access = known.access or self._memory.access(name, digest)
        media_type = access.media_type if access is not None else None
        if media_type is not None and (manifest := self._memory.manifest(digest, media_type)):
            return Lookup(access=access, manifest=manifest)
        best = Found(
            grant=access if isinstance(access, Grant) else None,
            claim=access if isinstance(access, Claim) else None,
            raw=known.raw,
        )
        for distance, layer in enumerate(self._layers):
            if distance in known.ignorant:
                continue
            best = merge(best, await layer.look_manifest(name, digest))
            lookup = self._verify(name, digest, best)
            if lookup.manifest is not None:
                if distance > 0 and isinstance(lookup.access, Grant):
                    await self._write(batch_of(name, lookup), self._layers[:distance])
                elif distance + 1 < len(self._layers):
                    await self._derived.adopt(name, lookup)
                return lookup
            if best.raw is not None and lookup.raw is None:
                # Damaged bytes, or a type that is not theirs, must not hide what is further out.
                best = Found(granted_to=best.granted_to)
        lookup = self._verify(name, digest, best)
        derived = await self._derived.look(name, digest) if may_be_derived else None
        if derived is None:
            return lookup
        if derived.manifest is not None:
            self._memory.put(name, derived)
            await self._write(batch_of(name, derived))
        return derived

    async def look_nearest_manifest(self, repository: Repository, digest: Digest) -> Lookup:
        """What another process may have left since: one question to the nearest layer."""
        if not self._layers:
            return UNKNOWN
        found = await self._layers[0].look_manifest(str(repository), digest)
        return self._verify(str(repository), digest, found)

    async def learn(
        self,
        repository: Repository,
        manifest: Manifest,
        proof: Proof,
        *,
        tag: tuple[Tag, TagEntry] | None = None,
    ) -> None:
        """The repository's upstream has shown that it has the manifest: one write for all of it."""
        name = str(repository)
        lookup = Lookup(access=Grant(proof, manifest.media_type), manifest=manifest)
        is_known = self._memory.access(name, manifest.digest) == lookup.access
        self._memory.put(name, lookup)
        if tag is not None:
            self._memory.put_tag(name, *tag)
        if not is_known:
            await self._write(batch_of(name, lookup, tag))
        elif tag is not None:
            await self.put_tag(repository, *tag)

    # -- blobs -------------------------------------------------------------------------------

    async def look_blob(self, repository: Repository, digest: Digest) -> Lookup:
        """Whether the repository may serve the blob, and why. `manifest` and `raw` stay None."""
        name = str(repository)
        if (access := self._memory.access(name, digest)) is not None:
            return Lookup(access=access)
        best = Found()
        for layer in self._layers:
            best = merge(best, await layer.look_blob(name, digest))
            if best.grant is not None:
                break
        access = access_of(best, name, self.is_open)
        if access is not None:
            self._memory.put_access(name, digest, access)
        return Lookup(access=access, delivered=bool(best.granted_to))

    async def claimed_size(self, repository: Repository, digest: Digest) -> int | None:
        """The blob's size as a manifest of the repository states it; None if none is known."""
        for layer in self._layers:
            claim = (await layer.look_blob(str(repository), digest)).claim
            if claim is not None and claim.size is not None:
                return claim.size
        return None

    def grant_blob(
        self, repository: Repository, digest: Digest, proof: Proof
    ) -> Coroutine[object, object, None] | None:
        """The repository's upstream has shown that it has the blob.

        Memory has the grant when this returns. The write is left to the caller; None if there is
        nothing to write.
        """
        name, grant = str(repository), Grant(proof)
        if self._memory.access(name, digest) == grant:
            return None
        self._memory.put_access(name, digest, grant)
        return self._write(Batch(grants=[(name, digest, grant)]))

    async def naming(self, repository: Repository, digest: Digest) -> Grant | Claim | None:
        """Why the repository may have the content: its grant, or what names it there.

        That is not enough to serve what others have delivered, but a place that moves bytes for the
        upstream may deliver it.
        """
        name = str(repository)
        if (known := self._memory.access(name, digest) or self._memory.claim(name, digest)) is None:
            best = Found()
            for layer in self._layers:
                best = merge(best, await layer.look_blob(name, digest))
                if best.grant is not None or best.claim is not None:
                    break
            known = best.grant or best.claim
        return known

    # -- derived content ---------------------------------------------------------------------

    async def derive(
        self,
        repository: Repository,
        manifest: Manifest,
        origin: Origin,
        *,
        replaces: bool = False,
        source: Manifest | None = None,
    ) -> Manifest:
        """Store a manifest that was made here, durably; the one that is stored now is returned.

        `replaces` one whose bytes are damaged. With `source` it is also the representation of that.
        StoreError if it cannot be stored.
        """
        name = str(repository)
        lookup = await self._derived.put(name, manifest, origin, replaces=replaces)
        self._memory.put(name, lookup)
        batch = batch_of(name, lookup)
        if source is not None:
            key = representation_key(source, origin.target, origin.inputs)
            batch.representations.append((key, manifest.digest))
        await self._write(batch)
        return lookup.manifest or manifest

    async def origin(self, digest: Digest) -> Origin | None:
        """What a derived manifest was made from; None if `digest` is not one of ours."""
        return await self._derived.origin(digest)

    async def derive_blob(
        self, repository: Repository, blob: DerivedBlob, origin: Origin, *, replaces: bool = False
    ) -> None:
        """Store a config that was made here, durably; StoreError if it cannot be."""
        name, grant = str(repository), Grant(Proof.DERIVED)
        await self._derived.put_blob(name, blob, origin, replaces=replaces)
        self._memory.put_access(name, blob.digest, grant)
        await self._write(Batch(grants=[(name, blob.digest, grant)]))

    async def derived_blob(self, repository: Repository, digest: Digest) -> DerivedRecord | None:
        """The record of a config that was made for this repository; its content may be damaged."""
        record = await self._derived.record(str(repository), digest)
        return None if record is None or record.manifest is not None else record

    async def representation(
        self, repository: Repository, source: Manifest, target: MediaType, inputs: ConversionInputs
    ) -> Manifest | None:
        """What `source` was converted to before, with these inputs, in this repository."""
        key = representation_key(source, target, inputs)
        for layer in self._layers:
            if (digest := await layer.look_representation(key)) is not None:
                return (await self.look_manifest(repository, digest)).manifest
        return None

    async def restore_derived(self) -> int:
        """Put what is in the derived store back into an index that is new; how much that was."""
        count = 0
        async for record in self._derived.records():
            if record.content is not None:
                await self._write(batch_of_derived(record))
                count += 1
        return count

    # -- listings ----------------------------------------------------------------------------

    async def listing(self, repository: Repository, name: str) -> Listing | None:
        """The newest stored page of tags or referrers called `name`."""
        found = [await layer.look_listing(str(repository), name) for layer in self._layers]
        pages = [page for page in found if page is not None]
        return max(pages, key=lambda page: page.fetched_at, default=None)

    async def put_listing(self, repository: Repository, name: str, listing: Listing) -> None:
        """Store the page."""
        await self._write(Batch(listings=[(str(repository), name, listing)]))

    # ----------------------------------------------------------------------------------------

    def _verify(self, name: str, digest: Digest, found: Found) -> Lookup:
        """What was found, with the manifest read and compared with its digest."""
        return self._memory.read(name, digest, found, access_of(found, name, self.is_open))

    def _due(self, entry: TagEntry) -> list[Digest]:
        """The manifest that a tag names, if its use was not noted for a while."""
        now = self._clock.wall()
        if now - (self._touched.get(entry.digest) or 0.0) < _TOUCH_EVERY:
            return []
        self._touched.put(entry.digest, now, _TOUCH_COST)
        return [entry.digest]

    async def _write(self, batch: Batch, layers: Sequence[Layer] | None = None) -> None:
        chosen = self._layers if layers is None else layers
        if len(chosen) == 1:
            await chosen[0].commit(batch)
        else:
            await asyncio.gather(*(layer.commit(batch) for layer in chosen))
