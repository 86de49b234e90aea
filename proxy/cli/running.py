"""Commands for a running proxy: `status` and `purge`."""

from __future__ import annotations

import json

import click

from proxy.cli.group import fail, main

_ADMIN = click.option(
    "--admin",
    metavar="HOST:PORT",
    default="127.0.0.1:5080",
    show_default=True,
    help="The admin listener of the proxy.",
)


@main.command()
@_ADMIN
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(admin: str, *, as_json: bool) -> None:
    """Show the state of a running proxy: answers, upstreams, their circuits and rate limits."""
    from proxy.cli.admin_client import RemoteError, ask, describe  # noqa: PLC0415

    try:
        answer = ask(admin, "/status")
    except RemoteError as error:
        fail(str(error))
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(describe(answer)))


@main.command()
@click.argument("image", metavar="REPOSITORY[:TAG|@DIGEST]")
@_ADMIN
def purge(image: str, admin: str) -> None:
    """Make the next pull of a tag, or of all tags of a repository, ask the upstream.

    Cached images stay, and can still be pulled by digest.
    """
    from proxy.cli.admin_client import RemoteError, ask  # noqa: PLC0415

    try:
        answer = ask(admin, "/purge", _purge_request(image))
    except RemoteError as error:
        fail(str(error))
    what = answer["reference"] or "every tag"
    click.echo(f"{answer['purged']}: the next pull of {what} asks the upstream")


def _purge_request(image: str) -> dict[str, object]:
    """Parse `image`: a colon after the last slash begins a tag, an earlier one a port."""
    repository, at, digest = image.partition("@")
    if at:
        return {"repository": repository, "digest": digest}
    path, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return {"repository": path + slash + name, "tag": tag if colon else None}
