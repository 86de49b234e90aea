"""A setting that would keep the proxy from starting."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Place: TypeAlias = tuple[str | int, ...]


class Wrong(NamedTuple):
    """A setting, and what is wrong with it."""

    place: Place
    message: str
