"""The registry listener's certificate, which is reloaded when its files change."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import structlog

from proxy.kit.watched_files import entry

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import TlsSettings
    from proxy.web.admin.readiness import Readiness

_log = structlog.get_logger()

_WARNING: Final = "certificate"


class Certificate:
    """The certificate's two files, and a TLS context with their last valid content."""

    def __init__(self, settings: TlsSettings, readiness: Readiness) -> None:
        """OSError if the files are missing, or are not a certificate and its key."""
        self._certificate, self._key = settings.certificate_file, settings.key_file
        self._authority = settings.client_ca_file
        self._readiness = readiness
        self._seen = self._entries()
        # None without a certificate: plain HTTP.
        self.context = _context(self._certificate, self._key) if self._certificate else None
        if self.context is not None and self._authority is not None:
            self.context.load_verify_locations(self._authority)
            # A client without one is anonymous, or logs in.
            self.context.verify_mode = ssl.CERT_OPTIONAL

    async def look(self) -> None:
        """Load changed files for new connections, if they are valid."""
        entries = self._entries()
        if self.context is None or self._certificate is None or entries == self._seen:
            return
        self._seen = entries
        try:
            # Try another context first: one that has loaded half of a pair is unusable.
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
