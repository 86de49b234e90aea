"""What one pull has taught, as one batch for the layers. PURE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.catalog.claims import claims_of
from proxy.oci.derivation import CONVERTER
from proxy.ports.catalog import Batch, Grant, Proof

if TYPE_CHECKING:
    from proxy.catalog.lookup import Lookup
    from proxy.oci.derivation import ConversionInputs
    from proxy.oci.derived_record import DerivedRecord
    from proxy.oci.manifest import Manifest
    from proxy.oci.mediatype import MediaType
    from proxy.oci.reference import Tag
    from proxy.ports.catalog import TagEntry


def batch_of(name: str, lookup: Lookup, tag: tuple[Tag, TagEntry] | None = None) -> Batch:
    """All that is known of a manifest of the repository `name`, and of a tag that names it."""
    batch = Batch()
    if tag is not None:
        batch.tags.append((name, *tag))
    manifest = lookup.manifest
    if manifest is not None:
        batch.manifests.append((manifest, lookup.origin))
        if isinstance(lookup.access, Grant):
            batch.grants.append((name, manifest.digest, lookup.access))
        batch.claims += [
            (name, manifest.digest, digest, claim) for digest, claim in claims_of(manifest).items()
        ]
    return batch


def batch_of_derived(record: DerivedRecord) -> Batch:
    """Derived content with the grants of all of its repositories; nothing if it is damaged."""
    if record.content is None:
        return Batch()
    manifest = record.manifest
    grant = Grant(Proof.DERIVED, None if manifest is None else manifest.media_type)
    return Batch(
        manifests=[] if manifest is None else [(manifest, record.origin)],
        grants=[(name, record.digest, grant) for name in record.repositories],
        layers=list(record.origin.inputs.layers),
    )


def representation_key(source: Manifest, target: MediaType, inputs: ConversionInputs) -> str:
    """The key under which a conversion's result is remembered: everything that decides it."""
    options = inputs.cache_key_for(target)
    return f"rep:{CONVERTER}:{source.media_type}:{source.digest}:{target}:{options}"
