"""Platforms: parsing and matching (image spec, "platform")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

_OS: Final = {"macos": "darwin"}
_ARCHITECTURES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
# The variant that a platform without one means.
_USUAL_VARIANT: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_VARIANT: Final = re.compile(r"v?([0-9]{1,3}(?:\.[0-9]{1,3})?)")
# Distances beyond those of all lower variants.
_HIGHER_VARIANT: Final = 1e4
_UNKNOWN_VARIANT: Final = 1e5


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system, an architecture and an optional variant."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `os/architecture[/variant]`; ValueError for anything else."""
        os, architecture, variant = [*text.split("/"), "", ""][:3]
        if not os or not architecture or text.count("/") > (2 if variant else 1):
            raise ValueError(f"{text!r} is not os/architecture or os/architecture/variant")
        return cls(os, architecture, variant)

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Read a descriptor's `platform`; None if it is missing, empty or malformed."""
        if not isinstance(value, Mapping):
            return None
        os, architecture = value.get("os"), value.get("architecture")
        variant = value.get("variant")
        if not isinstance(os, str) or not isinstance(architecture, str):
            return None
        if not os and not architecture:
            return None
        return cls(os, architecture, variant if isinstance(variant, str) else "")

    def serves(self, wanted: Platform) -> bool:
        """Whether an image for this platform can run on `wanted`."""
        return self.distance(wanted) is not None

    def distance(self, wanted: Platform) -> float | None:
        """How far an image for this platform is from the best for `wanted`; None if it serves not.

        As in containerd (platforms.Normalize and platformVector): arm64 without a variant is v8,
        arm is v7 and amd64 is v1, and a CPU runs the images of lower variants. If `wanted` has no
        variant, higher ones serve, too, after the others: the oldest CPU is the safe choice.
        """
        if (_OS.get(self.os, self.os), self._machine) != (
            _OS.get(wanted.os, wanted.os),
            wanted._machine,
        ):
            return None
        offered, best = self._level, wanted._level
        if offered is None or best is None:
            same = self.variant == wanted.variant
            return 0 if same else None if wanted.variant else _UNKNOWN_VARIANT
        if offered <= best:
            return best - offered
        return None if wanted.variant else _HIGHER_VARIANT + offered

    @property
    def _machine(self) -> str:
        return _ARCHITECTURES.get(self.architecture, self.architecture)

    @property
    def _level(self) -> float | None:
        """The number of the variant; None if it is unknown, or the architecture has none."""
        if (usual := _USUAL_VARIANT.get(self._machine)) is None:
            return None
        found = _VARIANT.fullmatch(self.variant or usual)
        return None if found is None else float(found[1])

    def __str__(self) -> str:
        """The usual notation, such as `linux/arm64/v8`."""
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))
