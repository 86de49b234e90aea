"""Ask an upstream or a mirror once, as `serve` would, to see whether it and the login work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import LoginRefused, ManifestUnknown, RegistryError, UpstreamDenied
from proxy.oci.reference import Tag
from proxy.upstream.client import RegistryClient
from proxy.wiring.endpoints import credentials_of, transport_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config import EndpointSettings

# Nobody has it: what counts is who says so.
_REPOSITORY: Final = "lighterage/doctor"
_WITHIN: Final = 15.0


@dataclass(frozen=True, slots=True)
class Probed:
    """Whether the endpoint can be used, and a sentence about it."""

    works: bool
    message: str


async def probe(name: str, endpoint: EndpointSettings, aliases: Sequence[str] = ()) -> Probed:
    """Ask `endpoint` for a manifest that there is not."""
    client = RegistryClient(
        name=name,
        url=endpoint.url,
        prefix=endpoint.prefix,
        credentials=credentials_of(endpoint, aliases),
        transport=transport_of(endpoint),
        realms=endpoint.realms,
    )
    login = "; its login is accepted" if endpoint.credentials is not None else ""
    try:
        async with asyncio.timeout(_WITHIN):
            await client.head_manifest(_REPOSITORY, Tag("latest"))
    except ManifestUnknown:
        pass
    except LoginRefused as refused:
        message = f"{name} refuses the login of its credentials: {refused.message}"
        return Probed(works=False, message=message)
    except UpstreamDenied:
        # Many registries deny what does not exist, too.
        pass
    except RegistryError as error:
        return Probed(works=False, message=error.message)
    except TimeoutError:
        return Probed(works=False, message=f"{name} does not answer within {_WITHIN:g} s")
    finally:
        await client.close()
    return Probed(works=True, message=f"{name} answers at {endpoint.url}{login}")
