"""A derived manifest or config with its origin and its repositories, as one durable value.

The first line is JSON: the format, the content's type, its origin, and the repositories that have
been granted it. The content's bytes follow, so that the digest of the rest can be checked by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import ManifestInvalid
from proxy.oci.derivation import DerivedBlob, Origin
from proxy.oci.manifest import read_manifest
from proxy.oci.mediatype import IMAGE_CONFIGS, MediaType

if TYPE_CHECKING:
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class DerivedRecord:
    """Content that was made here, what it was made from, and the repositories that have it.

    `content` is None where only the origin could be read: it can be made again. The origin of a
    config is that of the manifest that was made with it.
    """

    digest: Digest
    content: Manifest | DerivedBlob | None
    origin: Origin
    repositories: frozenset[str]

    @property
    def manifest(self) -> Manifest | None:
        """The content, if it is a manifest and could be read."""
        return None if isinstance(self.content, DerivedBlob) else self.content

    def encode(self) -> bytes:
        """The value; ManifestInvalid without content."""
        if self.content is None:
            raise ManifestInvalid("derived content is not stored without its bytes")
        head = {
            "format": FORMAT,
            "type": self.content.media_type,
            "origin": json.loads(self.origin.encode()),
            "repositories": sorted(self.repositories),
        }
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.content.raw

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
        return cls(digest, _read(digest, media_type, raw), origin, repositories)

    def over(self, stored: Self | None) -> Self:
        """What to store, where `stored` is there already: its content, granted to both.

        The first one stays, so that every process sends the same signature. Only a signed schema 1
        takes the place of the unsigned one, which has the same digest.
        """
        if stored is None:
            return self
        repositories = self.repositories | stored.repositories
        is_better = stored.content is None or (
            self.content is not None
            and stored.content.media_type == MediaType.V2S1
            and self.content.media_type == MediaType.V2S1_SIGNED
        )
        return replace(self if is_better else stored, repositories=repositories)


def _read(digest: Digest, media_type: str, raw: bytes) -> Manifest | DerivedBlob | None:
    """The content; None if it is damaged."""
    if media_type in IMAGE_CONFIGS:
        return DerivedBlob(media_type, digest, raw) if digest.matches(raw) else None
    try:
        return read_manifest(raw, media_type, expected=digest)
    except ManifestInvalid:
        return None
