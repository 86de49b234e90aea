"""What well-known clients accept: the lines of the `Accept` header of each, as seen on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.oci.headers.accept import Accept
from proxy.oci.mediatype import MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERYTHING: Final = (
    MediaType.DOCKER_LIST,
    MediaType.OCI_MANIFEST,
    MediaType.V2S1_SIGNED,
    "application/json",
    MediaType.OCI_INDEX,
    MediaType.V2S2,
)
_IMAGES: Final = (MediaType.V2S2, MediaType.OCI_MANIFEST)
_INDEXES: Final = (MediaType.DOCKER_LIST, MediaType.OCI_INDEX)
_CONTAINERD: Final = (", ".join((*_IMAGES, *_INDEXES, "*/*")),)
_KANIKO: Final = (",".join((*_IMAGES, *_INDEXES)),)

# Each name stands for a generation: docker-1.9 for 1.6 to 1.9, docker-1.13 for 1.10 to 19.03.4,
# docker-20 for 19.03.8 to 25, containerd for nerdctl, k3s, kubelet and buildkit, podman for skopeo,
# buildah and cri-o, kaniko for ko.
CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "docker-1.9": (),
    "docker-1.13": (
        MediaType.V2S1_SIGNED,
        "application/json",
        MediaType.V2S2,
        MediaType.DOCKER_LIST,
    ),
    "docker-20": _EVERYTHING,
    "docker-28": _EVERYTHING,
    "docker-29": _CONTAINERD,
    "containerd": _CONTAINERD,
    "podman": (
        MediaType.OCI_MANIFEST,
        MediaType.V2S2,
        MediaType.V2S1_SIGNED,
        MediaType.V2S1,
        MediaType.DOCKER_LIST,
        MediaType.OCI_INDEX,
    ),
    "kaniko": _KANIKO,
    "curl": ("*/*",),
}


def accept_of(client: str) -> Accept:
    """What a client of that name accepts; KeyError for an unknown name."""
    return Accept.parse(CLIENTS[client])
