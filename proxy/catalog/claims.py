"""The content that a manifest claims for its repository. PURE.

A claim is no grant: by itself it opens nothing, because anybody can write any digest into a
manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.oci.manifest import Image, Index, Schema1
from proxy.oci.mediatype import MediaType
from proxy.ports.catalog import Claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest

_MANIFEST_TYPES: Final = frozenset(MediaType)


def claims_of(manifest: Manifest) -> Mapping[Digest, Claim]:
    """Return the content that the manifest names, each with what its descriptor states.

    Not claimed are foreign layers (descriptors with `urls`), which others serve, and members of an
    index whose type is unknown, which could be anything. A manifest with too many descriptors is
    read as one of an unknown type, which claims nothing.
    """
    match manifest:
        case Image():
            parts = (manifest.config, *manifest.layers)
            return {each.digest: Claim(None, each.size) for each in parts if not each.urls}
        case Index():
            return {
                each.digest: Claim(each.media_type, each.size)
                for each in manifest.manifests
                if each.media_type in _MANIFEST_TYPES and not each.urls
            }
        case Schema1():
            return {layer: Claim(None, None) for layer in manifest.layers}
        case _:
            return {}
