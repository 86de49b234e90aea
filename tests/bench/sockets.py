"""Load by plain sockets, for HEAD: wrk cannot read its answers, and ab speaks HTTP/1.0."""

from __future__ import annotations

import re
import selectors
import socket
from contextlib import ExitStack
from time import perf_counter
from typing import Final

from tests.bench.wrk import CONNECTIONS, Load
from tests.kit.processes import LOOPBACK

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"


def load(port: int, path: str, accept: str, *, method: str, seconds: float) -> Load:
    """As many requests as this loop can send, on as many connections as wrk has."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAccept: {accept}\r\n\r\n".encode()
    has_body = method != "HEAD"
    requests = failures = 0
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(head)
        began = perf_counter()
        while (now := perf_counter()) < began + seconds:
            for key, _ in selector.select(1.0):
                ready, received = key.fileobj, key.data
                assert isinstance(ready, socket.socket)
                received += ready.recv(2**18)
                if not _is_whole(received, has_body=has_body):
                    continue
                requests += 1
                failures += not received.startswith(b"HTTP/1.1 200 ")
                received.clear()
                ready.sendall(head)
    return Load(requests, requests / (now - began), failures)


def _is_whole(received: bytearray, *, has_body: bool) -> bool:
    end = received.find(_END)
    if end < 0 or not has_body:
        return end >= 0
    length = _LENGTH.search(received)
    return length is not None and len(received) >= end + len(_END) + int(length[1])
