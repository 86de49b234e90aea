"""The converter on files, for people who want to see what a client would get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.oci import conversion
from proxy.oci.derivation import Terms
from proxy.oci.jws import SigningKey
from proxy.oci.manifest import Image, read_manifest
from proxy.oci.mediatype import MediaType

if TYPE_CHECKING:
    from pathlib import Path

_TARGETS: Final = {"v2s1": MediaType.V2S1_SIGNED}


def convert_file(
    path: Path,
    *,
    config: Path | None,
    target: str,
    name: str,
    tag: str,
    key: Path | None,
    unsigned: bool,
) -> bytes:
    """The manifest in `path` as `target`; Refused or ManifestInvalid if that cannot be.

    The config is taken as it is given: whether it is the one that the manifest names is for
    whoever made the files to know.
    """
    manifest = read_manifest(path.read_bytes())
    wanted = MediaType.V2S1 if unsigned and target == "v2s1" else _TARGETS[target]
    edges = conversion.path(manifest.media_type, wanted)
    if edges is None:
        raise Refused(f"there is no conversion from {manifest.media_type} to {wanted}")
    content = {}
    if isinstance(manifest, Image) and config is not None:
        content[manifest.config.digest] = config.read_bytes()
    signing = SigningKey.load(key.read_bytes()) if key else SigningKey.generate()
    terms = Terms(name=name, tag=tag, key=signing)
    for edge in edges:
        if any(need.digest not in content for need in edge.needs(manifest, terms)):
            raise Refused("it needs the image's config: give it with --config")
        manifest = edge.apply(manifest, content, terms).manifest
    return manifest.raw
