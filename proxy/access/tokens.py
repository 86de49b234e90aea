"""Our own tokens: who a client is, for five minutes. What it may pull is decided at each request.

A token is encrypted (RFC 7516, `dir` and A256GCM), which also authenticates it: one key makes and
reads it, so nobody else can do either. There may be two keys while one replaces the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import OctKey

from proxy.access.principals import ANONYMOUS, Client, Principal, PrincipalKind
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.ports.rights import Login

if TYPE_CHECKING:
    from proxy.kit.clock import Clock

LIFETIME: Final = 300.0
# Clocks of replicas may differ by this, in seconds.
_LEEWAY: Final = 5.0
_ISSUER: Final = "lighterage"
_ALGORITHM: Final = "dir"
_ENCRYPTION: Final = "A256GCM"
_MIN_KEY: Final = 32
_MAX_KEYS: Final = 2
# A service account's token travels in a login, and has one or two KiB.
_MAX_TOKEN: Final = 24 * 1024


class TokenInvalidError(Exception):
    """The token is malformed, expired, or not of this installation."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, and for how long it is good, in seconds."""

    value: str
    lifetime: float


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The keys of one installation: tokens are made by the first, and read by each."""

    keys: tuple[OctKey, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one or two lines of at least 32 characters; ValueError, which quotes nothing.

        A byte order mark is skipped: what an editor adds changes no key.
        """
        lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
        if not 1 <= len(lines) <= _MAX_KEYS:
            raise ValueError("a token key file has one line, or two while a key is replaced")
        if any(len(line) < _MIN_KEY for line in lines):
            raise ValueError(f"a token key has at least {_MIN_KEY} characters")
        return cls(tuple(_derive(line) for line in lines))


class Tokens:
    """Makes and reads tokens."""

    def __init__(self, keys: TokenKeys, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._keys = keys
        self._clock = clock
        self._registry = JWERegistry(algorithms=[_ALGORITHM, _ENCRYPTION])

    def adopt(self, keys: TokenKeys) -> None:
        """Use other keys from now on."""
        self._keys = keys

    def issue(
        self, client: Client, *, fingerprint: str | None = None, until: float | None = None
    ) -> Issued:
        """A token for a client.

        `fingerprint` is what must not have changed when it is used, and `until` when the
        credential ends that it was given for, in seconds since 1970.
        """
        now = self._clock.wall()
        expires = min(now + LIFETIME, until or now + LIFETIME)
        principal = client.principal
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "iat": int(now),
            "exp": int(expires),
            "sub": str(principal),
            "kind": str(principal.kind),
            "name": principal.name,
        }
        if principal.groups:
            claims["groups"] = sorted(principal.groups)
        if fingerprint is not None:
            claims["fp"] = fingerprint
        if client.login is not None:
            claims["login"] = [client.login.username, client.login.password]
        key = self._keys.keys[0]
        header = {"alg": _ALGORITHM, "enc": _ENCRYPTION, "kid": key.kid}
        token = jwt.encode(header, claims, key, registry=self._registry)
        return Issued(token, max(0.0, int(expires) - now))

    def read(self, token: str) -> tuple[Client, str | None, float]:
        """The client, the fingerprint, and when the token ends (since 1970); TokenInvalidError."""
        if len(token) > _MAX_TOKEN or not token.isascii():
            raise TokenInvalidError("it is no token of this proxy")
        claims = self._decrypt(token)
        try:
            expires, name = float(claims["exp"]), str(claims["name"])
            kind, groups = PrincipalKind(claims["kind"]), frozenset(claims.get("groups", ()))
            login = Login(*claims["login"]) if "login" in claims else None
        except (KeyError, TypeError, ValueError):
            raise TokenInvalidError("it is no token of this proxy") from None
        if claims.get("iss") != _ISSUER or self._clock.wall() > expires + _LEEWAY:
            raise TokenInvalidError("it has expired")
        anonymous = kind is PrincipalKind.ANONYMOUS
        principal = ANONYMOUS if anonymous else Principal(kind, name, groups)
        return Client(principal, login), claims.get("fp"), expires

    def _decrypt(self, token: str) -> dict[str, Any]:
        for key in self._keys.keys:
            try:
                return dict(jwt.decode(token, key, registry=self._registry).claims)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        raise TokenInvalidError("it is no token of this proxy")


def _derive(line: str) -> OctKey:
    raw = hashlib.blake2b(line.encode(), digest_size=32, person=b"lighterage token").digest()
    kid = hashlib.blake2b(raw, digest_size=6, person=b"key id").hexdigest()
    return OctKey.import_key(raw, {"kid": kid})
