"""One HTTP request with exactly the header lines that a test wants: several `Accept`, or none."""

from __future__ import annotations

import http.client
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import Message

_TIMEOUT: Final = 60.0
# Headers that say when and how it was answered, and not what.
_PASSING: Final = frozenset({"Date", "Cache-Status"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `headers` looks names up in any letter case."""

    status: int
    headers: Message
    body: bytes

    @property
    def lasting(self) -> dict[str, str]:
        """The headers that the next answer must have too, and the one to HEAD."""
        return {name: value for name, value in self.headers.items() if name not in _PASSING}


def ask(
    url: str, *, method: str = "GET", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Answer:
    """Send `Host`, `headers` and nothing else, and read the answer. Redirects are not followed.

    `Host` is the address's, unless it is among the headers.
    """
    headers = list(headers)
    address = urlsplit(url)
    target = address.path + (f"?{address.query}" if address.query else "")
    connection = http.client.HTTPConnection(address.netloc, timeout=_TIMEOUT)
    with closing(connection):
        named = any(name.lower() == "host" for name, _ in headers)
        connection.putrequest(method, target, skip_host=named, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body or method in {"POST", "PUT", "PATCH"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
