"""What all commands share: the group, common options, settings and failure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Settings

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CONFIG = click.option("--config", type=FILE, help="Settings as YAML.")
DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Lighterage: a caching pull-through proxy for container registries."""


def load(config: Path | None, **arguments: Any) -> Settings:
    """Load a settings file, overridden by `arguments`; end the command if they are invalid."""
    from proxy import config as settings  # noqa: PLC0415 -- slow to import

    return read(lambda: settings.load(config, arguments=arguments))


def read(source: Callable[[], Settings]) -> Settings:
    """Call `source`; end the command if the settings are invalid."""
    from proxy.config import SettingsError  # noqa: PLC0415

    try:
        return source()
    except SettingsError as error:
        fail(str(error))


def from_arguments(
    *,
    listen: str | None = None,
    admin_listen: str | None = None,
    redis: str | None = None,
    data: Path | None = None,
    peer_listen: str | None = None,
    peers: str | None = None,
    peer_secret_file: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """The settings that the given arguments name."""
    given: dict[str, Any] = {"listen": listen, "data": data, "workers": workers}
    if admin_listen is not None:
        given["admin"] = {"listen": admin_listen}
    if redis is not None:
        given["manifests"] = {"store": "redis", "redis": {"url": redis}}
    replicas = {"listen": peer_listen, "discover": peers, "secret_file": peer_secret_file}
    given["peers"] = {key: value for key, value in replicas.items() if value is not None} or None
    return {key: value for key, value in given.items() if value is not None}


def fail(message: str) -> NoReturn:
    """End the command with status 1 and `message` on standard error."""
    for line in message.splitlines():
        click.echo(f"lighterage: {line}", err=True)
    sys.exit(1)
