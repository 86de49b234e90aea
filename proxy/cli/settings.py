"""Commands about settings: `check-config` and `config-schema`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from proxy.cli.checks import is_running, refuse_wrong, warnings_of
from proxy.cli.group import AS_JSON, CONFIG, load_with_origins, main, warn

if TYPE_CHECKING:
    from pathlib import Path


@main.command("check-config")
@CONFIG
@AS_JSON
def check_config(config: Path | None, *, as_json: bool) -> None:
    """Check the settings as `serve` does; exit status 1 if it would not start.

    Files are opened, and the addresses must be free or a running proxy's.
    """
    loaded = load_with_origins(config)
    refuse_wrong(loaded, ports_are_ours=is_running(loaded.settings))
    warnings = warnings_of(loaded)
    for warning in warnings:
        warn(warning)
    valid = {"valid": True, "warnings": warnings}
    click.echo(json.dumps(valid) if as_json else "the settings are valid")


@main.command("config-schema")
def config_schema() -> None:
    """Print the JSON schema of the settings."""
    from proxy.config import schema  # noqa: PLC0415

    click.echo(json.dumps(schema(), indent=2))
