"""Access control over HTTP: admits requests, sends challenges, and writes the audit log."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.errors import Denied, Unauthorized
from proxy.kit.lru import LruCache
from proxy.oci.reference import Tag
from proxy.telemetry import trace
from proxy.web.admission import Admission, Validity
from proxy.web.credentials import host_of
from proxy.web.paths import (
    BlobTarget,
    ManifestTarget,
    Ping,
    ReferrersTarget,
    RetiredTarget,
    TagsTarget,
)
from proxy.web.request import connection_of

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.access.audit import AuditLog
    from proxy.access.gate import Gate
    from proxy.web.access_log import AccessLogLine
    from proxy.web.credentials import CredentialReader
    from proxy.web.paths import RepositoryTarget, Target
    from proxy.web.principal_connections import PrincipalConnections
    from proxy.web.token_endpoint import TokenEndpoint

_MEMORY: Final = 2 * 2**20
_COST: Final = 512


class AccessControl:
    """Admits requests, or sends a challenge."""

    def __init__(
        self,
        gate: Gate,
        tokens: TokenEndpoint,
        credentials: CredentialReader,
        *,
        connections: PrincipalConnections,
        audit: AuditLog | None = None,
    ) -> None:
        """`tokens` is where a challenge leads to."""
        self._gate = gate
        self._credentials = credentials
        self._audit = audit
        self.tokens = tokens
        self.connections = connections
        # Admissions that hold for a while: of everybody, by repository and tag, and of clients.
        self._validity = Validity()
        self._open: LruCache[tuple[str, str, str], Admission] = LruCache(_MEMORY)
        self._admitted: LruCache[tuple[str, str, str, bytes], Admission] = LruCache(_MEMORY)

    async def admit(self, request: web.BaseRequest, target: Target, line: AccessLogLine) -> None:
        """Return if the client may have the target, whether or not it exists.

        Unauthorized or Denied otherwise, or an UpstreamFailure if that cannot be found out.
        """
        # Questions about logins count for the client that causes them.
        connection = connection_of(request)
        trace.begin(connection)
        if isinstance(target, Ping):
            await self.tokens.check_version(request)
        if not isinstance(target, ManifestTarget | BlobTarget | TagsTarget | ReferrersTarget):
            return
        repository, tag, validity = target.repository, _tag_of(target), self._validity
        rule = self._gate.rule(repository, tag)
        if rule.is_open:
            admission = Admission(validity=validity)
            self._open.put((repository.registry, repository.name, tag), admission, _COST)
            admission.note(line)
            return
        line.private = True
        presented = self._credentials.read(request)
        try:
            client = await self._gate.admit(rule, repository, _subject(target), presented)
        except (Unauthorized, Denied) as error:
            line.principal = error.principal
            decision = "denied" if isinstance(error, Denied) else "unauthorized"
            await self._write_audit(request, target, line, decision, None)
            raise
        until = self._gate.admits_until(rule, repository, presented)
        if until is None or self._audit is not None:
            # For this request only: either nothing is known, or each request has its line.
            until = -math.inf
        counter = self._gate.counter(rule, client, "admitted")
        admission = Admission(str(client.principal), until, counter, validity)
        admission.note(line)
        if connection is not None:
            self.connections.count(connection, admission)
        if not isinstance(target, ManifestTarget):
            await self._write_audit(request, target, line, "admitted", None)
        if admission.holds(monotonic()):
            key = (repository.registry, repository.name, tag, self._credentials.key(request))
            self._admitted.put(key, admission, _COST)

    def recall(self, request: web.BaseRequest, target: Target, line: AccessLogLine) -> bool:
        """Return whether an earlier admission still holds; otherwise `admit` decides again."""
        if isinstance(target, Ping | RetiredTarget):
            return False
        repository, tag = target.repository, _tag_of(target)
        admission = self._open.get((repository.registry, repository.name, tag))
        if admission is None:
            key = (repository.registry, repository.name, tag, self._credentials.key(request))
            admission = self._admitted.get(key)
            if admission is None or not admission.holds(monotonic()):
                return False
            if connection := connection_of(request):
                self.connections.count(connection, admission)
        admission.apply(line)
        return True

    @property
    def audits(self) -> bool:
        """Whether `audit_manifest` has something to do."""
        return self._audit is not None

    async def audit_manifest(
        self, request: web.BaseRequest, target: ManifestTarget, line: AccessLogLine, digest: str
    ) -> None:
        """Write to the audit log that the client gets a manifest, now that its digest is known."""
        if line.private:
            await self._write_audit(request, target, line, "admitted", digest)

    async def _write_audit(
        self,
        request: web.BaseRequest,
        target: RepositoryTarget,
        line: AccessLogLine,
        decision: str,
        digest: str | None,
    ) -> None:
        if self._audit is None:
            return
        rule = self._gate.rule(target.repository, _tag_of(target))
        await self._audit.write(
            "access",
            decision=decision,
            principal=line.principal,
            repository=str(target.repository),
            route=target.route,
            tag=_tag_of(target) or None,
            digest=digest or _digest_of(target),
            rule=rule.match,
            mode=rule.mode,
            method=request.method,
            client=request.remote,
            id=line.id,
        )

    def forget(self) -> None:
        """Decide again: users or keys have changed."""
        self._gate.forget()
        self._validity.has_ended = True
        self._validity = Validity()
        self._open.clear()
        self._admitted.clear()

    def challenge(self, request: web.BaseRequest, target: object, error: Unauthorized) -> str:
        """The `WWW-Authenticate` of a 401."""
        parts = [f'realm="{self._credentials.token_url(request)}"', f'service="{host_of(request)}"']
        if isinstance(target, ManifestTarget | BlobTarget | TagsTarget | ReferrersTarget):
            parts.append(f'scope="repository:{target.repository.addressed}:pull"')
        if error.invalid_token:
            parts.append('error="invalid_token"')
        return f"Bearer {','.join(parts)}"


def _tag_of(target: RepositoryTarget) -> str:
    """The tag that is asked for, or ""."""
    if isinstance(target, ManifestTarget) and isinstance(target.reference, Tag):
        return target.reference
    return ""


def _digest_of(target: RepositoryTarget) -> str | None:
    """The digest that is asked for, if it is one."""
    if isinstance(target, TagsTarget):
        return None
    if isinstance(target, ManifestTarget):
        return None if isinstance(target.reference, Tag) else target.reference
    return target.digest


def _subject(target: RepositoryTarget) -> str:
    """What of its repository an upstream is asked about, to see whether a login may pull."""
    if isinstance(target, ManifestTarget):
        return f"manifests/{target.reference}"
    return f"blobs/{target.digest}" if isinstance(target, BlobTarget) else ""
