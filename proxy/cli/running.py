"""Commands for a running proxy: `status` and `purge`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from proxy.cli.group import CONFIG, fail, load, main

if TYPE_CHECKING:
    from pathlib import Path

_ADMIN = click.option(
    "--admin",
    metavar="HOST:PORT",
    default="127.0.0.1:5080",
    show_default=True,
    help="The admin listener of the proxy.",
)


@main.command()
@_ADMIN
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(admin: str, config: Path | None, *, as_json: bool) -> None:
    """Show the state of a running proxy: answers, upstreams, their circuits and rate limits."""
    from proxy.cli.admin_client import RemoteError, ask, describe  # noqa: PLC0415

    try:
        answer = ask(admin, "/status", token=_token(config))
    except RemoteError as error:
        fail(str(error))
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(describe(answer)))


@main.command()
@click.argument("image", metavar="REPOSITORY[:TAG|@DIGEST]")
@_ADMIN
@CONFIG
def purge(image: str, admin: str, config: Path | None) -> None:
    """Make the next pull of a tag, or of all tags of a repository, ask the upstream.

    Cached images stay, and can still be pulled by digest.
    """
    from proxy.cli.admin_client import RemoteError, ask  # noqa: PLC0415

    try:
        answer = ask(admin, "/purge", _purge_request(image), token=_token(config))
    except RemoteError as error:
        fail(str(error))
    what = answer["reference"] or "every tag"
    click.echo(f"{answer['purged']}: the next pull of {what} asks the upstream")


def _token(config: Path | None) -> str | None:
    """The token of the admin listener that the settings name."""
    file = load(config).admin.token_file
    try:
        return None if file is None else file.read_text().strip()
    except (OSError, ValueError) as error:
        fail(f"admin.token_file cannot be read: {error}")


def _purge_request(image: str) -> dict[str, object]:
    """Parse `image`: a colon after the last slash begins a tag, an earlier one a port."""
    repository, at, digest = image.partition("@")
    if at:
        return {"repository": repository, "digest": digest}
    path, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return {"repository": path + slash + name, "tag": tag if colon else None}
