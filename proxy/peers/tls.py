"""TLS between replicas: each shows a certificate, and takes those of the same authority."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import structlog

from proxy.kit.watched_files import entry

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger()


class PeerTls:
    """Both ends, with the last valid content of the files.

    Replicas are found by address, so the names in certificates are not compared: that a replica is
    the one that was asked, its signature says.
    """

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        """OSError if the files are missing, or are not what they should be."""
        self._certificate, self._key, self._authority = certificate, key, authority
        self._seen = self._entries()
        self._problem: str | None = None
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.client = _trusting_nobody()
        for context in (self.server, self.client):
            self._load(context)

    async def look(self) -> str | None:
        """Load changed files for new connections; why they cannot be, if they cannot.

        What an earlier file of the authority has is trusted until the process ends.
        """
        entries = self._entries()
        if entries == self._seen:
            return self._problem
        self._seen, self._problem = entries, None
        try:
            # Try another context first: one that has loaded half of a pair is unusable.
            await asyncio.to_thread(self._load, _trusting_nobody())
            for context in (self.server, self.client):
                self._load(context)
        except OSError as error:
            _log.error("peer.certificate_refused", reason=str(error))
            self._problem = f"the certificate for other replicas was not taken over: {error}"
        else:
            _log.info("peer.certificate_adopted", file=str(self._certificate))
        return self._problem

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_verify_locations(self._authority)
        context.load_cert_chain(self._certificate, self._key)

    def _entries(self) -> list[object]:
        return [entry(file) for file in (self._certificate, self._key, self._authority)]


def _trusting_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context
