"""The converter on files: shows what a client would get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused
from proxy.oci import conversion
from proxy.oci.derivation import ConversionInputs
from proxy.oci.index import for_platform
from proxy.oci.manifest import Image, Index, Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.schema1.libtrust import SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.oci.manifest import Descriptor
    from proxy.oci.reference import Digest

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
    children: Sequence[Path] = ()
    name: str = ""
    tag: str = ""
    key: Path | None = None
    unsigned: bool = False
    platforms: Sequence[str] = ()


def convert_file(path: Path, request: Request) -> bytes:
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
        return manifest.raw
    path_there = conversion.path(manifest.media_type, wanted)
    if path_there is None:
        raise ConversionRefused(f"there is no conversion from {manifest.media_type} to {wanted}")
    inputs = ConversionInputs(
        name=request.name,
        tag=request.tag,
        platforms=platforms,
        key=SigningKey.load(request.key.read_bytes()) if request.key else SigningKey.generate(),
    )
    for edge in path_there:
        content = {
            need.digest: beside.content(manifest, need) for need in edge.needs(manifest, inputs)
        }
        manifest = edge.apply(manifest, content, inputs).manifest
    return manifest.raw


class _Beside:
    """Content that a manifest names: given, or in the layouts of skopeo's `dir:` and `oci:`."""

    def __init__(self, directory: Path, request: Request) -> None:
        self._directory = directory
        self._config = request.config
        raws = [child.read_bytes() for child in request.children]
        self._children = {read_manifest(raw).digest: raw for raw in raws}

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

    def _places(self, digest: Digest) -> Sequence[Path]:
        return (
            self._directory / digest.hex,
            self._directory / f"{digest.hex}.manifest.json",
            self._directory / "blobs" / digest.algorithm / digest.hex,
        )
