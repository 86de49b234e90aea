"""nginx with `proxy_cache`, as people put it in front of a registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.kit.processes import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from pathlib import Path

# Its log is buffered as ours is, and no connection is closed for having been used a lot.
_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log {log};
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    keepalive_requests 100000000;
    sendfile on;
    tcp_nopush on;
    proxy_cache_path {directory}/cache keys_zone=cache:10m inactive=1h;
    server {{
        listen {listen};
        location / {{
            proxy_pass {upstream};
            proxy_cache cache;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
            proxy_http_version 1.1;
        }}
    }}
}}
"""


class Nginx(Program):
    """One worker, in front of the registry `upstream`."""

    name = "nginx"

    def __init__(
        self,
        directory: Path,
        *,
        upstream: str,
        certificate: tuple[Path, Path] | None = None,
        logs: bool = True,
    ) -> None:
        """`upstream` is a URL. With a certificate and its key it speaks TLS."""
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
                user=_user(),
                listen=listen,
                upstream=upstream,
                log=f"{directory}/access.log combined buffer=64k flush=1s" if logs else "off",
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


def _user() -> str:
    """Whose worker processes are: started by root they would be nobody's."""
    return "user root;" if os.geteuid() == 0 else ""
