"""A proxy that runs, asked at its admin listener: `status` and `purge`."""

from __future__ import annotations

import json

import click

from proxy.cli.group import fail, main

_ADMIN = click.option(
    "--admin",
    metavar="HOST:PORT",
    default="127.0.0.1:5080",
    show_default=True,
    help="The admin listener of the proxy that is meant.",
)


@main.command()
@_ADMIN
@click.option("--json", "as_json", is_flag=True, help="As JSON, for a program.")
def status(admin: str, *, as_json: bool) -> None:
    """Show how a proxy that runs is doing: its upstreams, their rate limits, what it served."""
    from proxy.cli.admin_client import RemoteError, ask, described  # noqa: PLC0415

    try:
        answer = ask(admin, "/status")
    except RemoteError as error:
        fail(str(error))
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(described(answer)))


@main.command()
@click.argument("image", metavar="REPOSITORY[:TAG|@DIGEST]")
@_ADMIN
def purge(image: str, admin: str) -> None:
    """Have a proxy that runs ask its upstream again for what changes: a tag, or all tags.

    Images that are in the cache stay there, and can still be pulled by digest.
    """
    from proxy.cli.admin_client import RemoteError, ask  # noqa: PLC0415

    try:
        answer = ask(admin, "/purge", _purged(image))
    except RemoteError as error:
        fail(str(error))
    what = answer["reference"] or "everything that changes"
    click.echo(f"{answer['purged']}: {what} is asked for again")


def _purged(image: str) -> dict[str, object]:
    """A colon behind the last slash begins a tag; another one belongs to a port."""
    repository, at, digest = image.partition("@")
    if at:
        return {"repository": repository, "digest": digest}
    path, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return {"repository": path + slash + name, "tag": tag if colon else None}
