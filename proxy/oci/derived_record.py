"""A derived manifest with its origin and its repositories, as one durable value.

The first line is JSON: the format, the manifest's type, its origin, and the repositories that have
been granted it. The manifest's bytes follow, so that the digest of the rest can be checked by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import ManifestInvalid
from proxy.oci.derivation import Origin
from proxy.oci.manifest import read_manifest
from proxy.oci.mediatype import MediaType

if TYPE_CHECKING:
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class DerivedRecord:
    """A manifest that was made here, what it was made from, and the repositories that have it.

    `manifest` is None where only the origin could be read: it can be made again.
    """

    digest: Digest
    manifest: Manifest | None
    origin: Origin
    repositories: frozenset[str]

    def encode(self) -> bytes:
        """The value; ManifestInvalid without a manifest."""
        if self.manifest is None:
            raise ManifestInvalid("a derived manifest is not stored without its bytes")
        head = {
            "format": FORMAT,
            "type": self.manifest.media_type,
            "origin": json.loads(self.origin.encode()),
            "repositories": sorted(self.repositories),
        }
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.manifest.raw

    @classmethod
    def decode(cls, digest: Digest, value: bytes) -> Self:
        """The record in `value`; ManifestInvalid if this release cannot read its first line."""
        line, _, raw = value.partition(b"\n")
        try:
            head = json.loads(line)
            if head["format"] != FORMAT:
                raise ManifestInvalid(f"its format is {head['format']}")
            origin = Origin.decode(json.dumps(head["origin"]).encode())
            repositories = frozenset(map(str, head["repositories"]))
            media_type = str(head["type"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ManifestInvalid("the record of a derived manifest cannot be read") from error
        try:
            manifest = read_manifest(raw, media_type, expected=digest)
        except ManifestInvalid:
            manifest = None
        return cls(digest, manifest, origin, repositories)

    def over(self, stored: Self | None) -> Self:
        """What to store, where `stored` is there already: its manifest, granted to both.

        The first one stays, so that every process sends the same signature. Only a signed schema 1
        takes the place of the unsigned one, which has the same digest.
        """
        if stored is None:
            return self
        repositories = self.repositories | stored.repositories
        is_better = stored.manifest is None or (
            self.manifest is not None
            and stored.manifest.media_type == MediaType.V2S1
            and self.manifest.media_type == MediaType.V2S1_SIGNED
        )
        return replace(self if is_better else stored, repositories=repositories)
