"""Sizes and times as text."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def human(size: float) -> str:
    """Format a size in bytes, such as 1.5 GiB."""
    for unit in _UNITS[:-1]:
        if size < 1024:  # noqa: PLR2004 -- as in KiB
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def ago(seconds: float) -> str:
    """Format an age in seconds, such as 3 h ago."""
    if seconds < _HOUR:
        return f"{max(0, seconds) / _MINUTE:.0f} min ago"
    return f"{seconds / _HOUR:.0f} h ago" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} d ago"
