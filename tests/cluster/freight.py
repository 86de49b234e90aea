"""Images that are large beside a proxy's memory, for the registry of a cluster that runs.

    python -m tests.cluster.freight

It runs in the cluster's network.
"""

from __future__ import annotations

import os
import urllib.request
from typing import Final

from tests.cluster.addresses import REGISTRY
from tests.kit.images import DOCKER, image, layer

IMAGES: Final = tuple(f"library/freight:{number}" for number in range(8))
# Bytes of each; together the memory of the smallest proxy that is tested.
_SIZE: Final = 16 * 2**20


def push(repository: str, tag: str) -> None:
    """Make an image of one layer that cannot be compressed, and push it."""
    content = image(DOCKER, [layer({"cargo": os.urandom(_SIZE)})])
    for digest, blob in content.blobs.items():
        place = _ask("POST", f"http://{REGISTRY}/v2/{repository}/blobs/uploads/", b"")
        _ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", blob)
    url = f"http://{REGISTRY}/v2/{repository}/manifests/{tag}"
    _ask("PUT", url, content.manifest, content.media_type)


def _ask(method: str, url: str, body: bytes, media_type: str = "application/octet-stream") -> str:
    """The `Location` of the answer."""
    request = urllib.request.Request(  # noqa: S310 -- of the constant above
        url, body, {"Content-Type": media_type}, method=method
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return str(answer.headers.get("Location", ""))


if __name__ == "__main__":
    for name in IMAGES:
        push(*name.split(":"))
