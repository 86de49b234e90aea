"""How long a question may wait for replicas that are silent: one timeout in all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.oci.reference import Digest
from proxy.peers.client import PeerFailed
from proxy.peers.membership import Reason
from proxy.peers.replicas import Replicas
from proxy.peers.upstream import PeerUpstream
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.peers.answers import Value
    from proxy.peers.questions import Question

OWN: Final = "10.0.0.0:1"
OTHERS: Final = [f"10.0.0.{number}:1" for number in range(1, 10)]
TIMEOUT: Final = 2.0


class Client:
    """No replica gives an answer, and each takes `lost` seconds. Fits PeerClient as far as used."""

    own: str | None = None
    count: Callable[[str, int], None]

    def __init__(self, clock: ManualClock, reason: Reason, lost: float) -> None:
        self._clock = clock
        self._failure = (reason, lost)
        self.asked: list[str] = []

    async def ask(self, address: str, _question: Question, _body: bytes = b"") -> Value:
        reason, lost = self._failure
        self.asked.append(address)
        self._clock.advance(lost)
        raise PeerFailed(reason, "no answer", lost=lost)


class Upstream:
    """It has the blob, or cannot be reached."""

    def __init__(self, *, is_up: bool) -> None:
        self._is_up = is_up

    async def blob_size(self, *_arguments: Any, **_more: Any) -> int:
        if not self._is_up:
            raise UpstreamUnavailable("it cannot be reached")
        return 7


def _behind(client: Client, clock: ManualClock, *, is_up: bool = True) -> PeerUpstream:
    peers: Any = client
    replicas = Replicas(peers, timeout=TIMEOUT, clock=clock)
    replicas.discover([OWN, *OTHERS], OWN)
    upstream: Any = Upstream(is_up=is_up)
    return PeerUpstream("docker.io", upstream, replicas)


def _blob_of_others() -> Digest:
    """A blob that this replica neither owns, nor would if one or two others were away."""
    for number in range(1000):
        digest = Digest.of(b"%d" % number)
        replicas = Replicas(_anything(), clock=ManualClock())
        replicas.discover([OWN, *OTHERS], OWN)
        if OWN not in replicas.ranking(f"docker.io/{digest}")[:5]:
            return digest
    raise AssertionError


def _anything() -> Any:
    return Client(ManualClock(), Reason.SILENT, 0.0)


@pytest.mark.parametrize(("lost", "asked"), [(TIMEOUT, 1), (TIMEOUT / 2, 2), (TIMEOUT * 0.9, 2)])
async def test_silent_replicas_cost_one_timeout_in_all(lost: float, asked: int) -> None:
    """Or less than another half: the last one may be silent, too."""
    clock = ManualClock()
    client = Client(clock, Reason.SILENT, lost)
    began = clock.monotonic()
    upstream = _behind(client, clock)
    assert await upstream.blob_size("library/cargo", _blob_of_others()) == 7
    assert len(client.asked) == asked
    assert clock.monotonic() - began < 2 * TIMEOUT


async def test_those_that_fail_at_once_cost_nothing() -> None:
    """The owners, and those that owned it before, are asked."""
    clock = ManualClock()
    client = Client(clock, Reason.REFUSED, 0.0)
    assert await _behind(client, clock).blob_size("library/cargo", _blob_of_others()) == 7
    assert len(set(client.asked)) == 4


async def test_where_the_upstream_fails_as_well_somebody_may_still_have_it() -> None:
    clock = ManualClock()
    client = Client(clock, Reason.SILENT, TIMEOUT / 2)
    with pytest.raises(UpstreamUnavailable):
        await _behind(client, clock, is_up=False).blob_size("library/cargo", _blob_of_others())
    assert len(set(client.asked)) == 9
