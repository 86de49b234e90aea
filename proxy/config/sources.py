"""Where settings come from: a file, a directory of secrets, the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ENVIRONMENT_PREFIX: Final = "LIGHTERAGE_"
SECRETS_DIRECTORY: Final = Path("/run/secrets/lighterage")
# What PyYAML lets through of dates, numbers and tags that are none, and of deep nesting.
_UNREADABLE: Final = (ValueError, LookupError, AttributeError, RecursionError)


class SettingsError(Exception):
    """The settings cannot be used; the message says which one, and what to do."""


class SettingsUnreadableError(SettingsError):
    """A source cannot be read at the moment; its content is not to blame."""


def secrets_directory(environ: Mapping[str, str]) -> Path:
    """Where the secrets are, whether there are any or not."""
    return Path(environ.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR", str(SECRETS_DIRECTORY)))


def read_file(path: Path | None) -> dict[str, Any]:
    """What a YAML file says; nothing if there is none to read."""
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
    """Files such as `upstreams__docker.io__credentials__password`; dot files are Kubernetes'."""
    try:
        files = sorted(directory.iterdir()) if directory.is_dir() else []
    except OSError as error:
        raise SettingsUnreadableError(
            f"the secrets directory {directory} cannot be listed: {error.strerror}"
        ) from None
    merged: dict[str, Any] = {}
    for file in files:
        if not file.name.startswith("."):
            merged = merged_with(merged, _read_secret(file))
    return merged


def _read_secret(file: Path) -> dict[str, Any]:
    """One secret in its place; nothing for what is no file."""
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
    return _nested(file.name.split("__"), secret)


def read_environment(environ: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    """`LIGHTERAGE_BLOBS__MAX_SIZE`; a JSON value where it starts like an array or an object.

    A name without `__` that is no setting is left alone: Kubernetes sets LIGHTERAGE_PORT and the
    like for a Service of that name. One with `__` is meant for us, and is checked.
    """
    merged: dict[str, Any] = {}
    for name, value in environ.items():
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if len(keys) > 1 or keys[0] in known:
            merged = merged_with(merged, _nested(keys, _value(name, value)))
    return merged


def _value(name: str, text: str) -> object:
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"{name} starts like JSON, but is none") from None


def _nested(keys: list[str], value: object) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)  # noqa: S101 -- there is at least one key
    return value


def merged_with(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """`weak` with all that `strong` says in its place, group by group."""
    both = {
        key: merged_with(weak[key], strong[key])
        for key in weak.keys() & strong.keys()
        if isinstance(weak[key], dict) and isinstance(strong[key], dict)
    }
    return {**weak, **strong, **both}
