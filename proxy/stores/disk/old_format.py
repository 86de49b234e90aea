"""Data directories of earlier formats: their blobs are used, and the rest is learned again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# What format 1 had in it: a file for each fact, and a cache of them.
_NAMES: Final = ("records", "manifests.sqlite3")


def describe_old_format(data: Path) -> str | None:
    """What is left of an earlier format in a data directory, for a warning; None if nothing is."""
    found = [name for name in _NAMES if (data / name).exists()]
    if not found:
        return None
    paths = " and ".join(str(data / name) for name in found)
    return (
        f"the data directory has an earlier format: its blobs are used, everything else is learned "
        f"again from the upstreams; remove {paths} to end this warning"
    )
