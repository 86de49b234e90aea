"""Identify the client of a request: by our own token, a login, or a client certificate."""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from proxy.access.authorization import parse_authorization
from proxy.access.principals import ANONYMOUS, NOBODY, Client, Principal, PrincipalKind
from proxy.access.tokens import TokenInvalidError
from proxy.errors import Unauthorized
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from proxy.access.passwords import Passwords
    from proxy.access.service_accounts import ServiceAccounts
    from proxy.access.tokens import Issued, Tokens
    from proxy.kit.clock import Clock
    from proxy.ports.rights import Login

# For how long a right login is remembered by its header, in seconds. Its user's line must stay.
_LOGIN_LIFE: Final = 300.0
_MEMORY: Final = 2 * 2**20
_COST: Final = 1024


@dataclass(frozen=True, slots=True)
class Presented:
    """What came with a request: `certificate` is the name in one that TLS has verified.

    `address` is the client's. Credentials that are not `secure` have crossed a network in the
    clear; they are not looked at.
    """

    authorization: str | None = field(default=None, repr=False)
    certificate: str | None = None
    address: str = ""
    secure: bool = True


@dataclass(frozen=True, slots=True)
class _Known:
    client: Client
    fingerprint: str | None
    until: float


class Identities:
    """All ways in which a client can identify itself."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        passwords: Passwords | None,
        accounts: ServiceAccounts | None = None,
        ask_upstreams: bool,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`ask_upstreams`: an upstream may know a login that `passwords` do not."""
        self._tokens = tokens
        self._passwords = passwords
        self._accounts = accounts
        self._ask_upstreams = ask_upstreams
        self._clock = clock
        # By a hash of the header, under a key of this process: tokens that were read before.
        self._key = secrets.token_bytes(32)
        self._known: LruCache[bytes, _Known] = LruCache(_MEMORY)

    def recall(self, presented: Presented) -> Client | None:
        """Return the client of the request, if it is known without any work."""
        value = presented.authorization
        if not presented.secure or value is None:
            return self._without(presented)
        known = self._known.get(self._digest(value))
        if known is None or self._clock.wall() > known.until or not self._is_valid(known):
            return None
        return self._with_certificate(known.client, presented)

    def known_until(self, presented: Presented) -> float | None:
        """Until when `recall` knows the client, monotonic; None if it does not."""
        value = presented.authorization
        if not presented.secure or value is None:
            return math.inf
        known = self._known.get(self._digest(value))
        if known is None:
            return None
        return self._clock.monotonic() + known.until - self._clock.wall()

    async def identify(self, presented: Presented) -> Client:
        """Return the client; Unauthorized if its credential is malformed or expired.

        A login that is no user of this proxy is anonymous, and `refused`.
        """
        client = self.recall(presented)
        if client is not None:
            return client
        assert presented.authorization is not None  # noqa: S101 -- else `recall` knows
        sent = parse_authorization(presented.authorization)
        if isinstance(sent, str):
            client = self._read(presented.authorization, sent)
        elif sent is None:
            client = NOBODY
        else:
            client = await self.check(sent, presented.address)
            if not client.refused:
                self._remember(presented.authorization, client)
        return self._with_certificate(client, presented)

    def remember_confirmed(self, presented: Presented, client: Client) -> None:
        """Know a login from now on that an upstream has just confirmed, and that is no user's here.

        Others are not remembered: so those that are wrong take no memory from those that are right.
        """
        header = presented.authorization
        # A token ends by itself.
        is_login = header is not None and header.strip().lower().startswith("basic ")
        if header is not None and is_login and self.recall(presented) is None:
            self._remember(header, replace(client, principal=ANONYMOUS))

    def forget(self) -> None:
        """Look at every credential again: users or keys have changed."""
        self._known.clear()

    async def check(self, login: Login, address: str) -> Client:
        """Return the user of the login; anonymous and `refused` if there is none."""
        if self._accounts is not None and self._accounts.recognizes(login.password):
            # Never sent upstream, whether it is good or not.
            account = await self._accounts.check(login.password)
            if account is None:
                return Client(ANONYMOUS, refused=True)
            return Client(account.principal, until=account.until)
        if self._passwords is not None and await self._passwords.check(login, address):
            return Client(Principal(PrincipalKind.BASIC, login.username))
        return Client(ANONYMOUS, login if self._ask_upstreams else None, refused=True)

    def issue(self, client: Client) -> Issued:
        """A token for the client."""
        fingerprint = self._fingerprint(client.principal)
        return self._tokens.issue(client, fingerprint=fingerprint, until=client.until)

    def _read(self, header: str, token: str) -> Client:
        try:
            client, fingerprint, until = self._tokens.read(token)
        except TokenInvalidError as error:
            raise Unauthorized(f"the token is not valid: {error}", invalid_token=True) from None
        known = _Known(client, fingerprint, until)
        if not self._is_valid(known):
            raise Unauthorized(
                "the token is not valid: its user has changed since", invalid_token=True
            )
        self._known.put(self._digest(header), known, _COST + len(header))
        return client

    def _remember(self, header: str, client: Client) -> None:
        fingerprint = self._fingerprint(client.principal)
        until = self._clock.wall() + _LOGIN_LIFE
        known = _Known(client, fingerprint, min(until, client.until or until))
        self._known.put(self._digest(header), known, _COST + len(header))

    def _is_valid(self, known: _Known) -> bool:
        """Whether nothing has changed that the credential depends on."""
        return known.fingerprint == self._fingerprint(known.client.principal)

    def _fingerprint(self, principal: Principal) -> str | None:
        if principal.kind is not PrincipalKind.BASIC:
            return None
        found = self._passwords.fingerprint(principal.name) if self._passwords else None
        return found or "gone"

    def _without(self, presented: Presented) -> Client:
        if presented.certificate is not None:
            return Client(Principal(PrincipalKind.CERTIFICATE, presented.certificate))
        return NOBODY

    def _with_certificate(self, client: Client, presented: Presented) -> Client:
        """The client, by its certificate if nothing better has been sent."""
        if presented.certificate is None or client.principal is not ANONYMOUS:
            return client
        return replace(client, principal=self._without(presented).principal)

    def _digest(self, header: str) -> bytes:
        encoded = header.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(encoded, key=self._key, digest_size=16).digest()
