"""The sources of settings beside the file: a directory of secrets, and the environment."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.config.origins import Source
from proxy.config.section import SettingsError, SettingsUnreadableError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ENVIRONMENT_PREFIX: Final = "LIGHTERAGE_"
SECRETS_DIRECTORY: Final = Path("/run/secrets/lighterage")
# Variables that are no settings: where settings are, and the number of a worker.
_NO_SETTINGS: Final = ("LIGHTERAGE_CONFIG", "LIGHTERAGE_SECRETS_DIR", "LIGHTERAGE_WORKER")
# Kubernetes sets these for a Service that is called lighterage.
_OF_KUBERNETES: Final = re.compile(r"LIGHTERAGE_(SERVICE_.*|PORT|PORT_.*)")
# And these for one whose name only begins so.
_OF_A_SERVICE: Final = re.compile(r"LIGHTERAGE_.*_(SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?)")


def secrets_directory(environ: Mapping[str, str]) -> Path:
    """The directory of secrets, which need not exist."""
    return Path(environ.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR", str(SECRETS_DIRECTORY)))


def read_secrets(directory: Path) -> Source:
    """Read files such as `upstreams__docker.io__credentials__password`.

    Kubernetes keeps files of its own there, whose names begin with a dot.
    """
    try:
        files = sorted(directory.iterdir()) if directory.is_dir() else []
    except OSError as error:
        raise SettingsUnreadableError(
            f"the secrets directory {directory} cannot be listed: {error.strerror}"
        ) from None
    merged = Source()
    for file in files:
        if not file.name.startswith("."):
            merged = merged.overridden_by(_read_secret(file))
    return merged


def _read_secret(file: Path) -> Source:
    """Read one secret; an empty source if `file` is not a file."""
    try:
        if not file.is_file():
            return Source()
        secret = file.read_text().strip()
    except OSError as error:
        raise SettingsUnreadableError(
            f"the secret {file} cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"the secret {file} is not UTF-8 text") from None
    return Source.of(_nest(file.name.split("__"), secret), f"the secret {file}")


def read_environment(environ: Mapping[str, str], known: Collection[str]) -> Source:
    """Read variables such as `LIGHTERAGE_BLOBS__MAX_SIZE`; arrays and objects are JSON.

    SettingsError for a variable that is no setting, unless Kubernetes sets it for a Service.
    """
    merged = Source()
    for name, value in environ.items():
        if (
            not name.startswith(ENVIRONMENT_PREFIX)
            or name in _NO_SETTINGS
            or _OF_KUBERNETES.fullmatch(name)
        ):
            continue
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if keys[0] not in known:
            raise SettingsError(f"{name}: there is no such setting; {_hint(name, known)}")
        merged = merged.overridden_by(Source.of(_nest(keys, _value(name, value)), name))
    return merged


def _hint(name: str, known: Collection[str]) -> str:
    if _OF_A_SERVICE.fullmatch(name):
        return (
            "if Kubernetes sets it for a Service, set enableServiceLinks: false in the pod's spec"
        )
    names = [*(f"{ENVIRONMENT_PREFIX}{key.upper()}" for key in known), *_NO_SETTINGS]
    head, separator, rest = name.partition("__")
    near = difflib.get_close_matches(head, names, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}{separator}{rest}?"
    return f"variables are called {ENVIRONMENT_PREFIX}GROUP__SETTING, as in LIGHTERAGE_TAGS__TTL"


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
