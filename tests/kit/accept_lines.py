"""The `Accept` lines of real clients, as they were seen on the wire."""

from __future__ import annotations

from typing import Final, TypeAlias

from tests.kit.images import DOCKER, OCI

Lines: TypeAlias = list[tuple[str, str]]

SIGNED_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"


def accept(*values: str) -> Lines:
    """One header line for each value."""
    return [("Accept", value) for value in values]


# docker 1.6 to 1.9.
NOTHING: Final = accept()
# docker 1.10 to 19.03.4, which sends its lines in random order.
DOCKER_1_13: Final = accept(SIGNED_SCHEMA1, "application/json", DOCKER.manifest, DOCKER.index)
# docker 28 with graph drivers, in one of its orders.
DOCKER_28: Final = accept(
    DOCKER.index, OCI.manifest, SIGNED_SCHEMA1, "application/json", OCI.index, DOCKER.manifest
)
# containerd 2 and docker 29 by tag.
CONTAINERD: Final = accept(f"{DOCKER.manifest}, {DOCKER.index}, {OCI.manifest}, {OCI.index}, */*")
# crane, and kaniko, which does not name schema 1.
CRANE: Final = accept(
    f"{_SCHEMA1},{SIGNED_SCHEMA1},{DOCKER.manifest},{OCI.manifest},{DOCKER.index},{OCI.index}"
)
KANIKO: Final = accept(f"{DOCKER.manifest},{OCI.manifest},{DOCKER.index},{OCI.index}")
# Many a tool for one purpose.
ONLY_V2S2: Final = accept(DOCKER.manifest)
# skopeo, podman, buildah and cri-o, which send them in this order.
EVERYTHING: Final = accept(
    OCI.manifest, DOCKER.manifest, SIGNED_SCHEMA1, _SCHEMA1, DOCKER.index, OCI.index
)
