"""What must hold of every derived manifest, whatever it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.oci.conversion import is_mixed
from proxy.oci.manifest import Image, Index, Manifest, Opaque, Schema1, read_manifest
from proxy.oci.mediatype import DOCKER_TO_OCI, OCI_TO_DOCKER, MediaType
from proxy.oci.schema1.build import EMPTY_LAYER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.derivation import Derived
    from proxy.oci.reference import Digest


def assert_sound(source: Manifest, derived: Derived, here: Mapping[Digest, bytes]) -> None:
    """It is what it says, mixes nothing, and names only what can be had.

    That is what `source` names, whose bytes are `here`, and the children that were made for it.
    """
    made = derived.manifest
    assert_consistent(made)
    stored = _all_references(source, here)
    if isinstance(made, Index):
        for child, origin in derived.children:
            assert origin.source in stored
            assert_consistent(child)
            original = read_manifest(here[origin.source])
            assert set(child.references) <= set(original.references)
        assert_entries(
            made,
            {child.digest: child.raw for child, _ in derived.children}
            | {digest: here[digest] for digest in stored if digest in here},
        )
    elif isinstance(source, Schema1) and not isinstance(made, Schema1):
        assert isinstance(made, Image)
        assert [blob.digest for blob in derived.blobs] == [made.config.digest]
        assert {layer.digest for layer in made.layers} <= stored
    elif isinstance(made, Schema1):
        assert set(made.references) <= stored | {EMPTY_LAYER}
    else:
        assert made.references == source.references


def _all_references(source: Manifest, here: Mapping[Digest, bytes]) -> set[Digest]:
    """What `source` names, and for an index what the indexes in it name."""
    found = set(source.references)
    for entry in source.nested if isinstance(source, Index) else ():
        if entry.digest in here:
            found |= _all_references(read_manifest(here[entry.digest]), here)
    return found


def assert_consistent(made: Manifest) -> None:
    """Every reader takes it for the same, with only types of its own family in it."""
    assert not isinstance(made, Opaque)
    assert read_manifest(made.raw, made.media_type, expected=made.digest) == made
    assert read_manifest(made.raw).media_type == made.media_type
    assert not is_mixed(made)
    match made:
        case Image():
            docker = made.media_type == MediaType.V2S2
            known = DOCKER_TO_OCI if docker else OCI_TO_DOCKER
            assert {part.media_type for part in (made.config, *made.layers)} <= known.keys()
            assert all(part.size is not None for part in (made.config, *made.layers))
        case Index():
            docker = made.media_type == MediaType.DOCKER_LIST
            of = MediaType.V2S2 if docker else MediaType.OCI_MANIFEST
            assert {entry.media_type for entry in made.manifests} == {of}


def assert_entries(index: Index, manifests: Mapping[Digest, bytes]) -> None:
    """Each is there, of the size and type that the index says, and has a platform."""
    for entry in index.manifests:
        raw = manifests[entry.digest]
        assert entry.size == len(raw)
        assert entry.platform is not None
        child = read_manifest(raw, entry.media_type, expected=entry.digest)
        assert child.media_type == entry.media_type
        assert not is_mixed(child)
