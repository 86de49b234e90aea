"""Commands for a running proxy: `status`, `health` and `purge`."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from proxy.cli.group import AS_JSON, CONFIG, FAILED, NOT_WELL, USAGE, fail, load, main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.config import Settings


ADMIN = click.option(
    "--admin",
    metavar="HOST:PORT",
    help="The admin listener of the proxy; by default that of the settings.",
)
# Nothing has the name, or it is no name.
_NO_SUCH_NAME = frozenset({400, 404})
# Seconds: less than a health check may take.
_ALIVE_WITHIN = 4.0
# In seconds.
_WATCH_EVERY = 2.0


@main.command()
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@ADMIN
@CONFIG
@AS_JSON
def status(admin: str | None, config: Path | None, *, watch: bool, as_json: bool) -> None:
    """Show the state of a running proxy: the status page as text.

    Exit status 3 if the proxy is not ready. With --watch and --json each document is one line.
    """
    from proxy.cli.status_text import describe  # noqa: PLC0415

    def show() -> bool:
        answer = ask_proxy("/status", admin, config)
        if watch and sys.stdout.isatty():
            click.clear()
        indent = None if watch else 2
        click.echo(json.dumps(answer, indent=indent) if as_json else "\n".join(describe(answer)))
        return bool(answer["health"]["ready"])

    is_ready = show()
    with suppress(KeyboardInterrupt):
        while watch:
            time.sleep(_WATCH_EVERY)
            is_ready = show()
    if not is_ready:
        raise click.exceptions.Exit(NOT_WELL)


@main.command()
@ADMIN
@CONFIG
def health(admin: str | None, config: Path | None) -> None:
    """Ask a running proxy whether it is alive; exit status 1 if it is not.

    The image's health check: beside `serve` in a container it finds the admin listener by the
    arguments of `serve`. No token is needed.
    """
    from proxy.cli.admin_client import RemoteError, address_of, check_alive  # noqa: PLC0415

    try:
        check_alive(admin or address_of(serving_settings(config)), _ALIVE_WITHIN)
    except RemoteError as error:
        fail(str(error))
    click.echo("alive")


@main.command()
@click.argument("image", metavar="REPOSITORY[:TAG|@DIGEST]")
@click.option("--content", is_flag=True, help="Also remove the image's manifests and blobs.")
@ADMIN
@CONFIG
@AS_JSON
def purge(
    image: str, admin: str | None, config: Path | None, *, content: bool, as_json: bool
) -> None:
    """Make the next pull of a tag, or of all tags of a repository, ask the upstream.

    Cached images stay, and can still be pulled by digest, unless --content removes them: the
    manifests, what was made of them, and the blobs that no other repository has. Exit status 2 if
    nothing is cached.
    """
    request = _purge_request(image) | ({"content": True} if content else {})
    answer = ask_proxy("/purge", admin, config, request)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    what = answer["reference"] or "every tag"
    removed = ", and the content is removed" if answer.get("content") else ""
    click.echo(f"{answer['purged']}: the next pull of {what} asks the upstream{removed}")


def ask_proxy(
    path: str,
    admin: str | None,
    config: Path | None,
    content: Mapping[str, object] | None = None,
    *,
    method: str | None = None,
) -> dict[str, Any]:
    """The JSON answer of the admin listener; ends the command if there is none."""
    from proxy.cli.admin_client import RemoteError, ask  # noqa: PLC0415

    address, token = admin_listener(config)
    try:
        return ask(admin or address, path, content, method=method, token=token)
    except RemoteError as error:
        fail(str(error), USAGE if error.status in _NO_SUCH_NAME else FAILED)


def admin_listener(config: Path | None) -> tuple[str, str | None]:
    """The address of the admin listener, and its token if it wants one, as the settings say.

    Ends the command if the token cannot be read.
    """
    settings = serving_settings(config)
    from proxy.cli.admin_client import address_of  # noqa: PLC0415

    file = settings.admin.token_file
    try:
        token = None if file is None else file.read_text().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        fail(f"admin.token_file: {file} cannot be read: {reason}")
    return address_of(settings), token


def serving_settings(config: Path | None) -> Settings:
    """The settings; in a container, also as the arguments of its `lighterage serve` say."""
    from proxy.cli.first_process import serving_arguments  # noqa: PLC0415

    given, arguments = serving_arguments()
    return load(config or given, **arguments)


def _purge_request(image: str) -> dict[str, object]:
    from proxy.errors import RegistryError  # noqa: PLC0415
    from proxy.oci.reference import Digest, parse_image  # noqa: PLC0415

    try:
        repository, reference = parse_image(image)
    except RegistryError as error:
        fail(error.message, USAGE)
    kind = "digest" if isinstance(reference, Digest) else "tag"
    return {"repository": repository, kind: reference}
