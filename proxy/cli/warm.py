"""`lighterage warm`: have images in the cache before their clients come."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.cli.group import AS_JSON, CONFIG, FAILED, FILE, USAGE, fail, main
from proxy.cli.questions import CLIENTS, IMAGE
from proxy.cli.running import ADMIN, admin_listener, serving_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.cli.warming import ImageName, Warmed
    from proxy.oci.platform import Platform

_MOST_AT_ONCE = 32


class _List(click.ParamType[Path]):
    """A file, or `-` for standard input."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(value) if str(value) == "-" else FILE.convert(value, param, ctx)


@main.command()
@click.argument("images", metavar=f"[{IMAGE}]...", nargs=-1)
@click.option(
    "--file",
    "listed",
    type=_List(),
    metavar="LIST",
    help="Also the images in this file, one a line; # begins a comment, and - is standard input.",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCHITECTURE[/VARIANT]",
    help="Of an image for several platforms, this one only; may be repeated. By default all.",
)
@click.option("--as", "client", type=click.Choice(CLIENTS), help="Pull as this client would.")
@click.option("--keep", is_flag=True, help="What is pulled is not evicted: see lighterage kept.")
@click.option(
    "--jobs",
    type=click.IntRange(1, _MOST_AT_ONCE),
    default=4,
    show_default=True,
    help="How many images are pulled at once.",
)
@click.option(
    "--registry",
    metavar="HOST:PORT",
    help="The registry listener of the proxy; by default that of the settings.",
)
@click.option("--user", metavar="NAME", help="Log in as this user.")
@click.option(
    "--password-file", type=FILE, help="The user's password; it is asked for if this is missing."
)
@ADMIN
@CONFIG
@AS_JSON
def warm(
    images: tuple[str, ...],
    *,
    listed: Path | None,
    platforms: tuple[str, ...],
    client: str | None,
    keep: bool,
    jobs: int,
    registry: str | None,
    user: str | None,
    password_file: Path | None,
    admin: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Pull images into the cache of the running proxy.

    What is stored is not fetched again, so a run that was interrupted can be repeated. Images are
    pulled as containerd pulls them, in their stored form; with --as, the conversion for that client
    is made and stored. Exit status 2 if the only failures are images that do not exist.
    """
    from proxy.cli.listener_client import (  # noqa: PLC0415 -- slow
        ListenerAddress,
        ListenerClient,
        PullError,
    )
    from proxy.cli.warm_report import document, lines, run  # noqa: PLC0415
    from proxy.cli.warming import Plan, Warming  # noqa: PLC0415
    from proxy.oci.clients import CLIENTS as ACCEPTED  # noqa: PLC0415

    if password_file is not None and user is None:
        fail("--password-file is of no use without --user", USAGE)
    names, wanted = _names([*images, *_read(listed)]), _platforms(platforms)
    settings = serving_settings(config)
    login = None if user is None else (user, _password(password_file))
    try:
        address = ListenerAddress.of(settings, registry, login)
        ListenerClient(address).check()
    except PullError as error:
        fail(str(error))
    keeper = _keeper(config, admin) if keep else None
    plan = Plan(names, ACCEPTED[client or "containerd"], wanted, keeper)
    warming = Warming(address, plan, at_once=jobs)
    warmed = run(warming, is_quiet=as_json)
    click.echo(json.dumps(document(warmed), indent=2) if as_json else "\n".join(lines(warmed)))
    _end(warmed)


def _keeper(config: Path | None, admin: str | None) -> Callable[[Warmed], None]:
    """What has the proxy keep an image; PullError if it does not."""
    from proxy.cli.admin_client import RemoteError, ask  # noqa: PLC0415
    from proxy.cli.listener_client import PullError  # noqa: PLC0415

    address, token = admin_listener(config)

    def keep(warmed: Warmed) -> None:
        content = {
            "image": warmed.image.text,
            "manifests": warmed.manifests,
            "blobs": warmed.blobs,
        }
        try:
            ask(admin or address, "/kept", content, token=token)
        except RemoteError as error:
            raise PullError(f"it is in the cache, but not kept: {error}") from None

    return keep


def _end(warmed: list[Warmed]) -> None:
    failed = [each for each in warmed if each.error is not None]
    if failed:
        sys.exit(USAGE if all(each.is_unknown for each in failed) else FAILED)


def _names(texts: Iterable[str]) -> list[ImageName]:
    """The images, each once; ends the command if there are none, or one is no image's name."""
    from proxy.cli.warming import ImageName  # noqa: PLC0415
    from proxy.errors import RegistryError  # noqa: PLC0415

    names: dict[str, ImageName] = {}
    for text in texts:
        try:
            names[text] = ImageName.parse(text)
        except RegistryError as error:
            fail(f"{text[:200]!r}: {error.message}", USAGE)
    if not names:
        fail("name an image, or a --file that lists some", USAGE)
    return list(names.values())


def _read(listed: Path | None) -> list[str]:
    if listed is None:
        return []
    try:
        text = sys.stdin.read() if str(listed) == "-" else listed.read_text()
    except OSError as error:
        fail(f"{listed} cannot be read: {error.strerror}")
    except ValueError:
        fail(f"{listed} is not text")
    stripped = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


def _platforms(texts: Iterable[str]) -> list[Platform]:
    from proxy.oci.platform import Platform  # noqa: PLC0415

    try:
        return [Platform.parse(text) for text in texts]
    except ValueError as error:
        fail(f"--platform: {error}", USAGE)


def _password(file: Path | None) -> str:
    if file is None:
        return str(click.prompt("Password", hide_input=True, err=True))
    try:
        return file.read_text().strip("\r\n")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    except ValueError:
        fail(f"{file} is not text")
