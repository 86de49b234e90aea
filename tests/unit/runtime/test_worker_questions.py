"""A worker answers for its supervisor, with its errors; one that ends is not waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy.errors import ManifestUnknown, WorkerSilent
from proxy.runtime.control_channel import decode_question
from proxy.runtime.worker_questions import AnsweredByWorkers, WorkerQuestions, answer_question

if TYPE_CHECKING:
    from proxy.manifests.questions import Questions


class Known:
    """Knows one image."""

    async def inspect(self, image: str) -> dict[str, Any]:
        if image != "cargo":
            raise ManifestUnknown(f"{image} is not cached")
        return {"image": image}

    async def explain(self, image: str, **asked: object) -> dict[str, Any]:
        return {"image": image, **asked}


class Channel:
    """Both ends of the channel of one worker, in this process."""

    def __init__(self) -> None:
        self.questions = WorkerQuestions()
        self.asked = 0
        self.ends = False

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return await self.questions.ask(self.send, question)

    def send(self, line: bytes) -> None:
        self.asked += 1
        if self.ends:
            self.questions.end()
        else:
            asyncio.get_running_loop().create_task(self.answer(line))

    async def answer(self, line: bytes) -> None:
        found = decode_question(line)
        assert found is not None
        number, question = found
        self.questions.take(number, await answer_question(cast("Questions", Known()), question))


async def stores(question: dict[str, Any]) -> dict[str, Any]:
    return {"stores": question}


async def test_a_worker_answers_and_its_errors_are_raised() -> None:
    channel = Channel()
    asked = AnsweredByWorkers(lambda: [channel.ask], stores)
    assert await asked.inspect("cargo") == {"image": "cargo"}
    with pytest.raises(ManifestUnknown, match="other is not cached"):
        await asked.inspect("other")
    said = await asked.explain("cargo", client=None, accept=("a", "b"), user="ci")
    assert said == {"image": "cargo", "client": None, "accept": ["a", "b"], "user": "ci"}
    assert channel.asked == 3


async def test_the_stores_answer_where_no_worker_does() -> None:
    """One that ends while it is asked is not waited for."""
    assert "stores" in await AnsweredByWorkers(list, stores).inspect("cargo")
    channel = Channel()
    channel.ends = True
    assert "stores" in await AnsweredByWorkers(lambda: [channel.ask], stores).inspect("cargo")
    assert channel.asked == 1
    with pytest.raises(WorkerSilent):
        await channel.ask({"about": "inspect", "image": "cargo"})


def test_an_answer_that_nobody_waits_for_is_nothing() -> None:
    WorkerQuestions().take(0, {"document": {}})
