"""Pulls an image as a client would: what `helm test` runs, in the proxy's own image.

    python3 pull.py ping|pull|hit|legacy http://HOST:PORT NAME:TAG

ping    the registry API answers
pull    an image is pulled: its manifest, its config and one layer, each verified against its digest
hit     the second pull of the image is a cache hit
legacy  a client without an Accept header, as docker 1.6 to 1.9, gets signed schema 1
"""
# ruff: noqa: INP001 -- a program, not a module

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import sys
from urllib.parse import urljoin, urlsplit

_TIMEOUT = 120.0
_REDIRECTS = 5
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
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
        self._url = url
        self._name = name

    def get(self, path: str, accept: str = "") -> tuple[http.client.HTTPResponse, bytes]:
        """The answer and its body; ends the program if the status is not 200.

        A redirect is followed, as clients do: blobs may come from a bucket.
        """
        headers = {"Accept": accept} if accept else {}
        url = urljoin(self._url, path)
        for _ in range(_REDIRECTS):
            answer, body = fetch(url, headers)
            location = answer.headers["Location"]
            if answer.status not in _REDIRECTED or location is None:
                break
            url = urljoin(url, location)
        where = url.partition("?")[0]
        check(answer.status == http.HTTPStatus.OK, f"{where}: {answer.status} {body[:500]!r}")
        return answer, body

    def content(self, kind: str, digest: str) -> tuple[str, bytes]:
        """The `Cache-Status` and the body of a manifest or a blob, verified against its digest."""
        answer, body = self.get(f"/v2/{self._name}/{kind}/{digest}", _MANIFESTS)
        check(digest == "sha256:" + hashlib.sha256(body).hexdigest(), f"{digest} has other content")
        return answer.headers.get("Cache-Status", ""), body

    def pull(self, tag: str) -> str:
        """Pull manifest, config and one layer; the `Cache-Status` of the manifest by digest."""
        answer, body = self.get(f"/v2/{self._name}/manifests/{tag}", _MANIFESTS)
        digest = answer.headers["Docker-Content-Digest"]
        check(digest == "sha256:" + hashlib.sha256(body).hexdigest(), f"{tag} is not {digest}")
        manifest = json.loads(body)
        if "manifests" in manifest:
            _, body = self.content("manifests", manifest["manifests"][0]["digest"])
            manifest = json.loads(body)
        for descriptor in (manifest["config"], manifest["layers"][0]):
            _, content = self.content("blobs", descriptor["digest"])
            check(len(content) == descriptor["size"], f"{descriptor['digest']} is incomplete")
        # By digest: the tag's ttl may be over, or 0.
        status, _ = self.content("manifests", digest)
        return status


def fetch(url: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
    """The answer of GET and its body."""
    scheme, host, path, query, _ = urlsplit(url)
    if scheme == "https":
        # The certificate lacks the name that the proxy has inside the cluster.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    try:
        connection.request("GET", f"{path}?{query}" if query else path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    except OSError as error:
        sys.exit(f"FAILED: {host}: {error}")
    finally:
        connection.close()


def check(good: object, otherwise: str) -> None:
    """End the program with the reason `otherwise` unless `good`."""
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
