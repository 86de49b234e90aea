"""The image, built by buildah from the Dockerfile, and a container of it without an engine.

The container is a root file system that is mounted read-only, and what the image says is to run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy import __version__
from release.build import Source, build_arguments
from tests import tools
from tests.kit import stand_in
from tests.kit.processes import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT: Final = 600.0
# Without privileges or a network bridge.
ISOLATION: Final = {"BUILDAH_ISOLATION": "chroot"}
# What the image says that it is made of.
SOURCE: Final = Source(__version__, "tested", 1_700_000_000)
# Mounts what is to be mounted, in a mount namespace that ends with it, and becomes the program.
_ENTER: Final = """\
set -eu
root=$1 volume=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
test -z "$volume" || mount --bind "$volume" "$root/var/lib/lighterage"
exec env -i "$@"
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the names of what is in it, and its size as gzip packs it."""

    names: tuple[str, ...]
    compressed: int

    def below(self, directory: str) -> bool:
        """Whether something of it is below `directory`."""
        return any(name.startswith(f"{directory}/") for name in self.names)


@dataclass(frozen=True, slots=True)
class Image:
    """What was built: its name, its root file system, and all that it says of itself."""

    name: str
    root: Path
    description: dict[str, Any]
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def configuration(self) -> dict[str, Any]:
        """What a container of it is like."""
        configuration: dict[str, Any] = self.description["config"]
        return configuration

    @property
    def environment(self) -> dict[str, str]:
        """What the image sets."""
        return dict(line.split("=", 1) for line in self.configuration["Env"])

    @property
    def command(self) -> list[str]:
        """What runs if nobody says otherwise."""
        return [*self.configuration["Entrypoint"], *self.configuration["Cmd"]]


def _layer(file: Path) -> Layer:
    with tarfile.open(file) as tar:
        names = tuple(f"{each.name}/" if each.isdir() else each.name for each in tar)
    return Layer(names, len(zlib.compress(file.read_bytes())))


class Buildah:
    """buildah with a store of its own below `directory`."""

    def __init__(self, directory: Path) -> None:
        """Nothing is built yet."""
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._bases: dict[str, str] = {}
        self.command = self._with_driver("overlay")
        try:
            self.run("info")
        except AssertionError:
            # On top of another overlay; it copies every file for each step.
            self.command = self._with_driver("vfs")

    def remove(self) -> None:
        """Unmount and delete everything."""
        self.run("rm", "--all")
        driver = self._directory / "store/overlay"
        if driver.is_mount():
            subprocess.run(["umount", "--recursive", driver], check=True)
        shutil.rmtree(self._directory)

    def _with_driver(self, driver: str) -> list[str]:
        return [
            str(tools.require("buildah")),
            f"--root={self._directory / 'store'}",
            f"--runroot={self._directory / 'run'}",
            f"--storage-driver={driver}",
        ]

    def base(self, name: str, machine: str) -> str:
        """Make the stand-in of a base for `machine`; its name."""
        root = self._directory / name
        root.mkdir()
        stand_in.unpack(name, root)
        file = self._directory / f"{name}.containerfile"
        file.write_text(f"FROM scratch\nCOPY {name}/ /\n")
        self.run(
            *("build", "--identity-label=false", f"--platform=linux/{machine}", f"--file={file}"),
            *(f"--tag=localhost/{name}", str(self._directory)),
        )
        return f"localhost/{name}"

    def arguments(self, machine: str) -> list[str]:
        """What a build for `machine` needs where only stand-ins of the bases and wheels are."""
        index = self._directory / "pip.conf"
        index.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        bases = {stand_in.BUILD: stand_in.NATIVE, stand_in.runtime(machine): machine}
        for name, architecture in bases.items():
            if name not in self._bases:
                self._bases[name] = self.base(name, architecture)
        return [
            "--pull-never",
            f"--volume={stand_in.WHEELS}:/wheels:ro",
            f"--volume={index}:/etc/pip.conf:ro",
            f"--build-arg=BUILDPLATFORM=linux/{stand_in.NATIVE}",
            f"--build-arg=BUILD={self._bases[stand_in.BUILD]}",
            f"--build-arg=RUNTIME={self._bases[stand_in.runtime(machine)]}",
        ]

    def build(self, machine: str = stand_in.NATIVE) -> Image:
        """Build the image from the Dockerfile as it is, on the stand-ins of its bases."""
        name = f"localhost/lighterage-{machine}"
        self.run(*build_arguments(SOURCE, machine, name, *self.arguments(machine)))
        container = self.run("from", "--pull-never", f"--arch={machine}", name).strip()
        root = Path(self.run("mount", container).strip())
        described = json.loads(self.run("inspect", "--type=image", name))
        into = self._directory / machine
        self.run("push", name, f"dir:{into}")
        manifest = json.loads((into / "manifest.json").read_bytes())
        config = (into / manifest["config"]["digest"].partition(":")[2]).read_bytes()
        layers = (_layer(into / each["digest"].partition(":")[2]) for each in manifest["layers"])
        return Image(name, root, described["Docker"], config, tuple(layers))

    def run(self, *arguments: str) -> str:
        """Run `buildah ARGUMENTS`; what it prints."""
        done = subprocess.run(
            [*self.command, *arguments],
            env=os.environ | ISOLATION,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Container(Program):
    """A process of the image: any user, a root file system that cannot be written, and a volume."""

    name = "container"

    def __init__(
        self,
        image: Image,
        directory: Path,
        *,
        user: str,
        arguments: Sequence[str] = (),
        mounted: bool = True,
        admin_host: str = LOOPBACK,
    ) -> None:
        """`user` is `UID:GID`; `arguments` come after the image's own command.

        `mounted`: the volume is there, and belongs to that user.
        """
        self.port, self.admin_port = free_port(), free_port()
        self.data = directory / "volume"
        self.data.mkdir(parents=True)
        uid, _, gid = user.partition(":")
        os.chown(self.data, int(uid), int(gid))
        self._enter: list[str | Path] = [
            *(tools.require("unshare"), "--mount", "sh", "-c", _ENTER, "container"),
            *(image.root, self.data if mounted else ""),
            *(f"{name}={value}" for name, value in image.environment.items()),
            *(tools.require("chroot"), f"--userspec={user}", image.root),
        ]
        command = [*self._enter, *image.command, f"--listen={LOOPBACK}:{self.port}"]
        command.append(f"--admin-listen={admin_host}:{self.admin_port}")
        super().__init__(
            [*command, *arguments], directory=directory, listens=(self.port, self.admin_port)
        )

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run another command in the same root, as the same user, until it ends."""
        return subprocess.run(
            [*self._enter, *command],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
