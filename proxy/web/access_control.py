"""Access control over HTTP: what a request presents, challenges, and the token endpoint."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from http import HTTPStatus
from secrets import token_bytes
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import web
from multidict import CIMultiDict, istr

from proxy.access.authorization import login_of, parse_authorization
from proxy.access.identities import Presented
from proxy.errors import Denied, NameUnknown, RequestInvalid, Unauthorized
from proxy.kit.lru import LruCache
from proxy.oci.reference import Tag
from proxy.web.client_address import ClientAddresses
from proxy.web.connection import connection_of
from proxy.web.headers import API_VERSION, NO_SNIFF, SERVER
from proxy.web.paths import (
    BlobTarget,
    ManifestTarget,
    Ping,
    ReferrersTarget,
    RetiredTarget,
    TagsTarget,
    TokenTarget,
)

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.access.audit import AuditLog
    from proxy.access.gate import Gate
    from proxy.access.logins import Logins
    from proxy.catalog.routing import Routes
    from proxy.web.access_log import AccessLogLine
    from proxy.web.connection import Connection
    from proxy.web.paths import RepositoryTarget, Target

# A header with the same content as `Authorization`, for what already uses that one.
_OWN_HEADER: Final = istr("Lighterage-Authorization")
_AUTHORIZATION: Final = istr("Authorization")
_MAX_FORM: Final = 64 * 1024
_FORM_TIMEOUT: Final = 10.0
_MAX_FIELDS: Final = 32
_MEMORY: Final = 2 * 2**20
_COST: Final = 512
_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,300}")
# docker 1.8 and 1.9 ask a mirror for this, and send a login only after a redirect to the real one.
_SLASHES: Final = re.compile(r"/{2,}v2/?")
_TOKEN_PATH: Final = "/token"  # noqa: S105 -- a path


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A client that was admitted; `until` is monotonic."""

    principal: str
    until: float
    counter: Counter


class AccessControl:
    """Lets requests through, or says how to log in."""

    def __init__(
        self,
        gate: Gate,
        logins: Logins,
        routes: Routes,
        *,
        allow_plain: bool,
        realm: str | None,
        trusted_proxies: tuple[str, ...] = (),
        audit: AuditLog | None = None,
    ) -> None:
        """`realm` is the token endpoint's URL, if clients reach it by another one than here.

        `allow_plain`: take credentials over plain HTTP also from other machines.
        """
        self._gate = gate
        self._logins = logins
        self._secret = token_bytes(32)
        self._routes = routes
        self._allow_plain = allow_plain
        self._realm = realm
        self._audit = audit
        self._trusted = ClientAddresses(trusted_proxies)
        self._has_proxies = bool(trusted_proxies)
        # Admissions that hold for a while, and rules that are open, by repository and tag.
        self._admitted: LruCache[tuple[object, ...], _Admitted] = LruCache(_MEMORY)
        self._open: LruCache[tuple[str, str, str], bool] = LruCache(_MEMORY)

    async def answer(
        self, request: web.BaseRequest, line: AccessLogLine
    ) -> web.StreamResponse | None:
        """Answer the token endpoint, and `////v2/`; None for everything else."""
        path = request.raw_path.partition("?")[0]
        if path == _TOKEN_PATH:
            line.target = TokenTarget()
            return await self._token(request)
        if not _SLASHES.fullmatch(path):
            return None
        headers = CIMultiDict([API_VERSION, SERVER, ("Location", "/v2/"), ("Content-Length", "0")])
        return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)

    async def admit(self, request: web.BaseRequest, target: Target, line: AccessLogLine) -> None:
        """Return if the client may have the target, whether or not it exists.

        Unauthorized or Denied otherwise, or an UpstreamFailure if that cannot be found out.
        """
        if isinstance(target, Ping):
            await self._check_version(request)
        if not isinstance(target, ManifestTarget | BlobTarget | TagsTarget | ReferrersTarget):
            return
        repository, tag = target.repository, _tag_of(target)
        rule = self._gate.rule(repository, tag)
        if rule.is_open:
            self._open.put((repository.registry, repository.name, tag), value=True, cost=_COST)
            return
        line.private = True
        presented = self._credentials_of(request)
        try:
            client = await self._gate.admit(rule, repository, _subject(target), presented)
        except (Unauthorized, Denied) as error:
            line.principal = error.principal
            decision = "denied" if isinstance(error, Denied) else "unauthorized"
            await self._write_audit(request, target, line, decision, None)
            raise
        line.principal = str(client.principal)
        if not isinstance(target, ManifestTarget):
            await self._write_audit(request, target, line, "admitted", None)
        if (until := self._gate.admits_until(rule, repository, presented)) is not None:
            counter = self._gate.counter(rule, client, "admitted")
            admitted = _Admitted(line.principal, until, counter)
            self._admitted.put(self._key(request, target), admitted, _COST)

    def recall(self, request: web.BaseRequest, target: Target, line: AccessLogLine) -> bool:
        """Whether an admission from before still holds: else `admit` decides."""
        if isinstance(target, Ping | RetiredTarget):
            return False
        if self._audit is not None:
            # Each request has its line.
            return False
        repository = target.repository
        if (repository.registry, repository.name, _tag_of(target)) in self._open:
            return True
        admitted = self._admitted.get(self._key(request, target))
        if admitted is None or monotonic() >= admitted.until:
            return False
        line.private, line.principal = True, admitted.principal
        admitted.counter.inc()
        return True

    async def audit_manifest(
        self, request: web.BaseRequest, target: ManifestTarget, line: AccessLogLine, digest: str
    ) -> None:
        """Write down that the client is given a manifest, now that its digest is known."""
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
        self._admitted.clear()

    def _key(self, request: web.BaseRequest, target: RepositoryTarget) -> tuple[object, ...]:
        """All that an admission depends on; of a credential its hash only."""
        headers = request.headers
        value = headers.get(_OWN_HEADER) or headers.get(_AUTHORIZATION) or ""
        connection = connection_of(request)
        repository, tag = target.repository, _tag_of(target)
        hashed = blake2b(value.encode("utf-8", "surrogateescape"), key=self._secret).digest()
        if connection is None:
            return repository.registry, repository.name, tag, hashed
        secure = self._is_secure(request, connection)
        certificate = connection.certificate
        return repository.registry, repository.name, tag, hashed, certificate, secure

    def challenge(self, request: web.BaseRequest, target: object, error: Unauthorized) -> str:
        """The `WWW-Authenticate` of a 401."""
        parts = [f'realm="{self._token_url(request)}"', f'service="{_host(request)}"']
        if isinstance(target, ManifestTarget | BlobTarget | TagsTarget | ReferrersTarget):
            parts.append(f'scope="repository:{target.repository.addressed}:pull"')
        if error.invalid_token:
            parts.append('error="invalid_token"')
        return f"Bearer {','.join(parts)}"

    async def _check_version(self, request: web.BaseRequest) -> None:
        """Return if `/v2/` may be answered 200; Unauthorized, with the challenge, otherwise."""
        presented = self._credentials_of(request)
        if self._gate.want_logins and presented.secure:
            await self._logins.require(presented, self._upstream(request))

    async def _token(self, request: web.BaseRequest) -> web.Response:
        """GET with Basic, or POST of a form (RFC 6749, 4.3)."""
        if not self._gate.want_logins:
            raise NameUnknown("this registry needs no tokens")
        if request.method not in {"GET", "POST"}:
            raise RequestInvalid("ask for a token by GET or POST")
        presented = self._credentials_of(request)
        if not presented.secure:
            raise Denied("this proxy takes logins over TLS only (access.allow_plain is false)")
        fields = await _fields(request)
        if request.method == "POST":
            login = login_of(fields)
        else:
            sent = presented.authorization
            found = None if sent is None else parse_authorization(sent)
            if isinstance(found, str):
                raise Unauthorized("a token is asked for with a login, and not with a token")
            login = found
        issued = await self._logins.token(
            login,
            has_scope=bool(fields.get("scope")),
            upstream=self._upstream(request),
            address=presented.address,
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        body = {
            "token": issued.value,
            "access_token": issued.value,
            "token_type": "Bearer",
            "expires_in": int(issued.lifetime),
            "issued_at": now.replace("+00:00", "Z"),
        }
        headers = CIMultiDict([SERVER, NO_SNIFF, ("Content-Type", "application/json")])
        headers["Cache-Control"] = "no-store"
        return web.Response(body=json.dumps(body).encode(), headers=headers)

    def _credentials_of(self, request: web.BaseRequest) -> Presented:
        connection = connection_of(request)
        headers = request.headers
        value = headers.get(_OWN_HEADER) or headers.get(_AUTHORIZATION)
        if connection is None:
            return Presented(value)
        secure = self._is_secure(request, connection)
        return Presented(value, connection.certificate, connection.client, secure)

    def _is_secure(self, request: web.BaseRequest, connection: Connection) -> bool:
        """Whether nobody between the client and us could read its credentials."""
        if self._allow_plain:
            return True
        if self._has_proxies and not _is_tls(request) and self._trusted.trusts(connection.peer):
            return request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
        return connection.is_private

    def _token_url(self, request: web.BaseRequest) -> str:
        if self._realm is not None:
            return self._realm
        forwarded = request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
        connection = connection_of(request)
        behind = connection is not None and self._trusted.trusts(connection.peer)
        scheme = "https" if _is_tls(request) or (behind and forwarded) else "http"
        return f"{scheme}://{_host(request)}{_TOKEN_PATH}"

    def _upstream(self, request: web.BaseRequest) -> str:
        """The upstream that a login without a repository is for."""
        return self._routes.by_host_or_default(request.headers.get("Host", ""))


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


async def _fields(request: web.BaseRequest) -> dict[str, list[str]]:
    """The fields of the query, or of the form; RequestInvalid if there are too many."""
    text = request.rel_url.raw_query_string
    if request.method == "POST":
        if request.content_type != "application/x-www-form-urlencoded":
            raise RequestInvalid("the body is no form")
        body = bytearray()
        try:
            async with asyncio.timeout(_FORM_TIMEOUT):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > _MAX_FORM:
                        raise RequestInvalid("the form is too large")
        except TimeoutError:
            raise RequestInvalid("the form did not arrive in time") from None
        text = body.decode("utf-8", "replace")
    try:
        return parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise RequestInvalid("there are too many fields") from None


def _host(request: web.BaseRequest) -> str:
    """The Host, as a part of a quoted string."""
    host = request.headers.get("Host", "")
    return host if _HOST.fullmatch(host) else "lighterage"


def _is_tls(request: web.BaseRequest) -> bool:
    transport = request.transport
    return transport is not None and transport.get_extra_info("sslcontext") is not None
