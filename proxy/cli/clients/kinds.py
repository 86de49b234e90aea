"""The clients for which there are files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.cli.clients.containerd import containerd, k3s, talos
from proxy.cli.clients.docker import docker
from proxy.cli.clients.podman import buildkit, podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxy.cli.clients.files import ClientFile

CLIENTS: Final[Mapping[str, Callable[..., Iterator[ClientFile]]]] = {
    "buildkit": buildkit,
    "containerd": containerd,
    "cri-o": podman,
    "docker": docker,
    "k3s": k3s,
    "podman": podman,
    "talos": talos,
}
