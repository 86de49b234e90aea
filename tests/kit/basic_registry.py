"""A registry behind nginx, which knows its users by htpasswd files, one for each repository.

This is what people do who want rights by repository without a token server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.kit.processes import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    proxy_set_header Host $http_host;
    proxy_set_header Authorization "";
    server {{
        listen {listen};
{locations}
    }}
}}
"""
_CLOSED: Final = """
        location {path} {{
            auth_basic "harbour";
            auth_basic_user_file {file};
            proxy_pass {upstream};
        }}
"""
_OPEN: Final = """
        location {path} {{ proxy_pass {upstream}; }}
"""


class BasicRegistry(Program):
    """nginx in front of the registry `upstream`, a URL."""

    name = "nginx"

    def __init__(
        self,
        directory: Path,
        *,
        upstream: str,
        users: Mapping[tuple[str, str], Sequence[str]],
        public: Iterable[str] = (),
    ) -> None:
        """Each login may pull below the prefixes that it has, `ann/`; "" is everything.

        Everybody may pull below those that are `public`.
        """
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        prefixes = {prefix for names in users.values() for prefix in names}
        locations = [_OPEN.format(path=f"/v2/{each}", upstream=upstream) for each in public]
        for number, prefix in enumerate(sorted(prefixes | {""})):
            file = directory / f"users{number}"
            # Every user is right at /v2/ itself.
            logins = [
                login
                for login, names in users.items()
                if not prefix or prefix in names or "" in names
            ]
            file.write_text("".join(f"{user}:{{PLAIN}}{password}\n" for user, password in logins))
            locations.append(_CLOSED.format(path=f"/v2/{prefix}", file=file, upstream=upstream))
        configuration = directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                user="user root;" if os.geteuid() == 0 else "",
                listen=f"{LOOPBACK}:{self.port}",
                locations="".join(locations),
            )
        )
        super().__init__(
            [tools.require("nginx"), "-e", directory / "error.log", "-c", configuration],
            directory=directory,
            listens=(self.port,),
        )

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.port}"
