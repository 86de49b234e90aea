"""Questions of operators that a supervisor has one of its workers answer.

A worker knows what the stores do not say: which circuits are open, which replicas are well, and
which of the live settings have changed.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from proxy import errors
from proxy.errors import RegistryError, WorkerSilent
from proxy.runtime import control_channel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.manifests.questions import Questions
    from proxy.runtime.control_channel import Message

# How long a worker may take for an answer, in seconds.
_WITHIN: Final = 10.0


class WorkerQuestions:
    """The supervisor's end of one channel: questions that wait for their answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    async def ask(self, send: Callable[[bytes], object], question: Message) -> dict[str, Any]:
        """The answer; the RegistryError that it is; WorkerSilent if there is none in time."""
        number = next(self._numbers)
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            send(control_channel.encode_question(number, question))
            async with asyncio.timeout(_WITHIN):
                return _read(await answered)
        except TimeoutError:
            raise WorkerSilent from None
        finally:
            del self._waiting[number]

    def take(self, number: int, answer: Message) -> None:
        """Give the answer to the request that waits for it, if it still does."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def end(self) -> None:
        """The worker has ended, and answers nothing more."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(WorkerSilent())


async def ask_about(questions: Questions, question: Message) -> dict[str, Any]:
    """Put the question as one of the methods of `questions`."""
    asked = dict(question)
    if asked.pop("about") == "inspect":
        return await questions.inspect(**asked)
    return await questions.explain(**asked)


async def answer_question(questions: Questions, question: Message) -> Message:
    """What a worker answers: the document, or the error in parts."""
    try:
        return {"document": await ask_about(questions, question)}
    except RegistryError as error:
        return {"error": type(error).__name__, "message": error.message}


def _read(answer: Message) -> dict[str, Any]:
    if "error" in answer:
        kind = getattr(errors, answer["error"])
        raised: RegistryError = kind(answer["message"])
        raise raised
    document: dict[str, Any] = answer["document"]
    return document


class AnsweredByWorkers:
    """Fits AnswersQuestions: a worker answers, or the stores while none does."""

    def __init__(
        self,
        workers: Callable[[], Sequence[Callable[[Message], Awaitable[dict[str, Any]]]]],
        stores: Callable[[Message], Awaitable[dict[str, Any]]],
    ) -> None:
        """`workers` are those that serve now; `stores` answers without any."""
        self._workers = workers
        self._stores = stores

    async def explain(
        self,
        image: str,
        *,
        client: str | None = None,
        accept: Sequence[str] | None = None,
        user: str | None = None,
    ) -> dict[str, Any]:
        """How a request would be answered now."""
        lines = None if accept is None else list(accept)
        return await self._ask(
            {"about": "explain", "image": image, "client": client, "accept": lines, "user": user}
        )

    async def inspect(self, image: str) -> dict[str, Any]:
        """What is stored of an image."""
        return await self._ask({"about": "inspect", "image": image})

    async def _ask(self, question: Message) -> dict[str, Any]:
        for ask in self._workers()[:1]:
            with suppress(WorkerSilent):
                return await ask(question)
        return await self._stores(question)
