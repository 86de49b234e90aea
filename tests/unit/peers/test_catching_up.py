"""A replica that starts learns what it has missed, from whichever of the others answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.peers.answers import NoNews, Value
from proxy.peers.client import PeerFailed
from proxy.peers.membership import Reason
from proxy.peers.replicas import Replicas
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.peers.questions import Question

OWN = "10.0.0.0:1"


class Client:
    """Only some of the others answer. Fits PeerClient as far as it is used."""

    own: str | None = None
    count: Callable[[str, int], None]

    def __init__(self, answering: Sequence[str]) -> None:
        self.answering = answering
        self.asked: list[str] = []

    async def ask(self, address: str, _question: Question, _body: bytes = b"") -> Value:
        self.asked.append(address)
        if address not in self.answering:
            raise PeerFailed(Reason.REFUSED, "it is not there")
        return Value({"news": [address]})


class News(NoNews):
    def __init__(self) -> None:
        self.learnt: list[Any] = []

    async def learn(self, news: Any) -> None:
        self.learnt.append(news)


def others(count: int) -> list[str]:
    return [f"10.0.0.{number}:1" for number in range(1, count + 1)]


async def _catch_up(count: int, answering: Sequence[str]) -> tuple[Client, News]:
    client: Any = Client(answering)
    replicas = Replicas(
        client, clock=ManualClock(), sample=lambda found, number: sorted(found)[:number]
    )
    replicas.discover([OWN, *others(count)], OWN)
    replicas.news = news = News()
    await replicas.catch_up()
    return client, news


async def test_one_answer_is_enough() -> None:
    client, news = await _catch_up(9, others(9))
    assert len(client.asked) == 3
    assert len(news.learnt) == 3


async def test_others_are_asked_where_the_first_do_not_answer() -> None:
    client, news = await _catch_up(9, ["10.0.0.8:1"])
    assert client.asked == others(9)
    assert news.learnt == [["10.0.0.8:1"]]


async def test_where_nobody_answers_it_serves_all_the_same() -> None:
    client, news = await _catch_up(4, [])
    assert client.asked == others(4)
    assert news.learnt == []


async def test_a_replica_alone_asks_nobody() -> None:
    client, _ = await _catch_up(0, [])
    assert client.asked == []
