"""Settings looked at: `check-config`, `config-schema`, and `client-config`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from proxy.cli.group import CONFIG, load, main

if TYPE_CHECKING:
    from pathlib import Path

# As `proxy.cli.client_files.CLIENTS` has them.
_CLIENTS = ("containerd", "docker", "podman")


@main.command("check-config")
@CONFIG
def check_config(config: Path | None) -> None:
    """Check the settings as `serve` would read them; exit status 1 if it would refuse."""
    load(config)
    click.echo("the settings are good")


@main.command("config-schema")
def config_schema() -> None:
    """Print the JSON schema of the settings."""
    from proxy.config import schema  # noqa: PLC0415

    click.echo(json.dumps(schema(), indent=2))


@main.command("client-config")
@click.argument("client", type=click.Choice(_CLIENTS))
@CONFIG
@click.option("--address", metavar="URL", help="Where the client reaches the proxy.")
def client_config(client: str, config: Path | None, address: str | None) -> None:
    """Print what belongs into the configuration of a CLIENT that pulls through this proxy.

    What cannot be said there goes to standard error.
    """
    settings = load(config)
    from proxy.cli.client_files import CLIENTS, Reached  # noqa: PLC0415 -- see the package's docstring

    files = list(CLIENTS[client](settings, Reached.of(settings, address)))
    for number, file in enumerate(files):
        if not file.path.endswith(".json"):  # which has no comments
            click.echo(("\n" if number else "") + f"# {file.path}")
        click.echo(file.text, nl=False)
        for remark in file.remarks:
            click.echo(remark, err=True)
