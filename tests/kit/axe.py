"""axe-core, which finds what keeps people from using a page; npm fetches what the lock pins."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_LOCKED: Final = _ROOT / "tests/browser/axe"
_KEPT: Final = _ROOT / ".tools/axe"
_SCRIPT: Final = _KEPT / "node_modules/axe-core/axe.min.js"
_LOCK: Final = "package-lock.json"
_TIMEOUT: Final = 120.0


class InstallError(Exception):
    """It could not be installed; the message has what npm said."""


def find() -> Path | None:
    """The script to run in a page; None if it is not here, or the lock pins another one."""
    kept = _KEPT / _LOCK
    is_current = kept.exists() and kept.read_bytes() == (_LOCKED / _LOCK).read_bytes()
    return _SCRIPT if is_current and _SCRIPT.exists() else None


def install(npm: Path) -> None:
    """Install what the lock pins below `.tools`."""
    shutil.rmtree(_KEPT, ignore_errors=True)
    _KEPT.mkdir(parents=True)
    for name in ("package.json", _LOCK):
        shutil.copy(_LOCKED / name, _KEPT)
    try:
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=_KEPT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"npm did not end within {_TIMEOUT:g} s: {error.output}") from None
    if done.returncode:
        raise InstallError(done.stdout)
