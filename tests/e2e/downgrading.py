"""An upstream that gives schema 1 to clients that do not name the OCI's types, as Quay does."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.kit.processes import LOOPBACK
from tests.kit.raw_http import ask

if TYPE_CHECKING:
    from types import TracebackType

    from tests.kit.registry import Registry


class Downgrading:
    """A loopback port in front of two registries that have the same image in different forms.

    Requests that name an OCI type go to `modern`; all others to `legacy`, and as if they had no
    `Accept`, for which a registry makes schema 1.
    """

    def __init__(self, *, modern: Registry, legacy: Registry) -> None:
        self._server = _Server((LOOPBACK, 0), _Answering)
        self._server.modern, self._server.legacy = modern, legacy
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    modern: Registry
    legacy: Registry


class _Answering(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """One answer for a connection, whole."""
        accept = [("Accept", value) for value in self.headers.get_all("Accept", ())]
        modern = any("vnd.oci.image" in value for _, value in accept)
        registry = self.server.modern if modern else self.server.legacy
        answer = ask(
            registry.url + self.path, method=self.command, headers=accept if modern else ()
        )
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815 -- BaseHTTPRequestHandler's name for it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the same
        """Not on the test's standard error."""
