"""nginx with `proxy_cache`, as people put it in front of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.kit import nginx

if TYPE_CHECKING:
    from pathlib import Path

# Its log is buffered as ours is, and no connection is closed for having been used a lot.
_SETTINGS: Final = """
    access_log {log};
    keepalive_requests 100000000;
    sendfile on;
    tcp_nopush on;
    proxy_cache_path {directory}/cache keys_zone=cache:10m inactive=1h;
"""
_SERVER: Final = """
        location / {{
            proxy_pass {upstream};
            proxy_cache cache;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
            proxy_http_version 1.1;
        }}
"""


class Nginx(nginx.Nginx):
    """In front of the registry `upstream`."""

    def __init__(
        self,
        directory: Path,
        *,
        upstream: str,
        certificate: tuple[Path, Path] | None = None,
        logs: bool = True,
    ) -> None:
        """`upstream` is a URL. With a certificate and its key it speaks TLS."""
        log = f"{directory}/access.log combined buffer=64k flush=1s" if logs else "off"
        super().__init__(
            directory,
            settings=_SETTINGS.format(directory=directory, log=log),
            server=_SERVER.format(upstream=upstream),
            certificate=certificate,
        )
