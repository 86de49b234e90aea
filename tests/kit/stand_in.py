"""What stands in for the Dockerfile's pinned bases and for the package index, all of it local.

The bases are the packages of Debian 13 that the pinned ones consist of, unpacked and never
configured; beside them is one in which tests run by the same Python. The index is a directory with
every wheel of the locks. `make test` downloads all of it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_KEPT: Final = _ROOT / ".tools/stand-in"
_STAMP: Final = _KEPT / "stamp"
WHEELS: Final = _KEPT / "wheels"
LOCKS: Final = tuple(_ROOT / f"requirements{suffix}.lock" for suffix in ("", "-build", "-dev"))
PYTHON: Final = "3.13"

_DEBIAN: Final = """\
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_RUNTIME: Final = ("python3", "libstdc++6", "libgomp1", "ca-certificates")
_BUILD: Final = (*_RUNTIME, "python3-pip", "dash", "coreutils")
BUILD: Final = "build"
# Where the tests run by the image's Python.
TESTS: Final = "tests"
# What the image is built for: Debian's name of each machine, and Python's.
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
NATIVE: Final = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def runtime(machine: str) -> str:
    """The name of the root file system that the image for `machine` is made on."""
    return f"runtime-{machine}"


# Each root file system, and its packages; apt adds what those need, as if nothing were installed.
_PACKAGES: Final = {
    **{runtime(machine): _RUNTIME for machine in MACHINES},
    BUILD: _BUILD,
    TESTS: (*_BUILD, "redis-server"),
}
# Manuals and translations: the pinned bases have none either.
_LEFT_OUT: Final = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*")
_USERS: Final = "root:x:0:0:root:/root:/none\nnonroot:x:65532:65532:nonroot:/home/nonroot:/none\n"
# The minor version of Debian 13's C library.
_GLIBC: Final = 41
_PATIENCE: Final = 300.0


class DownloadError(Exception):
    """Something could not be downloaded; the message has what the program said."""


def is_here() -> bool:
    """Whether everything has been downloaded for the locks as they are now."""
    return _STAMP.exists() and _STAMP.read_text() == _pins()


def download() -> None:
    """Fetch the packages with apt-get, in directories of its own, and the wheels with pip."""
    shutil.rmtree(_KEPT, ignore_errors=True)
    _KEPT.mkdir(parents=True)
    (_KEPT / "installed").touch()
    (_KEPT / "debian.sources").write_text(_DEBIAN)
    for machine in MACHINES:
        _download_packages(machine)
        _download_wheels(machine)
    _STAMP.write_text(_pins())


def _download_packages(machine: str) -> None:
    """Fetch the packages of the root file systems that are for `machine`."""
    state = _KEPT / f"state-{machine}"
    (state / "lists/partial").mkdir(parents=True)
    options = {
        "Dir::Etc::sourcelist": _KEPT / "debian.sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": state,
        "Dir::State::status": _KEPT / "installed",
        "Dir::Cache": _KEPT,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
        "APT::Architecture": machine,
        "APT::Architectures": machine,
    }
    apt = [
        "apt-get",
        "-qq",
        *(part for pair in options.items() for part in ("-o", "=".join(map(str, pair)))),
    ]
    _run([*apt, "update"])
    for base in (runtime(machine), *((BUILD, TESTS) if machine == NATIVE else ())):
        (_KEPT / base / "partial").mkdir(parents=True)
        into = ["-o", f"Dir::Cache::archives={_KEPT / base}"]
        install = [*apt, *into, "install", "-y", "--download-only", "--no-install-recommends"]
        _run([*install, *_PACKAGES[base]])


def _download_wheels(machine: str) -> None:
    """Fetch the wheels for `machine`: of all locks for this one, of what runs for another one."""
    name = MACHINES[machine]
    wheels = [f"--platform=manylinux_2_{minor}_{name}" for minor in range(5, _GLIBC + 1)]
    wheels += [f"--platform=manylinux{year}_{name}" for year in (1, 2010, 2014)]
    locks = LOCKS if machine == NATIVE else LOCKS[:1]
    _run(
        [
            *(_pip(), "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"),
            *("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *wheels),
            *(f"--requirement={lock}" for lock in locks),
            f"--dest={WHEELS}",
        ]
    )


def unpack(base: str, root: Path) -> None:
    """Make the file system of a base below `root`."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((_KEPT / base).glob("*.deb")):
        content = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        exclude = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        with content:
            subprocess.run(
                ["tar", "--extract", "--keep-directory-symlink", *exclude, "--directory", root],
                stdin=content.stdout,
                check=True,
            )
        assert content.returncode == 0
        described = root / "var/lib/dpkg/status.d" / package.name.partition("_")[0]
        described.parent.mkdir(parents=True, exist_ok=True)
        field: list[str | Path] = [
            "dpkg-deb",
            "--field",
            package,
            "Package",
            "Version",
            "Architecture",
            "Maintainer",
        ]
        described.write_bytes(subprocess.run(field, stdout=subprocess.PIPE, check=True).stdout)
    (root / "tmp").mkdir(mode=0o1777)
    (root / "etc/passwd").write_text(_USERS)
    certificates = sorted(root.glob("usr/share/ca-certificates/mozilla/*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(certificate.read_bytes() for certificate in certificates))
    if base == BUILD:
        # Where the pinned image has it, which was compiled from source.
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/local/bin/python3").symlink_to(f"/usr/bin/python{PYTHON}")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(str(error)) from None
    if done.returncode:
        raise DownloadError(done.stdout)


def _pip() -> str:
    """A Python that has pip: Debian's makes virtual environments without."""
    return sys.executable if find_spec("pip") else str(Path(sys.base_prefix, "bin/python3"))


def _pins() -> str:
    pinned = b"".join(lock.read_bytes() for lock in LOCKS) + repr((_PACKAGES, PYTHON)).encode()
    return hashlib.sha256(pinned).hexdigest()
