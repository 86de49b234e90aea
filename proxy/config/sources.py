"""The sources of settings: a file, a directory of secrets, the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ENVIRONMENT_PREFIX: Final = "LIGHTERAGE_"
SECRETS_DIRECTORY: Final = Path("/run/secrets/lighterage")
# Errors that PyYAML does not wrap: invalid dates, numbers and tags, and deep nesting.
_UNREADABLE: Final = (ValueError, LookupError, AttributeError, RecursionError)


class SettingsError(Exception):
    """The settings are invalid; the message names the setting, and says what to do."""


class SettingsUnreadableError(SettingsError):
    """A source cannot be read at the moment; its content may be valid."""


def secrets_directory(environ: Mapping[str, str]) -> Path:
    """The directory of secrets, which need not exist."""
    return Path(environ.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR", str(SECRETS_DIRECTORY)))


def read_file(path: Path | None) -> dict[str, Any]:
    """Read a YAML file; an empty dictionary for None."""
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsUnreadableError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, *_UNREADABLE) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SettingsError(f"{path} is not YAML: {reason}") from None
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"{path} does not hold a mapping of settings")
    return content or {}


def read_secrets(directory: Path) -> dict[str, Any]:
    """Read files such as `upstreams__docker.io__credentials__password`.

    Kubernetes keeps files of its own there, whose names begin with a dot.
    """
    try:
        files = sorted(directory.iterdir()) if directory.is_dir() else []
    except OSError as error:
        raise SettingsUnreadableError(
            f"the secrets directory {directory} cannot be listed: {error.strerror}"
        ) from None
    merged: dict[str, Any] = {}
    for file in files:
        if not file.name.startswith("."):
            merged = merge(merged, _read_secret(file))
    return merged


def _read_secret(file: Path) -> dict[str, Any]:
    """Read one secret; an empty dictionary if `file` is not a file."""
    try:
        if not file.is_file():
            return {}
        secret = file.read_text().strip()
    except OSError as error:
        raise SettingsUnreadableError(
            f"the secret {file} cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"the secret {file} is not text") from None
    return _nest(file.name.split("__"), secret)


def read_environment(environ: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    """Read variables such as `LIGHTERAGE_BLOBS__MAX_SIZE`; arrays and objects are JSON.

    A name without `__` that is no setting is ignored, because Kubernetes sets LIGHTERAGE_PORT and
    the like for a Service of that name. A name with `__` is always a setting, and is checked.
    """
    merged: dict[str, Any] = {}
    for name, value in environ.items():
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if len(keys) > 1 or keys[0] in known:
            merged = merge(merged, _nest(keys, _value(name, value)))
    return merged


def _value(name: str, text: str) -> object:
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"{name} starts like JSON, but is not JSON") from None


def _nest(keys: list[str], value: object) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)  # noqa: S101 -- there is at least one key
    return value


def merge(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sources group by group; values of `strong` override those of `weak`."""
    both = {
        key: merge(weak[key], strong[key])
        for key in weak.keys() & strong.keys()
        if isinstance(weak[key], dict) and isinstance(strong[key], dict)
    }
    return {**weak, **strong, **both}
