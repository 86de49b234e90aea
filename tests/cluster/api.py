"""The Kubernetes API for the cluster's own small programs: JSON over HTTPS, and no watches."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any, Final

from tests.cluster.addresses import API_PORT, NODE

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT: Final = 10.0


class ApiError(Exception):
    """The API is not there, or says no."""


class Api:
    """The API server, as the administrator whose certificate is in `credentials`."""

    def __init__(self, credentials: Path) -> None:
        """Nothing is asked yet."""
        self._tls = ssl.create_default_context(cafile=str(credentials / "ca.crt"))
        self._tls.load_cert_chain(credentials / "admin.crt", credentials / "admin.key")

    def list(self, path: str) -> list[dict[str, Any]]:
        """The objects below `path`, such as `/api/v1/services`."""
        items: list[dict[str, Any]] = json.loads(self.ask("GET", path))["items"]
        return items

    def create(self, path: str, document: dict[str, Any]) -> None:
        """Make an object; one that is there already is as good."""
        self.ask("POST", path, document, also=http.HTTPStatus.CONFLICT)

    def delete(self, path: str) -> None:
        """Delete an object; one that has gone already is as good."""
        self.ask("DELETE", path, also=http.HTTPStatus.NOT_FOUND)

    def ask(
        self,
        method: str,
        path: str,
        document: dict[str, Any] | None = None,
        *,
        also: http.HTTPStatus = http.HTTPStatus.OK,
    ) -> bytes:
        """The body of the answer; ApiError if its status is neither 2xx nor `also`."""
        connection = http.client.HTTPSConnection(
            NODE, API_PORT, timeout=_TIMEOUT, context=self._tls
        )
        body = None if document is None else json.dumps(document)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status // 100 != 2 and answer.status != also:
            raise ApiError(f"{method} {path}: {answer.status} {content.decode()}")
        return content
