"""Access control as the settings describe it: a part of the composition root."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from proxy.access.audit import AuditLog
from proxy.access.gate import Gate
from proxy.access.identities import Identities
from proxy.access.logins import Logins
from proxy.access.passwords import Passwords
from proxy.access.rights import Rights, RightsPolicy
from proxy.access.service_accounts import Issuer, IssuerKeys, ServiceAccounts
from proxy.access.tokens import TokenKeys, Tokens
from proxy.kit.threads import in_thread
from proxy.kit.watched_files import entry
from proxy.stores.disk.secret_file import load_or_create_secret
from proxy.upstream.auth.jwks import JwksUrl
from proxy.upstream.auth.rights import RegistryRights
from proxy.web.access_control import AccessControl
from proxy.web.credentials import CredentialReader
from proxy.web.principal_connections import PrincipalConnections
from proxy.web.token_endpoint import TokenEndpoint
from proxy.wiring.access_rules import rules_of
from proxy.wiring.endpoints import transport_of, trusting
from proxy.wiring.upstreams import count_requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from proxy.access.rules import Rules
    from proxy.catalog.routing import Routes
    from proxy.config import AccessSettings, IssuerSettings, Settings
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import MonitoredUpstream
    from proxy.upstream.client_rate import ClientRate

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenAccess:
    """`control` is None where every client may pull everything."""

    rules: Rules
    control: AccessControl | None = None
    passwords: Passwords | None = None
    keys: KeyFile | None = None
    audit: AuditLog | None = None
    flights: SingleFlight | None = None

    def note_settings(self) -> None:
        """Write down that changed settings are applied now."""
        if self.audit is not None and self.flights is not None:
            self.flights.start(self.audit.write("settings", decision="applied"))

    async def look(self) -> None:
        """Read the files that have changed: one round of a chore."""
        changed = self.passwords is not None and self.passwords.look()
        changed |= self.keys is not None and self.keys.look()
        if changed and self.control is not None:
            self.control.forget()


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
    """What writes a purge down; None without an audit log."""
    if audit is None:
        return None

    async def write(repository: Repository, reference: Digest | Tag | None) -> None:
        await audit.write("purge", repository=str(repository), reference=reference)

    return write


class KeyFile:
    """The keys of tokens, which are read again when their file changes."""

    def __init__(self, path: Path, tokens: Tokens, warnings: dict[str, str]) -> None:
        """`warnings` are those of /readyz."""
        self._path = path
        self._tokens = tokens
        self._warnings = warnings
        self._seen = entry(path)

    def look(self) -> bool:
        """Read the file if it has changed; whether other keys are used now.

        One that cannot be used is a warning.
        """
        found = entry(self._path)
        if found == self._seen:
            return False
        self._seen = found
        try:
            self._tokens.adopt(_read_keys(self._path))
        except (OSError, ValueError) as error:
            reason = f"access.token_key_file was not taken over: {error}"
            self._warnings["token_key"] = reason
            _log.error("token_key.refused", reason=reason)
            return False
        self._warnings.pop("token_key", None)
        _log.info("token_key.adopted")
        return True


@asynccontextmanager
async def open_access(
    settings: Settings,
    *,
    routes: Routes,
    upstreams: Mapping[str, MonitoredUpstream],
    rate: ClientRate | None,
    flights: SingleFlight,
    warnings: dict[str, str],
) -> AsyncIterator[OpenAccess]:
    """Open what the rules need; no upstream is contacted yet.

    `rate` limits the questions about logins. `warnings` are those of /readyz. OSError or
    ValueError for a file that cannot be used.
    """
    access = settings.access
    rules = rules_of(access)
    audit = open_audit(settings, warnings, flights)
    if rules.all_open:
        yield OpenAccess(rules, audit=audit, flights=flights)
        if audit is not None:
            await audit.flush()
        return
    _warn(settings, warnings)
    tokens_file = access.token_key_file or settings.data / "token-key"
    if access.token_key_file is None:
        load_or_create_secret(tokens_file)
    tokens = Tokens(_read_keys(tokens_file))
    passwords = None
    if access.htpasswd_file is not None:
        try:
            passwords = Passwords(access.htpasswd_file, warnings)
        except ValueError as error:
            raise ValueError(f"access.htpasswd_file {access.htpasswd_file}: {error}") from None
    rights = Rights(
        {
            name: _rights_at(name, settings, upstream, rate)
            for name, upstream in upstreams.items()
            if access.may_apply("upstream", name)
        },
        policy=RightsPolicy(
            access.ttl, access.stale_if_error, min(access.ttl, settings.negative_cache.denied)
        ),
        flights=flights,
    )
    identities = Identities(
        tokens=tokens,
        passwords=passwords,
        accounts=_accounts(access, flights),
        ask_upstreams=rules.ask_upstreams,
    )
    credentials = CredentialReader(
        allow_plain=access.allow_plain,
        realm=access.realm,
        trusted_proxies=settings.limits.trusted_proxies,
    )
    control = AccessControl(
        Gate(rules, identities, rights),
        TokenEndpoint(Logins(identities, rights), routes, credentials, is_needed=rules.want_logins),
        credentials,
        connections=PrincipalConnections(settings.limits.per_principal.connections),
        audit=audit,
    )
    try:
        keys = KeyFile(tokens_file, tokens, warnings)
        yield OpenAccess(rules, control, passwords, keys, audit, flights)
    finally:
        await rights.close()
        if passwords is not None:
            passwords.close()
        if audit is not None:
            await audit.flush()


def _accounts(access: AccessSettings, flights: SingleFlight) -> ServiceAccounts | None:
    """The issuers of service accounts; ValueError for a certificate that cannot be used."""
    if not access.issuers:
        return None
    return ServiceAccounts(
        {
            chosen.issuer: (
                Issuer(chosen.issuer, chosen.audience, chosen.groups),
                IssuerKeys(chosen.issuer, _key_reader(chosen), flights=flights),
            )
            for chosen in access.issuers
        }
    )


def _key_reader(chosen: IssuerSettings) -> Callable[[], Awaitable[bytes]]:
    if chosen.jwks_url is not None:
        tls = None if chosen.ca_file is None else trusting(chosen.ca_file)
        return JwksUrl(chosen.jwks_url, tls=tls, token_file=chosen.bearer_file).read
    file = chosen.jwks_file
    assert file is not None  # noqa: S101 -- the settings have one of both

    async def read() -> bytes:
        return await in_thread(file.read_bytes)

    return read


def _rights_at(
    name: str, settings: Settings, upstream: MonitoredUpstream, rate: ClientRate | None
) -> RegistryRights:
    endpoint = settings.upstreams[name]
    return RegistryRights(
        name=name,
        url=endpoint.url,
        prefix=endpoint.prefix,
        transport=transport_of(endpoint),
        realms=endpoint.realms,
        is_offline=lambda: upstream.offline,
        observe=count_requests(name, rate),
        rate=rate,
    )


def _warn(settings: Settings, warnings: dict[str, str]) -> None:
    """Warn of rules that cannot do what they say."""
    access = settings.access
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


def _read_keys(path: Path) -> TokenKeys:
    try:
        return TokenKeys.parse(path.read_text())
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
