"""Clients that pull again and again, and never try twice: what a node would have seen.

    python -m tests.cluster.load URL THREADS IMAGE...

It runs in the cluster's network until its standard input ends, and then writes one line of JSON:
how many pulls there were, those that failed, and the seconds that the slowest one took.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import sys
import threading
import time
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

_ACCEPT: Final = "application/vnd.docker.distribution.manifest.v2+json"
# Seconds until a client gives up.
_TIMEOUT: Final = 30.0
_REDIRECT: Final = 307
_OK: Final = 200


class PullError(Exception):
    """The proxy has not given what was asked for."""


class Pull:
    """One pull over one connection: the manifest by tag, the config, and each layer."""

    def __init__(self, url: str) -> None:
        """Nothing is asked yet."""
        self._url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)

    def run(self, image: str) -> None:
        """PullError or OSError if anything is missing or wrong."""
        name, _, tag = image.partition(":")
        try:
            manifest = json.loads(self._get(f"/v2/{name}/manifests/{tag}"))
            for descriptor in (manifest["config"], *manifest["layers"]):
                content = self._get(f"/v2/{name}/blobs/{descriptor['digest']}")
                if descriptor["digest"] != f"sha256:{hashlib.sha256(content).hexdigest()}":
                    raise PullError(f"{descriptor['digest']} has other content")
        finally:
            self._connection.close()

    def _get(self, path: str) -> bytes:
        self._connection.request("GET", path, headers={"Accept": _ACCEPT})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status == _REDIRECT:
            return _fetch(urljoin(self._url + path, answer.headers["Location"]))
        if answer.status != _OK:
            raise PullError(f"{path}: {answer.status} {content[:200]!r}")
        return content


def _fetch(url: str) -> bytes:
    """From a bucket."""
    host, path, query = urlsplit(url)[1:4]
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    try:
        connection.request("GET", f"{path}?{query}")
        answer = connection.getresponse()
        if answer.status != _OK:
            raise PullError(f"{host}: {answer.status}")
        return answer.read()
    finally:
        connection.close()


def main(url: str, threads: str, *images: str) -> None:
    """Pull until the input ends."""
    ended = threading.Event()
    pulls, failed = [], []

    def pull_on(first: int) -> None:
        for image in itertools.islice(itertools.cycle(images), first, None):
            if ended.is_set():
                return
            began = time.monotonic()
            try:
                Pull(url).run(image)
            except (OSError, http.client.HTTPException, PullError, ValueError) as error:
                failed.append(f"{time.strftime('%H:%M:%S')} {image}: {error!r}")
                # As a client that is told that nobody is there would not ask at once.
                time.sleep(0.05)
            pulls.append(time.monotonic() - began)

    running = [threading.Thread(target=pull_on, args=(number,)) for number in range(int(threads))]
    for thread in running:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in running:
        thread.join()
    result: dict[str, Any] = {"pulls": len(pulls), "failed": failed, "slowest": max(pulls)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
