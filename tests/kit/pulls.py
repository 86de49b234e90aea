"""Manifests, and what pulls of them teach a catalog."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from proxy.catalog.claims import claims_of
from proxy.oci.derivation import ConversionInputs, Origin
from proxy.oci.manifest import Image, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import Batch, Grant, Proof, TagEntry
from tests.kit import images

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oci.manifest import Manifest
    from tests.kit.images import Content

CARGO: Final = "docker.io/library/cargo"
OTHER: Final = "docker.io/library/other"
ELSEWHERE: Final = "quay.io/library/cargo"
ONE: Final = Tag("1.0")


def manifest_of(content: Content) -> Manifest:
    """The content's manifest, as the proxy reads it."""
    return read_manifest(content.manifest, content.media_type)


def image_of(content: Content) -> Image:
    """The same, of content that is an image."""
    manifest = manifest_of(content)
    assert isinstance(manifest, Image)
    return manifest


IMAGE: Final = image_of(images.docker())
INDEX: Final = manifest_of(images.oci_index())
ORIGIN: Final = Origin(
    source=Digest.of(b"source"),
    target=MediaType.V2S2,
    inputs=ConversionInputs(name="cargo", tag="1.0"),
)


def pull_of(
    manifest: Manifest,
    repository: str = CARGO,
    *,
    tag: Tag | None = ONE,
    at: float = 1000.0,
    proof: Proof = Proof.DELIVERED,
    origin: Origin | None = None,
) -> Batch:
    """What one pull of `manifest` teaches; `at` is when its tag was validated."""
    batch = Batch()
    if tag is not None:
        batch.tags.append((repository, tag, TagEntry(manifest.digest, at)))
    batch.manifests.append((manifest, origin))
    batch.grants.append((repository, manifest.digest, Grant(proof, manifest.media_type)))
    batch.claims += [
        (repository, manifest.digest, digest, claim)
        for digest, claim in claims_of(manifest).items()
    ]
    return batch


async def until(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """Return when it holds, which it must in so many seconds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        await asyncio.sleep(0.005)
