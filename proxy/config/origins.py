"""Where each setting was said: a place in a file, a secret, a variable or an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The keys that lead to a setting: `("tags", "rules", 0, "ttl")`.
Place: TypeAlias = tuple[str | int, ...]

# The flags of `serve` and of the maintenance commands.
_FLAGS: Final[Mapping[Place, str]] = {
    ("listen",): "--listen",
    ("admin", "listen"): "--admin-listen",
    ("data",): "--data",
    ("workers",): "--workers",
    ("peers", "listen"): "--peer-listen",
    ("peers", "discover"): "--peers",
    ("peers", "secret_file"): "--peer-secret-file",
    ("manifests", "store"): "--redis",
    ("manifests", "redis", "url"): "--redis",
    ("blobs", "max_size"): "--max-size",
    ("blobs", "scrub_rate"): "--rate",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Settings, and the origin of each. Later sources override earlier ones."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: Mapping[Place, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any], origin: str) -> Source:
        """All of `values` from one place."""
        return cls(dict(values), dict.fromkeys(_leaves(values), origin))

    @classmethod
    def of_arguments(cls, values: Mapping[str, Any]) -> Source:
        """What the command line says."""
        flags = {leaf: _FLAGS[leaf] for leaf in _leaves(values) if leaf in _FLAGS}
        return cls(dict(values), flags)

    def overridden_by(self, strong: Source) -> Source:
        """Merge group by group; values of `strong` override those of this source."""
        replaced = set(_leaves(strong.values))
        kept = {
            place: origin
            for place, origin in self.origins.items()
            if not any(place[: len(leaf)] == leaf for leaf in replaced)
        }
        return Source(merge(self.values, strong.values), {**kept, **strong.origins})

    def find(self, place: Place) -> str | None:
        """The origin of the setting at `place`, or of the nearest one around it; None if none."""
        for length in range(len(place), 0, -1):
            part = place[:length]
            if part in self.origins:
                return self.origins[part]
            below = (origin for at, origin in self.origins.items() if at[:length] == part)
            if (origin := next(below, None)) is not None:
                return origin
        return None

    def exactly(self, place: Place) -> str | None:
        """The origin of the setting at `place`; None if it is a default."""
        for length in range(len(place), 0, -1):
            if (origin := self.origins.get(place[:length])) is not None:
                value = self._value(place[:length])
                # A group that is there does not say each of its settings.
                return origin if length == len(place) or not isinstance(value, dict) else None
        return None

    def _value(self, place: Place) -> object:
        value: Any = self.values
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def _leaves(values: Mapping[str, Any], above: Place = ()) -> Iterator[Place]:
    """The places of all settings that are no groups; an empty group counts as one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key)


def merge(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sources group by group; values of `strong` override those of `weak`."""
    both = {
        key: merge(weak[key], strong[key])
        for key in weak.keys() & strong.keys()
        if isinstance(weak[key], dict) and isinstance(strong[key], dict)
    }
    return {**weak, **strong, **both}
