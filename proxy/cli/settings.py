"""Commands about settings: `check-config`, `config-schema` and `client-config`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from proxy.cli.checks import refuse_wrong, warn_of_unreadable
from proxy.cli.group import CONFIG, load, load_with_origins, main

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Settings

# The keys of `proxy.cli.client_files.CLIENTS`.
_CLIENTS = ("containerd", "docker", "podman")


@main.command("check-config")
@CONFIG
def check_config(config: Path | None) -> None:
    """Check the settings as `serve` does; exit status 1 if it would not start.

    Files are opened, and the addresses must be free or a running proxy's.
    """
    loaded = load_with_origins(config)
    refuse_wrong(loaded, ports_are_ours=_is_running(loaded.settings))
    warn_of_unreadable(loaded)
    click.echo("the settings are valid")


def _is_running(settings: Settings) -> bool:
    """Whether a proxy answers at the admin listener of these settings."""
    from proxy.cli.admin_client import RemoteError, address_of, ask  # noqa: PLC0415

    try:
        return "warnings" in ask(address_of(settings), "/readyz", refused_is_answer=True)
    except RemoteError:
        return False


@main.command("config-schema")
def config_schema() -> None:
    """Print the JSON schema of the settings."""
    from proxy.config import schema  # noqa: PLC0415

    click.echo(json.dumps(schema(), indent=2))


@main.command("client-config")
@click.argument("client", type=click.Choice(_CLIENTS))
@CONFIG
@click.option("--address", metavar="URL", help="The address at which the client reaches the proxy.")
def client_config(client: str, config: Path | None, address: str | None) -> None:
    """Print the configuration of a CLIENT that pulls through this proxy.

    Remarks about what the files cannot express are printed on standard error.
    """
    settings = load(config)
    from proxy.cli.client_files import CLIENTS, ProxyAddress  # noqa: PLC0415 -- see the package's docstring

    files = list(CLIENTS[client](settings, ProxyAddress.of(settings, address)))
    for number, file in enumerate(files):
        if not file.path.endswith(".json"):  # which has no comments
            click.echo(("\n" if number else "") + f"# {file.path}")
        click.echo(file.text, nl=False)
        for remark in file.remarks:
            click.echo(remark, err=True)
