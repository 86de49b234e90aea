"""nginx as a program of a test, with a configuration of the test's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.kit.processes import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from pathlib import Path

_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
{settings}
    server {{
        listen {listen};
{server}
    }}
}}
"""


class Nginx(Program):
    """One worker, and one server on a loopback port."""

    name = "nginx"

    def __init__(
        self,
        directory: Path,
        *,
        settings: str,
        server: str,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`settings` and `server` are what the blocks `http` and `server` have besides.

        With a certificate and its key it speaks TLS.
        """
        self.port = free_port()
        listen = f"{LOOPBACK}:{self.port}"
        if certificate is not None:
            public, private = certificate
            listen += f" ssl; ssl_certificate {public}; ssl_certificate_key {private}"
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "nginx.conf"
        file.write_text(
            _CONFIGURATION.format(
                directory=directory,
                # Started by root, the worker would be nobody's.
                user="user root;" if os.geteuid() == 0 else "",
                listen=listen,
                settings=settings,
                server=server,
            )
        )
        super().__init__(
            [tools.require("nginx"), "-e", directory / "error.log", "-c", file],
            directory=directory,
            listens=(self.port,),
        )

    @property
    def url(self) -> str:
        """Its address, without TLS."""
        return f"http://{LOOPBACK}:{self.port}"
