"""The programs that are built from Go modules, pinned where they are needed, into `.tools/bin`.

Debian's Go is older than what they need; the newer one comes as a Go module, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT: Final = Path(__file__).parents[1]
_BENCH: Final = _ROOT / "tests/bench/tools"
_HELM: Final = _ROOT / "tests/chart/tools"
_GATEWAY: Final = _ROOT / "tests/contract/tools"
_CONFORMANCE: Final = _ROOT / "tests/conformance/tools"
_IMAGE: Final = _ROOT / "tests/image/tools"
_CLIENTS: Final = _ROOT / "tests/e2e/tools"
# Each program, and the module that pins it. They are apart because none is to choose the
# versions of another one's dependencies.
_MODULES: Final = {
    "conformance": _CONFORMANCE,
    "crane": _CLIENTS / "crane",
    "cosign": _IMAGE,
    "docker113": _CLIENTS / "docker113",
    "ggcr": _CLIENTS / "ggcr",
    "helm": _HELM,
    "helm-unittest": _HELM,
    "registry": _BENCH,
    "versitygw": _GATEWAY,
}
NAMES: Final = tuple(_MODULES)
_BIN: Final = _ROOT / ".tools/bin"
_GO: Final = "1.26.8"
# Seconds. On two cores the first build takes four minutes, and the next one, from Go's cache, ten.
_PATIENCE: Final = 1200.0


class BuildError(Exception):
    """They cannot be built; the message has what Go said."""


def find(name: str) -> Path | None:
    """Where the program is, if it was built from what is pinned now."""
    path = _BIN / name
    return path if path.exists() and _is_current(_MODULES[name]) else None


def build(go: Path, names: Iterable[str]) -> None:
    """Build the programs `names`, with any `go` that can download a module."""
    newer = toolchain(go)
    for module in dict.fromkeys(_MODULES[name] for name in names):
        flags = f"-ldflags={_linked(module)}"
        _run([newer, "install", "-trimpath", flags, "tool"], module)
        _stamp(module).write_text(_pins(module))


def toolchain(go: Path) -> Path:
    """The pinned `go`, downloaded by any other one; BuildError if that fails."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    module = f"golang.org/toolchain@v0.0.1-go{_GO}.linux-{machine}"
    found = json.loads(_run([go, "mod", "download", "-json", module], _ROOT))
    root = Path(found["Dir"])
    # A module's files are not executable: go sets the bits itself where it fetches a toolchain.
    for program in (*root.glob("bin/*"), *root.glob(f"pkg/tool/linux_{machine}/*")):
        program.chmod(0o755)
    return root / "bin/go"


def _linked(module: Path) -> str:
    """What helm's own releases are linked with: without a cluster they assume its libraries'."""
    found = re.search(r"k8s.io/client-go v0\.(\d+)", (module / "go.mod").read_text())
    if not found:
        return "-s -w"
    variables = {
        f"helm.sh/helm/v3/pkg/{package}.k8sVersion{part}": number
        for package in ("chartutil", "lint/rules")
        for part, number in (("Major", "1"), ("Minor", found[1]))
    }
    return " ".join(("-s -w", *(f"-X {name}={value}" for name, value in variables.items())))


def _run(command: list[str | Path], directory: Path) -> str:
    environment = {"GOBIN": str(_BIN), "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took longer than {_PATIENCE:g} s") from None
    if done.returncode:
        raise BuildError(done.stderr)
    return done.stdout


def _stamp(module: Path) -> Path:
    """What says what the module's programs were built from."""
    name = module.parent.name if module.name == "tools" else module.name
    return _BIN / f"{name}.stamp"


def _is_current(module: Path) -> bool:
    stamp = _stamp(module)
    return stamp.exists() and stamp.read_text() == _pins(module)


def _pins(module: Path) -> str:
    # Some modules have a program of ours.
    sources = (module / "go.sum", *sorted(module.glob("*.go")))
    content = b"".join(source.read_bytes() for source in sources)
    return hashlib.sha256(content + f"{_GO} {_linked(module)}".encode()).hexdigest()
