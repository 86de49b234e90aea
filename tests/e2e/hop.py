"""A hop in front of a registry that loses the `Accept` header, as some reverse proxies do."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Final, Self

from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from types import TracebackType

_PIECE: Final = 256 * 1024


class WithoutAccept:
    """A loopback port that passes every request on without its `Accept` lines.

    `requests` are the request lines that came. Only requests without a body pass.
    """

    def __init__(self, port: int) -> None:
        """`port` is where they are passed on to, on the loopback address too."""
        self.requests: list[str] = []
        self._server = _Server((LOOPBACK, 0), _Passing)
        self._server.behind = port
        self._server.requests = self.requests
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def host(self) -> str:
        """`HOST:PORT`, as it stands in an image's name."""
        return f"{LOOPBACK}:{self._server.server_address[1]}"

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


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True  # a client may keep its connection longer than the test lasts
    behind: int
    requests: list[str]


class _Passing(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Line by line there, for nothing but heads comes; and as it is on the way back."""
        leaving = contextlib.suppress(ConnectionError)  # either side may go when it likes
        with leaving, socket.create_connection((LOOPBACK, self.server.behind)) as behind:
            back = threading.Thread(target=self._back, args=(behind,), daemon=True)
            back.start()
            for line in self.rfile:
                if line.startswith((b"GET ", b"HEAD ")):
                    self.server.requests.append(line.decode().rsplit(" ", 1)[0])
                if not line.lower().startswith(b"accept:"):
                    behind.sendall(line)
            behind.shutdown(socket.SHUT_WR)
            back.join()

    def _back(self, behind: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := behind.recv(_PIECE):
                self.connection.sendall(piece)
            self.connection.shutdown(socket.SHUT_WR)
