"""Access control as the settings describe it: a part of the composition root."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from proxy.access.audit import AuditLog
from proxy.access.gate import Gate
from proxy.access.hashing import Hashing
from proxy.access.identities import Identities
from proxy.access.logins import Logins
from proxy.access.passwords import Passwords
from proxy.access.rights import Rights, RightsPolicy
from proxy.upstream.auth.rights import RegistryRights
from proxy.web.access_control import AccessControl
from proxy.web.credentials import CredentialReader
from proxy.web.token_endpoint import TokenEndpoint
from proxy.wiring.access_rules import rules_of
from proxy.wiring.endpoints import transport_of
from proxy.wiring.issuers import accounts_of
from proxy.wiring.token_keys import open_keys
from proxy.wiring.upstreams import count_requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from proxy.access.rules import Rules
    from proxy.catalog.routing import Routes
    from proxy.config import Settings
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import MonitoredUpstream
    from proxy.upstream.client_rate import ClientRate
    from proxy.web.principal_connections import PrincipalConnections
    from proxy.wiring.token_keys import KeyFile

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Built:
    """The parts that some settings make, if not every client may pull everything."""

    control: AccessControl
    keys: KeyFile
    passwords: Passwords | None


@dataclass(slots=True)
class AccessParts:
    """What access control is made of. It stays when the settings change.

    `rate` limits the questions about logins; `warnings` are those of /readyz.
    """

    routes: Routes
    upstreams: Mapping[str, MonitoredUpstream]
    rate: ClientRate | None
    flights: SingleFlight
    warnings: dict[str, str]
    connections: PrincipalConnections
    hashing: Hashing = field(default_factory=Hashing)
    registries: dict[str, RegistryRights] = field(default_factory=dict)

    def registry(self, name: str, settings: Settings) -> RegistryRights:
        """Where logins for an upstream are checked."""
        found = self.registries.get(name)
        if found is None:
            endpoint, upstream = settings.upstreams[name], self.upstreams[name]
            found = self.registries[name] = RegistryRights(
                name=name,
                url=endpoint.url,
                prefix=endpoint.prefix,
                transport=transport_of(endpoint),
                realms=endpoint.realms,
                is_offline=lambda: upstream.offline,
                observe=count_requests(name, self.rate),
                rate=self.rate,
            )
        return found

    async def close(self) -> None:
        """Close every connection, and end the thread of hashes."""
        for registry in self.registries.values():
            await registry.close()
        self.hashing.close()


class Access:
    """Access control, which changes with the settings.

    `control` is None where every client may pull everything.
    """

    def __init__(
        self, settings: Settings, rules: Rules, parts: AccessParts, audit: AuditLog | None
    ) -> None:
        """`rules` are those of the settings. OSError or ValueError for an unusable file."""
        self._settings = settings
        self._rules = rules
        self._parts = parts
        self.audit = audit
        self._built: _Built | None = None
        self._built = None if rules.all_open else self._build(settings, rules)
        _warn(settings, parts.warnings)

    @property
    def control(self) -> AccessControl | None:
        """What decides who may pull."""
        return None if self._built is None else self._built.control

    def adopt(self, settings: Settings) -> bool:
        """Apply other settings; whether something has changed.

        OSError or ValueError for an unusable file: then nothing has.
        """
        old = self._settings
        if (settings.access, settings.negative_cache) == (old.access, old.negative_cache):
            return False
        rules = rules_of(settings.access)
        built = None if rules.all_open else self._build(settings, rules)
        if self._built is not None:
            self._built.control.forget()
        self._settings, self._built = settings, built
        self._rules.adopt(rules)
        _warn(settings, self._parts.warnings)
        return True

    def note_settings(self) -> None:
        """Write down that changed settings are applied now."""
        if self.audit is not None:
            self._parts.flights.start(self.audit.write("settings", decision="applied"))

    async def look(self) -> None:
        """Read the files that have changed: one round of a chore."""
        if self._built is None:
            return
        passwords = self._built.passwords
        changed = passwords is not None and passwords.look()
        changed |= self._built.keys.look()
        if changed:
            self._built.control.forget()

    def _build(self, settings: Settings, rules: Rules) -> _Built:
        access, parts = settings.access, self._parts
        keys = open_keys(settings, parts.warnings)
        passwords = self._passwords(access.htpasswd_file)
        rights = Rights(
            {name: parts.registry(name, settings) for name in parts.upstreams},
            policy=RightsPolicy(
                access.ttl, access.stale_if_error, min(access.ttl, settings.negative_cache.denied)
            ),
            flights=parts.flights,
        )
        identities = Identities(
            tokens=keys.tokens,
            passwords=passwords,
            accounts=accounts_of(access, parts.flights),
            ask_upstreams=rules.ask_upstreams,
        )
        credentials = CredentialReader(
            allow_plain=access.allow_plain,
            realm=access.realm,
            trusted_proxies=settings.limits.trusted_proxies,
        )
        logins = Logins(identities, rights)
        control = AccessControl(
            Gate(self._rules, identities, rights),
            TokenEndpoint(logins, parts.routes, credentials, is_needed=rules.want_logins),
            credentials,
            connections=parts.connections,
            audit=self.audit,
        )
        return _Built(control, keys, passwords)

    def _passwords(self, file: Path | None) -> Passwords | None:
        """Those of the file, which may be in use already."""
        if file is None:
            return None
        used = self._built
        if used is not None and used.passwords is not None and used.passwords.file == file:
            return used.passwords
        try:
            return Passwords(
                file,
                self._parts.warnings,
                hashing=self._parts.hashing,
                flights=self._parts.flights,
            )
        except ValueError as error:
            raise ValueError(f"access.htpasswd_file {file}: {error}") from None


def open_audit(
    settings: Settings, warnings: dict[str, str], flights: SingleFlight
) -> AuditLog | None:
    """The audit log, if the settings want one; OSError if it cannot be written."""
    chosen = settings.access.audit
    if chosen.file is None:
        return None
    refuses = chosen.on_failure == "refuse"
    audit = AuditLog(chosen.file, refuses=refuses, warnings=warnings, flights=flights)
    audit.open()
    return audit


def audit_of_purges(
    audit: AuditLog | None,
) -> Callable[[Repository, Digest | Tag | None], Awaitable[None]] | None:
    """Return what logs a purge; None without an audit log."""
    if audit is None:
        return None

    async def write(repository: Repository, reference: Digest | Tag | None) -> None:
        await audit.write("purge", repository=str(repository), reference=reference)

    return write


@asynccontextmanager
async def open_access(
    settings: Settings, *, rules: Rules, parts: AccessParts
) -> AsyncIterator[Access]:
    """Open what the settings' `rules` need; no upstream is contacted yet.

    OSError or ValueError for a file that cannot be used.
    """
    audit = open_audit(settings, parts.warnings, parts.flights)
    try:
        yield Access(settings, rules, parts, audit)
    finally:
        await parts.close()
        if audit is not None:
            await audit.flush()


def _warn(settings: Settings, warnings: dict[str, str]) -> None:
    """Warn of rules that cannot do what they say."""
    access = settings.access
    for key in [key for key in warnings if key.startswith("access.")]:
        del warnings[key]
    if access.is_open:
        return
    is_plain = settings.tls.certificate_file is None and not settings.limits.trusted_proxies
    if (
        access.modes & {"basic", "upstream"}
        and is_plain
        and not settings.listen.is_loopback
        and not access.allow_plain
    ):
        message = (
            "closed repositories can be pulled from this machine only: the listener is plain HTTP, "
            "and takes no logins from others; give it a certificate (tls), name the proxies that "
            "end TLS (limits.trusted_proxies), or set access.allow_plain"
        )
        warnings["access.plain"] = message
        _log.warning("access.plain", message=message)
    if settings.peers.listen is not None and access.token_key_file is None:
        message = (
            "each replica has a token key of its own, so a client's token is good at one of them "
            "only; give all of them the same access.token_key_file"
        )
        warnings["access.token_key"] = message
        _log.warning("access.token_key", message=message)
    for name, upstream in settings.upstreams.items():
        if access.may_apply("upstream", name) and not upstream.has_credentials:
            message = (
                f"logins are checked at {name}, and there is no login of ours that fetches from "
                "it: only what everybody may read there can be pulled"
            )
            warnings[f"access.{name}"] = message
            _log.warning("access.no_credentials", upstream=name, message=message)
