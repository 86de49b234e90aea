"""A registry behind nginx, which knows its users by htpasswd files, one for each repository.

This is what people do who want rights by repository without a token server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.kit.nginx import Nginx

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_SETTINGS: Final = """
    access_log off;
    proxy_set_header Host $http_host;
    proxy_set_header Authorization "";
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


class BasicRegistry(Nginx):
    """nginx in front of the registry `upstream`, a URL."""

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
        super().__init__(directory, settings=_SETTINGS, server="".join(locations))
