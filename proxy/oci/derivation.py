"""The inputs and the result of a conversion.

A derived digest exists only in this proxy, so every input is recorded. An `Origin` and the content
that it names suffice to rebuild the same bytes, even after the settings have changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeVar

from proxy.errors import ConversionRefused, DigestInvalid, ManifestInvalid
from proxy.oci.layer import LayerFacts
from proxy.oci.manifest import Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.schema1.libtrust import SigningKey

T = TypeVar("T")

# Part of every key and record of a derived manifest. Increment it when the output changes.
CONVERTER: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionInputs:
    """The inputs of a conversion besides its source and the content that it needs.

    Schema 1 contains `name` (as the client addressed it) and `tag`. `platforms`, `max_children` and
    `max_depth` select the entries of a list or index; those in `absent` were not there. `layers`
    are the facts of schema 1's layers. The key changes a signature, but no digest.
    """

    name: str = ""
    tag: str = ""
    platforms: tuple[Platform, ...] = ()
    max_children: int = 64
    max_depth: int = 1
    absent: frozenset[Digest] = frozenset()
    layers: tuple[LayerFacts, ...] = ()
    key: SigningKey | None = field(default=None, repr=False, compare=False)

    def cache_key_for(self, target: MediaType) -> str:
        """The part of a cache key that distinguishes conversions of one source to `target`."""
        if target.is_schema1:
            return f":{self.name}:{self.tag}"
        if target.is_index:
            return ",".join(map(str, self.platforms)) + f"<{self.max_children}^{self.max_depth}"
        return ""


@dataclass(frozen=True, slots=True)
class DerivedBlob:
    """A config that a conversion made, and that no registry has."""

    media_type: str
    digest: Digest
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Derived:
    """The manifest that a conversion built, with the children that were converted for it.

    `absent` are the entries of an index that its registry does not have. `blobs` are the configs
    that were made, and `layers` what had to be found out about layers.
    """

    manifest: Manifest
    children: tuple[tuple[Manifest, Origin], ...] = ()
    absent: frozenset[Digest] = frozenset()
    blobs: tuple[DerivedBlob, ...] = ()
    layers: tuple[LayerFacts, ...] = ()


def serialize(document: Mapping[str, object], media_type: MediaType) -> Manifest:
    """Serialize `document` as a manifest; equal members give equal bytes.

    ConversionRefused if the result exceeds a manifest limit. Longer media types and escaped text
    can make a conversion exceed a limit that its source does not.
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
    """The record of a derived manifest: all inputs by value, independent of the settings."""

    source: Digest
    target: MediaType
    inputs: ConversionInputs
    converter: int = CONVERTER

    def encode(self) -> bytes:
        """Encode the origin as JSON."""
        return json.dumps(
            {
                "source": self.source,
                "target": self.target,
                "converter": self.converter,
                "name": self.inputs.name,
                "tag": self.inputs.tag,
                "platforms": [str(platform) for platform in self.inputs.platforms],
                "max_children": self.inputs.max_children,
                "max_depth": self.inputs.max_depth,
                "absent": sorted(self.inputs.absent),
                **self._layers(),
            },
            separators=(",", ":"),
        ).encode()

    def _layers(self) -> dict[str, object]:
        """What only conversions from schema 1 have."""
        layers = [facts.encode() for facts in self.inputs.layers]
        return {"layers": layers} if layers else {}

    @classmethod
    def decode(cls, record: bytes) -> Self:
        """Decode a record; ManifestInvalid if this release cannot read it."""
        try:
            value = json.loads(record)
            return cls(
                source=Digest(_of(str, value["source"])),
                target=MediaType(value["target"]),
                converter=_of(int, value["converter"]),
                inputs=ConversionInputs(
                    name=_of(str, value["name"]),
                    tag=_of(str, value["tag"]),
                    platforms=tuple(map(Platform.parse, _of(list, value["platforms"]))),
                    max_children=_of(int, value["max_children"]),
                    max_depth=_of(int, value.get("max_depth", 1)),
                    absent=frozenset(map(Digest, _of(list, value.get("absent", [])))),
                    layers=tuple(map(LayerFacts.decode, _of(list, value.get("layers", [])))),
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DigestInvalid):
            raise ManifestInvalid("the record of a derived manifest cannot be read") from None


def _of(kind: type[T], value: object) -> T:
    """`value`, which has to be of this type, and no subclass: true is no number."""
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} is expected")
    return value
