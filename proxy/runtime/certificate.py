"""The registry listener's certificate, and the one that takes its place while the proxy runs."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import structlog

from proxy.runtime.watched_files import entry

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import TlsSettings
    from proxy.web.admin.app import Readiness

_log = structlog.get_logger()

_WARNING: Final = "certificate"


class Certificate:
    """Two files, and the TLS context that has what was in them when they last fitted together."""

    def __init__(self, settings: TlsSettings, readiness: Readiness) -> None:
        """OSError if they are not there, or are no certificate and its key."""
        self._certificate, self._key = settings.certificate_file, settings.key_file
        self._readiness = readiness
        self._seen = self._entries()
        # Without a certificate it is plain HTTP.
        self.context = _context(self._certificate, self._key) if self._certificate else None

    async def look(self) -> None:
        """Take over what is in the files now, for new connections, if it can be used."""
        entries = self._entries()
        if self.context is None or self._certificate is None or entries == self._seen:
            return
        self._seen = entries
        try:
            # A context that was given half of a pair would be of no use: another one goes first.
            await asyncio.to_thread(_context, self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            self._readiness.warnings[_WARNING] = f"the certificate was not taken over: {error}"
            _log.error("certificate.refused", reason=str(error))
        else:
            self._readiness.warnings.pop(_WARNING, None)
            _log.info("certificate.adopted", file=str(self._certificate))

    def _entries(self) -> list[object]:
        return [entry(file) for file in (self._certificate, self._key) if file is not None]


def _context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
