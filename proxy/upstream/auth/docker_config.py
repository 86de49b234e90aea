"""The file in which docker, podman and Kubernetes keep logins: `.dockerconfigjson`."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from proxy.upstream.auth.credentials import Credentials, CredentialsError

if TYPE_CHECKING:
    from collections.abc import Collection

# Docker Hub's logins are kept under the address that its first version had.
_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_VERSIONS: Final = frozenset({"", "v1", "v2"})


def credentials_for(hosts: Collection[str], file: str) -> Credentials:
    """Return the login for the first of `hosts`, each HOST[:PORT], that the file has one for.

    CredentialsError if there is none, or the file is not what it should be. A login for a part of
    a registry only (`quay.io/org`) is ignored, and no credential helper is run.
    """
    logins = {
        host: login for key, login in _auths(file).items() if (host := _host(key)) is not None
    }
    for host in hosts:
        for name in _DOCKER_HUB if host in _DOCKER_HUB else (host.lower(),):
            if isinstance(login := logins.get(name), dict):
                return _credentials(login)
    raise CredentialsError(f"it has no login for {' or '.join(hosts)}")


def _auths(file: str) -> dict[str, Any]:
    try:
        document = json.loads(file)
    except (ValueError, RecursionError):
        raise CredentialsError("it is not JSON") from None
    match document:
        case {"auths": dict() as auths}:
            return auths
    raise CredentialsError("it has no auths")


def _host(key: str) -> str | None:
    """Return the host and port of a key (`https://index.docker.io/v1/`, `quay.io`), or None."""
    host, _, path = key.removeprefix("https://").removeprefix("http://").partition("/")
    return host.lower() if path.strip("/") in _VERSIONS else None


def _credentials(login: dict[str, Any]) -> Credentials:
    """Read one entry. `auth` has precedence over `username` and `password`, as in docker."""
    username, password = login.get("username") or "", login.get("password") or ""
    if auth := login.get("auth"):
        username, password = _decode(auth)
    token = login.get("identitytoken") or ""
    if not all(isinstance(part, str) for part in (username, password, token)):
        raise CredentialsError("it has a login that is not text")
    if not (token or (username and password)):
        raise CredentialsError("it has a login with nothing in it")
    return Credentials(username, token or password, identity=bool(token))


def _decode(auth: object) -> tuple[str, str]:
    try:
        username, colon, password = b64decode(str(auth), validate=True).decode().partition(":")
    except ValueError:
        colon = username = password = ""
    if not colon:
        raise CredentialsError("it has a login that is not USERNAME:PASSWORD in Base64")
    return username, password.strip("\0")  # docker's padding
