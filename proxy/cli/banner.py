"""The message at a terminal when the proxy has started."""

from __future__ import annotations

import sys
from textwrap import indent
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from rich.markup import escape

from proxy import __version__
from proxy.cli.clients import CLIENTS, ProxyAddress

if TYPE_CHECKING:
    from proxy.config import Settings

_SHOWN = ("docker", "containerd", "podman")
_TEXT = """
[bold]Lighterage {version}[/bold]
  listens on     [cyan]{listens}[/cyan]   (health and metrics: http://{admin})
  upstreams      {upstreams}
  data           {data}

[bold]Point a client at it[/bold]   (lighterage client-config prints it for every registry)
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
    Console(stderr=True, highlight=False).print(
        _TEXT.format(
            version=__version__,
            listens=ProxyAddress(str(settings.listen), at.tls).url,
            admin=settings.admin.listen,
            upstreams=escape(upstreams),
            data=escape(str(settings.data.absolute())),
            clients=escape(_clients(settings, at)),
        ),
        soft_wrap=True,
    )


def _clients(settings: Settings, at: ProxyAddress) -> str:
    """The files of the common clients, for the default upstream."""
    files = [
        file
        for client in _SHOWN
        for file in CLIENTS[client](settings, at, only=[settings.default_upstream])
    ]
    return "\n".join(f"  {file.path}\n{indent(file.text, '      ')}" for file in files)
