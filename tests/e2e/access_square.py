"""Which client can show which identity, and what of it is run by `test_access_clients`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NAMED: Final = "login for the proxy, image named by the proxy"
OURS: Final = "login for the proxy, as a mirror"
THEIRS: Final = "login for the image's registry, as a mirror"
CERTIFICATE: Final = "certificate"
HEADER: Final = "header"
IDENTITIES: Final = (NAMED, OURS, THEIRS, CERTIFICATE, HEADER)


@dataclass(frozen=True, slots=True)
class Cell:
    """What the page says, and the test that has seen it; "" if it is known from recordings."""

    said: str
    test: str = ""


def works(test: str) -> Cell:
    """A client pulls so in a test."""
    return Cell("yes", test)


def refused(test: str) -> Cell:
    """A client that tries so is refused in a test."""
    return Cell("no", test)


# What was recorded of a client that no test runs in this way.
WORKS: Final = Cell("yes, as recorded")
REFUSED: Final = Cell("no, as recorded")
# The client has nothing of the kind.
NOTHING: Final = Cell("-")

_NAMED: Final = works("test_a_client_pulls_what_is_its_users")
_HUB: Final = "test_docker_pulls_through_a_mirror_with_its_login_for_docker_hub"
_CONTAINERD: Final = works("test_containerd_pulls_through_a_mirror")
_PODMAN: Final = "test_podman_pulls_through_a_mirror_with_its_login_for_the_proxy"
_SKOPEO: Final = "test_skopeo_pulls_through_a_mirror_with_its_login_for_the_proxy"
_NODE: Final = works("test_a_node_shows_its_certificate")

# The cells are in the order of `IDENTITIES`.
SQUARE: Final[dict[str, tuple[Cell, ...]]] = {
    "docker 1.9": (_NAMED, refused(_HUB), works(_HUB), WORKS, NOTHING),
    "docker 20.10": (_NAMED, refused(_HUB), works(_HUB), WORKS, NOTHING),
    "docker 29": (WORKS, REFUSED, REFUSED, WORKS, WORKS),
    "containerd 1.6": (_NAMED, _CONTAINERD, _CONTAINERD, _CONTAINERD, _CONTAINERD),
    "kubelet": (WORKS, REFUSED, WORKS, WORKS, WORKS),
    "podman": (_NAMED, works(_PODMAN), refused(_PODMAN), _NODE, NOTHING),
    "skopeo": (_NAMED, works(_SKOPEO), refused(_SKOPEO), _NODE, NOTHING),
    "crane": (_NAMED, NOTHING, NOTHING, NOTHING, NOTHING),
}
