"""What a derived manifest is made from, and what comes out.

A derived digest exists nowhere but here, so all that went into it is recorded: an `Origin` and the
content that it names are enough to make the same bytes again, whatever the settings are by then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import ConversionRefused, DigestInvalid, ManifestInvalid
from proxy.oci.manifest import Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.schema1.libtrust import SigningKey

# Part of every key and record of a derived manifest. Another number for another output.
CONVERTER: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionInputs:
    """What a conversion depends on besides its source and the content that it needs.

    `name` (as addressed) and `tag` are inside schema 1; the platforms and the bound on children
    decide what is in a list or index. The key changes a signature, but no digest.
    """

    name: str = ""
    tag: str = ""
    platforms: tuple[Platform, ...] = ()
    max_children: int = 64
    key: SigningKey | None = field(default=None, repr=False, compare=False)

    def cache_key_for(self, target: MediaType) -> str:
        """The part of a key that tells this conversion to `target` from others of one source."""
        if target.is_schema1:
            return f":{self.name}:{self.tag}"
        if target.is_index:
            return ",".join(map(str, self.platforms)) + f"<{self.max_children}"
        return ""


@dataclass(frozen=True, slots=True)
class Derived:
    """A manifest that a conversion made, with the children that had to be made for it."""

    manifest: Manifest
    children: tuple[tuple[Manifest, Origin], ...] = ()


def written(document: Mapping[str, object], media_type: MediaType) -> Manifest:
    """The manifest with these members: equal members give equal bytes.

    ConversionRefused if it would be larger than any client reads.
    A source under every limit may be over one with longer names of types, or with its text escaped.
    """
    try:
        raw = json.dumps(document, separators=(",", ":")).encode()
        return read_manifest(raw, media_type)
    except ManifestInvalid as error:
        raise ConversionRefused(f"as {media_type.short} {error.message}") from None
    except RecursionError:
        raise ConversionRefused("it is nested too deeply") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The record of a derived manifest: every input, never "the current settings"."""

    source: Digest
    target: MediaType
    inputs: ConversionInputs
    converter: int = CONVERTER

    def encode(self) -> bytes:
        """As JSON, for the record."""
        return json.dumps(
            {
                "source": self.source,
                "target": self.target,
                "converter": self.converter,
                "name": self.inputs.name,
                "tag": self.inputs.tag,
                "platforms": [str(platform) for platform in self.inputs.platforms],
                "max_children": self.inputs.max_children,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def decode(cls, record: bytes) -> Self:
        """The origin that `record` holds; ManifestInvalid if this release cannot read it."""
        try:
            value = json.loads(record)
            return cls(
                source=Digest(value["source"]),
                target=MediaType(value["target"]),
                converter=value["converter"],
                inputs=ConversionInputs(
                    name=value["name"],
                    tag=value["tag"],
                    platforms=tuple(map(Platform.parse, value["platforms"])),
                    max_children=value["max_children"],
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DigestInvalid):
            raise ManifestInvalid("the record of a derived manifest cannot be read") from None
