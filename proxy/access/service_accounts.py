"""Service accounts: a JWT of an issuer that the settings name, sent as the password of a login.

Its issuer signs it, so the keys are all that is needed to check it. It is good until it expires,
and for one audience only. A service account's token is never sent to an upstream.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from proxy.access.principals import Principal, PrincipalKind
from proxy.errors import StoreError
from proxy.kit.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight

_log = structlog.get_logger()

# Signatures only: a key that everybody can have must not be taken for a secret.
_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "EdDSA",
)
_KINDS: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
_LEEWAY: Final = 30.0
_MAX_TOKEN: Final = 16 * 1024
_MAX_KEYS: Final = 64
_MAX_GROUPS: Final = 64
_MAX_NAME: Final = 512
# What a float holds exactly. It is no time for longer than there will be tokens.
_LAST_TIME: Final = 2**53
# Keys are read again after so long, or when a token names one that is not there; in seconds.
_KEYS_LIFE: Final = 600.0
_KEYS_AGAIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer of the settings.

    `groups` are claims by the prefix of a group: `{"namespace": "kubernetes.io/namespace"}` makes
    `namespace:team` of a nested claim.
    """

    name: str
    audience: str
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who a token is for, and when it ends, in seconds since 1970."""

    principal: Principal
    until: float


class IssuerKeys:
    """The keys of one issuer, which are read again now and then. Those from before stay."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[bytes]],
        *,
        flights: SingleFlight,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`read` gets a JWKS; StoreError, OSError or ValueError if it cannot be had."""
        self._name = name
        self._read = read
        self._flights = flights
        self._clock = clock
        self._keys: dict[str, RSAKey | ECKey | OKPKey] = {}
        self._read_at = self._asked_at = float("-inf")
        self._is_reading = False

    async def find(self, kid: str) -> RSAKey | ECKey | OKPKey | None:
        """The key of that name, or the only one if there is no name."""
        now = self._clock.monotonic()
        is_wanted = now - self._read_at > _KEYS_LIFE or kid not in self._keys
        if is_wanted and now - self._asked_at > _KEYS_AGAIN:
            if kid not in self._keys:
                await self._flights.do(f"jwks:{self._name}", self._refresh)
            elif not self._is_reading:
                # A slow issuer delays nobody whose key is known.
                self._is_reading = True
                self._flights.start(self._flights.do(f"jwks:{self._name}", self._refresh))
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        try:
            self._keys = parse_keys(await self._read())
            self._read_at = self._asked_at = self._clock.monotonic()
        except (OSError, StoreError, ValueError) as error:
            self._asked_at = self._clock.monotonic()
            _log.warning("issuer.keys_unreadable", issuer=self._name, error=str(error))
        finally:
            self._is_reading = False


class ServiceAccounts:
    """Checks tokens of all issuers."""

    def __init__(
        self, issuers: Mapping[str, tuple[Issuer, IssuerKeys]], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`issuers` by their names, as `iss` has them."""
        self._issuers = issuers
        self._clock = clock
        self._registry = JWSRegistry(algorithms=list(_ALGORITHMS))

    def recognizes(self, password: str) -> bool:
        """Whether a password claims to be a token of one of the issuers."""
        return _peek(password)[0] in self._issuers

    async def check(self, password: str) -> ServiceAccount | None:
        """Who the token is for; None if it is not good."""
        name, kid = _peek(password)
        found = self._issuers.get(name)
        if found is None:
            return None
        issuer, keys = found
        key = await keys.find(kid)
        if key is None:
            return None
        try:
            claims = jwt.decode(password, key, registry=self._registry).claims
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        return self._account(issuer, claims)

    def _account(self, issuer: Issuer, claims: Mapping[str, Any]) -> ServiceAccount | None:
        now, audience, subject = self._clock.wall(), claims.get("aud"), claims.get("sub")
        audiences = audience if isinstance(audience, list) else [audience]
        until, begins = _time(claims.get("exp")), _time(claims.get("nbf", 0))
        if (
            claims.get("iss") != issuer.name
            or issuer.audience not in audiences
            or not isinstance(subject, str)
            or not 0 < len(subject) <= _MAX_NAME
            or not subject.isprintable()
            or until is None
            or begins is None
            or now > until + _LEEWAY
            or now < begins - _LEEWAY
        ):
            return None
        groups = {
            f"{prefix}:{value}"
            for prefix, path in issuer.groups.items()
            for value in _values_at(claims, path)
        }
        principal = Principal(
            PrincipalKind.JWT, f"{issuer.name}#{subject}", frozenset(sorted(groups)[:_MAX_GROUPS])
        )
        return ServiceAccount(principal, until)


def parse_keys(raw: bytes) -> dict[str, RSAKey | ECKey | OKPKey]:
    """The public keys of a JWKS by name; ValueError if it is none, or has too many."""
    try:
        entries = json.loads(raw)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"it is no JWKS ({type(error).__name__})") from None
    if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
        raise ValueError(f"it has no list of at most {_MAX_KEYS} keys")
    keys = [key for key in map(_public_key, entries) if key is not None]
    if not keys:
        raise ValueError("it has no public key of RSA, EC or Ed25519")
    return {str(key.kid or ""): key for key in keys}


def _public_key(entry: object) -> RSAKey | ECKey | OKPKey | None:
    """The key; None if it is malformed, or of a kind that we do not know: others may be good."""
    if not isinstance(entry, dict):
        return None
    kind = entry.get("kty")
    key_type = _KINDS.get(kind) if isinstance(kind, str) else None
    if key_type is None:
        return None
    try:
        return key_type.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _peek(token: str) -> tuple[str, str]:
    """The issuer and the key's name that a token claims, unverified; "" if it is none."""
    parts = token.split(".", 3)
    if len(parts) != 3 or len(token) > _MAX_TOKEN:  # noqa: PLR2004 -- header, claims, signature
        return "", ""
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(f"{part}===")) for part in parts[:2])
    except (binascii.Error, ValueError, RecursionError):
        return "", ""
    if not isinstance(header, dict) or not isinstance(claims, dict):
        return "", ""
    return str(claims.get("iss", "")), str(header.get("kid", ""))


def _values_at(claims: object, path: str) -> list[str]:
    """The strings at a path such as `kubernetes.io/namespace`; none if it leads nowhere."""
    for key in path.split("/"):
        claims = claims.get(key) if isinstance(claims, dict) else None
    values = claims if isinstance(claims, list) else [claims]
    return [
        value
        for value in values
        if isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()
    ]


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # JSON's NaN, which is no number either, is not within the bounds.
    return float(value) if -_LAST_TIME <= value <= _LAST_TIME else None
