"""Requests to the registry listener of a running proxy, as a client of it sends them."""

from __future__ import annotations

import base64
import json
import ssl
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from proxy.cli.clients.files import ProxyAddress
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from http.client import HTTPResponse
    from pathlib import Path

    from proxy.config import Settings

T = TypeVar("T")

# In seconds: a proxy that is asked for something new may wait for its upstream.
_TIMEOUT: Final = 120.0
_NOT_STORED: Final = "detail=not-stored"
_LARGEST_MANIFEST: Final = 32 * 2**20
_CHUNK: Final = 2**20
_OK: Final = 200
_REDIRECT: Final = 307
_NOT_FOUND: Final = 404
_BUSY: Final = frozenset({429, 503})
# So often is tried again what was cut off or refused for the moment, and so long is waited for it.
_ATTEMPTS: Final = 5
_LONGEST_PAUSE: Final = 10.0


class PullError(Exception):
    """The proxy did not give what was asked for; the message says why.

    `is_unknown` if it says that there is no such thing.
    """

    def __init__(self, message: str, *, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_unknown = is_unknown


class _BusyError(PullError):
    """The proxy asks to be asked again, `after` so many seconds."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """Where the registry listener is, and what a client shows there.

    `certificate_file` is its own certificate, which is trusted under any name; None is for one
    that the system's authorities have signed.
    """

    url: str
    certificate_file: Path | None = None
    login: tuple[str, str] | None = None

    @classmethod
    def of(
        cls, settings: Settings, url: str | None = None, login: tuple[str, str] | None = None
    ) -> ListenerAddress:
        """The listener at `url`, or that of the settings; PullError if that is no URL."""
        at = ProxyAddress.of(settings, url)
        if not urlsplit(f"//{at.host}").hostname or "/" in at.host:
            raise PullError(f"{url} is not the address of a registry listener")
        return cls(at.url, settings.tls.certificate_file if at.tls else None, login)


class ListenerClient:
    """One connection to the listener; for one thread."""

    def __init__(self, address: ListenerAddress) -> None:
        self._address = address
        self._connection: HTTPConnection | None = None

    def check(self) -> None:
        """PullError if no proxy answers."""
        try:
            with self._get("/v2/", ()) as response:
                ours = response.headers.get("Docker-Distribution-Api-Version") is not None
        except _BusyError as error:
            raise PullError(
                f"no proxy answers at {error}; start one with lighterage serve, or name its "
                "registry listener with --registry or --config (was it started with --listen?)"
            ) from None
        finally:
            self.close()
        if not ours:
            raise PullError(f"the server at {self._address.url} is not a registry")

    def manifest(
        self, repository: str, reference: str, accept: Iterable[str]
    ) -> tuple[bytes, str, Digest | None]:
        """A manifest's bytes, type and digest, as the proxy gives it; PullError."""
        path = f"/v2/{repository}/manifests/{reference}"

        def ask() -> tuple[bytes, str, Digest | None]:
            with self._get(path, accept) as response:
                _require_ok(response)
                raw = response.read(_LARGEST_MANIFEST + 1)
                if len(raw) > _LARGEST_MANIFEST:
                    self.close()
                    raise PullError("its manifest is larger than any")
                named = response.headers.get("Docker-Content-Digest")
                media_type = response.headers.get("Content-Type", "")
                return raw, media_type, None if named is None else Digest(named)

        return self._retry(ask)

    def store_blob(
        self, repository: str, digest: str, told: Callable[[int], None]
    ) -> tuple[int, bool]:
        """Have the proxy store a blob: its size in bytes, and whether it was stored before.

        A stored blob is not read. `told` gets the sizes of the pieces that arrive. PullError.
        """
        path = f"/v2/{repository}/blobs/{digest}"

        def ask() -> tuple[int, bool]:
            with self._get(path, ()) as response:
                if response.status == _REDIRECT:
                    return 0, True
                _require_ok(response)
                size = int(response.headers.get("Content-Length", "0"))
                if _is_stored(response):
                    # The rest is in the way of the next request.
                    self.close()
                    return size, True
                received = 0
                while piece := response.read(_CHUNK):
                    told(len(piece))
                    received += len(piece)
                if received < size:
                    raise HTTPException
                if _NOT_STORED in response.headers.get("Cache-Status", ""):
                    raise PullError(f"the proxy has no room for {digest}, and passed it on")
                return size, False

        return self._retry(ask)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _get(self, path: str, accept: Iterable[str]) -> Iterator[HTTPResponse]:
        connection = self._connection = self._connection or self._connect()
        try:
            connection.putrequest("GET", path, skip_accept_encoding=True)
            for line in accept:
                connection.putheader("Accept", line)
            if self._address.login is not None:
                encoded = base64.b64encode(":".join(self._address.login).encode()).decode()
                connection.putheader("Authorization", f"Basic {encoded}")
            connection.putheader("User-Agent", "lighterage-warm")
            connection.endheaders()
            with connection.getresponse() as response:
                yield response
                response.read(_CHUNK)
        except (HTTPException, OSError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or "the connection was cut"
            raise _BusyError(f"{self._address.url}: {reason}", 0.2) from None

    def _connect(self) -> HTTPConnection:
        parts = urlsplit(self._address.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "http":
            return HTTPConnection(host, port, timeout=_TIMEOUT)
        context = ssl.create_default_context()
        if (file := self._address.certificate_file) is not None:
            context.check_hostname = False
            context.load_verify_locations(file)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)

    def _retry(self, ask: Callable[[], T]) -> T:
        for _ in range(_ATTEMPTS - 1):
            try:
                return ask()
            except _BusyError as busy:
                time.sleep(busy.after)
        return ask()


def _is_stored(response: HTTPResponse) -> bool:
    return response.headers.get("Cache-Status", "").startswith("Lighterage; hit")


def _require_ok(response: HTTPResponse) -> None:
    if response.status == _OK:
        return
    message = f"the proxy answered {response.status}"
    with suppress(ValueError, LookupError, TypeError):
        message = str(json.loads(response.read(_CHUNK))["errors"][0]["message"])
    if response.status in _BUSY:
        after = response.headers.get("Retry-After", "")
        raise _BusyError(message, min(_LONGEST_PAUSE, float(after) if after.isdigit() else 1.0))
    raise PullError(message, is_unknown=response.status == _NOT_FOUND)
