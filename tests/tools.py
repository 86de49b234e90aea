"""The real parts that tests run, where they come from, and what happens when one is missing.

Run as a program, this installs the missing ones:

    .venv/bin/python tests/tools.py                            all that `make test` needs
    .venv/bin/python tests/tools.py e2e bench nginx            what these suites need, and a tool
    .venv/bin/python tests/tools.py --pytest tests/unit -k x   what a run of pytest with these needs
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tests import go_tools
from tests.kit import axe, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

# What tests ask for by name, and the Debian package that has it.
PACKAGES: Final = {
    "buildah": "buildah",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "chroot": "coreutils",
    "containerd": "containerd",
    "ctr": "containerd",
    "distribution": "golang-github-docker-distribution-dev",
    "docker": "docker.io",
    "docker-compose": "docker-compose",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "go": "golang-go",
    "ip": "iproute2",
    "iptables": "iptables",
    "libtrust": "golang-github-docker-libtrust-dev",
    "nginx": "nginx-light",
    "podman": "podman",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-server": "redis-server",
    "runc": "runc",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
    "npm": "npm",
    "systemd-analyze": "systemd",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "wrk": "wrk",
}
# What is neither a package nor a program: the bases of the image and the wheels, for its build.
STAND_IN: Final = "stand-in"
# A script that npm fetches, for the browser.
AXE: Final = "axe-core"
# Those that are no program but Go source, for GOPATH mode.
GOPATH: Final = Path("/usr/share/gocode")
SOURCES: Final = {
    name: GOPATH / "src/github.com/docker" / name for name in ("distribution", "libtrust")
}

# What each suite requires; `make test` runs all of them but those of `_APART`.
SUITES: Final = {
    "bench": ("docker-registry", "nginx", "redis-server", "registry", "wrk"),
    "browser": ("chromium", "chromedriver", AXE, "skopeo"),
    "chart": (
        *("docker-registry", "helm", "helm-unittest", "prometheus", "promtool", "redis-server"),
        "versitygw",
    ),
    "cluster": (
        *("containerd", "ctr", "ip", "iptables", "runc", "unshare"),
        *("docker-registry", "go", "helm", "redis-server", "versitygw"),
        *("buildah", "chroot", STAND_IN),
    ),
    "conformance": ("conformance", "docker-registry"),
    "contract": ("redis-server", "versitygw"),
    "e2e": (
        *("containerd", "ctr", "docker", "dockerd", "podman", "skopeo"),
        *("nsenter", "setpriv", "unshare"),
        *("docker-registry", "helm", "redis-server", "versitygw"),
        *("go", "distribution", "libtrust", "crane", "docker113", "ggcr"),
    ),
    "hostile": ("docker-registry", "nginx", "redis-server", "versitygw"),
    "image": (
        *("buildah", "chroot", "cosign", "docker", "docker-compose", "docker-registry", "helm"),
        *("skopeo", STAND_IN, "systemd-analyze", "unshare", "versitygw"),
    ),
    "integration": ("redis-server", "versitygw"),
    "replicas": (
        *("ip", "iptables", "nsenter", "setpriv", "unshare"),
        *("redis-server", "versitygw"),
    ),
    "unit": (),
}
_APART: Final = {"bench", "cluster"}
_TESTS: Final = Path(__file__).parent

# Debian puts servers here, and an ordinary user's PATH does not.
SEARCH_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
# Debian's convention: while this exits with 101, no package starts its service.
_POLICY: Final = Path("/usr/sbin/policy-rc.d")


def find(name: str) -> Path | None:
    """Where the tool `name` is, or None."""
    if name in SOURCES:
        return SOURCES[name] if SOURCES[name].is_dir() else None
    if name in go_tools.NAMES:
        return go_tools.find(name)
    if name == STAND_IN:
        return stand_in.WHEELS if stand_in.is_here() else None
    if name == AXE:
        return axe.find()
    found = shutil.which(name, path=SEARCH_PATH) if name in PACKAGES else None
    return Path(found) if found else None


def require(name: str) -> Path:
    """Where the tool `name` is; without it the test cannot go on."""
    whence = (
        f"Debian's package {PACKAGES[name]}" if name in PACKAGES else "what `make test` fetches"
    )
    return find(name) or _cannot_run(f"{name} is missing; {whence} has it")


def require_root(name: str) -> None:
    """Go on only as root, without which `name` does not work."""
    if os.geteuid() != 0:
        _cannot_run(f"{name} needs root")


def _cannot_run(reason: str) -> NoReturn:
    """Skip the test, saying why; where CI is `true` nothing is skipped, so it fails."""
    import pytest  # noqa: PLC0415 -- `install` runs before there need be a pytest

    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def needed(names: Iterable[str]) -> set[str]:
    """The tools behind `names`, which are suites and tools; LookupError for what is neither."""
    tools: set[str] = set()
    for name in names:
        if name in SUITES:
            tools.update(SUITES[name])
        elif name in PACKAGES or name in go_tools.NAMES or name in {AXE, STAND_IN}:
            tools.add(name)
        else:
            raise LookupError(name)
    return tools


def suites_of(arguments: Iterable[str]) -> set[str]:
    """The suites that pytest runs with `arguments`: all of `make test`, unless they name paths."""
    everything = SUITES.keys() - _APART
    paths = [Path(argument.partition("::")[0]).resolve() for argument in arguments]
    named = [path for path in paths if path.exists()]
    if not named or any(_TESTS.is_relative_to(path) for path in named):
        return everything
    return {path.relative_to(_TESTS).parts[0] for path in named if _TESTS in path.parents} & {
        *SUITES
    }


def install(tools: AbstractSet[str]) -> None:
    """Install those of `tools` that are missing where that is possible; say so where it is not.

    Nothing ends here: a test that lacks its tool says so itself.
    """
    built = [name for name in go_tools.NAMES if name in tools and not find(name)]
    needs_npm = AXE in tools and not find(AXE)
    _install_packages({*tools, *(["go"] if built else []), *(["npm"] if needs_npm else [])})
    go = find("go")
    if go and built:
        _say(f"Building {' and '.join(built)}, which takes minutes, once")
        with _failure_said():
            go_tools.build(go, built)
    if STAND_IN in tools and not find(STAND_IN):
        _say("Downloading what the test of the image is built from")
        with _failure_said():
            stand_in.download()

    npm = find("npm")
    if npm and needs_npm:
        with _failure_said():
            axe.install(npm)


def _install_packages(tools: AbstractSet[str]) -> None:
    missing = sorted({PACKAGES[name] for name in tools & PACKAGES.keys() if not find(name)})
    if not missing:
        return
    packages = " ".join(missing)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        _say(f"Some tests need packages that only root can install, with apt-get: {packages}")
        return
    _say(f"Installing {packages}")
    with _services_stay_down():
        _apt_get("update")
        done = _apt_get("install", "-y", "--no-install-recommends", *missing)
    if done.returncode:
        _say(done.stdout)


@contextlib.contextmanager
def _failure_said() -> Iterator[None]:
    try:
        yield
    except (axe.InstallError, go_tools.BuildError, stand_in.DownloadError) as error:
        _say(str(error))


def _apt_get(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    """Keep packages from starting their services: tests start their own, on other ports."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def main(arguments: Sequence[str]) -> int:
    """Install what `arguments` name, and say by the exit status whether they name anything."""
    if arguments[:1] == ["--pytest"]:
        names: Iterable[str] = suites_of(arguments[1:])
    else:
        names = arguments or suites_of([])
    try:
        install(needed(names))
    except LookupError as error:
        _say(f"{error} is neither a tool nor one of {', '.join(SUITES)}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
