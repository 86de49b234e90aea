"""What well-known clients accept: the lines of the `Accept` header of each, as seen on the wire."""

from __future__ import annotations

import re
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


# Clients whose generation is not known are counted together.
OTHER: Final = "other"
# The oldest first.
GENERATIONS: Final = (*CLIENTS, OTHER)

_VERSION: Final = re.compile(r"docker/(\d{1,3})\.(\d{1,3})\.?(\d{0,3})")
# From which version on docker is of which generation.
_DOCKERS: Final = (
    ((29, 0, 0), "docker-29"),
    ((26, 0, 0), "docker-28"),
    ((19, 3, 8), "docker-20"),
    ((1, 10, 0), "docker-1.13"),
    ((0, 0, 0), "docker-1.9"),
)
# What the name of a client contains, in lower case.
_NAMES: Final = (
    ("containerd/", "containerd"),
    ("buildkit/", "containerd"),
    ("nerdctl/", "containerd"),
    ("skopeo/", "podman"),
    ("buildah/", "podman"),
    ("podman/", "podman"),
    ("libpod/", "podman"),
    ("cri-o/", "podman"),
    ("containers/", "podman"),
    ("kaniko/", "kaniko"),
    ("go-containerregistry/", "kaniko"),
    ("curl/", "curl"),
    ("wget/", "curl"),
)


def generation_of(agent: str, *, has_accept: bool) -> str:
    """The generation of a client, by its `User-Agent`: one of `GENERATIONS`.

    An unknown one that sends no `Accept` is treated as the oldest docker, and counted as such.
    """
    if (found := _VERSION.match(agent)) is not None:
        version = tuple(int(part or 0) for part in found.groups())
        return next(name for first, name in _DOCKERS if version >= first)
    lower = agent.lower()
    for part, name in _NAMES:
        if part in lower:
            return name
    return OTHER if has_accept else "docker-1.9"
