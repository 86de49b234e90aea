"""`/images`, `/inspect` and `/explain` of the admin listener: what is stored, who gets what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from aiohttp import web

from proxy.errors import RegistryError, RequestInvalid, StorageFailure, StoreError
from proxy.web.admin.answers import as_json, refuse
from proxy.web.admin.pages.frame import wants_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.web.admin.pages.handlers import QuestionPages
    from proxy.web.admin.status import Stored

_IMAGES: Final = frozenset({"pattern"})
_INSPECT: Final = frozenset({"image"})
_EXPLAIN: Final = frozenset({"image", "as", "accept", "no-accept", "user"})


_Answer: TypeAlias = "Callable[[web.Request], Awaitable[web.Response]]"


class AnswersQuestions(Protocol):
    """Answers questions about images, as plain values."""

    async def explain(
        self,
        image: str,
        *,
        client: str | None = None,
        accept: Sequence[str] | None = None,
        user: str | None = None,
    ) -> dict[str, Any]:
        """How a request would be answered now; RegistryError if that is no question."""
        ...

    async def inspect(self, image: str) -> dict[str, Any]:
        """What is stored of an image; RegistryError if nothing is."""
        ...


def question_routes(
    questions: AnswersQuestions, stored: Stored, pages: QuestionPages
) -> list[web.RouteDef]:
    """All three paths; nothing is changed by them. A browser gets one of `pages`.

    `/images` takes `?pattern=PATTERN`, the others `?image=REPOSITORY[:TAG|@DIGEST]`.
    """

    async def images(request: web.Request) -> web.Response:
        try:
            check_parameters(request, _IMAGES)
            found = await asyncio.to_thread(stored.images, request.query.get("pattern") or None)
        except StoreError:
            return refuse(StorageFailure("there is no index here that can be read"))
        except RegistryError as error:
            return refuse(error)
        return as_json({"images": found})

    async def inspect(request: web.Request) -> web.Response:
        return await _answer(request, _INSPECT, questions.inspect)

    async def explain(request: web.Request) -> web.Response:
        query = request.query
        accept: list[str] | None = None
        if "no-accept" in query or "accept" in query:
            accept = query.getall("accept", [])

        def work(image: str) -> Awaitable[dict[str, Any]]:
            return questions.explain(
                image, client=query.get("as"), accept=accept, user=query.get("user")
            )

        return await _answer(request, _EXPLAIN, work)

    return [
        web.get("/images", _either(pages.images, images)),
        web.get("/inspect", _either(pages.inspect, inspect)),
        web.get("/explain", _either(pages.explain, explain)),
    ]


def _either(page: _Answer, document: _Answer) -> _Answer:
    """The page for a browser, and the document for a program."""

    async def respond(request: web.Request) -> web.Response:
        return await (page if wants_page(request) else document)(request)

    return respond


def check_parameters(request: web.Request, known: frozenset[str]) -> None:
    """Raise RequestInvalid for a parameter that there is not."""
    if unknown := request.query.keys() - known:
        raise RequestInvalid(
            f"there is no {min(unknown)[:80]!r} here; say {', '.join(sorted(known))}"
        )


async def _answer(
    request: web.Request,
    known: frozenset[str],
    work: Callable[[str], Awaitable[dict[str, Any]]],
) -> web.Response:
    try:
        check_parameters(request, known)
        if "image" not in request.query:
            raise RequestInvalid("say which image: ?image=REPOSITORY[:TAG|@DIGEST]")
        return as_json(await work(request.query["image"]))
    except RegistryError as error:
        return refuse(error)
