"""The other replicas, as the settings describe them: a part of the composition root.

It is loaded only where there are others, and nothing else outside `peers` loads any of that.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from proxy import __version__
from proxy.config.peers import PeerTlsSettings
from proxy.kit.bandwidth import Bandwidth
from proxy.peers.client import PeerClient
from proxy.peers.derived import DerivedContent, PeerDerived
from proxy.peers.discovery import Discovery, Place
from proxy.peers.dry_run import DryRunReplicas
from proxy.peers.layers import PeerLayers
from proxy.peers.listener import PeerListener
from proxy.peers.naming import ask_for_naming, encode_naming
from proxy.peers.replicas import Replicas
from proxy.peers.signing import Signer
from proxy.peers.tls import PeerTls
from proxy.peers.upstream import PeerUpstream
from proxy.web.peer_content import PeerContent

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Mapping,
        MutableMapping,
    )

    from proxy.blobs.serve import Blobs
    from proxy.config import PeerSettings
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.listings import Listings
    from proxy.manifests.measuring import LayerMeasuring
    from proxy.manifests.tags import Tags
    from proxy.oci.reference import Digest, Repository
    from proxy.peers.answers import Content, News, Value
    from proxy.ports import MonitoredUpstream
    from proxy.ports.catalog import Claim, DerivedStore, Grant
    from proxy.upstream.client_rate import ClientRate
    from proxy.web.admin.readiness import Readiness

_CERTIFICATE: Final = "peer_certificate"


@dataclass(frozen=True, slots=True)
class OpenReplicas:
    """The asking side: how this replica asks the others."""

    replicas: Replicas
    signer: Signer
    tls: PeerTls | None

    def behind_owners(
        self,
        upstreams: Mapping[str, MonitoredUpstream],
        rate: ClientRate | None,
        is_open: Callable[[str], bool],
    ) -> Mapping[str, MonitoredUpstream]:
        """The upstreams, each asked by way of the replica that owns what is asked for.

        What another replica is asked counts for the client as what the upstream is asked: only
        here is it known who it is.
        """
        return {
            name: PeerUpstream(
                name,
                upstream,
                self.replicas,
                spend=(lambda: None) if rate is None else partial(rate.spend, name),
                is_open=is_open,
            )
            for name, upstream in upstreams.items()
        }

    def layers(self) -> PeerLayers:
        """The replicas that measure layers for each other."""
        return PeerLayers(self.replicas)

    def share(self, derived: DerivedStore) -> DerivedStore:
        """The derived manifests of this replica, and of the others."""
        return PeerDerived(derived, self.replicas)

    async def named_elsewhere(self, registry: str, name: str, digest: Digest) -> Claim | None:
        """What others know the registry to have named in a repository."""
        return await ask_for_naming(self.replicas, registry, name, digest)

    def dry_run(self) -> DryRunPeers:
        """The same replicas, of which none is asked."""
        return DryRunPeers(DryRunReplicas(self.replicas))


class DryRunPeers:
    """What would be asked of the other replicas, in the state in which they are now."""

    def __init__(self, replicas: DryRunReplicas) -> None:
        self.condition = replicas.condition
        self._replicas = cast("Replicas", replicas)

    def behind(
        self, name: str, upstream: MonitoredUpstream, is_open: Callable[[str], bool]
    ) -> MonitoredUpstream:
        """The upstream, by way of the replica that owns what is asked for."""
        return PeerUpstream(name, upstream, self._replicas, is_open=is_open)

    def layers(self) -> PeerLayers:
        """The replicas that measure layers for each other."""
        return PeerLayers(self._replicas)


def open_replicas(settings: PeerSettings, secret_file: Path) -> OpenReplicas:
    """The other replicas; none is contacted yet.

    OSError or ValueError if the secret or the certificate cannot be used.
    """
    try:
        signer = Signer(secret_file.read_bytes().strip())
    except ValueError as error:
        raise ValueError(f"peers.secret_file {secret_file}: {error}") from error
    tls = _open_tls(settings.tls)
    client = PeerClient(signer, timeout=settings.timeout, tls=None if tls is None else tls.client)
    replicas = Replicas(
        client, name=socket.gethostname(), zone=settings.zone or "", timeout=settings.timeout
    )
    return OpenReplicas(replicas, signer, tls)


def _open_tls(settings: PeerTlsSettings) -> PeerTls | None:
    match settings:
        case PeerTlsSettings(
            certificate_file=Path() as certificate, key_file=Path() as key, ca_file=Path() as ca
        ):
            return PeerTls(certificate, key, ca)
    return None


@dataclass(frozen=True, slots=True)
class PeerParts:
    """What this replica answers the others from."""

    registries: Collection[str]
    naming: Callable[[Repository, Digest], Awaitable[Grant | Claim | None]]
    tags: Tags
    upstream_manifests: UpstreamManifests
    blobs: Blobs
    listings: Listings
    derived: DerivedStore
    measuring: LayerMeasuring

    def content(self, replicas: Replicas) -> Content:
        """The answers."""

        async def naming(repository: Repository, digest: Digest) -> Value:
            return encode_naming(await self.naming(repository, digest))

        return PeerContent(
            registries=self.registries,
            naming=naming,
            tags=self.tags,
            upstream_manifests=self.upstream_manifests,
            blobs=self.blobs,
            listings=self.listings,
            derived=DerivedContent(self.derived),
            measuring=self.measuring,
            is_fetching=replicas.is_fetching,
        )


class Peers:
    """Both sides together, for one process."""

    def __init__(
        self,
        settings: PeerSettings,
        others: OpenReplicas,
        parts: PeerParts,
        news: News,
        *,
        workers: int,
    ) -> None:
        """Each of the `workers` has an equal part of the bandwidth."""
        if settings.listen is None:
            raise AssertionError("the settings have a listener where they have a secret")
        self._listen = settings.listen
        self._handing_over = 0
        self._replicas = others.replicas
        self._tls = others.tls
        rate = None if settings.bandwidth is None else settings.bandwidth / workers
        self._listener = PeerListener(
            parts.content(others.replicas),
            others.replicas,
            others.signer,
            version=__version__,
            fan_out=settings.fan_out,
            bandwidth=Bandwidth(rate),
            tls=None if self._tls is None else self._tls.server,
        )
        others.replicas.news = news
        self._discovery = Discovery(
            others.replicas,
            [Place.parse(place) for place in settings.discover],
            listen=Place(*settings.listen),
            advertise=None if settings.advertise is None else Place(*settings.advertise),
        )

    @asynccontextmanager
    async def listening(self, *, reuse_port: bool) -> AsyncIterator[None]:
        """Answer other replicas while the block runs, and know which there are."""
        async with self._listener.listening(*self._listen, reuse_port=reuse_port):
            await self._discovery.look()
            await self._replicas.catch_up()
            yield

    @property
    def busy(self) -> int:
        """The number of questions of other replicas that are being answered, or to be."""
        return self._listener.busy + self._handing_over

    def drain(self, flights: SingleFlight) -> None:
        """Take no more questions from others, and hand over what is here."""
        self._listener.draining = True
        self._handing_over = 1
        flights.start(self._hand_over())

    async def _hand_over(self) -> None:
        try:
            await self._replicas.handover.run(self._replicas)
        finally:
            self._handing_over = 0

    async def discover(self, warnings: MutableMapping[str, str]) -> None:
        """Discover the replicas, and load a renewed certificate."""
        if self._tls is not None:
            if (problem := await self._tls.look()) is not None:
                warnings[_CERTIFICATE] = problem
            else:
                warnings.pop(_CERTIFICATE, None)
        await self._discovery.look()

    async def probe(self, readiness: Readiness) -> None:
        """Ask those that are left out, and a few others, how they are; now and then."""
        await self._replicas.wait()
        await self._replicas.probe()
        problems = [
            f"{address} is {reason}"
            for address, reason in self._replicas.membership.states().items()
            if reason is not None
        ]
        if self._discovery.warning is not None:
            problems.append(self._discovery.warning)
        if (peers := self._replicas.report()) != readiness.peers:
            readiness.peers = peers
        warnings = readiness.warnings
        if problems:
            warnings["peers"] = f"not all replicas can be asked: {'; '.join(problems)}"
        else:
            warnings.pop("peers", None)
