"""What a person at a terminal is told when the proxy has started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import structlog
from rich.console import Console

from proxy import __version__

if TYPE_CHECKING:
    from proxy.config import Settings

_TEXT = """
[bold]Lighterage {version}[/bold]
  listens on     [cyan]{scheme}://{listen}[/cyan]   (health and metrics: http://{admin})
  stands before  {upstreams}
  keeps          everything in {data}

[bold]Point a client at it[/bold]
  docker      daemon.json: {{"registry-mirrors": ["{scheme}://{address}"]{insecure}}}
  containerd  /etc/containerd/certs.d/{registry}/hosts.toml:
                [host."{scheme}://{address}"]
                  capabilities = ["pull", "resolve"]
  podman      registries.conf:
                [[registry]]
                location = "{registry}"
                [[registry.mirror]]
                location = "{address}"{podman_insecure}

Ctrl-C stops it.
"""


def announce(settings: Settings) -> None:
    """Say in the log that the proxy listens; and, at a terminal, how to use it."""
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
    secure = settings.tls.certificate_file is not None
    anywhere = settings.listen.host in {"0.0.0.0", "::"}  # noqa: S104 -- compared, not bound
    address = f"127.0.0.1:{settings.listen.port}" if anywhere else str(settings.listen)
    upstreams = ", ".join(
        f"{name} ({upstream.url})" for name, upstream in settings.upstreams.items()
    )
    Console(stderr=True, highlight=False).print(
        _TEXT.format(
            version=__version__,
            scheme="https" if secure else "http",
            listen=settings.listen,
            admin=settings.admin.listen,
            address=address,
            upstreams=upstreams,
            data=settings.data.absolute(),
            registry=settings.default_upstream,
            insecure="" if secure else f', "insecure-registries": ["{address}"]',
            podman_insecure="" if secure else "\n                insecure = true",
        )
        .replace("[[registry", r"\[\[registry")
        .replace('[host."', r'\[host."'),
        soft_wrap=True,
    )
