"""The programs of a cluster, built from Go modules into a cache outside the checkout.

One version of Kubernetes is pinned, with the checksums of all its modules, in `tools/`. Any other
one is built by hand: its module is written anew, and `go` itself looks its checksums up.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import go_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE: Final = Path(__file__).parent
_TOOLS: Final = _HERE / "tools"
_KUBERNETES: Final = "k8s.io/kubernetes"
_COMMANDS: Final = (
    *("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"),
    *("kubectl", "kubelet"),
)
# Where a release of Kubernetes says what it is. The API server compares versions by it.
_VERSION_VARIABLES: Final = "k8s.io/component-base/version", "k8s.io/client-go/pkg/version"
# Seconds. Kubernetes takes five minutes on two idle cores, and fifteen on two busy ones.
_TIMEOUT: Final = 2400.0


class BuildError(Exception):
    """A program cannot be built; the message has what Go said."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Directories of programs, all of them built."""

    version: str
    kubernetes: Path
    etcd: Path
    cni: Path
    pause: Path


def cache() -> Path:
    """What is kept between runs and shared by checkouts: programs, by their versions."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "lighterage/cluster")


def pinned() -> str:
    """The version of Kubernetes that is built unless another one is named."""
    return _required(_TOOLS / "kubernetes", _KUBERNETES)


def build(go: Path, version: str = "") -> Programs:
    """Build what is missing. `version` is that of Kubernetes, such as `1.30` or `1.30.4`."""
    cache().mkdir(parents=True, exist_ok=True)
    version = _full(go, version)
    if version == pinned():
        kubernetes = _install(go, _TOOLS / "kubernetes", f"kubernetes-{version}", version)
    else:
        kubernetes = _install_unpinned(go, version)
    etcd = _required(_TOOLS / "etcd", "go.etcd.io/etcd/server/v3")
    cni = _required(_TOOLS / "cni", "github.com/containernetworking/plugins")
    return Programs(
        version,
        kubernetes,
        _install(go, _TOOLS / "etcd", f"etcd-{etcd}"),
        _install(go, _TOOLS / "cni", f"cni-{cni}"),
        _install(go, _TOOLS / "pause", "pause"),
    )


def module_file(version: str, own: str) -> str:
    """The go.mod that builds this version of Kubernetes; `own` is the one that it has itself.

    It names its staging modules as directories of its own tree, which count for nobody else.
    """
    staging = re.findall(r"(\S+) => \./staging", own)
    named = re.search(r"^go (1\.\d+)", own, re.MULTILINE)
    if not staging or not named:
        raise BuildError(f"the go.mod of {_KUBERNETES} {version} is not as it was")
    tools = "".join(f"\t{_KUBERNETES}/cmd/{command}\n" for command in _COMMANDS)
    beside = "".join(f"\t{module} => {module} v0.{version[2:]}\n" for module in staging)
    return (
        f"module lighterage/cluster/kubernetes\n\ngo 1.24.0\n\ngodebug default=go{named[1]}\n\n"
        f"tool (\n{tools})\n\nrequire {_KUBERNETES} v{version}\n\nreplace (\n{beside})\n"
    )


def _full(go: Path, version: str) -> str:
    """With its patch level: the pinned one, one that has been built, or the newest there is."""
    if not version or f"{pinned()}.".startswith(f"{version}."):
        return pinned()
    if not re.fullmatch(r"1\.\d+(\.\d+)?", version):
        raise BuildError(f"VERSION={version} is no version of Kubernetes: say 1.30 or 1.30.4")
    if version.count(".") == 2:
        return version
    built = [each.name.partition("-")[2] for each in cache().glob(f"kubernetes-{version}.*")]
    listed = built or _run([go, "list", "-m", "-versions", _KUBERNETES], cache()).split()
    patches = [
        int(found[1]) for each in listed if (found := re.fullmatch(rf"v?{version}\.(\d+)", each))
    ]
    if not patches:
        raise BuildError(f"there is no Kubernetes {version}")
    return f"{version}.{max(patches)}"


def _install_unpinned(go: Path, version: str) -> Path:
    module = cache() / "modules" / version
    with _only_one_builds(f"kubernetes-{version}"):
        if not (module / "go.sum").exists():
            module.mkdir(parents=True, exist_ok=True)
            described = _run([go, "mod", "download", "-json", f"{_KUBERNETES}@v{version}"], module)
            own = Path(json.loads(described)["Dir"], "go.mod").read_text()
            (module / "go.mod").write_text(module_file(version, own))
            _run([go_tools.toolchain(go), "mod", "tidy"], module, GOFLAGS="-mod=mod")
    return _install(go, module, f"kubernetes-{version}", version)


def _install(go: Path, module: Path, name: str, version: str = "") -> Path:
    """The programs of a module, in a directory of this name; built unless they are there."""
    directory, made_of = cache() / name, _made_of(module)
    stamp = directory / "stamp"
    with _only_one_builds(name):
        if not (stamp.exists() and stamp.read_text() == made_of):
            shutil.rmtree(directory, ignore_errors=True)
            _compile(go, module, directory, version)
            stamp.write_text(made_of)
    return directory


def _compile(go: Path, module: Path, directory: Path, version: str) -> None:
    flags = ["-s", "-w"]
    if version:
        major, minor, _ = version.split(".")
        values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
        flags += [
            f"-X {package}.{variable}={value}"
            for package in _VERSION_VARIABLES
            for variable, value in values.items()
        ]
    command: list[str | Path] = [
        go_tools.toolchain(go),
        "install",
        "-trimpath",
        f"-ldflags={' '.join(flags)}",
    ]
    what = "." if (module / "main.go").exists() else "tool"
    _run([*command, what], module, GOBIN=str(directory), CGO_ENABLED="0")


def _made_of(module: Path) -> str:
    files = sorted(path for path in module.iterdir() if path.suffix in {".mod", ".sum", ".go"})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _required(module: Path, name: str) -> str:
    """The version of a module that another one's go.mod requires."""
    found = re.search(rf"^\s*(?:require )?{re.escape(name)} v(\S+)", _mod(module), re.MULTILINE)
    if not found:
        raise BuildError(f"{module / 'go.mod'} does not require {name}")
    return found[1]


def _mod(module: Path) -> str:
    return (module / "go.mod").read_text()


def _run(command: list[str | Path], directory: Path, **environment: str) -> str:
    settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", **environment}
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took longer than {_TIMEOUT:g} s") from None
    if done.returncode:
        raise BuildError(done.stderr)
    return done.stdout


@contextlib.contextmanager
def _only_one_builds(name: str) -> Iterator[None]:
    """Make other checkouts' builds of the same programs wait: they want the same files."""
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
