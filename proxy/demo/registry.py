"""A stand-in for a registry on the internet: one image, read only, and a count of its requests."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from proxy.demo.image import DemoImage

NAME: Final = "harbour/hello"
TAG: Final = "1.0"


class DemoRegistry:
    """Listens on a free port of 127.0.0.1 between `start` and `stop`."""

    def __init__(self, image: DemoImage) -> None:
        self._image = image
        self.requests = 0
        self._connections: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop listening; nothing happens the second time."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            # Connections that are kept alive would be answered still.
            for connection in tuple(self._connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server.server_close()

    def find(self, path: str) -> tuple[bytes, str] | None:
        """The content at a path of the registry API, and its type."""
        if path.rstrip("/") == "/v2":
            return b"{}", "application/json"
        kind, _, reference = path.removeprefix(f"/v2/{NAME}/").partition("/")
        if kind == "manifests":
            return self._image.manifests.get(self._image.digest if reference == TAG else reference)
        blob = self._image.blobs.get(reference) if kind == "blobs" else None
        return None if blob is None else (blob, "application/octet-stream")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                registry._connections.add(self.connection)

            def finish(self) -> None:
                registry._connections.discard(self.connection)
                super().finish()

            def do_GET(self) -> None:
                registry.requests += 1
                found = registry.find(self.path.partition("?")[0])
                body, kind = found or (_NOT_FOUND, "application/json")
                self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if found and "/manifests/" in self.path:
                    self.send_header("Docker-Content-Digest", registry.digest_at(self.path))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_arguments: object) -> None:
                """The proxy's log says it all."""

        return Handler

    def digest_at(self, path: str) -> str:
        """The digest of the manifest at a path."""
        reference = path.rpartition("/")[2]
        return self._image.digest if reference == TAG else reference


_NOT_FOUND: Final = json.dumps(
    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "the demo has one image"}]}
).encode()
