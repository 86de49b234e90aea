"""A root file system of Debian 13 in which this project's tests run, by the image's Python.

It has the image's Python, Redis, and the wheels of the locks. The project is mounted at its own
path, read-only, so that whatever the tests write goes into the root.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.kit import stand_in

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROJECT: Final = Path(__file__).parents[2]
_PYTHON: Final = f"/usr/bin/python{stand_in.PYTHON}"
_PACKAGES: Final = "/opt/packages"
# Seconds: for the installation, and for all tests on a machine that does other things, too.
_INSTALLED_WITHIN: Final = 300.0
_TESTED_WITHIN: Final = 1200.0
# Mounts what is to be mounted, in a mount namespace that ends with it, and becomes the program.
_ENTER: Final = """\
set -eu
root=$1 project=$2 wheels=$3; shift 3
mount --bind "$project" "$root$project"
mount -o remount,bind,ro "$root$project"
mount --bind "$wheels" "$root/wheels"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec env -i "$@"
"""


class RootForTests:
    """The root file system below an empty directory."""

    def __init__(self, root: Path) -> None:
        """Unpack the packages, and install the wheels."""
        self._root = root
        stand_in.unpack(stand_in.TESTS, root)
        for directory in (f".{_PROJECT}", "wheels", "proc", "dev"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        locks = [f"--requirement={lock}" for lock in stand_in.LOCKS]
        pip = [_PYTHON, "-m", "pip", "install", "--quiet", "--no-index", "--find-links=/wheels"]
        done = self._run(
            [*pip, "--require-hashes", f"--target={_PACKAGES}", *locks], _INSTALLED_WITHIN
        )
        assert done.returncode == 0, done.stdout

    def test(self, paths: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run the tests below `paths`; a tool that they miss there fails them."""
        pytest = [_PYTHON, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
        return self._run([*pytest, *paths], _TESTED_WITHIN)

    def _run(self, command: Sequence[str], within: float) -> subprocess.CompletedProcess[str]:
        """Run `command` in the root; its two outputs are one."""
        environment = {
            "CI": "true",
            "HOME": "/tmp",  # noqa: S108 -- of the root, which is nobody else's
            "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",  # noqa: S108
            "PATH": "/usr/bin:/bin",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "PYTHONDONTWRITEBYTECODE": "1",
            # The packages have no locale but C.
            "PYTHONUTF8": "1",
            "PYTHONPATH": _PACKAGES,
        }
        enter: list[str | Path] = [tools.require("unshare"), "--mount", "sh", "-c", _ENTER, "tests"]
        enter += [self._root, _PROJECT, stand_in.WHEELS]
        enter += [f"{name}={value}" for name, value in environment.items()]
        enter += [tools.require("chroot"), self._root, "/bin/sh", "-c", 'cd "$0" && exec "$@"']
        return subprocess.run(
            [*enter, _PROJECT, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
