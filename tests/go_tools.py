"""The programs that are built from Go modules, pinned in `tests/chart/tools`, into `.tools/bin`.

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
from typing import Final

NAMES: Final = ("helm", "helm-unittest")
_ROOT: Final = Path(__file__).parents[1]
_MODULE: Final = _ROOT / "tests/chart/tools"
_BIN: Final = _ROOT / ".tools/bin"
# What the programs in _BIN were built from.
_STAMP: Final = _BIN / "go.stamp"
_GO: Final = "1.26.8"
# Seconds. On two cores the first build takes three minutes, and the next one, from Go's cache, ten.
_PATIENCE: Final = 1200.0


class BuildError(Exception):
    """They cannot be built; the message has what Go said."""


def find(name: str) -> Path | None:
    """Where the program is, if it was built from what is pinned now."""
    path = _BIN / name
    return path if path.exists() and _STAMP.exists() and _STAMP.read_text() == _pins() else None


def build(go: Path) -> None:
    """Build all of them, with any `go` that can download a module."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    toolchain = f"golang.org/toolchain@v0.0.1-go{_GO}.linux-{machine}"
    found = json.loads(_run([go, "mod", "download", "-json", toolchain], _ROOT))
    root = Path(found["Dir"])
    # A module's files are not executable: go sets the bits itself where it fetches a toolchain.
    for program in (*root.glob("bin/*"), *root.glob(f"pkg/tool/linux_{machine}/*")):
        program.chmod(0o755)
    _run([root / "bin/go", "install", "-trimpath", f"-ldflags={_linked()}", "tool"], _MODULE)
    _STAMP.write_text(_pins())


def _linked() -> str:
    """What helm's own releases are linked with: without a cluster they assume its libraries'."""
    found = re.search(r"k8s.io/client-go v0\.(\d+)", (_MODULE / "go.mod").read_text())
    assert found
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


def _pins() -> str:
    return hashlib.sha256(
        (_MODULE / "go.sum").read_bytes() + f"{_GO} {_linked()}".encode()
    ).hexdigest()
