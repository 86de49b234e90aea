"""The command line. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from proxy import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Settings

# As `proxy.offline.TARGETS` has them.
_TARGETS = ("v2s1", "v2s2", "oci", "list", "index")
# As `proxy.clients.CLIENTS` has them.
_CLIENTS = ("containerd", "docker", "podman")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Lighterage: a caching pull-through proxy for container registries."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"lighterage {__version__}")


@main.command()
@click.option("--config", type=_FILE, help="Settings as YAML.")
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.")
@click.option("--admin-listen", metavar="HOST:PORT", help="Where probes and scrapers connect.")
@click.option("--upstream", metavar="URL", help="The registry to stand in front of.")
@click.option("--redis", metavar="URL", help="A Redis to share with other proxies; no SQLite then.")
@click.option("--data", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that serve.")
def serve(config: Path | None, upstream: str | None, **arguments: Any) -> None:
    """Serve until SIGTERM."""
    from proxy.config import Given  # noqa: PLC0415 -- see the module's docstring

    given = Given(config, _from_arguments(**arguments), upstream)
    settings = _read(given.load)
    from proxy.banner import announce  # noqa: PLC0415

    if settings.workers == 1:
        from proxy.serving import run  # noqa: PLC0415
    else:
        from proxy.supervisor import run  # noqa: PLC0415
    try:
        run(settings, given=given, announce=lambda: announce(settings))
    except (OSError, ValueError) as error:
        _fail(f"cannot start: {error}")


@main.command(hidden=True)
def worker() -> None:
    """Serve as one of several processes: a supervisor starts it, and says how."""
    from proxy.worker import run  # noqa: PLC0415

    try:
        run()
    except (OSError, ValueError, EOFError) as error:
        _fail(f"cannot start: {error}")


@main.command("check-config")
@click.option("--config", type=_FILE, help="Settings as YAML.")
def check_config(config: Path | None) -> None:
    """Check the settings as `serve` would read them; exit status 1 if it would refuse."""
    _load(config)
    click.echo("the settings are good")


@main.command("config-schema")
def config_schema() -> None:
    """Print the JSON schema of the settings."""
    from proxy.config import schema  # noqa: PLC0415

    click.echo(json.dumps(schema(), indent=2))


@main.command("client-config")
@click.argument("client", type=click.Choice(_CLIENTS))
@click.option("--config", type=_FILE, help="Settings as YAML.")
@click.option("--address", metavar="URL", help="Where the client reaches the proxy.")
def client_config(client: str, config: Path | None, address: str | None) -> None:
    """Print what belongs into the configuration of a CLIENT that pulls through this proxy.

    What cannot be said there goes to standard error.
    """
    settings = _load(config)
    from proxy.clients import CLIENTS, Reached  # noqa: PLC0415 -- see the module's docstring

    files = list(CLIENTS[client](settings, Reached.of(settings, address)))
    for number, file in enumerate(files):
        if not file.path.endswith(".json"):  # which has no comments
            click.echo(("\n" if number else "") + f"# {file.path}")
        click.echo(file.text, nl=False)
        for remark in file.remarks:
            click.echo(remark, err=True)


@main.command()
@click.argument("manifest", type=_FILE)
@click.option("--config", type=_FILE, help="The image's config blob, needed for v2s1.")
@click.option("--child", "children", type=_FILE, multiple=True, help="A manifest of an index.")
@click.option("--to", "target", type=click.Choice(_TARGETS), required=True)
@click.option("--name", default="", help="The repository's name, inside v2s1.")
@click.option("--tag", default="", help="The tag, inside v2s1.")
@click.option("--key", type=_FILE, help="A PEM P-256 key to sign with; a new one if not given.")
@click.option("--unsigned", is_flag=True, help="Leave v2s1 without a signature.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    default=["linux/amd64", "linux/arm64"],
    show_default=True,
    help="What of an index to convert.",
)
def convert(manifest: Path, **options: Any) -> None:
    """Convert MANIFEST, a file, and write the result to standard output byte for byte.

    Content that is not given is looked for beside MANIFEST, as `skopeo copy` to `dir:` and `oci:`
    leaves it.
    """
    from proxy.errors import ManifestInvalid, Refused  # noqa: PLC0415
    from proxy.offline import Request, convert_file  # noqa: PLC0415

    try:
        converted = convert_file(manifest, Request(**options))
    except (Refused, ManifestInvalid, ValueError) as refusal:
        # It quotes the manifest, in which there may be anything.
        _fail(_in_one_line(f"cannot convert {manifest}: {refusal}"))
    try:
        sys.stdout.buffer.write(converted)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # `| head` has seen enough: click ends without a word
    except OSError as error:
        _fail(f"cannot write what {manifest} was converted to: {error.strerror}")


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
    from proxy.remote import RemoteError, ask, described  # noqa: PLC0415

    try:
        answer = ask(admin, "/status")
    except RemoteError as error:
        _fail(str(error))
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(described(answer)))


@main.command()
@click.argument("image", metavar="REPOSITORY[:TAG|@DIGEST]")
@_ADMIN
def purge(image: str, admin: str) -> None:
    """Have a proxy that runs ask its upstream again for what changes: a tag, or all tags.

    Images that are in the cache stay there, and can still be pulled by digest.
    """
    from proxy.remote import RemoteError, ask  # noqa: PLC0415

    try:
        answer = ask(admin, "/purge", _purged(image))
    except RemoteError as error:
        _fail(str(error))
    what = answer["reference"] or "everything that changes"
    click.echo(f"{answer['purged']}: {what} is asked for again")


_OFFLINE = (
    click.option("--config", type=_FILE, help="Settings as YAML."),
    click.option("--data", type=click.Path(path_type=Path), help="Where everything is kept."),
)


@main.command()
@_OFFLINE[0]
@_OFFLINE[1]
@click.option("--max-size", metavar="SIZE", help="Another limit than the settings have.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(config: Path | None, data: Path | None, max_size: str | None, *, dry_run: bool) -> None:
    """Remove the blobs that are too much, those that were not used for longest first.

    A proxy that serves does so by itself. Both may run at once.
    """
    blobs = {} if max_size is None else {"blobs": {"max_size": max_size}}
    settings = _on_disk(_load(config, **_from_arguments(data=data), **blobs))
    import asyncio  # noqa: PLC0415 -- see the module's docstring

    from proxy.upkeep import collected, would_go  # noqa: PLC0415

    try:
        for line in would_go(settings) if dry_run else asyncio.run(collected(settings)):
            click.echo(line)
    except OSError as error:
        _fail(f"cannot look after {settings.data}: {error}")


@main.command()
@_OFFLINE[0]
@_OFFLINE[1]
@click.option("--rate", metavar="SIZE", default="50MiB", show_default=True, help="A second.")
def scrub(config: Path | None, data: Path | None, rate: str) -> None:
    """Verify all that is stored against its digest; exit status 1 if something is damaged.

    What is damaged is put aside, and fetched again when somebody asks for it. A proxy may serve
    meanwhile.
    """
    settings = _on_disk(_load(config, **_from_arguments(data=data), blobs={"scrub_rate": rate}))
    import structlog  # noqa: PLC0415

    from proxy.progress import show  # noqa: PLC0415
    from proxy.upkeep import scrubbed  # noqa: PLC0415

    # What the log would say is in the report.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        report = show(scrubbed(settings))
    except OSError as error:
        _fail(f"cannot verify {settings.data}: {error}")
    if report.damaged:
        sys.exit(1)


def _purged(image: str) -> dict[str, object]:
    """A colon behind the last slash begins a tag; another one belongs to a port."""
    repository, at, digest = image.partition("@")
    if at:
        return {"repository": repository, "digest": digest}
    path, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return {"repository": path + slash + name, "tag": tag if colon else None}


def _on_disk(settings: Settings) -> Settings:
    """The settings, if what they say where blobs are is a disk."""
    if settings.blobs.store != "disk":
        _fail(
            f"blobs.store is {settings.blobs.store}: a bucket looks after what it keeps, and a "
            "lifecycle rule bounds it"
        )
    return settings


def _load(config: Path | None, **arguments: Any) -> Settings:
    from proxy.config import load  # noqa: PLC0415

    return _read(lambda: load(config, arguments=arguments))


def _read(load: Callable[[], Settings]) -> Settings:
    from proxy.config import SettingsError  # noqa: PLC0415

    try:
        return load()
    except SettingsError as error:
        _fail(str(error))


def _from_arguments(
    *,
    listen: str | None = None,
    admin_listen: str | None = None,
    redis: str | None = None,
    data: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """The settings that the arguments name, and no other."""
    given: dict[str, Any] = {"listen": listen, "data": data, "workers": workers}
    if admin_listen is not None:
        given["admin"] = {"listen": admin_listen}
    if redis is not None:
        given["manifests"] = {"store": "redis", "redis": {"url": redis}}
    return {key: value for key, value in given.items() if value is not None}


def _in_one_line(text: str) -> str:
    """`text` with escapes for whatever would break the line, or speak to the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _fail(message: str) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"lighterage: {line}", err=True)
    sys.exit(1)
