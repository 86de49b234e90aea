"""The other replicas, as the settings describe them: a part of the composition root."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.config.peers import PeerTlsSettings
from proxy.kit.bandwidth import Bandwidth
from proxy.peers.client import PeerClient
from proxy.peers.derived import PeerDerived
from proxy.peers.discovery import Discovery, Place
from proxy.peers.layers import PeerLayers
from proxy.peers.listener import PeerListener
from proxy.peers.replicas import Replicas
from proxy.peers.signing import Signer
from proxy.peers.tls import PeerTls
from proxy.peers.upstream import PeerUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping

    from proxy.config import PeerSettings
    from proxy.kit.singleflight import SingleFlight
    from proxy.peers.answers import Content, News
    from proxy.ports import MonitoredUpstream
    from proxy.ports.catalog import DerivedStore
    from proxy.upstream.client_rate import ClientRate
    from proxy.web.admin.readiness import Readiness

_CERTIFICATE: Final = "peer_certificate"


@dataclass(frozen=True, slots=True)
class OpenReplicas:
    """The asking side: how this replica asks the others."""

    replicas: Replicas
    signer: Signer
    tls: PeerTls | None


def open_replicas(settings: PeerSettings) -> OpenReplicas | None:
    """The other replicas, if the settings name any; none is contacted yet.

    OSError or ValueError if the secret or the certificate cannot be used.
    """
    if settings.secret_file is None:
        return None
    try:
        signer = Signer(settings.secret_file.read_bytes().strip())
    except ValueError as error:
        raise ValueError(f"peers.secret_file {settings.secret_file}: {error}") from error
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


def behind_owners(
    upstreams: Mapping[str, MonitoredUpstream],
    others: OpenReplicas | None,
    rate: ClientRate | None,
    is_open: Callable[[str], bool],
) -> Mapping[str, MonitoredUpstream]:
    """The upstreams, each asked by way of the replica that owns what is asked for.

    What another replica is asked counts for the client as what the upstream is asked: only here is
    it known who it is.
    """
    if others is None:
        return upstreams
    return {
        name: PeerUpstream(
            name,
            upstream,
            others.replicas,
            spend=(lambda: None) if rate is None else partial(rate.spend, name),
            is_open=is_open,
        )
        for name, upstream in upstreams.items()
    }


def layer_owners(others: OpenReplicas | None) -> PeerLayers | None:
    """The replicas that measure layers for each other, if there are any."""
    return None if others is None else PeerLayers(others.replicas)


def behind_derived(others: OpenReplicas | None, derived: DerivedStore) -> DerivedStore:
    """The derived manifests of this replica, and of the others."""
    return derived if others is None else PeerDerived(derived, others.replicas)


class Peers:
    """Both sides together, for one process."""

    def __init__(
        self,
        settings: PeerSettings,
        others: OpenReplicas,
        content: Content,
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
            content,
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
            port=settings.listen.port,
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
