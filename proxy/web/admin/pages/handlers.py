"""The handlers of the pages with forms, for browsers."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import RegistryError, StoreError
from proxy.web.admin.pages.frame import answer
from proxy.web.admin.pages.questions import explain_page, images_page, inspect_page, purge_page
from proxy.web.errors import status_of

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.web.admin.guard import OneTimeFields
    from proxy.web.admin.questions import AnswersQuestions
    from proxy.web.admin.status import Stored

# A longer name in a form is cut, in characters: no image has one.
_LONGEST: Final = 1000


class QuestionPages:
    """Answers what the forms ask."""

    def __init__(self, questions: AnswersQuestions, stored: Stored, fields: OneTimeFields) -> None:
        """`fields` are for the purge buttons."""
        self._questions = questions
        self._stored = stored
        self._fields = fields

    async def images(self, request: web.Request) -> web.Response:
        """The stored images."""
        pattern = _parameter(request, "pattern")
        try:
            found = await asyncio.to_thread(self._stored.images, pattern or None)
        except StoreError:
            error = "There is no index here that can be read."
            return answer(images_page(pattern, None, time.time(), error), _UNAVAILABLE)
        return answer(images_page(pattern, found, time.time()))

    async def inspect(self, request: web.Request) -> web.Response:
        """What is stored of an image; at first only the form."""
        image = _parameter(request, "image")
        if not image:
            return answer(inspect_page("", None, ""))
        try:
            found = await self._questions.inspect(image)
        except RegistryError as error:
            return answer(inspect_page(image, None, "", error.message), status_of(error))
        return answer(inspect_page(image, found, self._fields.issue()))

    async def explain(self, request: web.Request) -> web.Response:
        """How a pull would be answered; at first only the form."""
        given = {name: _parameter(request, name) for name in ("image", "as", "accept", "user")}
        if not given["image"]:
            return answer(explain_page(given, None))
        accept = [given["accept"]] if given["accept"] else None
        if "no-accept" in request.query:
            accept = []
        try:
            found = await self._questions.explain(
                given["image"],
                client=given["as"] or None,
                accept=accept,
                user=given["user"] or None,
            )
        except RegistryError as error:
            return answer(explain_page(given, None, error.message), status_of(error))
        return answer(explain_page(given, found))


_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE


def purge_form(request: web.Request, fields: OneTimeFields) -> web.Response:
    """The form to purge an image."""
    return answer(purge_page(fields.issue(), image=_parameter(request, "image")))


def purge_done(
    fields: OneTimeFields, *, done: str = "", error: RegistryError | None = None
) -> web.Response:
    """What came of a form, with the form for another image."""
    if error is not None:
        return answer(purge_page(fields.issue(), error=error.message), status_of(error))
    return answer(purge_page(fields.issue(), done=done))


def _parameter(request: web.Request, name: str) -> str:
    return request.query.get(name, "").strip()[:_LONGEST]
