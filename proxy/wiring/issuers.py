"""The issuers of service accounts, as the settings describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.access.service_accounts import Issuer, IssuerKeys, ServiceAccounts
from proxy.kit.threads import in_thread
from proxy.upstream.auth.jwks import JwksUrl
from proxy.wiring.endpoints import trusting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.config import AccessSettings, IssuerSettings
    from proxy.kit.singleflight import SingleFlight


def accounts_of(access: AccessSettings, flights: SingleFlight) -> ServiceAccounts | None:
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
