"""`lighterage client-config`: the files of clients that pull through this proxy."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from proxy.cli.group import AS_JSON, CONFIG, FAILED, fail, main, warn
from proxy.cli.running import serving_settings

if TYPE_CHECKING:
    from proxy.cli.clients import ClientFile, ProxyAddress

# The keys of `proxy.cli.clients.CLIENTS`.
_CLIENTS: Final = ("buildkit", "containerd", "cri-o", "docker", "k3s", "podman", "talos")


class _VersionNumber(click.ParamType[tuple[int, ...]]):
    name = "version"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        found = re.match(r"v?(\d+(?:\.\d+){0,2})", str(value))
        if found is None:
            self.fail(f"{value!r} is not a version such as 1.13 or 29", param, ctx)
        numbers = tuple(map(int, found[1].split(".")))
        return numbers[:2]


class _Owner(click.ParamType[str]):
    name = "owner"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        if not re.fullmatch(r"[\w./-]+", str(value), re.ASCII):
            self.fail(f"{value!r} is not a name such as registry/lighterage", param, ctx)
        return str(value)


@main.command("client-config")
@click.argument("client", type=click.Choice(_CLIENTS))
@CONFIG
@click.option("--address", metavar="URL", help="The address at which the client reaches the proxy.")
@click.option(
    "--client-version",
    "version",
    type=_VersionNumber(),
    metavar="V",
    help="The client's version, which makes a difference for docker.",
)
@click.option(
    "--write",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the files below DIR; / is this machine.",
)
@click.option(
    "--as",
    "owner",
    type=_Owner(),
    metavar="OWNER",
    help="Mark the files as OWNER's: only those are changed, and a file of others stays as it is.",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Write marked files when the proxy answers, stay, and remove them at the end.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Say whether the files are there (below DIR), and the proxy answers; status 1 if not.",
)
@AS_JSON
def client_config(
    client: str,
    config: Path | None,
    address: str | None,
    version: tuple[int, ...] | None,
    *,
    target: Path | None,
    owner: str | None,
    keep: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Print the configuration of a CLIENT that pulls through this proxy.

    Remarks about what the files cannot express are printed on standard error.
    """
    if keep and (target is None or owner is None):
        raise click.UsageError("--keep needs --write and --as")
    settings = serving_settings(config)
    from proxy.cli.clients import CLIENTS, ProxyAddress  # noqa: PLC0415 -- see the package's docstring

    at = ProxyAddress.of(settings, address)
    files = list(CLIENTS[client](settings, at, version=version))
    if check:
        _check(files, at, target or Path("/"), owner)
    elif target is not None and owner is not None:
        _own(files, at, target, owner, keep=keep)
    elif target is not None:
        _write(files, target)
    elif as_json:
        click.echo(json.dumps([asdict(file) for file in files], indent=2))
    else:
        _print(files)


def _print(files: list[ClientFile]) -> None:
    printed = 0
    for file in files:
        if file.text:
            if not file.path.endswith(".json"):  # which has no comments
                click.echo(("\n" if printed else "") + f"# {file.path}")
            click.echo(file.text, nl=False)
            printed += 1
        _remark(file)


def _remark(file: ClientFile) -> None:
    for remark in file.remarks:
        click.echo(remark, err=True)


def _write(files: list[ClientFile], root: Path) -> None:
    from proxy.cli.clients.installed import NotOurFileError, write  # noqa: PLC0415

    try:
        written = write([file for file in files if file.text], root)
    except NotOurFileError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename} cannot be written: {error.strerror}")
    for path in written:
        click.echo(f"written: {path}")
    for file in files:
        _remark(file)


def _own(files: list[ClientFile], at: ProxyAddress, root: Path, owner: str, *, keep: bool) -> None:
    from proxy.cli.clients.keeping import keep as keep_files  # noqa: PLC0415
    from proxy.cli.clients.owned import CannotBeMarkedError, OwnedFiles  # noqa: PLC0415

    try:
        owned = OwnedFiles([file for file in files if file.text], root, owner)
        if keep:
            keep_files(owned, at)
            return
        owned.adopt()
        for path in owned.foreign():
            warn(f"{path} is somebody else's, and stays as it is")
        for path in owned.write():
            click.echo(f"{'written' if path.exists() else 'removed'}: {path}")
    except CannotBeMarkedError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename} cannot be written: {error.strerror}")
    for file in files:
        _remark(file)


def _check(files: list[ClientFile], at: ProxyAddress, root: Path, owner: str | None) -> None:
    from proxy.cli.clients.installed import differences, path_below, unreachable  # noqa: PLC0415
    from proxy.cli.clients.owned import OwnedFiles  # noqa: PLC0415

    files = [file for file in files if file.text]
    if owner is not None:
        foreign = set(OwnedFiles(files, root, owner).foreign())
        for path in sorted(foreign):
            warn(f"{path} is somebody else's, and stays as it is")
        files = [file for file in files if path_below(root, file) not in foreign]
    found = list(differences(files, root))
    if (reason := unreachable(at)) is not None:
        found.append(reason)
    for sentence in found:
        warn(sentence)
    if found:
        sys.exit(FAILED)
    for file in files:
        click.echo(f"{path_below(root, file)} is as it should be")
    click.echo(f"the proxy answers at {at.url}")
