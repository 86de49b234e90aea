"""Indexes in indexes: which are followed, and one index of all that they name.

Builders publish them, and no docker before 19.03 can read one. The caller fetches what `nested_for`
names, one level after another, and `expand` puts the entries in its place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.manifest import MAX_DESCRIPTORS, Index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.oci.manifest import Descriptor
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest


def nested_for(index: Index, platforms: Sequence[Platform]) -> tuple[Descriptor, ...]:
    """The indexes in `index` that may have an image for one of `platforms`, each once."""
    found = {
        entry.digest: entry
        for entry in index.nested
        if entry.platform is None or any(map(entry.platform.serves, platforms))
    }
    return tuple(found.values())


def expand(index: Index, inner: Mapping[Digest, Index]) -> Index:
    """`index` with the entries of each of `inner` in its place, where it is named first.

    An entry without a platform has that of the index which names it. ConversionRefused if the
    result has over `MAX_DESCRIPTORS`.
    """
    entries: list[Descriptor] = []
    expanded: set[Digest] = set()
    for entry in index.manifests:
        found = inner.get(entry.digest) if entry.is_index else None
        if found is None:
            entries.append(entry)
        elif entry.digest not in expanded:
            expanded.add(entry.digest)
            entries += (_with_platform(child, entry) for child in found.manifests)
        if len(entries) > MAX_DESCRIPTORS:
            raise ConversionRefused(
                f"it and the indexes in it have over {MAX_DESCRIPTORS} entries",
                RefusalReason.CHILDREN,
            )
    return replace(index, manifests=tuple(entries))


def _with_platform(child: Descriptor, outer: Descriptor) -> Descriptor:
    if child.platform is not None or outer.platform is None:
        return child
    members = {**child.members, "platform": outer.members["platform"]}
    return replace(child, platform=outer.platform, members=members)
