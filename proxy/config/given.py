"""What `lighterage serve` was given, from which its settings can be read again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.config.settings import load
from proxy.config.sources import secrets_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Given:
    """A file, and what the arguments say besides; secrets directory and environment are read too.

    `upstream` is the URL that takes the default upstream's place.
    """

    path: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    upstream: str | None = None

    @property
    def secrets(self) -> Path:
        """The secrets directory, which need not exist."""
        return secrets_directory(os.environ)

    def load(self) -> Settings:
        """The settings as they are now; SettingsError if they cannot be used."""
        return load(self.path, arguments=self.arguments, upstream=self.upstream)
