"""The message at a terminal when the proxy has started."""

from __future__ import annotations

import os
import sys
from textwrap import indent
from typing import TYPE_CHECKING

import click
import structlog

from proxy import __version__
from proxy.cli.admin_client import address_of
from proxy.cli.clients import CLIENTS, ProxyAddress

if TYPE_CHECKING:
    from proxy.config import Settings

_SHOWN = ("docker", "containerd", "podman")
_TEXT = """
{title}
  listens on     {listens}
  status page    {status_page}   (also /healthz, /readyz and /metrics)
  upstreams      {upstreams}
  data           {data}

{clients_title}   (lighterage client-config prints it for every registry)
{clients}
Ctrl-C stops it.
"""


def announce(settings: Settings) -> None:
    """Log that the proxy listens; at a terminal, also print how to use it."""
    structlog.get_logger().info(
        "proxy.started",
        version=__version__,
        listen=str(settings.listen),
        admin=str(settings.admin.listen),
        upstreams={name: upstream.url for name, upstream in settings.upstreams.items()},
        data=str(settings.data.absolute()),
    )
    if not sys.stderr.isatty():
        return
    at = ProxyAddress.of(settings)
    upstreams = ", ".join(
        f"{name} ({upstream.url})" for name, upstream in settings.upstreams.items()
    )
    click.echo(
        _TEXT.format(
            title=click.style(f"Lighterage {__version__}", bold=True),
            listens=click.style(ProxyAddress(str(settings.listen), at.tls).url, fg="cyan"),
            status_page=click.style(f"http://{address_of(settings)}/", fg="cyan"),
            upstreams=upstreams,
            data=settings.data.absolute(),
            clients_title=click.style("Point a client at it", bold=True),
            clients=_clients(settings, at),
        ),
        err=True,
        color=False if os.environ.get("NO_COLOR") else None,
    )


def _clients(settings: Settings, at: ProxyAddress) -> str:
    """The files of the common clients, for the default upstream."""
    files = [
        file
        for client in _SHOWN
        for file in CLIENTS[client](settings, at, only=[settings.default_upstream])
    ]
    return "\n".join(f"  {file.path}\n{indent(file.text, '      ')}" for file in files)
