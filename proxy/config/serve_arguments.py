"""The file and arguments of `lighterage serve`, from which its settings can be read again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.config.settings import read
from proxy.config.sources import secrets_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.config.settings import Loaded, Settings


@dataclass(frozen=True, slots=True)
class ServeArguments:
    """The sources of the settings; the secrets directory and the environment are read, too.

    `path` is the settings file. `arguments` are the settings that the command line names.
    `upstream` is the URL that replaces the default upstream. `log_as_text`: the log is for people.
    """

    path: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    upstream: str | None = None
    log_as_text: bool = False

    @property
    def secrets(self) -> Path:
        """The secrets directory, which need not exist."""
        return secrets_directory(os.environ)

    def read(self) -> Loaded:
        """Read the sources; SettingsError if they are invalid."""
        return read(self.path, arguments=self.arguments, upstream=self.upstream)

    def load(self) -> Settings:
        """The settings of `read`."""
        return self.read().settings
