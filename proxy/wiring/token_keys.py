"""The file with the keys of tokens, as the settings name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.access.tokens import TokenKeys, Tokens
from proxy.kit.watched_files import entry
from proxy.stores.disk.secret_file import load_or_create_secret

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Settings

_log = structlog.get_logger()


def open_keys(settings: Settings, warnings: dict[str, str]) -> KeyFile:
    """The keys of tokens; without `access.token_key_file` a file of our own, which is made.

    OSError or ValueError for a file that cannot be used.
    """
    path = settings.access.token_key_file
    if path is None:
        path = settings.data / "token-key"
        load_or_create_secret(path)
    return KeyFile(path, warnings)


class KeyFile:
    """The keys of tokens, which are read again when their file changes."""

    def __init__(self, path: Path, warnings: dict[str, str]) -> None:
        """`warnings` are those of /readyz. OSError or ValueError."""
        self._path = path
        self._warnings = warnings
        self._seen = entry(path)
        self.tokens = Tokens(_read_keys(path))

    def look(self) -> bool:
        """Read the file if it has changed; whether other keys are used now.

        One that cannot be used is a warning.
        """
        found = entry(self._path)
        if found == self._seen:
            return False
        self._seen = found
        try:
            self.tokens.adopt(_read_keys(self._path))
        except (OSError, ValueError) as error:
            reason = f"access.token_key_file was not taken over: {error}"
            self._warnings["token_key"] = reason
            _log.error("token_key.refused", reason=reason)
            return False
        self._warnings.pop("token_key", None)
        _log.info("token_key.adopted")
        return True


def _read_keys(path: Path) -> TokenKeys:
    try:
        return TokenKeys.parse(path.read_text())
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
