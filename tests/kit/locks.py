"""What the lock files pin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

_ROOT: Final = Path(__file__).parents[2]


def pins(lock: str) -> dict[str, tuple[str, str]]:
    """Each package's version, and all that stands below its pin: hashes, and why it is there."""
    entries = re.split(r"^(?=[a-z0-9])", (_ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    pinned: dict[str, tuple[str, str]] = {}
    for entry in entries:
        requirement, _, below = entry.partition("\\\n")
        name, _, version = requirement.partition(";")[0].partition("==")
        pinned[canonicalize_name(name)] = (version.strip(), below)
    return pinned
