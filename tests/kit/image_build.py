"""The image, built by buildah from the Dockerfile, and a container of it without an engine.

The container is a root file system that is mounted read-only, and what the image says is to run.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests import tools
from tests.kit import stand_in
from tests.kit.processes import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parents[2]
_PATIENCE: Final = 300.0
# Mounts what is to be mounted, in a mount namespace that ends with it, and becomes the program.
_ENTER: Final = """\
set -eu
root=$1 volume=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$volume" "$root/var/lib/lighterage"
exec env -i "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What was built: its root file system, and its configuration as the OCI specifies it."""

    root: Path
    configuration: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """What the image sets."""
        return dict(line.split("=", 1) for line in self.configuration["Env"])

    @property
    def command(self) -> list[str]:
        """What runs if nobody says otherwise."""
        return [*self.configuration["Entrypoint"], *self.configuration["Cmd"]]


class Buildah:
    """buildah with a store of its own below `directory`, without privileges or a network bridge."""

    def __init__(self, directory: Path) -> None:
        """Nothing is built yet."""
        self._directory = directory
        self._command = [
            str(tools.require("buildah")),
            f"--root={directory / 'store'}",
            f"--runroot={directory / 'run'}",
            "--storage-driver=vfs",
        ]

    def base(self, name: str) -> None:
        """Make the stand-in of a base, `localhost/NAME`."""
        root = self._directory / name
        root.mkdir()
        stand_in.unpack(name, root)
        file = self._directory / f"{name}.containerfile"
        file.write_text(f"FROM scratch\nCOPY {name}/ /\n")
        self._run("build", f"--file={file}", f"--tag=localhost/{name}", str(self._directory))

    def build(self) -> Image:
        """Build the image from the Dockerfile as it is, on the stand-ins of its bases."""
        for name in stand_in.BASES:
            self.base(name)
        index = self._directory / "pip.conf"
        index.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        self._run(
            "build",
            "--pull-never",
            f"--volume={stand_in.WHEELS}:/wheels:ro",
            f"--volume={index}:/etc/pip.conf:ro",
            *(f"--build-arg={name.upper()}=localhost/{name}" for name in stand_in.BASES),
            "--build-arg=REVISION=tested",
            "--tag=localhost/lighterage",
            str(_ROOT),
        )
        container = self._run("from", "--pull-never", "localhost/lighterage").strip()
        root = Path(self._run("mount", container).strip())
        described = json.loads(self._run("inspect", "--type=image", "localhost/lighterage"))
        return Image(root, described["OCIv1"]["config"])

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Container(Program):
    """A process of the image: any user, a root file system that cannot be written, and a volume."""

    name = "container"

    def __init__(
        self, image: Image, directory: Path, *, user: str, arguments: Sequence[str]
    ) -> None:
        """`user` is `UID:GID`; `arguments` come after the image's own command."""
        self.port, self.admin_port = free_port(), free_port()
        self.data = directory / "volume"
        self.data.mkdir(parents=True)
        uid, _, gid = user.partition(":")
        os.chown(self.data, int(uid), int(gid))
        command: list[str | Path] = [
            *(tools.require("unshare"), "--mount", "sh", "-c", _ENTER, "container"),
            *(image.root, self.data),
            *(f"{name}={value}" for name, value in image.environment.items()),
        ]
        command += [tools.require("chroot"), f"--userspec={user}", image.root, *image.command]
        listens = {"listen": self.port, "admin-listen": self.admin_port}
        command += [f"--{option}={LOOPBACK}:{port}" for option, port in listens.items()]
        super().__init__(
            [*command, *arguments], directory=directory, listens=tuple(listens.values())
        )
