"""Every real client that there is a package or a module of, by one interface."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests import tools
from tests.kit.clients import Containerd, Docker, Podman, run, skopeo_copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(slots=True)
class _Skopeo:
    """skopeo, which copies an image into a directory of its own."""

    directory: Path
    copies: int = 0

    def pull(self, reference: str) -> dict[str, str]:
        """Copy it."""
        self.directory.mkdir(exist_ok=True)
        self.copies += 1
        return skopeo_copy(reference, self.directory / str(self.copies))


@dataclass(slots=True)
class _GoContainerRegistry:
    """The library of crane, kaniko, ko and flux."""

    directory: Path

    def pull(self, reference: str) -> dict[str, Any]:
        """Read all of it, and compare it with its digests."""
        return ggcr("image", reference)


def ggcr(command: str, argument: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([tools.require("ggcr"), command, argument]))
    return found


# Those that are programs must be started. All of them have `pull`, which tells what was unpacked.
CLIENTS: Final[dict[str, Callable[[Path], Any]]] = {
    "go-containerregistry": _GoContainerRegistry,
    "skopeo": _Skopeo,
    "podman": Podman,
    "containerd": Containerd,
    "docker 20.10": Docker,
}
