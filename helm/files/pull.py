"""Pulls an image as a client would: what `helm test` runs, in the proxy's own image.

    python3 pull.py ping|pull|hit|legacy http://HOST:PORT NAME:TAG

ping    the registry API is there
pull    an image comes: its manifest, its config, and one layer, each what its digest says
hit     and, when it is pulled again, from the cache
legacy  a client that says nothing of what it accepts, as docker 1.6 to 1.9, gets what it can read
"""
# ruff: noqa: INP001 -- a program, and no module

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

_PATIENCE = 120.0
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json,"
    "application/vnd.oci.image.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.list.v2+json,"
    "application/vnd.docker.distribution.manifest.v2+json"
)
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"


class Proxy:
    """The registry API at an address."""

    def __init__(self, url: str, name: str) -> None:
        """`name` is the repository."""
        self._url = urlsplit(url)
        self._name = name

    def get(self, path: str, accept: str = "") -> tuple[http.client.HTTPResponse, bytes]:
        """The answer and its body; ends the program if it is no 200."""
        host = self._url.netloc
        if self._url.scheme == "https":
            # Reached by the name that it has inside the cluster, which its certificate lacks.
            context = ssl._create_unverified_context()  # noqa: S323, SLF001
            connection = http.client.HTTPSConnection(host, timeout=_PATIENCE, context=context)
        else:
            connection = http.client.HTTPConnection(host, timeout=_PATIENCE)
        connection.request("GET", path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        check(answer.status == http.HTTPStatus.OK, f"{path}: {answer.status} {body[:500]!r}")
        return answer, body

    def content(self, kind: str, digest: str) -> tuple[str, bytes]:
        """A manifest or a blob, which is what its digest says; where it came from before it."""
        answer, body = self.get(f"/v2/{self._name}/{kind}/{digest}", _MANIFESTS)
        check(digest == "sha256:" + hashlib.sha256(body).hexdigest(), f"{digest} is something else")
        return answer.headers.get("Cache-Status", ""), body

    def pull(self, tag: str) -> str:
        """Manifest, config and one layer; where the proxy says that it had the manifest from."""
        answer, body = self.get(f"/v2/{self._name}/manifests/{tag}", _MANIFESTS)
        digest = answer.headers["Docker-Content-Digest"]
        check(digest == "sha256:" + hashlib.sha256(body).hexdigest(), f"{tag} is not {digest}")
        manifest = json.loads(body)
        if "manifests" in manifest:
            _, body = self.content("manifests", manifest["manifests"][0]["digest"])
            manifest = json.loads(body)
        for descriptor in (manifest["config"], manifest["layers"][0]):
            _, content = self.content("blobs", descriptor["digest"])
            check(len(content) == descriptor["size"], f"{descriptor['digest']} is cut off")
        # Asked for by digest: the tag's own lifetime may be over, or none.
        status, _ = self.content("manifests", digest)
        return status


def check(good: object, otherwise: str) -> None:
    """End the program, saying why, if something is not as it should be."""
    if not good:
        sys.exit(f"FAILED: {otherwise}")


def main(what: str, url: str, image: str) -> None:
    """Run one of the tests."""
    name, _, tag = image.rpartition(":")
    proxy = Proxy(url, name)
    match what:
        case "ping":
            proxy.get("/v2/")
        case "pull":
            proxy.pull(tag)
        case "hit":
            proxy.pull(tag)
            status = proxy.pull(tag)
            check("hit" in status, f"the second pull was no hit: {status}")
        case "legacy":
            answer, body = proxy.get(f"/v2/{name}/manifests/{tag}")
            kind = answer.headers["Content-Type"]
            check(kind.startswith(_SCHEMA_1), f"without Accept it is {kind}")
            check(json.loads(body)["signatures"], "it is not signed")
        case _:
            check(good=False, otherwise=f"{what} is none of ping, pull, hit, legacy")
    print(f"passed: {what}")  # noqa: T201 -- for `kubectl logs`


if __name__ == "__main__":
    main(*sys.argv[1:])
