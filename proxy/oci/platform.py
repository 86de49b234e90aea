"""Platforms: parsing and matching (image spec, "platform")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


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
        """Read a descriptor's `platform`; None if it is missing or malformed."""
        if not isinstance(value, Mapping):
            return None
        os, architecture = value.get("os"), value.get("architecture")
        variant = value.get("variant")
        if not isinstance(os, str) or not isinstance(architecture, str):
            return None
        return cls(os, architecture, variant if isinstance(variant, str) else "")

    def serves(self, wanted: Platform) -> bool:
        """Whether an image for this platform matches `wanted`.

        The variant is compared only if `wanted` has one. arm64 without a variant is v8, and arm
        is v7, as in containerd (platforms.Normalize).
        """
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        return not wanted.variant or wanted.variant == (self.variant or self._usual_variant())

    def _usual_variant(self) -> str:
        return {"arm64": "v8", "arm": "v7"}.get(self.architecture, "")

    def __str__(self) -> str:
        """The usual notation, such as `linux/arm64/v8`."""
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))
