"""What a node is made of: written once by the process that starts it, read in its namespaces."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_FILE: Final = "spec.json"


@dataclass(frozen=True, slots=True)
class Spec:
    """Directories of programs, the programs themselves, and archives of images."""

    state: Path
    version: str
    kubernetes: Path
    etcd: Path
    cni: Path
    containerd: Path
    ctr: Path
    registry: Path
    gateway: Path
    archives: tuple[Path, ...]

    @property
    def credentials(self) -> Path:
        """Keys, certificates and kubeconfigs."""
        return self.state / "credentials"

    @property
    def logs(self) -> Path:
        """What each program of the node says, in `NAME.log`."""
        return self.state / "logs"

    @property
    def hosts(self) -> Path:
        """Where containerd looks for a registry's hosts.toml, at each pull."""
        return self.state / "certs.d"

    @property
    def ready(self) -> Path:
        """A file that is there when the node is ready."""
        return self.state / "ready"

    @property
    def failure(self) -> Path:
        """A file with the reason, when it cannot become ready, or is so no more."""
        return self.state / "failure"

    def write(self) -> None:
        """Put it where `read` finds it."""
        (self.state / _FILE).write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, state: Path) -> Spec:
        """What `write` has put there."""
        found = json.loads((state / _FILE).read_text())
        archives = tuple(map(Path, found.pop("archives")))
        version = found.pop("version")
        return cls(version=version, archives=archives, **{k: Path(v) for k, v in found.items()})
