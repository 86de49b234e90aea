"""What every client says that it accepts of a manifest: the lines of its `Accept` header.

Seen on the wire, or read in the client's source where that is named.
"""

from __future__ import annotations

from typing import Final

from proxy.oci.headers.accept import Accept

_V2S1: Final = "application/vnd.docker.distribution.manifest.v1+json"
_V2S1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_V2S2: Final = "application/vnd.docker.distribution.manifest.v2+json"
_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
_OCI: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"

# Separate lines, in an order that Go's map gives anew each time (moby distribution/pull_v2.go).
DOCKER_1_13: Final = (_V2S1_SIGNED, "application/json", _V2S2, _LIST)
DOCKER_28: Final = (_LIST, _OCI, _V2S1_SIGNED, "application/json", _INDEX, _V2S2)

CLIENTS: Final[dict[str, tuple[str, ...]]] = {
    "docker-1.9": (),  # 1.6 to 1.9 send no Accept at all
    "docker-1.13": DOCKER_1_13,  # 1.10 to 19.03.4
    "docker-28": DOCKER_28,  # 19.03.8 to 28, with graph drivers
    # HEAD by tag; also docker 29, nerdctl, k3s, kubelet, buildkit (core/remotes/docker/resolver.go)
    "containerd": (f"{_V2S2}, {_LIST}, {_OCI}, {_INDEX}, */*",),
    # also podman, buildah, cri-o (containers/image manifest/manifest.go, always in this order)
    "skopeo": (_OCI, _V2S2, _V2S1_SIGNED, _V2S1, _LIST, _INDEX),
    # remote.Get: crane, kaniko, ko (go-containerregistry pkg/v1/remote/descriptor.go)
    "crane": (f"{_V2S1},{_V2S1_SIGNED},{_V2S2},{_OCI},{_LIST},{_INDEX}",),
    "kaniko": (f"{_V2S2},{_OCI},{_LIST},{_INDEX}",),  # remote.Image
    "curl": ("*/*",),  # also requests and aiohttp
    "json": ("application/json",),
    "v2s2-only": (_V2S2,),  # tools from before the OCI
    "v2s1-only": (_V2S1,),
    "oci-only": (f"{_OCI}, {_INDEX}",),
}


def accept_of(client: str) -> Accept:
    """What `client` says, parsed."""
    return Accept.parse(CLIENTS[client])


def containerd_by_digest(seen: str) -> tuple[str, ...]:
    """What containerd sends with a GET for what its HEAD saw (core/remotes/docker/fetcher.go)."""
    return (f"{seen}, */*",)
