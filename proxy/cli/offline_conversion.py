"""The converter on files: shows what a client would get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import file_digest
from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused
from proxy.oci import conversion
from proxy.oci.derivation import ConversionInputs
from proxy.oci.index import for_platform
from proxy.oci.layer import LayerFacts, LayerMeter
from proxy.oci.manifest import Image, Index, Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest
from proxy.oci.schema1.libtrust import SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.oci.manifest import Descriptor

# How much of a layer is read at a time, in bytes.
_PIECE: Final = 256 * 1024
_UNLIMITED: Final = 2**63

TARGETS: Final = {
    "v2s1": MediaType.V2S1_SIGNED,
    "v2s2": MediaType.V2S2,
    "oci": MediaType.OCI_MANIFEST,
    "list": MediaType.DOCKER_LIST,
    "index": MediaType.OCI_INDEX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of a conversion."""

    target: str
    config: Path | None = None
    layers: Sequence[Path] = ()
    children: Sequence[Path] = ()
    name: str = ""
    tag: str = ""
    key: Path | None = None
    unsigned: bool = False
    platforms: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Converted:
    """The bytes of a manifest, and of the config that was made with it."""

    manifest: bytes
    config: bytes | None = None


def convert_file(path: Path, request: Request) -> Converted:
    """Convert the manifest in `path` to `request.target`.

    ConversionRefused or ManifestInvalid if it cannot be converted; ValueError for an invalid
    platform or key.

    An index is converted to the image of the first platform. The config is not checked against the
    digest in the manifest.
    """
    beside = _Beside(path.parent, request)
    platforms = tuple(map(Platform.parse, request.platforms))
    manifest = read_manifest(path.read_bytes())
    wanted = TARGETS[request.target]
    if isinstance(manifest, Index) and not wanted.is_index:
        entry = for_platform(manifest, platforms[0])[0]
        manifest = read_manifest(beside.content(manifest, entry), entry.media_type)
    if request.unsigned and wanted is MediaType.V2S1_SIGNED:
        wanted = MediaType.V2S1
    if manifest.media_type == wanted and not conversion.is_mixed(manifest):
        return Converted(manifest.raw)
    path_there = conversion.path(manifest.media_type, wanted)
    if path_there is None:
        raise ConversionRefused(f"there is no conversion from {manifest.media_type} to {wanted}")
    inputs = ConversionInputs(
        name=request.name,
        tag=request.tag,
        platforms=platforms,
        key=SigningKey.load(request.key.read_bytes()) if request.key else SigningKey.generate(),
    )
    config: bytes | None = None
    for edge in path_there:
        needs = edge.needs(manifest, inputs)
        if edge.needs_layers:
            layers = tuple(beside.layer(need.digest) for need in needs)
            content, inputs = {}, replace(inputs, layers=layers)
        else:
            content = {need.digest: beside.content(manifest, need) for need in needs}
        made = edge.apply(manifest, content, inputs)
        manifest = made.manifest
        config = next((blob.raw for blob in made.blobs), config)
    return Converted(manifest.raw, config)


class _Beside:
    """Content that a manifest names: given, or in the layouts of skopeo's `dir:` and `oci:`."""

    def __init__(self, directory: Path, request: Request) -> None:
        self._directory = directory
        self._config = request.config
        raws = [child.read_bytes() for child in request.children]
        self._children = {read_manifest(raw).digest: raw for raw in raws}
        self._layers = {_digest_of(layer): layer for layer in request.layers}

    def content(self, manifest: Manifest, need: Descriptor) -> bytes:
        """Read the content of `need`; ConversionRefused if there is no file."""
        is_config = isinstance(manifest, Image)
        if is_config and self._config is not None:
            return self._config.read_bytes()
        if need.digest in self._children:
            return self._children[need.digest]
        for path in self._places(need.digest):
            if path.is_file():
                return path.read_bytes()
        option = "--config" if is_config else "--child"
        raise ConversionRefused(f"it needs {need.digest}: give it with {option}")

    def layer(self, digest: Digest) -> LayerFacts:
        """Read a layer; ConversionRefused if there is no file, or it is no layer."""
        given = self._layers.get(digest)
        places = self._places(digest) if given is None else (given,)
        for path in places:
            if path.is_file():
                meter = LayerMeter(digest, max_unpacked=_UNLIMITED)
                with path.open("rb") as file:
                    while piece := file.read(_PIECE):
                        meter.feed(piece)
                return meter.finish()
        raise ConversionRefused(f"it needs the layer {digest}: give it with --layer")

    def _places(self, digest: Digest) -> Sequence[Path]:
        return (
            self._directory / digest.hex,
            self._directory / f"{digest.hex}.manifest.json",
            self._directory / "blobs" / digest.algorithm / digest.hex,
        )


def _digest_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(f"sha256:{file_digest(file, 'sha256').hexdigest()}")
