"""Somebody who pulls an image while somebody else attacks, and is served as before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.kit import images, load

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy

NAME: Final = "library/cargo"
TAG: Final = "1"
IMAGE: Final = images.oci()
# Another address of this machine than those that attack.
ADDRESS: Final = "127.0.0.2"
MANIFEST: Final = f"/v2/{NAME}/manifests/{TAG}"


async def pull(proxy: Proxy) -> None:
    """Pull the image over new connections; fail unless every byte of it arrives."""
    await pull_from(proxy.address[1])


async def pull_from(port: int) -> None:
    """The same, from the proxy at a port of the loopback address."""
    manifest = await load.get(port, MANIFEST, IMAGE.media_type, source=ADDRESS)
    assert (manifest.status, manifest.body) == (200, IMAGE.manifest)
    for digest, content in IMAGE.blobs.items():
        blob = await load.get(port, f"/v2/{NAME}/blobs/{digest}", source=ADDRESS)
        assert (blob.status, blob.body) == (200, content)


async def get_from(port: int, path: str, accept: str) -> load.Answer:
    """Ask for anything else, from the same address."""
    return await load.get(port, path, accept, source=ADDRESS)
