"""What docker 1.9 sends for a pull, request by request: its daemon does not run here.

It reads the challenge at `/v2/`, and at a mirror at `////v2/`, where it follows a redirect. It asks
for a token with its login for `push,pull`, sends no `Accept`, and asks for each blob by HEAD before
it gets it (docker 1.9, registry/auth.go, graph/pull_v2.go). A login for Docker Hub goes to mirrors
of it, too; none for a mirror's own name does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from tests.kit.clients import ClientError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse
    from pathlib import Path

_AGENT: Final = "docker/1.9.1 go/go1.4.2 git-commit/a34a1d5 kernel/6.1 os/linux arch/amd64"
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_HUB: Final = "https://index.docker.io/v1/"


class Docker19:
    """The client. `certificate` is the CA of the proxy; `mirror` is a URL, for Docker Hub."""

    def __init__(self, certificate: Path, *, mirror: str = "") -> None:
        self._mirror = mirror
        self._logins: dict[str, str] = {}
        tls = ssl.create_default_context(cafile=str(certificate))
        tls.check_hostname = False
        self._opener = build_opener(
            ProxyHandler({}), HTTPSHandler(context=tls), HTTPRedirectHandler()
        )

    def keep_login(self, registry: str, login: str) -> None:
        """Keep a login, or none, without asking the registry."""
        self._logins = {registry: login} if login else {}

    def login(self, host: str, login: str) -> None:
        """`docker login`: a token without a scope; ClientError if there is none."""
        challenge = self._challenge(f"https://{host}/v2/")
        self._token(challenge, login, scope="")

    def pull(self, reference: str, *, login: str = "") -> bytes:
        """Pull all of an image; its manifest. `login` is for this pull. ClientError."""
        named, _, tag = reference.rpartition(":")
        if self._mirror:
            root, name, ping = self._mirror, named, f"{self._mirror}////v2/"
            used = login or self._logins.get(_HUB, "")
        else:
            host, _, name = named.partition("/")
            root, ping = f"https://{host}", f"https://{host}/v2/"
            used = login or self._logins.get(host, "")
        token = ""
        if challenge := self._challenge(ping):
            token = self._token(challenge, used, scope=f"repository:{name}:push,pull")
        manifest = self._ask("GET", f"{root}/v2/{name}/manifests/{tag}", token)
        for layer in json.loads(manifest)["fsLayers"]:
            blob = f"{root}/v2/{name}/blobs/{layer['blobSum']}"
            self._ask("HEAD", blob, token)
            content = self._ask("GET", blob, token)
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != layer["blobSum"]:
                raise ClientError("Filesystem layer verification failed")
        return manifest

    def _challenge(self, ping: str) -> dict[str, str]:
        """The parameters of the registry's challenge; none if it wants no login."""
        try:
            with self._open("GET", ping, {}) as answer:
                if answer.headers["Docker-Distribution-Api-Version"] != "registry/2.0":
                    raise ClientError("this is no v2 registry")
                return {}
        except HTTPError as error:
            if error.code != 401:
                raise ClientError(f"{ping}: {error.code}") from None
            return dict(_PARAMETER.findall(error.headers["WWW-Authenticate"]))

    def _token(self, challenge: Mapping[str, str], login: str, *, scope: str) -> str:
        query = {"service": challenge["service"]}
        headers = {}
        if scope:
            query["scope"] = scope
        if login:
            query["account"] = login.partition(":")[0]
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        try:
            with self._open("GET", f"{challenge['realm']}?{urlencode(query)}", headers) as answer:
                return str(json.loads(answer.read())["token"])
        except HTTPError as error:
            raise ClientError(f"token auth attempt failed with status: {error.code}") from None

    def _ask(self, method: str, url: str, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with self._open(method, url, headers) as answer:
                return answer.read()
        except HTTPError as error:
            raise ClientError(f"{method} {url}: {error.code}") from None

    def _open(self, method: str, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        request = Request(url, method=method, headers={"User-Agent": _AGENT, **headers})  # noqa: S310 -- https
        answer: HTTPResponse = self._opener.open(request, timeout=60)
        return answer
