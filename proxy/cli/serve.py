"""`lighterage serve`, and its hidden `worker`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from proxy.cli.checks import refuse_wrong
from proxy.cli.group import CONFIG, DATA, FILE, fail, from_arguments, main, read

if TYPE_CHECKING:
    from pathlib import Path


@main.command()
@CONFIG
@click.option("--listen", metavar="HOST:PORT", help="The address for clients.")
@click.option(
    "--admin-listen",
    metavar="HOST:PORT",
    help="The address for the status page and probes.",
)
@click.option("--upstream", metavar="URL", help="The registry to stand in front of.")
@click.option("--redis", metavar="URL", help="A Redis that proxies share, instead of SQLite.")
@DATA
@click.option("--peer-listen", metavar="HOST:PORT", help="The address for other replicas.")
@click.option("--peers", metavar="dns:NAME:PORT|HOST:PORT,...", help="Where other replicas are.")
@click.option("--peer-secret-file", type=FILE, help="A secret that all replicas share.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that serve.")
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    help="The form of the log on standard output; by default text at a terminal.",
)
def serve(config: Path | None, upstream: str | None, log: str | None, **arguments: Any) -> None:
    """Run the proxy until SIGTERM."""
    from proxy.config import ServeArguments  # noqa: PLC0415 -- see the package's docstring

    as_text = sys.stdout.isatty() if log is None else log == "text"
    sources = ServeArguments(config, from_arguments(**arguments), upstream, as_text)
    loaded = read(sources.read)
    settings = loaded.settings
    refuse_wrong(loaded)
    from proxy.cli.banner import announce  # noqa: PLC0415

    if settings.workers == 1:
        from proxy.runtime.serve import run  # noqa: PLC0415
    else:
        from proxy.runtime.supervisor import run  # noqa: PLC0415
    try:
        run(settings, arguments=sources, announce=lambda: announce(settings))
    except (OSError, ValueError) as error:
        fail(f"cannot start: {error}")


@main.command(hidden=True)
def worker() -> None:
    """Serve as one of several processes, started by a supervisor."""
    from proxy.runtime.worker import run  # noqa: PLC0415

    try:
        run()
    except (OSError, ValueError, EOFError) as error:
        fail(f"cannot start: {error}")
